/*
 * bench_parallel --state DIR [--list | ROW...]: several workers at once.
 *
 * trees_per_s/W: W processes, each a worker with a slot of its own, give a tree to an action each,
 * all at once: sandbox, placing, a process in a mount namespace with all of it mounted, and the
 * sandbox given back; trees a second from the first start to the last end, by the planner.  The
 * tree is one seen before; trees_per_s/W/cold: one never seen, and that by hard links.  The limit:
 * as many loops of mkdirat, openat and linkat, and the same process.
 * trees_per_s/W/cold/.../gate: the most permits of the link gate held at once meanwhile.
 */
#include <err.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "tests/bench/crowd.h"
#include "tests/bench/isolate.h"
#include "tests/bench/series.h"
#include "tests/bench/stage_trial.h"

static const unsigned worker_counts[] = {1, 2, 4, 8};
static const struct kind {
	const char *suffix;
	enum engine engine;
	enum change change;
} kinds[] = {
    {"", ENGINE_AUTO, CHANGE_EXACT},
    {"/cold", ENGINE_AUTO, CHANGE_COLD},
    {"/cold/hardlink", ENGINE_HARDLINK, CHANGE_COLD},
};
#define SHAPE_NAME "p95_dirs"

enum { ROUND_PLACE, ROUND_LOOP };
enum { SETTLE_US = 20000 };

struct worker {
	struct trial trial;
	struct bench_placed placed;
	char loop_name[32];
};

/* A copy of the tree, so that each has names of its own. */
static void *
worker_open(struct bench_host *host, void *arg)
{
	const struct trial *like = arg;
	struct worker *worker = calloc(1, sizeof(*worker));
	struct stage_tree *tree = calloc(1, sizeof(*tree));

	if (worker == NULL || tree == NULL)
		err(1, "worker");
	*tree = *like->tree;
	tree->host = *host;
	shape_copy(&like->tree->base, &tree->base);
	shape_copy(&like->tree->base, &tree->next);
	worker->trial =
	    (struct trial){.tree = tree, .engine = like->engine, .change = like->change};
	bench_stager_open(&tree->host, like->engine, &worker->trial.stager);
	trial_warm(&worker->trial);
	snprintf(worker->loop_name, sizeof(worker->loop_name), "loop.%d", (int)getpid());
	return worker;
}

static void
worker_prepare(void *state, int what)
{
	struct worker *worker = state;

	if (what == ROUND_PLACE)
		trial_next(&worker->trial);
}

static void
loop_run(struct worker *worker)
{
	const struct stage_tree *tree = worker->trial.tree;
	char path[4096 + 64];
	struct isolated isolated = {.host = &tree->host, .tree = path};
	struct isolate_times times;

	snprintf(path, sizeof(path), "%s/%s", tree->host.config.state_dir, worker->loop_name);
	close(trial_link_tree(&worker->trial, worker->loop_name));
	if (isolate_run(&isolated, &times) < 0)
		errx(1, "%s: cannot be entered", path);
	isolate_reap();
}

static void
place_run(struct worker *worker)
{
	struct stage_tree *tree = worker->trial.tree;
	struct isolated isolated = {.host = &tree->host, .placed = &worker->placed};
	struct isolate_times times;

	if (!bench_place(&tree->host, &worker->trial.stager, &tree->next.root, &worker->placed) ||
	    isolate_run(&isolated, &times) < 0)
		errx(1, "%s: left out", engine_names[worker->trial.engine]);
	bench_release(&tree->host, &worker->trial.stager, &worker->placed);
	isolate_reap();
}

static void
worker_run(void *state, int what)
{
	if (what == ROUND_LOOP)
		loop_run(state);
	else
		place_run(state);
}

static void
worker_clear(void *state, int what)
{
	struct worker *worker = state;
	int rc = 0;

	if (what == ROUND_LOOP)
		rc = fs_remove_tree(worker->trial.tree->host.config.state_fd, worker->loop_name);
	if (rc < 0)
		errx(1, "%s: %s", worker->loop_name, strerror(-rc));
}

struct rounds {
	struct bench_host *host;
	unsigned workers;
	struct series rates, limits; /* trees a second */
};

/*
 * What was removed before is deleted in truth by the volume's own threads, some milliseconds later:
 * with eight trees of the loop that was most of what a round of placing seemed to take.
 */
static uint64_t
round_measure(struct rounds *rounds, int what)
{
	isolate_settle(rounds->host->config.state_fd);
	usleep(SETTLE_US);
	return crowd_round(what);
}

static uint64_t
round_place(void *arg)
{
	struct rounds *rounds = arg;
	uint64_t elapsed = round_measure(rounds, ROUND_PLACE);

	bench_empty_trash(rounds->host);
	series_add(&rounds->rates, rounds->workers * 1e9 / (double)elapsed);
	return elapsed;
}

static uint64_t
round_loop(void *arg)
{
	struct rounds *rounds = arg;
	uint64_t elapsed = round_measure(rounds, ROUND_LOOP);

	series_add(&rounds->limits, rounds->workers * 1e9 / (double)elapsed);
	return elapsed;
}

static void
gate_print(const struct bench_host *host, const char *name)
{
	uint64_t values[COUNTER_COUNT];
	struct series most = {0};
	char gate_name[96];

	counters_read(host->region, values);
	snprintf(gate_name, sizeof(gate_name), "%s/gate", name);
	series_add(&most, (double)values[COUNTER_link_gate_high_water]);
	row_print(gate_name, "held", &most, "cap", NULL, region_link_cap(host->region));
	series_clear(&most);
}

/* The gate's mark belongs to a cap: another one, and it starts anew. */
static void
gate_reset(struct bench_host *host)
{
	uint32_t cap = region_link_cap(host->region);

	region_set_link_cap(host->region, cap - 1);
	region_set_link_cap(host->region, cap);
}

static void
measure(struct stage_tree *tree, const struct kind *kind, unsigned workers, const char *name)
{
	static const struct crowd_work work = {
	    worker_open, worker_prepare, worker_run, worker_clear};
	struct series_bounds bounds = {.budget_ms = 2000, .least = 5, .most = 100};
	struct rounds rounds = {.host = &tree->host, .workers = workers};
	struct trial like = {.tree = tree, .engine = kind->engine, .change = kind->change};
	struct series unused[2] = {{0}, {0}};

	gate_reset(&tree->host);
	crowd_start(&tree->host, workers, &work, &like);
	crowd_round(ROUND_PLACE);
	crowd_round(ROUND_LOOP);
	bench_empty_trash(&tree->host);
	series_alternate(&bounds, 1000, round_place, round_loop, &rounds, &unused[0], &unused[1]);
	row_print_rate(name, "1/s", &rounds.rates, "linkat loop", &rounds.limits);
	if (kind->change == CHANGE_COLD)
		gate_print(&tree->host, name);
	crowd_stop();
	series_clear(&unused[0]);
	series_clear(&unused[1]);
	series_clear(&rounds.rates);
	series_clear(&rounds.limits);
}

static bool
named(char **names, const char *name)
{
	for (; *names != NULL; names++)
		if (strncmp(*names, name, strlen(name)) == 0 &&
		    (strcmp(*names + strlen(name), "") == 0 ||
			strcmp(*names + strlen(name), "/gate") == 0))
			return true;
	return false;
}

/* tree NULL: lists. */
static void
each_row(struct stage_tree *tree, char **names)
{
	char name[64];
	size_t i, j;

	for (i = 0; i < sizeof(worker_counts) / sizeof(worker_counts[0]); i++)
		for (j = 0; j < sizeof(kinds) / sizeof(kinds[0]); j++) {
			snprintf(name, sizeof(name), "trees_per_s/%u%s", worker_counts[i],
			    kinds[j].suffix);
			if (tree == NULL)
				puts(name);
			if (tree == NULL && kinds[j].change == CHANGE_COLD)
				printf("%s/gate\n", name);
			if (tree != NULL && named(names, name))
				measure(tree, &kinds[j], worker_counts[i], name);
		}
}

static const struct shape *
shape_find(const char *name)
{
	size_t i;

	for (i = 0; i < shapes_count; i++)
		if (strcmp(shapes[i].name, name) == 0)
			return &shapes[i];
	errx(1, "%s: no such shape", name);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
	    {"state", required_argument, NULL, 's'}, {"list", no_argument, NULL, 'l'}, {0}};
	static struct stage_tree tree;
	const char *state_dir = NULL;
	bool list = false;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 's')
			state_dir = optarg;
		else if (option == 'l')
			list = true;
		else
			return 2;
	}
	if (list) {
		each_row(NULL, argv + optind);
		return 0;
	}
	if (state_dir == NULL)
		errx(2, "usage: bench_parallel --state DIR [--list | ROW...]");
	isolate_open(state_dir);
	stage_tree_open(state_dir, shape_find(SHAPE_NAME), &tree);
	each_row(&tree, argv + optind);
	stage_tree_close(&tree);
	return 0;
}
