/*
 * A host for the bench: a state directory with store, index and one slot, opened as a worker has
 * them, and stagers on it for any way of placing.  No daemon runs; what is measured is called.
 *
 * Bench programs, one thread; all exit with a message on failure.  The state directory is the
 * caller's, empty or left by an earlier run, on the volume that is to be measured.
 */
#ifndef BENCH_HOST_H
#define BENCH_HOST_H

#include <stdint.h>

#include "base/host_config.h"
#include "cas/store.h"
#include "shm/region.h"
#include "shm/slot.h"
#include "workers/probe.h"
#include "workers/sandbox.h"
#include "workers/stage.h"

struct bench_host {
	struct host_config config;
	struct probe probe;
	enum isolation isolation;
	struct region *region;
	struct slot *slot;
	uint32_t slot_number;
	struct cas *cas;
};

/* Slot: the first worker's.  bench_host_take moves a forked child to another one, with a store
 * handle of its own. */
void bench_host_open(const char *state_dir, struct bench_host *ret_host);
void bench_host_take(struct bench_host *host, uint32_t slot_number);
void bench_host_close(struct bench_host *host);

/* The host's config with another engine must live as long as the stager. */
struct bench_stager {
	struct host_config config;
	struct stager *stager;
};
void bench_stager_open(
    struct bench_host *host, enum engine engine, struct bench_stager *ret_stager);
void bench_stager_close(struct bench_stager *stager);

/* The engine's way works on this volume; why not, if it does not. */
bool bench_engine_works(const struct bench_host *host, enum engine engine, const char **ret_why);

/* One sandbox with the input root `root` and the output's directory.  Expects `engine` to have
 * placed it without a fall-back: false, and words, if it did not. */
struct bench_placed {
	struct sandbox sandbox;
	struct stage_report report;
};
bool bench_has_mounts(const struct bench_placed *placed);
bool bench_place(struct bench_host *host, struct bench_stager *stager, const struct digest *root,
    struct bench_placed *ret_placed);
/* As a worker does after an action: pins back, sandbox into trash/. */
void bench_release(
    struct bench_host *host, struct bench_stager *stager, struct bench_placed *placed);

/* What the janitor does: deletes all of trash/. */
void bench_empty_trash(struct bench_host *host);

#endif
