/*
 * The planner: what becomes of each directory of an input tree.
 *
 * Worker, one thread, private to staging.  plan_make reads the spine's Directories, looks the other
 * subtrees up in the index (a hit is pinned and stays unread), and reads and checks those that
 * have to be placed.  Nothing is placed here.  Everything lives in the action's arena.
 *
 * Rules of thumb for now, all in plan_subtree and worth_composing: every subtree is bound from a
 * cached tree, built if need be, while there are leases left.  A subtree that is not cached, but
 * holds directories that are (one file of it has changed), is composed of these instead, until that
 * has cost about as much as building it: then it is built.
 *
 * An overlay is one a plan, over the whole sandbox, so that nothing within it is another volume to
 * the action.  overlay_whole: the input tree is its lower layer, and only the spine is made.
 * flat_min (plan_flat.c): the lower layer is a tree of ours that holds, where they belong, the
 * loose files of the spine's large directories and nothing else.
 */
#ifndef WORKERS_STAGE_PLAN_H
#define WORKERS_STAGE_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/index.h"
#include "workers/spine.h"
#include "workers/stage_tree.h"

enum plan_kind {
	PLAN_SPINE, /* made for real, belongs to the action */
	PLAN_COMPOSED, /* made for real, ours: its parts are planned singly */
	PLAN_EMPTY, /* mkdir */
	PLAN_CACHED, /* from a cached tree: pinned, or to be built first */
	PLAN_PRIVATE, /* file by file */
};

/* Which of a spine directory's entries are in the lower layer of the action's overlay. */
enum plan_lower { LOWER_NONE, LOWER_LOOSE, LOWER_ALL };

struct plan_node {
	enum plan_kind kind;
	enum plan_lower lower;
	const char *name, *path; /* path: relative to the input root */
	const struct spine *spine;
	bool is_whole; /* an output, or below one */
	struct tree_dir *dir; /* NULL: only made for an output, or a hit, unread */
	struct digest digest;
	bool is_pinned;
	struct index_pin pin;
	struct plan_node *first, *last, *next; /* children of SPINE and COMPOSED */
};

/* What composing a digest has cost this worker so far; a table of the latest. */
enum { PLAN_SEEN = 1024 };

struct plan_seen {
	uint64_t digest; /* its first bytes */
	uint32_t spent_us;
};

struct planner {
	struct region *region;
	struct slot *slot;
	struct tree_loader *loader;
	struct arena *arena;
	bool use_cached; /* cached trees may be used and built */
	bool overlay_whole; /* the input tree may be an overlay's lower layer */
	unsigned flat_min; /* so many loose files and symlinks may be; 0: none may */
	struct plan_node *lower; /* the plan's: a PLAN_CACHED beside the tree, or NULL */
	unsigned cached_left; /* how many more */
	unsigned nodes; /* planned so far */
	struct plan_seen *seen; /* PLAN_SEEN; lives with the stager */
};

/*
 * Everything but planner->lower is below *ret_root.  Without it, or after plan_forget_lower, all of
 * the tree is placed in the sandbox.
 */
int plan_make(struct planner *planner, const struct digest *root, const struct spine *spine,
    struct plan_node **ret_root, struct error_text *err);

/* Of an overlay of flat directories: their files become loose ones after all. */
void plan_forget_lower(struct planner *planner, struct plan_node *root);

/* Every node, parents first; callbacks return 0 or what ends it. */
/* plan_flat.c: sets planner->lower where the spine has large flat directories. */
int plan_flat(struct planner *planner, struct plan_node *root, struct error_text *err);
/* A PLAN_CACHED that is no part of the tree; pinned when the index has it. */
struct plan_node *plan_pin(struct planner *planner, const struct digest *digest);

int plan_each(struct plan_node *node, int (*visit)(void *arg, struct plan_node *node), void *arg);

#endif
