/*
 * A forked child in a mount namespace of its own, as an action is one.
 *
 * Bench programs, one thread.  isolate_open first, before anything of the state directory is open:
 * as a plain user the program enters a user namespace, as a worker does, and SANDBOX_PATH is made.
 * Then, for each action, isolate_run -> isolate_reap.
 *
 * isolate_run forks; the child makes its namespace, mounts what was placed by the very code that an
 * action's init has (mounts_linux.h), or, in place, nothing; calls `work` with the root's
 * descriptor, says when that has ended, and exits.  isolate_run returns when that is said, as a
 * worker goes on when its init reports: 0, or -errno of what the child could not do, said on
 * stderr.  isolate_reap waits for the child's end, which takes the mounts along.  Both exit with a
 * message where the bench itself fails.
 */
#ifndef BENCH_ISOLATE_H
#define BENCH_ISOLATE_H

#include <stdint.h>

#include "tests/bench/host.h"

struct isolated {
	const struct bench_host *host;
	const struct bench_placed *placed; /* NULL: in place, */
	const char *tree; /* whose absolute path this is */
	int (*work)(void *arg, int rootfd); /* 0 or -errno; NULL: nothing is done */
	void *arg;
};

struct isolate_times {
	uint64_t mount_ns; /* that mounting what was placed took */
	uint64_t ended_ns; /* when the work had ended, as bench_now_ns */
};

void isolate_open(const char *state_dir);
int isolate_run(const struct isolated *isolated, struct isolate_times *ret_times);
void isolate_reap(void);

/* What was written to the volume of `fd` goes to it now, and does not disturb what is measured. */
void isolate_settle(int fd);

#endif
