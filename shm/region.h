/*
 * The shared index file: one mapping that supervisor, workers and janitor write and tools read.
 *
 * It holds the header, the slots (slot.h), the link gate (gate.h) and the DirectoryCache (index.h).
 * The supervisor calls region_open once, holding the state directory's lock, before it forks; its
 * children inherit the mapping and the handle; the gateway, which is exec'd, calls region_join.
 * Tools call region_attach, which maps read-only and
 * works while the host is busy, stopped or dead.
 *
 * The file survives restarts.  region_open validates it (magic, version, layout fingerprint, size,
 * every offset); a file it cannot trust is renamed to "index.bad.<time>" and a new one is made, and
 * *ret_origin and the words in `err` say which and why.  The file is made under a temporary name,
 * `ready` is stored last, and it gets its name by rename.  After any crash a file with the right
 * name is whole; what its dead users held is given back by region_repair_all at the next start.
 *
 * The file has all its blocks from the start where the volume can promise that, so a full disk is
 * an error of region_open.  Never truncate it while anybody has it mapped: touching what is gone is
 * a SIGBUS, in tools as well.  Nothing in ramet does; a file is set aside by rename.
 *
 * Errors: -errno, words in err.  -EPROTO: no file of ours, or of another layout (tools see this;
 * the supervisor sets it aside).
 */
#ifndef SHM_REGION_H
#define SHM_REGION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error_text.h"

enum {
	SLOT_SUPERVISOR = 0,
	SLOT_JANITOR = 1,
	SLOT_GATEWAY = 2,
	SLOT_WORKER_FIRST = 3,
	SLOT_WORKERS_MAX = 256,
	SLOT_COUNT_MAX = SLOT_WORKER_FIRST + SLOT_WORKERS_MAX,
	LINK_CAP_MAX = 1024,
};

struct region; /* this process's handle */

struct region_config {
	/*
	 * DirectoryCache entries, rounded up to a power of two.  Another number than the file's
	 * sets that file aside.  0: as the file has, 65,536 in a new one.
	 */
	uint32_t entry_count;
	uint32_t link_cap; /* permits; 0: 64.  May differ from the file's: applied at open */
};

enum region_origin {
	REGION_WARM, /* an index that its last owner closed, or left when it was killed */
	REGION_CREATED, /* there was none */
	REGION_SET_ASIDE, /* there was one that could not be trusted; it is kept beside */
};

/* state_fd: the state directory. */
int region_open(int state_fd, const struct region_config *config, enum region_origin *ret_origin,
    struct region **ret_region, struct error_text *err);

/*
 * A child that was exec'd and so inherited no mapping: maps the file that the supervisor has open,
 * to write its own slot and nothing else.  Nothing is repaired.  -ESTALE: another index lies there
 * by now than the one of `instance`.
 */
int region_join(
    int state_fd, uint64_t instance, struct region **ret_region, struct error_text *err);

/* Maps read-only.  -ENOENT: there is no index. */
int region_attach(int state_fd, struct region **ret_region, struct error_text *err);
void region_close(struct region *region);

bool region_is_writable(const struct region *region);
uint32_t region_entry_count(const struct region *region);
uint32_t region_link_cap(const struct region *region);
void region_set_link_cap(struct region *region, uint32_t cap);
/* A number of this file's making: two different indexes never share it. */
uint64_t region_instance(const struct region *region);

/*
 * Time (seconds) of the last clean stop; 0: the last run was not stopped cleanly.  For the
 * supervisor that of the run before its own (until it marks its own stop), for a tool what the file
 * says now.
 */
uint32_t region_clean_stop_s(const struct region *region);
void region_mark_clean_stop(struct region *region);

/* When the run before began (seconds), 0: there was none; whether the machine has been booted
 * since. */
uint32_t region_opened_s(const struct region *region);
bool region_booted_since(const struct region *region);

/*
 * The supervisor, when it has looked at these three and done what follows from them: a run begins
 * now, on this boot.  Until then a start that fails or is killed leaves the question open.
 */
void region_mark_begun(struct region *region);

/*
 * Blobs used at this second (CLOCK_REALTIME) or later may be needed by a queued or running action:
 * the supervisor says so before it takes a job, the janitor looks before each removal.  0: no job.
 */
void region_set_needed_since(struct region *region, uint32_t since_s);
uint32_t region_needed_since(const struct region *region);

#endif
