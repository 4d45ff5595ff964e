/*
 * The action cache: ac/ab/<hash of the Action>, an ActionResult in wire form.
 *
 * Workers, tool.  action_cache_get serves a result only if every blob it names is there:
 * output files, stdout, stderr, Tree blobs, every file inside those Trees (their Directories lie in
 * the Tree itself), and every Directory and file below a root_directory_digest; it touches them
 * all, and the entry.  -ENOENT: none.  -ESTALE: there was one, and a blob of it is gone (the entry
 * is removed). A damaged entry is removed and counts as none.
 *
 * The bytes in the file end with one field that no schema knows, the SHA-256 of the rest, so that a
 * file torn by a power cut is not taken for a result; readers of the wire form skip it.
 *
 * action_cache_put: -EINVAL for bytes that are no ActionResult.  Entries appear by rename, the last
 * one wins.  After a crash: perhaps a file in cas/tmp.
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
