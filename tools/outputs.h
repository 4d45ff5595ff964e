/*
 * An action's outputs: written out for the user, or grafted into another action's input root.
 *
 * `ramet run` and `ramet batch`.  Files appear by rename; a directory is written beside its place
 * and takes the old one's, which goes whole.  Parents are made; nothing is written through a
 * symlink. Paths in results are input and checked again.  Errors: -errno, the path in err.  After a
 * crash: perhaps a ".ramet.*" beside an output.
 */
#ifndef TOOLS_OUTPUTS_H
#define TOOLS_OUTPUTS_H

#include "cas/directory.h"
#include "cas/reapi.h"
#include "tools/tool.h"

/* The directory that outputs go below, made where missing; die()s.  NULL: the current one. */
int outputs_open_into(const char *into);

int outputs_write(struct cas *cas, struct arena *arena, const ReapiActionResult *result,
    int into_fd, struct error_text *err);

/* Each output as a graft at its place in the input root (cwd and path); in the arena. */
int outputs_grafts(struct cas *cas, struct arena *arena, const ReapiActionResult *result,
    const char *cwd, struct tree_graft **ret_grafts, size_t *ret_count, struct error_text *err);

/*
 * Writes the tree at `root` as `path` below into_fd (used by `ramet cas get` too); `executable`
 * matters for a file.
 */
int outputs_place_tree(struct cas *cas, const struct digest *root, int into_fd, const char *path,
    struct error_text *err);
int outputs_place_file(struct cas *cas, const struct digest *digest, bool executable, int into_fd,
    const char *path, struct error_text *err);

#endif
