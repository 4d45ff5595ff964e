/*
 * A Tree message from Directories that were made bottom-up: what an output directory becomes.
 *
 * Worker and tool; one thread.  Calling sequence:
 *
 *   tree_builder_new
 *   -> tree_builder_add for each Directory, children before parents (the digest it gives goes
 *      into the parent's DirectoryNode)
 *   -> tree_builder_finish with the root's digest -> tree_builder_free
 *
 * add sorts the Directory's entries, encodes it and keeps the bytes; the message is not kept. Equal
 * Directories are kept once.  The Tree holds the root, then each distinct Directory below it once,
 * parents before children in the order a walk by name meets them: the same contents give the same
 * bytes, and is_topologically_sorted may be set.
 *
 * Nothing is stored before tree_builder_finish stores the Tree; with `directories` it stores each
 * Directory as a blob too (for root_directory_digest).  ret_tree is then the Tree's digest.
 *
 * Errors: -EINVAL a Directory names a child that was not added, or fails directory_check;
 * -EFBIG the Tree would be over CAS_MESSAGE_MAX; others from the store.
 */
#ifndef CAS_TREE_H
#define CAS_TREE_H

#include "base/error_text.h"
#include "cas/reapi.h"
#include "cas/store.h"

struct tree_builder;

struct tree_builder *tree_builder_new(void);
void tree_builder_free(struct tree_builder *builder);

int tree_builder_add(struct tree_builder *builder, ReapiDirectory *directory,
    struct digest *ret_digest, struct error_text *err);
int tree_builder_finish(struct tree_builder *builder, struct cas *cas, const struct digest *root,
    bool directories, struct digest *ret_tree, struct error_text *err);

#endif
