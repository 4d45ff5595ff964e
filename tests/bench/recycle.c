/*
 * bench_recycle --state DIR --fs NAME --list        the rows that this volume can have
 * bench_recycle --state DIR --fs NAME [ROW]...      measures those; one JSON object a line
 *
 * Rows, as doc/bench.md explains them: recycle/CHANGED and recycle/CHANGED+delete.
 */
#include <sys/stat.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "tests/bench/host.h"
#include "tests/bench/series.h"
#include "tests/bench/shape.h"

static const struct series_bounds bounds = {.budget_ms = 4000, .least = 5, .most = 60};

/* Links where actions have a uid of their own, which root gives them; the others with one uid. */
static const struct way {
	enum engine engine;
	bool uid_differs;
} ways[] = {{ENGINE_AUTO, true}, {ENGINE_REFLINK, false}, {ENGINE_COPY, false}};
/* UNSEEN: all names are new, so that nothing kept is of use: what keeping costs by itself. */
enum { UNSEEN = 9999 };
static const unsigned edits[] = {0, 1, 10, UNSEEN};
enum { WAYS = sizeof(ways) / sizeof(ways[0]), EDITS = sizeof(edits) / sizeof(edits[0]) };

static const char *const way_names[WAYS] = {"hardlink", "reflink", "copy"};

struct side {
	struct host_config config;
	struct stager *stager;
};

struct trial {
	struct bench_host *host;
	struct filled_shape filled;
	struct side recycles, places;
	uid_t uid;
	unsigned edits;
	bool deletes, failed;
};

static void
side_open(struct trial *trial, const struct way *way, bool recycle, struct side *side)
{
	struct stager_config config = {
	    .host = &side->config,
	    .probe = &trial->host->probe,
	    .isolation = ISOLATION_NONE,
	    .action_uid = trial->uid,
	    .uid_differs = way->uid_differs,
	};
	struct error_text words;

	side->config = trial->host->config;
	side->config.engine = way->engine;
	side->config.recycle = recycle;
	if (stager_new(&config, trial->host->region, trial->host->slot, trial->host->cas,
		&side->stager, &words) < 0)
		errx(1, "stager: %s", words.text);
}

static void
write_output(int rootfd)
{
	static const char page[4096];
	int fd = openat(rootfd, SHAPE_OUTPUT, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (fd < 0 || fs_write_all(fd, page, sizeof(page)) < 0)
		err(1, "%s", SHAPE_OUTPUT);
	close(fd);
}

/* A sandbox made, composed, its action's output written (not counted), and given back. */
static uint64_t
one_action(struct trial *trial, struct side *side, uint64_t *ret_recycled)
{
	static const char *const outputs[] = {SHAPE_OUTPUT};
	struct stage_request request = {.root = trial->filled.root,
	    .working_directory = "",
	    .output_paths = outputs,
	    .output_count = 1};
	struct bench_host *host = trial->host;
	struct stage_report report;
	struct error_text words;
	struct sandbox sandbox;
	uint64_t start = bench_now_ns(), elapsed;

	if (sandbox_make(host->config.state_fd, host->slot, host->slot_number,
		trial->uid == geteuid() ? (uid_t)-1 : trial->uid, &sandbox, &words) < 0 ||
	    stage_compose(side->stager, &request, &sandbox, &report, &words) < 0)
		errx(1, "%s", words.text);
	elapsed = bench_now_ns() - start;
	write_output(sandbox.rootfd);
	start = bench_now_ns();
	if (stage_release(side->stager, &report, &words) < 0)
		errx(1, "%s", words.text);
	stage_keep(side->stager, &sandbox);
	if (sandbox_release(host->config.state_fd, host->slot, &sandbox) < 0)
		errx(1, "sandbox_release");
	if (trial->deletes)
		bench_empty_trash(host);
	elapsed += bench_now_ns() - start;
	if (!trial->deletes)
		bench_empty_trash(host);
	*ret_recycled = report.files[PLACE_RECYCLE];
	return elapsed;
}

static uint64_t
recycled(void *arg)
{
	struct trial *trial = arg;
	uint64_t files, elapsed;

	if (trial->edits == UNSEEN)
		shape_variant(trial->host->cas, &trial->filled);
	else if (trial->edits > 0)
		shape_change(trial->host->cas, &trial->filled, trial->edits);
	elapsed = one_action(trial, &trial->recycles, &files);
	trial->failed = trial->failed ||
	    files != (trial->edits == UNSEEN ? 0 : trial->filled.shape->files - trial->edits);
	return elapsed;
}

static uint64_t
placed(void *arg)
{
	struct trial *trial = arg;
	uint64_t files;

	if (trial->edits == UNSEEN)
		shape_variant(trial->host->cas, &trial->filled);
	return one_action(trial, &trial->places, &files);
}

static void
measure_row(struct trial *trial, const char *name)
{
	struct series things = {0}, limits = {0};

	recycled(trial); /* the first has nothing to recycle */
	placed(trial);
	trial->failed = false;
	series_alternate(&bounds, 1000, recycled, placed, trial, &things, &limits);
	if (trial->failed)
		warnx("%s: not recycled each time: left out", name);
	else
		row_print(name, "us", &things, "place all", &limits, 0);
	series_clear(&things);
	series_clear(&limits);
}

static bool
way_possible(const struct way *way, const char *fs)
{
	if (way->engine == ENGINE_REFLINK)
		return strcmp(fs, "xfs") == 0 || strcmp(fs, "btrfs") == 0;
	return !way->uid_differs || geteuid() == 0;
}

static bool
is_wanted(char **names, int count, const char *name)
{
	for (int i = 0; i < count; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

static void
each_row(struct trial *trial, const char *fs, char **names, int count, bool list)
{
	char name[96], count_text[16];

	for (unsigned w = 0; w < WAYS; w++) {
		if (!way_possible(&ways[w], fs))
			continue;
		trial->uid = ways[w].uid_differs ? 70000 : geteuid();
		for (unsigned e = 0; e < 2 * EDITS; e++) {
			trial->edits = edits[e / 2];
			trial->deletes = e % 2 != 0;
			snprintf(count_text, sizeof(count_text), "%u", trial->edits);
			snprintf(name, sizeof(name), "recycle/%s%s/p95_dirs/%s/%s",
			    trial->edits == UNSEEN ? "unseen" : count_text,
			    trial->deletes ? "+delete" : "", way_names[w], fs);
			if (list)
				puts(name);
			if (list || !is_wanted(names, count, name))
				continue;
			side_open(trial, &ways[w], true, &trial->recycles);
			side_open(trial, &ways[w], false, &trial->places);
			measure_row(trial, name);
			stager_free(trial->recycles.stager);
			stager_free(trial->places.stager);
			bench_empty_trash(trial->host);
		}
	}
}

static const struct shape *
shape_of(const char *name)
{
	for (size_t i = 0; i < shapes_count; i++)
		if (strcmp(shapes[i].name, name) == 0)
			return &shapes[i];
	errx(1, "no shape %s", name);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {{"state", required_argument, NULL, 's'},
	    {"fs", required_argument, NULL, 'f'}, {"list", no_argument, NULL, 'l'}, {0}};
	const char *state_dir = NULL, *fs = NULL;
	struct trial trial = {.uid = 0};
	struct bench_host host;
	bool list = false;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 's')
			state_dir = optarg;
		else if (option == 'f')
			fs = optarg;
		else if (option == 'l')
			list = true;
		else
			return 2;
	}
	if (fs == NULL || (state_dir == NULL && !list))
		errx(2, "usage: bench_recycle --state DIR --fs NAME [--list | ROW...]");
	if (!list) {
		bench_host_open(state_dir, &host);
		trial.host = &host;
		shape_fill(host.cas, shape_of("p95_dirs"), &trial.filled);
		shape_variant(host.cas, &trial.filled);
	}
	each_row(&trial, fs, argv + optind, argc - optind, list);
	if (!list) {
		shape_free(&trial.filled);
		bench_host_close(&host);
	}
	return 0;
}
