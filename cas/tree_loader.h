/*
 * A Merkle tree's Directory messages in memory, read once for each digest and checked.
 *
 * Any process with a store handle, one thread: staging, the janitor, `ramet index check`.
 * tree_loader_start for each action; tree_load for each subtree that has to be read; what it gives
 * lives in the action's arena.  A Directory that is missing is noted (tree_dir.message is NULL
 * then) and the rest is read on, so that all missing ones are found; a bad Directory ends it at
 * once with -EINVAL.  After another error the same can be loaded once more.  Reads only.
 */
#ifndef CAS_TREE_LOADER_H
#define CAS_TREE_LOADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error_text.h"
#include "cas/digest_map.h"
#include "cas/reapi.h"
#include "cas/store.h"
#include "shm/index.h"

struct tree_dir {
	struct digest digest;
	ReapiDirectory *message; /* NULL: missing */
	struct tree_dir *
	    *children; /* of message->directories, NULL until tree_load has read them */
	struct index_tree totals; /* itself and all below; once the children are read */
	unsigned height; /* levels below */
	bool children_read, noted_inside, noted_later, files_checked;
	struct tree_dir *next; /* in its bucket */
};

struct tree_loader {
	struct cas *cas;
	struct arena *arena;
	struct tree_dir **buckets; /* in the arena */
	size_t bucket_count, count;
	uint64_t seed; /* of the buckets: digests of children are whatever a client wrote */
	struct digest *missing; /* until tree_loader_free */
	size_t missing_count, missing_room;
	struct digest_map noted; /* those in missing */
};

void tree_loader_start(struct tree_loader *loader, struct cas *cas, struct arena *arena);
void tree_loader_free(struct tree_loader *loader);

/* One Directory, without those below it. */
int tree_load_one(struct tree_loader *loader, const struct digest *digest,
    struct tree_dir **ret_dir, struct error_text *err);

/* A Directory and all below it; `depth`: how deep it lies in its root. */
int tree_load(struct tree_loader *loader, const struct digest *digest, unsigned depth,
    struct tree_dir **ret_dir, struct error_text *err);

/* Adds what `child` and all below it holds to dir's own. */
void tree_totals_add(struct tree_dir *dir, const struct tree_dir *child);

/* Adds those files' digests of what was read that the store lacks to loader->missing. */
int tree_find_missing_files(struct tree_loader *loader);
int tree_note_missing(struct tree_loader *loader, const struct digest *digest);

#endif
