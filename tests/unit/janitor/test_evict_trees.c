#include <sys/wait.h>

#include <signal.h>

#include "shm/internal.h"
#include "tests/unit/janitor/janitor_host.h"

static struct janitor_host host;
static const char *self;

static int
open_host(void **state)
{
	return host_open(&host, NULL);
}

static int
close_host(void **state)
{
	host_close(&host);
	return 0;
}

/* Cached, unpinned, and last used at the time given. */
static void
cache_tree(unsigned i, uint64_t bytes, uint32_t last_used_s)
{
	struct index_pin pin = host_publish(&host, i, bytes);

	index_unpin(host.region, host.worker, &pin);
	atom_store_relaxed(&host.region->hot[pin.entry].last_used_s, last_used_s);
}

static void
the_least_recently_used_go_first(void **state)
{
	static const uint32_t used[] = {500, 100, 300, 200, 400};
	struct evict_need need = {.trees = 2};
	struct evict_done done;

	for (unsigned i = 0; i < 5; i++)
		cache_tree(i, 10, used[i]);
	assert_int_equal(evict_trees(&host.janitor, &need, &done), 0);
	assert_int_equal(done.trees, 2);
	assert_int_equal(done.held_trees, 5);
	assert_int_equal(done.held_private_bytes, 50);
	assert_true(host_is_cached(&host, 0));
	assert_false(host_is_cached(&host, 1));
	assert_true(host_is_cached(&host, 2));
	assert_false(host_is_cached(&host, 3));
	assert_true(host_is_cached(&host, 4));
}

static void
bytes_are_counted_too(void **state)
{
	struct evict_need need = {.private_bytes = 25};
	struct evict_done done;

	for (unsigned i = 0; i < 5; i++)
		cache_tree(i, 10, 100 + i);
	assert_int_equal(evict_trees(&host.janitor, &need, &done), 0);
	assert_int_equal(done.trees, 3);
	assert_int_equal(done.private_bytes, 30);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(host_is_cached(&host, i), i >= 3);
}

static void
a_pinned_tree_stays_also_when_the_pin_is_inside(void **state)
{
	struct index_tree inner = {.files = 1, .bytes = 1};
	struct evict_need need = {.trees = UINT64_MAX};
	struct index_pin direct, outer, inside;
	struct digest sub = host_digest(77);
	struct evict_done done;

	cache_tree(0, 10, 1);
	direct = host_publish(&host, 1, 10);
	outer = host_publish(&host, 2, 10);
	assert_int_equal(
	    index_add_inside(host.region, host.worker, &outer, &sub, "file", &inner), 0);
	assert_int_equal(index_pin(host.region, host.worker, &sub, &inside), 0);
	index_unpin(host.region, host.worker, &outer);

	assert_int_equal(evict_trees(&host.janitor, &need, &done), 0);
	assert_int_equal(done.trees, 1);
	assert_false(host_is_cached(&host, 0));
	assert_true(host_is_cached(&host, 1));
	assert_true(host_is_cached(&host, 2));

	index_unpin(host.region, host.worker, &inside);
	index_unpin(host.region, host.worker, &direct);
	assert_int_equal(evict_trees(&host.janitor, &need, &done), 0);
	assert_int_equal(done.trees, 2);
	assert_false(host_is_cached(&host, 1));
	assert_false(host_is_cached(&host, 2));
}

static void
a_tree_that_cannot_be_moved_stays_cached(void **state)
{
	struct evict_need need = {.trees = 1};
	struct evict_done done;

	cache_tree(0, 10, 1);
	assert_int_equal(unlinkat(host.config.state_fd, "trash", AT_REMOVEDIR), 0);
	host_make_file(&host, "trash"); /* in the way: ENOTDIR */
	assert_int_equal(evict_trees(&host.janitor, &need, &done), 0);
	assert_int_equal(done.trees, 0);
	assert_true(host_is_cached(&host, 0));
}

static void
limits(void **state)
{
	host.config.index_bytes = 55;
	for (unsigned i = 0; i < 10; i++)
		cache_tree(i, 10, 100 + i);
	assert_int_equal(evict_trees_to_limits(&host.janitor), 0);
	/* 45 too many, and a tenth of the limit more: 50 */
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(host_is_cached(&host, i), i >= 5);

	host.config.index_bytes = 0;
	host.janitor.scanned_us = 0;
	assert_int_equal(evict_trees_to_limits(&host.janitor), 0);
	assert_true(host_is_cached(&host, 5));
}

/* The program itself, in a process of its own: evicts everything, and dies at a crash point. */
static int
evict_and_die(const char *path)
{
	struct evict_need need = {.trees = UINT64_MAX};
	struct evict_done done;

	if (host_open(&host, path) != 0 || evict_trees(&host.janitor, &need, &done) != 0)
		return 1;
	return 0;
}

static void
die_at(const char *point)
{
	int status;
	pid_t pid;

	region_close(host.region);
	host.region = NULL;
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		setenv("RAMET_CRASH", point, 1);
		execl(self, self, "evict", host.config.state_dir, (char *)NULL);
		_exit(2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGKILL);
	assert_int_equal(host_open_region(&host), 0);
}

static void
the_next_janitor_finishes(void **state)
{
	static const char *const points[] = {"evict_leaving", "evict_renamed", "evict_leaving:2"};
	uint64_t counters[COUNTER_COUNT];

#ifndef RAMET_FAULTS
	print_message("no crash points in this build\n");
	skip();
#endif
	for (unsigned p = 0; p < 3; p++) {
		for (unsigned i = 0; i < 3; i++)
			cache_tree(10 * p + i, 10, 100 + i);
		die_at(points[p]);
		assert_int_equal(evict_trees_resume(&host.janitor), 0);
		assert_false(host_is_cached(&host, 10 * p));
		assert_int_equal(host_is_cached(&host, 10 * p + 1), p != 2);
		assert_true(host_is_cached(&host, 10 * p + 2));
		assert_int_equal(index_check(host.region, NULL, NULL), 0);
		cache_tree(10 * p, 10, 1000); /* nothing is in its way */
		assert_true(host_is_cached(&host, 10 * p));
	}
	counters_read(host.region, counters);
	assert_int_equal(counters[COUNTER_index_trees], 8);
	assert_int_equal(counters[COUNTER_index_bytes], 80);
	assert_int_equal(trash_empty(&host.janitor), 0);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		the_least_recently_used_go_first, open_host, close_host),
	    cmocka_unit_test_setup_teardown(bytes_are_counted_too, open_host, close_host),
	    cmocka_unit_test_setup_teardown(
		a_pinned_tree_stays_also_when_the_pin_is_inside, open_host, close_host),
	    cmocka_unit_test_setup_teardown(
		a_tree_that_cannot_be_moved_stays_cached, open_host, close_host),
	    cmocka_unit_test_setup_teardown(limits, open_host, close_host),
	    cmocka_unit_test_setup_teardown(the_next_janitor_finishes, open_host, close_host),
	};

	if (argc == 3 && strcmp(argv[1], "evict") == 0)
		return evict_and_die(argv[2]);
	self = argv[0];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
