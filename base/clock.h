/* The three clocks.  Any process, any thread; never fail. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

uint64_t clock_monotonic_us(void); /* intervals; the same for all processes of one boot */
uint64_t clock_realtime_us(void); /* timestamps in results */
uint32_t clock_realtime_s(void); /* last-use stamps; coarse and cheap (vDSO) */

#endif
