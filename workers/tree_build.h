/*
 * Building a cached tree: claim the digest, place the tree in trees/ under a temporary name, give
 * it its name, publish it, and tell the index of every directory inside it.
 *
 * Worker, one thread, private to staging.  The tree must be loaded whole (stage_tree.h).  What
 * comes back is pinned.  When another process builds the same digest, it is waited for about as
 * long as placing the files would take.
 *
 * Returns 0 (pinned, built or found), 1 (go without: another builds it for too long, or there is no
 * room), or -errno as place.h has it, with nothing left but something in trash/.
 * After a crash: a "building.<slot>.<n>" in trees/ and a BUILDING entry, both swept by repair and
 * janitor; or a whole tree under its final name without a READY entry, which the next claim's
 * holder moves to trash/.
 */
#ifndef WORKERS_TREE_BUILD_H
#define WORKERS_TREE_BUILD_H

#include <stdint.h>

#include "shm/index.h"
#include "workers/place.h"

struct tree_builder {
	struct placer *placer;
	struct place_policy policy;
	int state_fd, trees_fd;
	uint32_t slot_number;
	uint64_t built, build_us; /* of this action */
};

int tree_build(struct tree_builder *builder, struct tree_dir *dir, struct index_pin *ret_pin);

#endif
