#include "base/clock.h"

#include <time.h>

static uint64_t
clock_us(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t
clock_monotonic_us(void)
{
	return clock_us(CLOCK_MONOTONIC);
}

uint64_t
clock_realtime_us(void)
{
	return clock_us(CLOCK_REALTIME);
}

uint32_t
clock_realtime_s(void)
{
	return (uint32_t)time(NULL);
}
