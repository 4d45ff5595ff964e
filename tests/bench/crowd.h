/*
 * Several workers at once: processes with a slot each, that all begin a round together.
 *
 * Bench programs on Linux (barriers between processes).  crowd_start -> crowd_round as often as
 * wanted -> crowd_stop.  In a round each worker calls `prepare`, waits for the others, calls `run`,
 * which alone is timed, and then `clear`; the round's time is from the first start to the last end.
 * `what` is the caller's, the same for all.  Before crowd_start the program has not called
 * isolate_run, or the workers would share its memory.
 *
 * A worker that fails exits, with a message; then the others wait at the barrier until an alarm
 * (CROWD_SECONDS_MAX after crowd_start) ends them all.
 */
#ifndef BENCH_CROWD_H
#define BENCH_CROWD_H

#include "tests/bench/host.h"

enum { CROWD_WORKERS_MAX = 8, CROWD_SECONDS_MAX = 120 };

struct crowd_work {
	/* In the worker's process, once; what it returns is the others' argument. */
	void *(*open)(struct bench_host *host, void *arg);
	void (*prepare)(void *state, int what);
	void (*run)(void *state, int what);
	void (*clear)(void *state, int what);
};

void crowd_start(
    struct bench_host *host, unsigned workers, const struct crowd_work *work, void *arg);
uint64_t crowd_round(int what);
void crowd_stop(void);

#endif
