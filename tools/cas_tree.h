/*
 * Prints the tree below a Directory: a line for each entry with mode,
 * digest and path, or, where `into` is given, the entries
 * appended to that JSON array.  -errno, words in err.
 */
#ifndef TOOLS_CAS_TREE_H
#define TOOLS_CAS_TREE_H

#include <jansson.h>

#include "base/error_text.h"
#include "cas/store.h"

int cas_tree_print(
    struct cas *cas, const struct digest *root, json_t *into, struct error_text *err);

#endif
