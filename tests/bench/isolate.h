/*
 * A forked child in a mount namespace of its own, as an action is one.
 *
 * Bench programs, one thread.  isolate_run forks; the child makes the namespace (below a user
 * namespace where it is not root), mounts the binds read-only below `root`, calls `work` with the
 * root's descriptor, and exits; isolate_run reaps it and says how long the binds took. Exit with a
 * message on failure.
 */
#ifndef BENCH_ISOLATE_H
#define BENCH_ISOLATE_H

#include <sys/types.h>

#include <stddef.h>
#include <stdint.h>

#include "workers/stage.h"

struct isolated {
	const char *state_dir;
	const char *root; /* absolute */
	const struct stage_bind *binds;
	size_t bind_count;
	int (*work)(void *arg, int rootfd); /* 0 or -errno */
	void *arg;
};

/* The whole life of the child; the nanoseconds that mounting the binds took go to *ret_mount_ns. */
void isolate_run(const struct isolated *isolated, uint64_t *ret_mount_ns);

/* What was written to the volume of `fd` goes to it now, and does not disturb what is measured. */
void isolate_settle(int fd);

#endif
