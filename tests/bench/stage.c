/*
 * bench_stage --state DIR --fs NAME --list        the rows that this volume can have
 * bench_stage --state DIR --fs NAME [ROW]...      measures those; one JSON object a line
 *
 * Rows, as doc/bench.md explains them: stage/cold, stage/exact, whole and path.
 */
#include <sys/stat.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "tests/bench/host.h"
#include "tests/bench/isolate.h"
#include "tests/bench/series.h"
#include "tests/bench/shape.h"

#define LINK_TREE "bench-link"
#define REFERENCE_TREE "bench-tree"

static const enum engine ways[] = {
    ENGINE_BIND, ENGINE_HARDLINK, ENGINE_REFLINK, ENGINE_CLONEFILE, ENGINE_COPY};
static const unsigned touched[] = {0, 10, 100};
enum { WAYS = sizeof(ways) / sizeof(ways[0]), TOUCHED = sizeof(touched) / sizeof(touched[0]) };

/* Rows that have an aim get more time, the others enough to tell. */
enum {
	COLD_LINK_MS = 1000,
	COLD_OTHER_MS = 300,
	EXACT_MS = 300,
	WHOLE_BIND_MS = 600,
	WHOLE_OTHER_MS = 200
};

/* What one measurement works on: the argument of all series_measure functions here. */
struct trial {
	struct bench_host *host;
	struct bench_stager stager;
	struct filled_shape *filled;
	unsigned percent;
	struct series paths; /* the whole, without the janitor's part */
	bool failed;
};

struct selection {
	char **names;
	int count;
	bool list;
	const char *fs;
};

static int
tree_make(struct trial *trial, const char *name)
{
	int state_fd = trial->host->config.state_fd, fd;

	if (mkdirat(state_fd, name, 0755) < 0)
		err(1, "%s", name);
	fd = openat(state_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		err(1, "%s", name);
	shape_link(trial->filled, cas_dirfd(trial->host->cas), fd);
	return fd;
}

static void
tree_remove(struct trial *trial, const char *name)
{
	int rc = fs_remove_tree(trial->host->config.state_fd, name);

	if (rc < 0)
		errx(1, "%s: %s", name, strerror(-rc));
}

static uint64_t
link_loop(void *arg)
{
	struct trial *trial = arg;
	uint64_t start = bench_now_ns(), elapsed;

	close(tree_make(trial, LINK_TREE));
	elapsed = bench_now_ns() - start;
	tree_remove(trial, LINK_TREE);
	return elapsed;
}

/* Runs the action's part in a child of its own; with work NULL it only mounts the binds. */
static uint64_t
run_in(struct trial *trial, const char *tree, const struct stage_report *report,
    int (*work)(void *arg, int rootfd))
{
	char root[PATH_MAX + 128];
	struct isolated isolated = {
	    .state_dir = trial->host->config.state_dir,
	    .root = root,
	    .binds = report != NULL ? report->binds : NULL,
	    .bind_count = report != NULL ? report->bind_count : 0,
	    .work = work,
	    .arg = trial,
	};
	uint64_t mount_ns;

	snprintf(root, sizeof(root), "%s/%s", trial->host->config.state_dir, tree);
	isolate_run(&isolated, &mount_ns);
	return mount_ns;
}

static char *
sandbox_root(const struct sandbox *sandbox, char *path, size_t size)
{
	snprintf(path, size, "sandboxes/%s/root", sandbox->name);
	return path;
}

static uint64_t
place(void *arg)
{
	struct trial *trial = arg;
	struct bench_placed placed;
	uint64_t start = bench_now_ns(), elapsed;
	char path[128];

	if (!bench_place(trial->host, &trial->stager, &trial->filled->root, &placed))
		trial->failed = true;
	elapsed = bench_now_ns() - start;
	if (placed.report.bind_count > 0)
		elapsed += run_in(
		    trial, sandbox_root(&placed.sandbox, path, sizeof(path)), &placed.report, NULL);
	bench_release(trial->host, &trial->stager, &placed);
	bench_empty_trash(trial->host);
	return elapsed;
}

static uint64_t
place_new(void *arg)
{
	struct trial *trial = arg;

	shape_variant(trial->host->cas, trial->filled);
	return place(trial);
}

/* The action: looks at its inputs, writes one output. */
static int
act(void *arg, int rootfd)
{
	static const char page[4096];
	const struct trial *trial = arg;
	int fd, rc;

	rc = shape_touch(trial->filled, rootfd, trial->percent);
	if (rc < 0)
		return rc;
	fd = openat(rootfd, SHAPE_OUTPUT, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	rc = fs_write_all(fd, page, sizeof(page));
	close(fd);
	return rc;
}

static uint64_t
whole(void *arg)
{
	struct trial *trial = arg;
	struct bench_placed placed;
	uint64_t start = bench_now_ns();
	char path[128];

	if (!bench_place(trial->host, &trial->stager, &trial->filled->root, &placed))
		trial->failed = true;
	run_in(trial, sandbox_root(&placed.sandbox, path, sizeof(path)), &placed.report, act);
	bench_release(trial->host, &trial->stager, &placed);
	series_add(&trial->paths, (double)(bench_now_ns() - start) / 1000);
	bench_empty_trash(trial->host);
	return bench_now_ns() - start;
}

static uint64_t
in_place(void *arg)
{
	struct trial *trial = arg;
	uint64_t start = bench_now_ns();

	run_in(trial, REFERENCE_TREE, NULL, act);
	if (unlinkat(trial->host->config.state_fd, REFERENCE_TREE "/" SHAPE_OUTPUT, 0) < 0)
		err(1, "the output in place");
	return bench_now_ns() - start;
}

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
row_name(char *name, size_t size, const char *kind, const struct shape *shape, enum engine engine,
    const char *fs)
{
	snprintf(name, size, "%s/%s/%s/%s", kind, shape->name, engine_names[engine], fs);
}

static void
compare(struct trial *trial, const char *name, unsigned budget_ms, series_measure thing,
    const char *limit_name, series_measure limit)
{
	struct series_bounds bounds = {.budget_ms = budget_ms, .least = 3, .most = 100};
	struct series things = {0}, limits = {0};

	thing(trial);
	limit(trial);
	if (!trial->failed)
		series_alternate(&bounds, 1000, thing, limit, trial, &things, &limits);
	if (trial->failed)
		warnx("%s: left out", name);
	else
		row_print(name, "us", &things, limit_name, &limits, 0);
	series_clear(&things);
	series_clear(&limits);
}

static void
measure_staging(struct trial *trial, const struct selection *selection, enum engine engine)
{
	char name[128];

	row_name(name, sizeof(name), "stage/cold", trial->filled->shape, engine, selection->fs);
	if (wanted(selection, name))
		compare(trial, name, engine == ENGINE_HARDLINK ? COLD_LINK_MS : COLD_OTHER_MS,
		    place_new, "linkat loop", link_loop);
	row_name(name, sizeof(name), "stage/exact", trial->filled->shape, engine, selection->fs);
	if (engine == ENGINE_BIND && wanted(selection, name))
		compare(trial, name, EXACT_MS, place, "linkat loop", link_loop);
}

static void
reference_make(struct trial *trial)
{
	int fd = tree_make(trial, REFERENCE_TREE);

	if (mkdirat(fd, "out", 0755) < 0)
		err(1, "%s/out", REFERENCE_TREE);
	close(fd);
}

/* One measurement gives two rows: with the janitor's deletion, and without. */
static void
measure_whole(
    struct trial *trial, const struct selection *selection, enum engine engine, unsigned percent)
{
	struct series_bounds bounds = {
	    .budget_ms = engine == ENGINE_BIND ? WHOLE_BIND_MS : WHOLE_OTHER_MS,
	    .least = 3,
	    .most = 200};
	struct series wholes = {0}, limits = {0};
	char kind[32], whole_name[128], path_name[128];
	bool whole_wanted, path_wanted;

	snprintf(kind, sizeof(kind), "whole/%u", percent);
	row_name(whole_name, sizeof(whole_name), kind, trial->filled->shape, engine, selection->fs);
	snprintf(kind, sizeof(kind), "path/%u", percent);
	row_name(path_name, sizeof(path_name), kind, trial->filled->shape, engine, selection->fs);
	whole_wanted = wanted(selection, whole_name);
	path_wanted = wanted(selection, path_name);
	if (!whole_wanted && !path_wanted)
		return;
	trial->percent = percent;
	reference_make(trial);
	whole(trial);
	in_place(trial);
	series_clear(&trial->paths);
	if (!trial->failed)
		series_alternate(&bounds, 1000, whole, in_place, trial, &wholes, &limits);
	tree_remove(trial, REFERENCE_TREE);
	if (trial->failed)
		warnx("%s: left out", whole_name);
	if (!trial->failed && whole_wanted)
		row_print(whole_name, "us", &wholes, "in place", &limits, 0);
	if (!trial->failed && path_wanted)
		row_print(path_name, "us", &trial->paths, "in place", &limits, 0);
	series_clear(&wholes);
	series_clear(&trial->paths);
	series_clear(&limits);
}

static bool
way_possible(enum engine engine, const char *fs)
{
	if (engine == ENGINE_REFLINK)
		return strcmp(fs, "xfs") == 0 || strcmp(fs, "btrfs") == 0;
	if (engine == ENGINE_CLONEFILE)
		return strcmp(fs, "apfs") == 0;
	return engine != ENGINE_BIND || strcmp(fs, "apfs") != 0;
}

/* Ways that move bytes are measured whole for two shapes; the others would only take longer. */
static bool
whole_worth(enum engine engine, const struct shape *shape)
{
	return engine == ENGINE_BIND || engine == ENGINE_HARDLINK ||
	    strcmp(shape->name, "p95_dirs") == 0 || strcmp(shape->name, "pcm_cluster") == 0;
}

static void
each_row(struct trial *trial, const struct selection *selection, const struct shape *shape)
{
	unsigned way, i;

	trial->filled->shape = shape;
	for (way = 0; way < WAYS; way++) {
		if (!way_possible(ways[way], selection->fs))
			continue;
		trial->failed = false;
		if (!selection->list)
			bench_stager_open(trial->host, ways[way], &trial->stager);
		measure_staging(trial, selection, ways[way]);
		for (i = 0; i < TOUCHED && whole_worth(ways[way], shape); i++)
			measure_whole(trial, selection, ways[way], touched[i]);
		if (!selection->list)
			bench_stager_close(&trial->stager);
	}
}

static bool
shape_wanted(const struct selection *selection, const struct shape *shape)
{
	char part[64];
	int i;

	snprintf(part, sizeof(part), "/%s/", shape->name);
	for (i = 0; i < selection->count; i++)
		if (strstr(selection->names[i], part) != NULL)
			return true;
	return false;
}

static void
measure(const struct selection *selection, const char *state_dir)
{
	struct bench_host host;
	struct filled_shape filled;
	struct trial trial = {.host = &host, .filled = &filled};
	size_t i;

	bench_host_open(state_dir, &host);
	for (i = 0; i < shapes_count; i++) {
		if (!shape_wanted(selection, &shapes[i]))
			continue;
		shape_fill(host.cas, &shapes[i], &filled);
		shape_variant(host.cas, &filled);
		isolate_settle(host.config.state_fd);
		each_row(&trial, selection, &shapes[i]);
		shape_free(&filled);
	}
	bench_host_close(&host);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {{"state", required_argument, NULL, 's'},
	    {"fs", required_argument, NULL, 'f'}, {"list", no_argument, NULL, 'l'}, {0}};
	struct selection selection = {0};
	struct filled_shape unfilled = {0};
	struct trial listed = {.filled = &unfilled};
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
	for (i = 0; selection.list && i < shapes_count; i++)
		each_row(&listed, &selection, &shapes[i]);
	if (!selection.list)
		measure(&selection, state_dir);
	return 0;
}
