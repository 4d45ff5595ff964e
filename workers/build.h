/*
 * Building a thing for the cache: claim its key, make it under a temporary name, give it its name,
 * publish it.
 *
 * Worker or janitor, one thread, private to staging.  What is built lies in index_folder(key): a
 * cached tree (tree_build.h) or an image (stage_image.c); `fill` makes it there under the temporary
 * name and adds to placer->tally.  What comes back is pinned.  When another process builds the same
 * key, it is waited for about as long as placing the files would take.
 *
 * Returns 0 (pinned, built or found), 1 (go without: another builds it for too long, or there is no
 * room), or -errno as place.h has it, with nothing left but something in trash/.
 * After a crash: a "building.<slot>.<n>" in the folder and a BUILDING entry, both swept by repair
 * and janitor; or a whole thing under its final name without a READY entry, which the next claim's
 * holder moves to trash/.
 */
#ifndef WORKERS_BUILD_H
#define WORKERS_BUILD_H

#include <stdint.h>

#include "shm/index.h"
#include "workers/place.h"

enum { BUILD_LATER_MAX = 16 };

struct cache_builder {
	struct placer *placer;
	struct place_policy policy;
	int state_fd;
	uint32_t slot_number;
	uint64_t built, build_us; /* of this action: trees; trees and images */
	bool notes_later; /* tree_build.h */
	unsigned later_count;
	struct build_later {
		struct tree_dir *dir;
		struct index_pin pin;
	} later[BUILD_LATER_MAX];
};

struct build {
	struct digest key;
	struct index_tree totals; /* private_bytes and build_us are filled in */
	int (*fill)(struct cache_builder *builder, const struct build *build, int folder_fd,
	    const char *temp);
	/* Pinned and published: NULL, or what else is to be said of it. */
	void (*published)(
	    struct cache_builder *builder, const struct build *build, const struct index_pin *pin);
	struct tree_dir *dir;
};

/* *ret_built: by us, not found. */
int build_get(struct cache_builder *builder, const struct build *build, struct index_pin *ret_pin,
    bool *ret_built);

/*
 * The folder that the key's thing lies in, to be closed by the caller.  Opened each time and made
 * if it is not there: a live host whose cache somebody removes, or puts aside, goes on without it.
 */
int build_folder_open(
    const struct cache_builder *builder, const struct digest *key, int *ret_folder_fd);

enum { BUILD_TEMP_SIZE = 64 };
/* A name that no other process of this host uses. */
void build_temp_name(const struct cache_builder *builder, char *temp);

/* What was made as `temp` has that name in place of whatever had it. */
int build_give_name(
    struct cache_builder *builder, int folder_fd, const char *temp, const char *name);

#endif
