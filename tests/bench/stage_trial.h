/*
 * One thing that bench_stage measures: a way of placing one of the trees, or what that must cost.
 *
 * Bench programs, one thread.  All trials of a shape work on one stage_tree, whose `base` the store
 * has and which, for every change but `cold`, is staged once by each way before the clock runs
 * (trial_warm); what is staged each time is `next`, which trial_next makes of it.
 * Those that return nanoseconds are series_measure functions whose argument is the trial; they
 * return SERIES_FAILED, with words on stderr, where the way did not work or was not the one meant.
 */
#ifndef BENCH_STAGE_TRIAL_H
#define BENCH_STAGE_TRIAL_H

#include "tests/bench/host.h"
#include "tests/bench/series.h"
#include "tests/bench/shape.h"

/* How the tree that is staged differs from all those seen before. */
enum change {
	CHANGE_EXACT, /* in nothing */
	CHANGE_ONE, /* one file's bytes */
	CHANGE_TEN, /* ten files' bytes */
	CHANGE_RENAME, /* one directory's name */
	CHANGE_COLD, /* every name */
	CHANGE_COUNT
};
extern const char *const change_names[CHANGE_COUNT];

struct stage_tree {
	struct bench_host host;
	struct filled_shape base, next;
};

struct trial {
	struct stage_tree *tree;
	enum engine engine;
	struct bench_stager stager; /* not of the limits */
	enum change change;
	unsigned percent; /* of the files, looked at by the action */
	struct series action_ends, janitor_ends; /* us; by trial_whole and trial_in_place */
};

void stage_tree_open(const char *state_dir, const struct shape *shape, struct stage_tree *ret_tree);
void stage_tree_close(struct stage_tree *tree);

void trial_warm(struct trial *trial);
/* Before the clock runs: the tree that is to be staged next. */
void trial_next(struct trial *trial);
/* The base, by links, at `name` in the state directory; its descriptor. */
int trial_link_tree(struct trial *trial, const char *name);

/* A sandbox made, the tree placed, and what has to be mounted, mounted. */
uint64_t trial_place(void *arg);
/* mkdirat, openat and linkat of the base, and its removal: each the limit of one. */
uint64_t trial_link_loop(void *arg);
uint64_t trial_unlink_loop(void *arg);

/*
 * The whole life of an action, deleting what it leaves included; and its limit, the same action in
 * a tree that is there already (trial_reference_make, once; trial_reference_remove).
 */
uint64_t trial_whole(void *arg);
uint64_t trial_in_place(void *arg);
void trial_reference_make(struct trial *trial);
void trial_reference_remove(struct trial *trial);

#endif
