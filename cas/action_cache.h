/*
 * The action cache: ac/ab/<hash of the Action>, an ActionResult in wire form.
 *
 * Workers, gateway, tool.  action_cache_get serves a result only if every blob it names is there:
 * output files, stdout, stderr, Tree blobs and every file and Directory inside those Trees; it
 * touches them all.  -ENOENT: none.  -ESTALE: there is one, and a blob of it is gone (the entry is
 * removed). A damaged entry is removed and counts as none.  Entries appear by rename.
 */
#ifndef CAS_ACTION_CACHE_H
#define CAS_ACTION_CACHE_H

#include "cas/reapi.h"
#include "cas/store.h"

int action_cache_get(struct cas *cas, struct arena *arena, const struct digest *action,
    ReapiActionResult **ret_result);
int action_cache_put(struct cas *cas, const struct digest *action, const void *result, size_t len);

/* The blobs a result names; -ENOENT from a Tree that is missing.  Callbacks end it with -errno. */
int action_result_blobs(struct cas *cas, struct arena *arena, const ReapiActionResult *result,
    int (*on_blob)(void *arg, const struct digest *digest), void *arg);

#endif
