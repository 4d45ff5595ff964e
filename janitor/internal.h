/*
 * What the files of janitor/ share.  One process, one thread.
 *
 * Every step is bounded, and between two steps janitor_attend looks whether the supervisor has said
 * something: -ECONNRESET, it has gone (or wants us gone): stop where you are; what is half done is
 * finished by the next janitor.
 */
#ifndef JANITOR_INTERNAL_H
#define JANITOR_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/host_config.h"
#include "cas/store.h"
#include "ipc/channel.h"
#include "shm/index.h"
#include "shm/region.h"
#include "shm/slot.h"
#include "workers/probe.h"

/* A damaged tree on its way out: LEAVING, and nobody gets it any more. */
struct condemned {
	uint32_t entry;
	struct digest directory;
	bool is_cleared; /* nobody has it, either */
};

struct janitor {
	const struct host_config *config;
	struct region *region;
	struct slot *slot;
	struct cas *cas;
	const struct probe *probe;
	struct channel *channel; /* NULL in tests: nobody to listen to */
	bool sweep, urgent; /* asked for, not begun */
	bool pressed; /* the sweep that runs is an urgent one */
	uint64_t cleaned_us; /* CLOCK_MONOTONIC of the last full round, 0: none yet */
	uint64_t repairs; /* slots repaired by then */
	uint64_t scanned_us; /* of the last look at all index entries */
	bool said_full, said_stuck, said_volume;
	bool trash_stays; /* something in it could not be deleted */
	struct condemned *condemned; /* malloc'ed */
	size_t condemned_count, condemned_room;
	bool suspects_left; /* notes that could not be worked off yet */
	int suspects_error; /* why, as said last */
	uint32_t scrub_entry; /* the next one to look at */
	uint64_t scrubbed_us; /* CLOCK_MONOTONIC of the last look, or of our start */
	bool letting_go; /* a sandbox was on its way into the trash before it was looked at */
	int again_ms; /* -1: sleeps until somebody says something */
};

int janitor_attend(struct janitor *janitor);

/* trash.c: deletes all that lies in trash/. */
int trash_empty(struct janitor *janitor);
/* Renames a thing into trash/ under a name of its own; -ENOENT: it is not there. */
int trash_put(struct janitor *janitor, const char *folder, const char *name);

/*
 * evict_trees.c: least recently used first, never one that is pinned; into the trash.
 * Stops when that much is done.  A tree's last use is the latest of any directory inside it.
 */
struct evict_need {
	uint64_t trees, bytes, private_bytes; /* at least so many of each; 0: none */
};
struct evict_done {
	uint64_t trees, bytes, private_bytes;
	uint64_t held_trees, held_private_bytes; /* before */
};
int evict_trees(
    struct janitor *janitor, const struct evict_need *need, struct evict_done *ret_done);
/* Until the index is within its entries and private bytes. */
int evict_trees_to_limits(struct janitor *janitor);
/* What a dead janitor left LEAVING. */
int evict_trees_resume(struct janitor *janitor);

/* clean.c: what the dead left in sandboxes/ and trees/, and indexes set aside long ago. */
int clean_leftovers(struct janitor *janitor);
int clean_sandboxes(struct janitor *janitor);
int clean_trees(struct janitor *janitor);
/* READY entries whose tree somebody took away: they go, so that the tree is built again. */
int clean_entries(struct janitor *janitor);

/*
 * condemn.c: a tree that must not be given to anybody any more.  Into the trash at once, or as soon
 * as nobody has it; a note of it outlives us.  `why` is for the log.
 */
void tree_condemn(
    struct janitor *janitor, uint32_t entry, const struct digest *directory, const char *why);
bool tree_is_condemned(const struct janitor *janitor, const struct digest *directory);
void condemned_settle(struct janitor *janitor); /* those that are free by now go */

/* suspects.c: what notes name (cas/suspect.h), looked at and believed only then. */
int suspects_look(struct janitor *janitor);
/* The next tree of the index, unasked and quickly: one at each call. */
int suspects_scrub(struct janitor *janitor);

/* store.c: the blobs. */
int store_evict(struct janitor *janitor);
int store_clean(struct janitor *janitor);
int store_verify(struct janitor *janitor); /* after the machine went down: STATE/verify says so */

/* wishes.c: the trees that workers would like to find cached (shm/wanted.h). */
int grant_wishes(struct janitor *janitor);

/* priority_linux.c, priority_darwin.c: actions come first. */
void priority_lower(void);

#endif
