/*
 * bench_stage --state DIR --fs NAME --list        the rows that this volume can have
 * bench_stage --state DIR --fs NAME [ROW]...      measures those; one JSON object a line
 *
 * Rows, as doc/bench.md explains them: stage, whole and teardown.  All the ways of a row and its
 * limit are measured in turns.
 */
#include <err.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "tests/bench/isolate.h"
#include "tests/bench/stage_trial.h"

/* The planner's choice comes last: the table sets it beside the best of the others. */
static const enum engine ways[] = {ENGINE_BIND, ENGINE_OVERLAY, ENGINE_IMAGE, ENGINE_HARDLINK,
    ENGINE_REFLINK, ENGINE_CLONEFILE, ENGINE_COPY, ENGINE_AUTO};
static const unsigned touched[] = {0, 10, 100};
static const enum change whole_changes[] = {CHANGE_EXACT, CHANGE_ONE, CHANGE_COLD};
enum {
	WAYS = sizeof(ways) / sizeof(ways[0]),
	TOUCHED = sizeof(touched) / sizeof(touched[0]),
	WHOLE_CHANGES = sizeof(whole_changes) / sizeof(whole_changes[0]),
	KIND_SIZE = 32,
	NAME_SIZE = 128
};

/* By number of files: the largest tree takes as long as it takes. */
static const struct series_bounds bounds = {.budget_ms = 150, .least = 5, .most = 100};
static const struct series_bounds bounds_huge = {.budget_ms = 150, .least = 3, .most = 100};
enum { HUGE_FILES = 10000 };

struct selection {
	char **names;
	int count;
	bool list;
	const char *fs;
};

/* The rows of one name but for the way. */
struct group {
	bool is_whole;
	enum change change;
	unsigned percent;
};

/* One shape on one volume, with a stager for each way that works. */
struct bench {
	const struct selection *selection;
	const struct shape *shape;
	struct stage_tree tree;
	struct trial trials[WAYS], limit, unlinks;
	bool works[WAYS];
};

static bool
wanted(const struct selection *selection, const char *name)
{
	int i;

	if (selection->list) {
		puts(name);
		return false;
	}
	for (i = 0; i < selection->count; i++)
		if (strcmp(selection->names[i], name) == 0)
			return true;
	return false;
}

static void
name_row(
    char *name, const char *kind, const struct shape *shape, enum engine engine, const char *fs)
{
	snprintf(name, NAME_SIZE, "%s/%s/%s/%s", kind, shape->name, engine_names[engine], fs);
}

static void
name_kind(char *kind, const struct group *group)
{
	if (group->is_whole)
		snprintf(
		    kind, KIND_SIZE, "whole/%u/%s", group->percent, change_names[group->change]);
	else
		snprintf(kind, KIND_SIZE, "stage/%s", change_names[group->change]);
}

static bool
way_possible(enum engine engine, const char *fs)
{
	bool is_apfs = strcmp(fs, "apfs") == 0;

	switch (engine) {
	case ENGINE_REFLINK:
		return strcmp(fs, "xfs") == 0 || strcmp(fs, "btrfs") == 0;
	case ENGINE_CLONEFILE:
		return is_apfs;
	case ENGINE_BIND:
	case ENGINE_OVERLAY:
		return !is_apfs;
	case ENGINE_IMAGE:
		return !is_apfs && strcmp(fs, "tmpfs") != 0 && getuid() == 0;
	default:
		return true;
	}
}

static bool
is_named(const struct shape *shape, const char *name)
{
	return strcmp(shape->name, name) == 0;
}

/* Memory is there to show what placing costs where no image is: three shapes do. */
static bool
shape_worth(const struct shape *shape, const char *fs)
{
	return strcmp(fs, "tmpfs") != 0 || is_named(shape, "small_flat") ||
	    is_named(shape, "large_flat") || is_named(shape, "p95_dirs");
}

/* Ways that place each file whatever was seen are measured where that tells something new. */
static bool
huge_worth(enum engine engine, const struct group *group)
{
	if (engine == ENGINE_HARDLINK)
		return group->is_whole ? group->percent == 10 : group->change == CHANGE_COLD;
	return engine == ENGINE_AUTO || engine == ENGINE_BIND || engine == ENGINE_IMAGE;
}

static bool
way_worth(enum engine engine, const struct shape *shape, const struct group *group)
{
	if (shape->files >= HUGE_FILES)
		return huge_worth(engine, group);
	if (engine != ENGINE_REFLINK && engine != ENGINE_COPY && engine != ENGINE_OVERLAY)
		return true;
	if (engine == ENGINE_OVERLAY)
		return group->change == CHANGE_EXACT || group->change == CHANGE_COLD ||
		    is_named(shape, "p95_dirs");
	if (!group->is_whole)
		return group->change == CHANGE_COLD;
	return group->change == CHANGE_EXACT && group->percent == 10 &&
	    (is_named(shape, "p95_dirs") || is_named(shape, "pcm_cluster"));
}

/* What ends an action is told of the rows that look at a tenth of a tree seen before. */
static bool
tells_teardown(const struct group *group)
{
	return group->is_whole && group->change == CHANGE_EXACT && group->percent == 10;
}

static bool
way_wanted(const struct bench *bench, const struct group *group, unsigned way)
{
	static const char *const ends[] = {"teardown/action", "teardown/janitor"};
	char kind[KIND_SIZE], name[NAME_SIZE];
	bool is_wanted;
	size_t i;

	if (!shape_worth(bench->shape, bench->selection->fs) ||
	    !way_possible(ways[way], bench->selection->fs) ||
	    !way_worth(ways[way], bench->shape, group))
		return false;
	name_kind(kind, group);
	name_row(name, kind, bench->shape, ways[way], bench->selection->fs);
	is_wanted = wanted(bench->selection, name);
	for (i = 0; tells_teardown(group) && i < sizeof(ends) / sizeof(ends[0]); i++) {
		name_row(name, ends[i], bench->shape, ways[way], bench->selection->fs);
		is_wanted = wanted(bench->selection, name) || is_wanted;
	}
	return is_wanted && bench->works[way];
}

static void
print(const struct bench *bench, const char *kind, enum engine engine, struct series *series,
    const char *limit_name, struct series *limit)
{
	char name[NAME_SIZE];

	name_row(name, kind, bench->shape, engine, bench->selection->fs);
	if (!wanted(bench->selection, name))
		return;
	if (series->count == 0 || limit->count == 0)
		warnx("%s: left out", name);
	else
		row_print(name, "us", series, limit_name, limit, 0);
}

static void
print_teardown(struct bench *bench, struct trial *trial, struct series *unlinks)
{
	print(bench, "teardown/action", trial->engine, &trial->action_ends, "in place",
	    &bench->limit.action_ends);
	print(bench, "teardown/janitor", trial->engine, &trial->janitor_ends, "unlinkat loop",
	    unlinks);
}

static void
trial_start(struct trial *trial, const struct group *group)
{
	trial->change = group->change;
	trial->percent = group->percent;
	series_clear(&trial->action_ends);
	series_clear(&trial->janitor_ends);
}

/* The limits come first, then the ways. */
enum { TURN_LIMIT, TURN_UNLINK, TURN_FIRST_WAY, TURNS_MAX = TURN_FIRST_WAY + WAYS };

static void
turns_print(struct bench *bench, const struct group *group, struct series_turn *turns, size_t count)
{
	const char *limit_name = group->is_whole ? "in place" : "linkat loop";
	char kind[KIND_SIZE];
	struct trial *trial;
	size_t i;

	name_kind(kind, group);
	for (i = TURN_FIRST_WAY; i < count; i++) {
		trial = turns[i].arg;
		print(bench, kind, trial->engine, &turns[i].series, limit_name,
		    &turns[TURN_LIMIT].series);
		if (tells_teardown(group) && turns[i].series.count > 0)
			print_teardown(bench, trial, &turns[TURN_UNLINK].series);
	}
	for (i = 0; i < count; i++)
		series_clear(&turns[i].series);
}

static void
measure_group(struct bench *bench, const struct group *group)
{
	struct series_turn turns[TURNS_MAX] = {
	    [TURN_LIMIT] = {.measure = group->is_whole ? trial_in_place : trial_link_loop,
		.arg = &bench->limit,
		.shares = 2},
	    [TURN_UNLINK] = {.measure = trial_unlink_loop,
		.arg = &bench->unlinks,
		.is_over = !tells_teardown(group)}};
	size_t count = TURN_FIRST_WAY;
	unsigned way;

	trial_start(&bench->limit, group);
	for (way = 0; way < WAYS; way++) {
		if (!way_wanted(bench, group, way))
			continue;
		trial_start(&bench->trials[way], group);
		turns[count++] =
		    (struct series_turn){.measure = group->is_whole ? trial_whole : trial_place,
			.arg = &bench->trials[way]};
	}
	if (count == TURN_FIRST_WAY)
		return;
	if (group->is_whole)
		trial_reference_make(&bench->limit);
	series_share(bench->shape->files < HUGE_FILES ? &bounds : &bounds_huge, 1000, turns, count);
	if (group->is_whole)
		trial_reference_remove(&bench->limit);
	turns_print(bench, group, turns, count);
}

static void
each_group(struct bench *bench)
{
	struct group group = {.is_whole = false};
	unsigned i, j;

	for (i = 0; i < CHANGE_COUNT; i++) {
		group.change = (enum change)i;
		measure_group(bench, &group);
	}
	group.is_whole = true;
	for (i = 0; i < TOUCHED; i++)
		for (j = 0; j < WHOLE_CHANGES; j++) {
			group.percent = touched[i];
			group.change = whole_changes[j];
			measure_group(bench, &group);
		}
}

static bool
way_named(const struct selection *selection, enum engine engine, const struct shape *shape)
{
	char part[64];
	int i;

	snprintf(part, sizeof(part), "/%s/%s/", shape->name, engine_names[engine]);
	for (i = 0; i < selection->count; i++)
		if (strstr(selection->names[i], part) != NULL)
			return true;
	return false;
}

static void
trials_open(struct bench *bench)
{
	const char *why;
	unsigned way;

	bench->limit.tree = bench->unlinks.tree = &bench->tree;
	for (way = 0; way < WAYS; way++) {
		struct trial *trial = &bench->trials[way];

		if (!way_named(bench->selection, ways[way], bench->shape))
			continue;
		if (!bench_engine_works(&bench->tree.host, ways[way], &why)) {
			warnx("%s/%s/%s: left out: %s", bench->shape->name, engine_names[ways[way]],
			    bench->selection->fs, why);
			continue;
		}
		trial->tree = &bench->tree;
		trial->engine = ways[way];
		bench_stager_open(&bench->tree.host, ways[way], &trial->stager);
		bench->works[way] = true;
		trial_warm(trial);
	}
}

static void
trials_close(struct bench *bench)
{
	unsigned way;

	for (way = 0; way < WAYS; way++) {
		if (bench->works[way])
			bench_stager_close(&bench->trials[way].stager);
		series_clear(&bench->trials[way].action_ends);
		series_clear(&bench->trials[way].janitor_ends);
	}
	series_clear(&bench->limit.action_ends);
}

static bool
shape_wanted(const struct selection *selection, const struct shape *shape)
{
	unsigned way;

	for (way = 0; way < WAYS; way++)
		if (way_named(selection, ways[way], shape))
			return true;
	return false;
}

/* A state directory of its own for each shape: neither the index nor the volume fills. */
static void
measure(const struct selection *selection, const char *state_dir, const struct shape *shape)
{
	static struct bench bench;
	char path[4096];
	int rc;

	bench = (struct bench){.selection = selection, .shape = shape};
	snprintf(path, sizeof(path), "%s/%s", state_dir, shape->name);
	rc = fs_mkdir(AT_FDCWD, path, 0755);
	if (rc < 0)
		errx(1, "%s: %s", path, strerror(-rc));
	stage_tree_open(path, shape, &bench.tree);
	trials_open(&bench);
	each_group(&bench);
	trials_close(&bench);
	stage_tree_close(&bench.tree);
	rc = fs_remove_tree(AT_FDCWD, path);
	if (rc < 0)
		errx(1, "%s: %s", path, strerror(-rc));
}

static void
list(const struct selection *selection, const struct shape *shape)
{
	static struct bench bench;

	bench = (struct bench){.selection = selection, .shape = shape};
	each_group(&bench);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {{"state", required_argument, NULL, 's'},
	    {"fs", required_argument, NULL, 'f'}, {"list", no_argument, NULL, 'l'}, {0}};
	struct selection selection = {0};
	const char *state_dir = NULL;
	size_t i;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 's')
			state_dir = optarg;
		else if (option == 'f')
			selection.fs = optarg;
		else if (option == 'l')
			selection.list = true;
		else
			return 2;
	}
	if (selection.fs == NULL || (state_dir == NULL && !selection.list))
		errx(2, "usage: bench_stage --state DIR --fs NAME [--list | ROW...]");
	selection.names = argv + optind;
	selection.count = argc - optind;
	if (!selection.list)
		isolate_open(state_dir);
	for (i = 0; i < shapes_count; i++) {
		if (selection.list)
			list(&selection, &shapes[i]);
		else if (shape_wanted(&selection, &shapes[i]))
			measure(&selection, state_dir, &shapes[i]);
	}
	return 0;
}
