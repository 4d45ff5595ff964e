/*
 * What the files of staging share that begin with stage, and recycling.  Worker, private to
 * staging.
 */
#ifndef WORKERS_STAGE_INTERNAL_H
#define WORKERS_STAGE_INTERNAL_H

#include "workers/place.h"
#include "workers/stage.h"
#include "workers/stage_image.h"
#include "workers/stage_plan.h"
#include "workers/stage_policy.h"
#include "workers/tree_build.h"

/* How a cached tree gets into the sandbox. */
enum subtree_way { SUBTREE_BIND, SUBTREE_CLONE, SUBTREE_FILES, SUBTREE_OVERLAY };

enum { FILE_BIND_BYTES_MIN = 64 << 10, LEASES_SPARE = 6, MOUNT_FAILURES_MAX = 3 };

struct stage_ways {
	enum subtree_way subtree;
	struct place_policy build; /* cached trees */
	struct place_policy loose; /* files of the spine, and subtrees placed file by file */
	struct place_policy own; /* inputs that are outputs too */
	bool flat; /* large directories of the spine may be below an overlay */
	bool image, only_image; /* cold subtrees may be in an image; every subtree is */
	bool bind_files; /* large loose files as read-only binds */
	uid_t spine_owner;
	bool check_links;
	bool recycle; /* finished sandboxes are used again (recycle.h) */
};

struct recycle;

/* What a worker learns from one action for the next. */
struct stage_memory {
	struct cost_model costs; /* the probe's, corrected by what was placed */
	struct plan_seen seen[PLAN_SEEN];
	struct plan_place places[PLAN_PLACES];
	/* By way, one after the other; at MOUNT_FAILURES_MAX none is tried. */
	unsigned mount_failures[PLACE_WAY_COUNT];
};

struct stager {
	struct stager_config config;
	struct region *region;
	struct slot *slot;
	struct cas *cas;
	struct arena *arena; /* of the action being staged */
	int state_fd;
	struct placer placer;
	struct cache_builder builder;
	struct tree_loader loader;
	struct planner planner;
	struct stage_ways ways[2][2]; /* guarded, and with guard off; the same without overlay */
	unsigned mount_fallbacks; /* not yet in an action's report */
	struct stage_memory *memory; /* of the worker: its two stagers have one */

	struct index_pin pins[SLOT_LEASES];
	unsigned pin_count;
	struct stage_bind *binds;
	size_t bind_count, bind_room;
	uint64_t bind_us, overlay_us, image_us, plan_us;
	bool check_links, is_recycled, is_sealed;
	bool is_second; /* of two; `recycle` and `memory` are the first's */
	struct recycle *recycle; /* NULL: nothing is kept */
};

/* What config and probe allow. */
void stage_ways_choose(const struct stager_config *config, bool guard_off, bool no_overlay,
    struct stage_ways *ret_ways);

/* How it plans by those ways; what it plans with is the caller's to fill in. */
void stage_planner_init(struct planner *planner, const struct stage_ways *ways,
    const struct cost_model *costs, bool no_image);

/* stager.c: everything pinned and noted of an action goes; its pins alone. */
void stage_give_back(struct stager *stager);
void stage_unpin(struct stager *stager);
bool stage_may_mount(const struct stager *stager, enum place_way way);
/* Counted as the action's, though its staging begins anew. */
void stage_fell_back(struct stager *stager, enum place_way way, int error, const char *then);
/* Tells the janitor of the cached trees in use that are not there.  How many. */
unsigned stage_note_lost(struct stager *stager);

/*
 * stage_build.c: what the plan needs to be there.  A plan that cannot be carried out is to be made
 * anew, without an overlay or without a patch; nothing is in the sandbox then.
 */
/* No errno, nor the 1 of build.h: compose once more, without. */
enum { COMPOSE_NO_OVERLAY = 16, COMPOSE_NO_PATCH };
int stage_build_plan(struct stager *stager, struct plan_node *root);

/* Puts the planned tree into the cursor's directory; all cached nodes are pinned. */
int stage_place_plan(struct stager *stager, const struct stage_ways *ways,
    struct place_cursor *cursor, const struct plan_node *root, struct stage_report *report);
/* One node of it, a child of the cursor's directory. */
int stage_place_node(struct stager *stager, const struct stage_ways *ways,
    struct place_cursor *cursor, const struct plan_node *node, struct stage_report *report);
int stage_place_lower(struct stager *stager, const struct plan_node *lower, struct sandbox *sandbox,
    struct stage_report *report);

#endif
