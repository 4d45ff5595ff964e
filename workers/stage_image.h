/*
 * The image of a plan: found in the index and checked, or encoded, written and published.
 *
 * Worker, one thread, private to staging.  The image's Directories have been read.  On success
 * every blob that it names has been looked for and its last use noted, so that it stays as long as
 * the job lives; *ret_pin is the caller's.  An image in the state directory is input: what is not
 * byte for byte what image_encode makes of this tree is written anew under the same name, said in
 * the log, and never mounted.
 *
 * Returns as build.h: 0, 1 (do without), or -errno; -ENOENT: a blob is missing.
 */
#ifndef WORKERS_STAGE_IMAGE_H
#define WORKERS_STAGE_IMAGE_H

#include "workers/build.h"

int stage_image_get(struct cache_builder *builder, struct tree_dir *dir, struct index_pin *ret_pin,
    bool *ret_built); /* by us, not found */

#endif
