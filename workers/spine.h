/*
 * The spine: which directories of an action's sandbox must be real, because it writes there.
 *
 * Worker, private to staging.  spine_new takes the paths that an action names (working directory,
 * outputs) and keeps their components as a tree of names in the action's arena.  Plain values.
 */
#ifndef WORKERS_SPINE_H
#define WORKERS_SPINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error_text.h"
#include "cas/reapi.h"
#include "workers/stage.h"

struct spine {
	const char *name;
	size_t name_len;
	bool is_made; /* a directory that must exist, in the input or not */
	bool is_whole; /* an output: if the input has it, all of it is the action's own */
	bool in_input; /* as a directory or symlink; once its parent is planned */
	struct spine *first, *last, *next;
	struct spine **buckets; /* by name, once it has many children */
	size_t bucket_count, child_count;
	struct spine *in_bucket;
};

/* -EINVAL: a path that leaves the root or is no relative path of plain names. */
int spine_new(struct arena *arena, const struct stage_request *request, struct spine **ret_root,
    struct error_text *err);
struct spine *spine_find(const struct spine *spine, const char *name);

#endif
