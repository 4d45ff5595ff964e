/*
 * A cached tree: placed in trees/ file by file, then published with every directory inside it.
 *
 * Worker or janitor, one thread, private to staging.  The tree must be loaded whole
 * (tree_loader.h). Returns and crash contract: build.h.
 *
 * What lies inside is one index entry a directory, a sixth of what a cold tree costs, and nothing
 * that its action needs.  With builder->notes_later it is kept until tree_build_note, which must be
 * called while the pin is held and the loaded tree is there; a directory that is inside a tree not
 * yet noted is noted before it would be built again.  Dying before that loses the notes, no more.
 */
#ifndef WORKERS_TREE_BUILD_H
#define WORKERS_TREE_BUILD_H

#include "workers/build.h"

int tree_build(struct cache_builder *builder, struct tree_dir *dir, struct index_pin *ret_pin);
void tree_build_note(struct cache_builder *builder);

#endif
