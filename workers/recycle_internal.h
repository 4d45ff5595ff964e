/*
 * What recycle.c (the table of kept roots), recycle_kept.c (what is known of one), recycle_items.c
 * (what a tree should have) , recycle_cost.c and recycle_apply.c (the difference) share.
 */
#ifndef WORKERS_RECYCLE_INTERNAL_H
#define WORKERS_RECYCLE_INTERNAL_H

#include "workers/recycle.h"
#include "workers/recycle_scan.h"

/*
 * A directory of a kept root.  Exposed: each entry that is an input, with its stat as it was handed
 * over (what is an output is not here, and so goes as a stranger).  Sealed: its directories alone,
 * for what is counted in them; a stub has not even these.  One block of memory each.
 */
struct kept_dir;
struct kept_entry {
	const char *name;
	struct scan_stat stat; /* exposed */
	struct kept_dir *dir; /* of a directory */
};
struct kept_counts {
	uint64_t files, bytes, directories, entries;
};
struct kept_dir {
	bool is_exposed, is_spine, is_stub;
	struct kept_counts own, all; /* all: and below; a stub has no own */
	size_t count;
	struct kept_entry entries[]; /* sorted by name */
};

struct kept_dir *kept_dir_new(size_t count, size_t names_size);
void kept_dir_free(struct kept_dir *dir); /* and all below */
struct kept_entry *kept_find(const struct kept_dir *dir, const char *name);
void kept_sum(struct kept_dir *dir); /* all, from own and those below */

struct kept {
	struct digest digest; /* of the input root */
	struct kept_dir *dir;
	struct scan_stat self; /* root/ */
	dev_t device;
	uint64_t number; /* its name in the folder */
	uint32_t used_s; /* CLOCK_REALTIME */
};

/* What a directory should have, by name; of the spine's, what the plan says, else its Directory. */
enum item_kind { ITEM_FILE, ITEM_SYMLINK, ITEM_DIRECTORY };
struct item {
	const char *name;
	enum item_kind kind;
	const ReapiFileNode *file;
	const ReapiSymlinkNode *symlink;
	struct digest digest; /* of a directory */
	const struct plan_node *node; /* of a directory of the spine: its plan */
	bool is_own; /* a file that is an output too, or a directory that is one */
	bool is_there;
	struct kept_dir *kept;
};
struct items {
	struct item *list;
	size_t count;
};
struct want {
	struct digest digest;
	const struct plan_node *node; /* NULL: all as the Directory says */
};

/* One staging. */
/* What the steps cost here, in nanoseconds, by the host's cost model. */
struct recycle_costs {
	uint32_t look_ns; /* at one entry */
	uint32_t open_ns; /* one directory, to look into it */
	uint32_t make_ns; /* a directory */
	uint32_t remove_ns; /* an entry */
	uint32_t place_ns; /* one file, as it would be placed */
	uint32_t fixed_ns;
};
void recycle_costs_of(const struct cost_model *model, bool links, struct recycle_costs *ret_costs);

struct recycling {
	struct recycle *recycle;
	struct stager *stager;
	const struct stage_ways *ways;
	struct tree_loader *old; /* Directories of what was there; what it lacks is no error */
	struct stage_report *report;
	dev_t device;
	bool seals, compares_ctime;
	int64_t fresh_ns; /* a ctime from about then on is no proof; INT64_MAX: all are */
	struct kept_counts remained;
	uint64_t looked, harmed, strays;
	/* Of the estimate. */
	uint64_t recycle_ns, place_ns, limit_ns;
	struct recycle_costs costs;
};

/* 1: its Directory cannot be had. */
int items_of_old(struct recycling *recycling, const struct digest *digest, struct items *ret_items);
int items_of_want(struct recycling *recycling, const struct want *want, struct items *ret_items);
struct item *items_find(const struct items *items, const char *name);
bool items_same(const struct item *old, const struct item *want);
struct want want_of(const struct item *item);
static inline bool
want_is_spine(const struct want *want)
{
	return want->node != NULL && want->node->kind == PLAN_SPINE;
}
bool want_is_exposed(const struct recycling *recycling, const struct want *want);

/* Nothing of a subtree that is no spine, and of the same Directory, has to be changed. */
bool recycle_is_same(const struct recycling *recycling, const struct kept_dir *dir,
    const struct digest *old, const struct want *want);

/* recycle_ns, place_ns; 1: over limit_ns, or something cannot be read. */
int recycle_estimate(struct recycling *recycling, struct kept *kept, const struct want *want);

/* Makes the root of it what is wanted, and *kept_dir what is then there. 1: it cannot be made. */
int recycle_apply(struct recycling *recycling, struct kept *kept, const struct want *want,
    struct place_cursor *cursor);

/* What is there now, all as placed. */
int kept_note(struct recycling *recycling, struct place_cursor *cursor, const struct want *want,
    struct items *items, struct kept_dir **ret_dir);
/* A stub gets what its Directories say.  1: they cannot be had. */
int kept_expand(struct recycling *recycling, struct kept_dir **dir, const struct digest *digest);
bool stat_is_same(
    const struct recycling *recycling, const struct scan_stat *noted, const struct scan_stat *now);

#endif
