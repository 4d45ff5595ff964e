#include "tests/bench/stage_trial.h"

#include <sys/stat.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "tests/bench/isolate.h"

#define LINK_TREE "bench-link"
#define REFERENCE_TREE "bench-tree"

const char *const change_names[CHANGE_COUNT] = {
    [CHANGE_EXACT] = "exact",
    [CHANGE_ONE] = "one",
    [CHANGE_TEN] = "ten",
    [CHANGE_RENAME] = "rename",
    [CHANGE_COLD] = "cold",
};

void
stage_tree_open(const char *state_dir, const struct shape *shape, struct stage_tree *ret_tree)
{
	struct stage_tree *tree = ret_tree;

	bench_host_open(state_dir, &tree->host);
	shape_fill(tree->host.cas, shape, &tree->base);
	shape_variant(tree->host.cas, &tree->base);
	shape_copy(&tree->base, &tree->next);
	isolate_settle(tree->host.config.state_fd);
}

void
stage_tree_close(struct stage_tree *tree)
{
	shape_free(&tree->base);
	shape_free(&tree->next);
	bench_host_close(&tree->host);
}

static void
tree_next(struct stage_tree *tree, enum change change)
{
	struct cas *cas = tree->host.cas;

	shape_restore(&tree->base, &tree->next);
	switch (change) {
	case CHANGE_ONE:
		shape_change(cas, &tree->next, 1);
		break;
	case CHANGE_TEN:
		shape_change(cas, &tree->next, 10);
		break;
	case CHANGE_RENAME:
		shape_rename(cas, &tree->next);
		break;
	case CHANGE_COLD:
		shape_variant(cas, &tree->next);
		break;
	default:
		break;
	}
}

void
trial_next(struct trial *trial)
{
	tree_next(trial->tree, trial->change);
}

int
trial_link_tree(struct trial *trial, const char *name)
{
	const struct bench_host *host = &trial->tree->host;
	int fd;

	if (mkdirat(host->config.state_fd, name, 0755) < 0)
		err(1, "%s", name);
	fd = openat(host->config.state_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		err(1, "%s", name);
	shape_link(&trial->tree->base, cas_dirfd(host->cas), fd);
	return fd;
}

static void
link_tree_remove(struct trial *trial, const char *name)
{
	int rc = fs_remove_tree(trial->tree->host.config.state_fd, name);

	if (rc < 0)
		errx(1, "%s: %s", name, strerror(-rc));
}

uint64_t
trial_link_loop(void *arg)
{
	struct trial *trial = arg;
	uint64_t start = bench_now_ns(), elapsed;

	close(trial_link_tree(trial, LINK_TREE));
	elapsed = bench_now_ns() - start;
	link_tree_remove(trial, LINK_TREE);
	return elapsed;
}

uint64_t
trial_unlink_loop(void *arg)
{
	struct trial *trial = arg;
	int fd = trial_link_tree(trial, LINK_TREE);
	uint64_t start = bench_now_ns();

	shape_unlink(&trial->tree->base, fd);
	close(fd);
	if (unlinkat(trial->tree->host.config.state_fd, LINK_TREE, AT_REMOVEDIR) < 0)
		err(1, "%s", LINK_TREE);
	return bench_now_ns() - start;
}

static bool
place(struct trial *trial, struct bench_placed *ret_placed)
{
	return bench_place(&trial->tree->host, &trial->stager, &trial->tree->next.root, ret_placed);
}

uint64_t
trial_place(void *arg)
{
	struct trial *trial = arg;
	struct bench_host *host = &trial->tree->host;
	struct bench_placed placed;
	struct isolated isolated = {.host = host, .placed = &placed};
	struct isolate_times times = {0};
	uint64_t start, elapsed;
	bool good;

	trial_next(trial);
	start = bench_now_ns();
	good = place(trial, &placed);
	elapsed = bench_now_ns() - start;
	if (bench_has_mounts(&placed)) {
		good = isolate_run(&isolated, &times) == 0 && good;
		isolate_reap();
	}
	bench_release(host, &trial->stager, &placed);
	bench_empty_trash(host);
	return good ? elapsed + times.mount_ns : SERIES_FAILED;
}

/* What a host has that has seen the tree before, as has its worker: the janitor grants wishes. */
void
trial_warm(struct trial *trial)
{
	struct bench_stager stager;
	struct bench_placed placed;

	tree_next(trial->tree, CHANGE_EXACT);
	if (trial->engine == ENGINE_AUTO) {
		bench_stager_open(&trial->tree->host, ENGINE_BIND, &stager);
		(void)bench_place(&trial->tree->host, &stager, &trial->tree->next.root, &placed);
		bench_release(&trial->tree->host, &stager, &placed);
		bench_stager_close(&stager);
	}
	(void)place(trial, &placed);
	bench_release(&trial->tree->host, &trial->stager, &placed);
	bench_empty_trash(&trial->tree->host);
}

/* The action: looks at its inputs, writes one output. */
struct act {
	const struct filled_shape *filled;
	unsigned percent;
};

static int
act(void *arg, int rootfd)
{
	static const char page[4096];
	const struct act *what = arg;
	int fd, rc;

	rc = shape_touch(what->filled, rootfd, what->percent);
	if (rc < 0)
		return rc;
	fd = openat(rootfd, SHAPE_OUTPUT, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	rc = fs_write_all(fd, page, sizeof(page));
	close(fd);
	return rc;
}

static void
add_us(struct series *series, uint64_t ns)
{
	series_add(series, (double)ns / 1000);
}

uint64_t
trial_whole(void *arg)
{
	struct trial *trial = arg;
	struct bench_host *host = &trial->tree->host;
	struct bench_placed placed;
	struct act what = {&trial->tree->next, trial->percent};
	struct isolated isolated = {.host = host, .placed = &placed, .work = act, .arg = &what};
	struct isolate_times times;
	uint64_t start, released;
	bool good;

	trial_next(trial);
	start = bench_now_ns();
	good = place(trial, &placed);
	good = isolate_run(&isolated, &times) == 0 && good;
	bench_release(host, &trial->stager, &placed);
	released = bench_now_ns();
	add_us(&trial->action_ends, released - times.ended_ns);
	isolate_reap();
	released = bench_now_ns();
	bench_empty_trash(host);
	add_us(&trial->janitor_ends, bench_now_ns() - released);
	return good ? bench_now_ns() - start : SERIES_FAILED;
}

uint64_t
trial_in_place(void *arg)
{
	struct trial *trial = arg;
	const struct bench_host *host = &trial->tree->host;
	struct act what = {&trial->tree->base, trial->percent};
	char tree[PATH_MAX + 128];
	struct isolated isolated = {.host = host, .tree = tree, .work = act, .arg = &what};
	struct isolate_times times;
	uint64_t start;

	snprintf(tree, sizeof(tree), "%s/%s", host->config.state_dir, REFERENCE_TREE);
	start = bench_now_ns();
	if (isolate_run(&isolated, &times) < 0)
		errx(1, "%s: the action in place failed", tree);
	if (unlinkat(host->config.state_fd, REFERENCE_TREE "/" SHAPE_OUTPUT, 0) < 0)
		err(1, "the output in place");
	add_us(&trial->action_ends, bench_now_ns() - times.ended_ns);
	isolate_reap();
	return bench_now_ns() - start;
}

void
trial_reference_make(struct trial *trial)
{
	int fd = trial_link_tree(trial, REFERENCE_TREE);

	if (mkdirat(fd, "out", 0755) < 0)
		err(1, "%s/out", REFERENCE_TREE);
	close(fd);
}

void
trial_reference_remove(struct trial *trial)
{
	link_tree_remove(trial, REFERENCE_TREE);
}
