/*
 * DirectoryCache: which directories, by Directory digest, lie ready on this host, and where.
 *
 * Supervisor, workers and janitor (each with its slot, one thread of it at a time); tools use the
 * read-only part at the end.  Lookup, pin and unpin take no lock and make no system call.
 *
 * An entry lies in a tree of its own ("trees/<hash>-<size>") or at a path inside a larger one (its
 * host entry).  An entry whose key is index_image_key() of a digest is that Directory's image
 * ("images/<hash>-<size>", a file): claimed, pinned and evicted as a tree is, with nothing inside.
 * An entry is ABSENT, CLAIMED (its key is being written), BUILDING, READY or LEAVING; its word
 * names the slot that claims, builds or evicts it.  A pin is a *lease cell* in the holder's slot
 * that names entry and generation: pinning stores the cell, then looks at the entry's word again;
 * evicting changes the word, then looks at all cells.  One of the two always sees the other. A
 * lease on an inside entry keeps its host, too.
 *
 * Calling sequence, worker:
 *   index_pin() = 0            -> use index_location(), then index_unpin()
 *   index_pin() = -ENOENT      -> index_claim()
 *   index_claim() = 0          -> build under a temporary name, rename to index_tree_name(),
 *                                 then index_publish() (pinned; inside entries may be added),
 *                                 or index_abandon()
 *   index_claim() = -EEXIST    -> it is READY now: pin again
 *   -EBUSY from either         -> another process builds it: index_wait(), or go without
 *   -ENOSPC                    -> no room (bucket or leases): go without
 *   -EAGAIN                    -> it is being evicted, or kept changing: go without
 * A claim takes its lease along, so publishing cannot fail.
 *
 * Janitor:
 *   index_evict_begin() = 0    -> LEAVING, nobody holds it, nobody can: rename the tree into
 *                                 trash/, then index_evict_finish(); or index_evict_cancel(),
 *                                 which makes it READY again
 *   -EBUSY                     -> pinned
 *   -ENOENT                    -> not READY, or no tree of its own (an inside entry goes with
 *                                 its host, and gives way where a bucket is full)
 *   index_evict_hold() = 0     -> LEAVING though somebody may hold it still: nobody new can.
 *                                 index_evict_settle() until it is 0; then as after begin
 *
 * Counted here: index_hits, _misses, _full, _torn, _trees, _bytes, trees_built, trees_build_us,
 * images_built, trees_evicted, trees_abandoned.  By the caller, who decides: index_waits,
 * index_busy.
 *
 * After a crash of any process between any two steps: its claims go back to ABSENT when its slot is
 * repaired and waiters are woken; its leases are cleared; index_trees and index_bytes are set
 * right; a LEAVING entry that may have been moved is finished by the next janitor
 * (index_evict_resume), any other is READY again.  A tree under its final name whose entry is not
 * READY is rubbish and may be replaced or deleted by whoever holds the claim.
 */
#ifndef SHM_INDEX_H
#define SHM_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "shm/region.h"
#include "shm/slot.h"

enum {
	INDEX_PATH_SIZE = 256, /* a path inside a host, with its NUL; longer ones are not cached */
	INDEX_LOCATION_SIZE = 8 + DIGEST_TEXT_SIZE + INDEX_PATH_SIZE, /* "trees/<name>/<path>" */
};

enum index_state { INDEX_ABSENT, INDEX_CLAIMED, INDEX_BUILDING, INDEX_READY, INDEX_LEAVING };

struct index_pin {
	uint32_t entry; /* what was looked up */
	uint32_t host; /* what is held */
	uint32_t lease;
};

struct index_claim {
	uint32_t entry;
	uint32_t lease; /* taken with the claim, so that publishing cannot fail */
	struct digest digest;
};

/* What a tree is made of, itself and all below it. */
struct index_tree {
	uint32_t files, directories, symlinks;
	uint64_t bytes; /* of its files */
	uint64_t private_bytes; /* of those files that share no inode with the CAS */
	uint32_t build_us;
};

int index_pin(struct region *region, struct slot *slot, const struct digest *directory,
    struct index_pin *ret_pin);
void index_unpin(struct region *region, struct slot *slot, const struct index_pin *pin);
void index_unpin_all(struct region *region, struct slot *slot);

/* Relative to the state directory; `location` has INDEX_LOCATION_SIZE bytes.  Needs the pin. */
void index_location(const struct region *region, const struct index_pin *pin, char *location);
void index_tree_of(
    const struct region *region, const struct index_pin *pin, struct index_tree *ret_tree);

int index_claim(struct region *region, struct slot *slot, const struct digest *directory,
    struct index_claim *ret_claim);
int index_publish(struct region *region, struct slot *slot, const struct index_claim *claim,
    const struct index_tree *tree, struct index_pin *ret_pin);
void index_abandon(struct region *region, struct slot *slot, const struct index_claim *claim);

/*
 * Around making something anew whose entry stays READY: what lies in its folder under a temporary
 * name is somebody's, as it is between a claim and its end.
 */
void index_rebuild_begin(struct slot *slot);
void index_rebuild_end(struct slot *slot);

/*
 * A directory inside the tree that `host` (ours, just published) pins.  Best effort: -EEXIST where
 * it is cached already, -ENAMETOOLONG, -ENOSPC.
 */
int index_add_inside(struct region *region, struct slot *slot, const struct index_pin *host,
    const struct digest *directory, const char *path, const struct index_tree *tree);

/* Waits until the digest is no longer BUILDING; -ETIMEDOUT after timeout_us. */
int index_wait(struct region *region, const struct digest *directory, uint64_t timeout_us);

/* An image's key: its Directory's digest with a bit in size_bytes that no size has. */
struct digest index_image_key(const struct digest *directory);
bool index_is_image(const struct digest *key);
struct digest index_directory_of(const struct digest *key); /* of a tree or an image */
const char *index_folder(const struct digest *key); /* "trees" or "images" */

/* "<hash>-<size>" of the Directory, DIGEST_TEXT_SIZE bytes. */
char *index_tree_name(const struct digest *key, char *name);

int index_evict_begin(
    struct region *region, struct slot *slot, uint32_t entry, struct digest *ret_directory);
/*
 * For a tree that must not be given to anybody any more, in use or not.  settle: -EBUSY as long as
 * pins from before are left; it may be asked at any interval, and index_evict_cancel() may come
 * instead.  When the janitor ends, or dies, before that: READY again.
 */
int index_evict_hold(struct region *region, struct slot *slot, uint32_t entry);
int index_evict_settle(
    struct region *region, struct slot *slot, uint32_t entry, struct digest *ret_directory);
void index_evict_finish(struct region *region, struct slot *slot, uint32_t entry);
void index_evict_cancel(struct region *region, struct slot *slot, uint32_t entry);
/*
 * Entries left LEAVING by a dead janitor: start at 0, call until -ENOENT, finish or cancel each.
 * A janitor calls it before it evicts anything itself.
 */
int index_evict_resume(
    struct region *region, struct slot *slot, uint32_t *inout_entry, struct digest *ret_directory);

/* Read-only part: any process, also on an attached region. */
struct index_info {
	enum index_state state;
	struct digest directory; /* the key: an image's is index_image_key's */
	struct digest host; /* of the tree it lies in; itself when it has its own */
	bool inside;
	char path[INDEX_PATH_SIZE];
	struct index_tree tree;
	uint32_t owner; /* slot, when BUILDING or LEAVING */
	uint32_t pins; /* lease cells that name it now */
	uint32_t generation;
	uint32_t last_used_s;
	uint64_t
	    published_us; /* CLOCK_REALTIME: what was changed since then nobody of ours changed */
	uint64_t hits; /* exact up to 64, an estimate beyond */
};
/* 0; -ENOENT: ABSENT, or an inside entry whose host has gone; -EAGAIN: torn. */
int index_read(const struct region *region, uint32_t entry, struct index_info *ret_info);
int index_find(const struct region *region, const struct digest *directory, uint32_t *ret_entry);

/*
 * Every rule that must hold between the entries, the leases and the slots; each breach is told to
 * `report`.  Returns their number.  On a live host a breach is reported only if it stays for a
 * second look.
 */
unsigned index_check(const struct region *region, void (*report)(void *, const char *), void *arg);

#endif
