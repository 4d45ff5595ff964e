/*
 * The worker process: takes one action at a time from the supervisor, loads it, looks into the
 * action cache, stages, runs, collects, stores the result, reports, releases; repeats.
 *
 * Forked by the supervisor.  worker_main never returns: it exits 0 when its socket closes or a
 * `stop` comes between two actions.  It sends `ready`, then for each `run` one `done`, and listens
 * to `cancel` meanwhile.  It dies with the supervisor (parent-death signal where there is one, end
 * of stream everywhere).
 *
 * job.h does one action; worker.c is the loop around it.
 */
#ifndef WORKERS_WORKER_H
#define WORKERS_WORKER_H

#include "base/host_config.h"
#include "shm/region.h"
#include "workers/probe.h"

struct worker_start {
	const struct host_config *config;
	const struct probe *probe;
	enum isolation isolation;
	struct region *region;
	uint32_t slot_number;
	int socket_fd;
};
_Noreturn void worker_main(const struct worker_start *start);

#endif
