/*
 * The planner: what becomes of each directory of an input tree.
 *
 * Worker, one thread, private to staging.  plan_make reads the spine's Directories, looks the other
 * subtrees up in the index (a hit is pinned and stays unread), and reads and checks those that
 * have to be placed.  Nothing is placed here.  Everything lives in the action's arena.
 *
 * It chooses by the cost model (cost.h).  A cached subtree is bound, while there are leases left.
 * One that is not, but lies where a like one was before (one file of it has changed), is that one,
 * with what differs bound over it (plan_patch.c).  One that holds directories that are cached is
 * composed of these, until that has cost about as much as building it.  Any other is *cold*: it is
 * built as a cached tree and bound; or placed file by file, where even a bind would not cost less;
 * or, with all the other cold ones, in an image (plan_image.c), where that costs less than their
 * links.  A cold subtree that comes again is wished for (wanted.h): the janitor builds it, and it
 * is cold no more.
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

#include "cas/tree_loader.h"
#include "shm/index.h"
#include "workers/cost.h"
#include "workers/spine.h"

enum plan_kind {
	PLAN_SPINE, /* made for real, belongs to the action */
	PLAN_COMPOSED, /* made for real, ours: its parts are planned singly */
	PLAN_EMPTY, /* mkdir */
	PLAN_CACHED, /* from a cached tree: pinned, or to be built first */
	PLAN_PATCHED, /* from one that is like it, pinned; its children are bound over that */
	PLAN_FILE, /* in a patched tree: bound from the CAS */
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
	const ReapiFileNode *file; /* a PLAN_FILE's */
	struct tree_dir *dir; /* NULL: only made for an output, or a hit, unread */
	struct digest digest;
	bool in_patch; /* bound over its parent's tree */
	bool is_pinned, in_image, is_again; /* cold: in the image; seen before */
	struct index_pin pin;
	uint64_t cost_ns; /* as planned; of what is in an image: without it */
	struct plan_node *first, *last, *next; /* children of SPINE, COMPOSED and PATCHED */
};

/* What composing a digest has cost this worker so far; a table of the latest. */
enum { PLAN_SEEN = 1024 };

struct plan_seen {
	uint64_t digest; /* its first bytes */
	uint32_t spent_ns; /* on composing it */
	bool was_cold;
};

/* Which cached tree lay where; a table of the latest.  `path`: a hash of it. */
enum { PLAN_PLACES = 1024 };

struct plan_place {
	uint64_t path;
	struct digest digest;
	bool is_set;
	uint8_t misses, skipped; /* comparisons in vain; times without since */
};

/* Subtrees to be placed for the first time: PLAN_CACHED and not pinned, or PLAN_PRIVATE. */
struct plan_cold {
	struct plan_node **nodes;
	size_t count, room;
	uint64_t links_ns, image_ns; /* of all of them; once plan_make has looked */
};

/* Of the cold subtrees, by the names of their digests. */
struct plan_image {
	struct digest key; /* in the index */
	struct tree_dir *dir; /* no blob of the store */
	const char *location; /* once it is there */
};

struct planner {
	struct region *region;
	struct slot *slot;
	struct tree_loader *loader;
	struct arena *arena;
	const struct cost_model *costs;
	uint32_t loose_ns; /* a file placed on its own */
	bool use_cached; /* cached trees may be used and built, */
	bool clones; /* and are cloned, not bound */
	bool may_image; /* cold subtrees may be in an image, */
	bool only_image; /* and everything is cold and in one */
	bool look_only; /* nothing is pinned, wished for or remembered */
	bool leave_unread; /* what the action does not write into, and no index has */
	bool overlay_whole; /* the input tree may be an overlay's lower layer */
	unsigned flat_min; /* so many loose files and symlinks may be; 0: none may */
	struct plan_node *lower; /* the plan's: a PLAN_CACHED beside the tree, or NULL */
	struct plan_cold cold;
	struct plan_image *image; /* the plan's, or NULL */
	unsigned cached_left; /* how many more */
	unsigned nodes; /* planned so far */
	int passed_over; /* errno: a tree like one of these could not be looked at; 0 */
	struct plan_seen *seen; /* PLAN_SEEN; lives with the stager */
	struct plan_place *places; /* PLAN_PLACES; likewise; NULL: nothing is patched */
};

/*
 * Everything but planner->lower is below *ret_root.  Without it, or after plan_forget_lower, all of
 * the tree is placed in the sandbox.
 */
int plan_make(struct planner *planner, const struct digest *root, const struct spine *spine,
    struct plan_node **ret_root, struct error_text *err);

/* Of an overlay of flat directories: their files become loose ones after all. */
void plan_forget_lower(struct planner *planner, struct plan_node *root);

/* What a tree costs that is placed file by file; file_ns: of a file. */
uint64_t plan_files_ns(
    const struct planner *planner, const struct index_tree *tree, uint32_t file_ns);

/* What is deeper than a path can say can be placed, by going down step by step, but not bound. */
bool plan_may_bind(const struct plan_node *parent, const char *name);

/* stage_plan.c, for the planner's parts: a child of `parent`; what becomes of a whole subtree. */
struct plan_node *plan_node_new(
    struct planner *planner, struct plan_node *parent, const char *name);
int plan_pinned_or_cold(
    struct planner *planner, struct plan_node *node, unsigned depth, struct error_text *err);
struct plan_seen *plan_seen_find(const struct planner *planner, const struct digest *digest);
/* plan_patch.c: 1: nothing like it has been where it is to be. */
int plan_patched(
    struct planner *planner, struct plan_node *node, unsigned depth, struct error_text *err);
/* It lies there now. */
void plan_place_note(struct planner *planner, const struct plan_node *node);
/* plan_image.c: sets planner->image where the cold subtrees are worth one. */
int plan_image(struct planner *planner, struct error_text *err);
/* One cold subtree in it: bound, encoded, and what the action pays more to look at it. */
uint64_t plan_image_part_ns(const struct planner *planner, const struct plan_node *node);
void plan_cold_add(struct planner *planner, struct plan_node *node);
/* The image cannot be had: what was in it is built as trees after all. */
void plan_forget_image(struct planner *planner);
/* plan_flat.c: sets planner->lower where the spine has large flat directories. */
int plan_flat(struct planner *planner, struct plan_node *root, struct error_text *err);
/* A PLAN_CACHED that is no part of the tree; pinned when the index has it. */
struct plan_node *plan_pin(struct planner *planner, const struct digest *digest);

/* Every node, parents first; callbacks return 0 or what ends it. */
int plan_each(struct plan_node *node, int (*visit)(void *arg, struct plan_node *node), void *arg);

#endif
