/*
 * How busy the machine is at this moment.  Any thread; reads only.
 */
#ifndef WORKERS_CORES_H
#define WORKERS_CORES_H

/* Threads of the whole machine that run or could, the caller's own included; 0: it cannot be told.
 */
unsigned cores_running(void);

#endif
