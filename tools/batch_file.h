/*
 * The file of `ramet batch`: one JSON object a line, read whole and checked before anything runs.
 *
 * The loaded batch is the caller's until batch_free.  Errors: -EINVAL, and words that name file,
 * line and member.
 */
#ifndef TOOLS_BATCH_FILE_H
#define TOOLS_BATCH_FILE_H

#include "cas/directory.h"
#include "tools/action_build.h"

enum item_state { ITEM_WAITING, ITEM_SENT, ITEM_OK, ITEM_FAILED, ITEM_SKIPPED };

struct batch_item {
	unsigned line;
	struct action_spec spec; /* its texts are ours */
	char *called; /* the name, or "line N" */
	size_t *needs, *dependents;
	size_t need_count, dependent_count;

	/* Filled while it runs. */
	enum item_state state;
	bool started; /* it has been with a worker */
	bool again; /* its input had gone and was put a second time */
	size_t needs_left;
	struct arena *arena; /* holds the grafts; NULL until it has ended */
	struct tree_graft *grafts; /* its outputs, for its dependants */
	size_t graft_count;
};

struct batch {
	struct batch_item *items;
	size_t count;
};

int batch_load(const char *path, struct batch *ret_batch, struct error_text *err);
void batch_free(struct batch *batch);

#endif
