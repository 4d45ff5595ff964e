/*
 * A cached tree: placed in trees/ file by file, then published with every directory inside it.
 *
 * Worker or janitor, one thread, private to staging.  The tree must be loaded whole
 * (tree_loader.h). Returns and crash contract: build.h.
 */
#ifndef WORKERS_TREE_BUILD_H
#define WORKERS_TREE_BUILD_H

#include "workers/build.h"

int tree_build(struct tree_builder *builder, struct tree_dir *dir, struct index_pin *ret_pin);

#endif
