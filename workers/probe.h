/*
 * What this volume and this system really allow: every way tried for real, once, at start.
 *
 * Supervisor, before it forks (the workers inherit the result); `rametd --probe` prints it for
 * `ramet doctor`.  Device ids, pathconf and version numbers lie; a try in the state directory does
 * not.  The trials leave nothing behind.
 */
#ifndef WORKERS_PROBE_H
#define WORKERS_PROBE_H

#include <stdbool.h>
#include <stdio.h>

#include "base/host_config.h"
#include "shm/counters.h"
#include "workers/cost.h"

struct probe_way {
	bool works;
	bool unneeded; /* a no by which nothing is lost: ramet does as well without */
	int error; /* errno of the try, 0 when it works or was not tried */
	char why[160]; /* what was tried and what came, or why it is not for this system */
	char remedy[160]; /* what to do about a no, "" if nothing */
	double us; /* one call's cost in the try */
};
struct probe {
	struct probe_way ways[PLACE_WAY_COUNT];
	struct probe_way isolation[ISOLATION_COUNT];
	enum isolation best_isolation;
	bool case_insensitive;
	bool clone_is_native; /* clonefile is the system's own and clones a directory in one call */
	bool seals_inputs; /* a seal (seal.h) withstood a real try */
	bool is_root;
	struct cost_model costs;
	char volume[32]; /* file system type of the state directory */
	unsigned long long links_max; /* 0: not met in the try (1,000 links) */
	unsigned long long free_bytes, free_inodes;
	unsigned long long files_max; /* RLIMIT_NOFILE */
	char kernel[128];
};

void probe_run(const struct host_config *config, struct probe *ret_probe);

/* The isolation and engine in force: config's wish where it works, else -ENOTSUP and why. */
int probe_choose(const struct probe *probe, const struct host_config *config,
    enum isolation *ret_isolation, char *why, size_t why_size);

/* One flat JSON object a line for each item: {"item":"way.bind","works":true,...}. */
int probe_print_json(const struct probe *probe, FILE *out);

#endif
