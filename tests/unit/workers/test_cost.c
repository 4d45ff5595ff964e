/* What is kept of the costs and ways, and what is measured. */
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "tests/cmocka_wrap.h"
#include "workers/cost.h"
#include "workers/ways.h"

static char the_dir[] = "/tmp/ramet-cost.XXXXXX";
static int the_fd;

static int
setup(void **state)
{
	strlcpy(the_dir, "/tmp/ramet-cost.XXXXXX", sizeof the_dir);
	if (mkdtemp(the_dir) == NULL)
		return -1;
	the_fd = open(the_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return the_fd < 0 ? -1 : 0;
}

static int
teardown(void **state)
{
	close(the_fd);
	return fs_remove_tree(AT_FDCWD, the_dir);
}

static void
file_write(const char *name, const char *text)
{
	assert_int_equal(fs_write_atomic(the_fd, name, text, strlen(text), 0644), 0);
}

static void
test_kept_and_smoothed(void **state)
{
	struct cost_model costs, kept;

	assert_int_equal(cost_read(the_fd, &kept), -ENOENT);
	cost_default(&costs);
	costs.ns[COST_LINK] = 8000;
	assert_int_equal(cost_keep(the_fd, &costs), 0);
	assert_int_equal(costs.ns[COST_LINK], 8000); /* nothing to be smoothed with */
	assert_int_equal(cost_read(the_fd, &kept), 0);
	assert_memory_equal(&kept, &costs, sizeof costs);
	costs.ns[COST_LINK] = 16000; /* a quarter of the way */
	costs.ns[COST_BIND] = kept.ns[COST_BIND] * 5; /* another machine */
	costs.ns[COST_IMAGE] = kept.ns[COST_IMAGE] / 5;
	assert_int_equal(cost_keep(the_fd, &costs), 0);
	assert_int_equal(costs.ns[COST_LINK], 10000);
	assert_int_equal(costs.ns[COST_BIND], kept.ns[COST_BIND] * 5);
	assert_int_equal(costs.ns[COST_IMAGE], kept.ns[COST_IMAGE] / 5);
}

static void
test_damaged_costs(void **state)
{
	static const char *const bad[] = {"", "\n\n", "link", "link -1\n", "link 12 3\n",
	    "link 5000000000\n", "link x\n", "link 1\nbind\n", "other 1\n"};
	struct cost_model costs, before;

	memset(&before, 7, sizeof before);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		costs = before;
		file_write("costs", bad[i]);
		assert_int_equal(cost_read(the_fd, &costs), -EBADMSG);
		assert_memory_equal(&costs, &before, sizeof costs);
	}
	file_write("costs", "link 77\nanother_version's 5\n");
	assert_int_equal(cost_read(the_fd, &costs), 0);
	assert_int_equal(costs.ns[COST_LINK], 77);
	cost_default(&before);
	assert_int_equal(costs.ns[COST_BIND], before.ns[COST_BIND]);
}

static void
test_measured(void **state)
{
	struct cost_model costs;

	cost_measure(the_fd, the_dir, 0, &costs);
	for (int item = 0; item < COST_COUNT; item++) {
		assert_in_range(costs.ns[item], 1, 1000000000);
		assert_non_null(cost_names[item]);
		assert_non_null(cost_words[item]);
	}
	assert_int_equal(faccessat(the_fd, "tree/d15/f7", F_OK, 0), 0);
}

/* Where nothing can be made the defaults stay. */
static void
test_not_measured(void **state)
{
	struct cost_model costs, defaults;
	int fd = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		skip();
	cost_measure(fd, "/proc/self", 0, &costs);
	close(fd);
	cost_default(&defaults);
	assert_memory_equal(&costs, &defaults, sizeof costs);
}

/* An eighth of the way, however far off. */
static void
test_learnt(void **state)
{
	struct cost_model costs = {.ns = {[COST_LINK] = 8000}};

	cost_learn(&costs, COST_LINK, 1000, 2000);
	assert_int_equal(costs.ns[COST_LINK], 9000);
	cost_learn(&costs, COST_LINK, 1000, UINT64_MAX / 1000000);
	assert_int_equal(costs.ns[COST_LINK], (9000 * 7 + 36000) / 8);
	costs.ns[COST_LINK] = 8000;
	cost_learn(&costs, COST_LINK, 1000, 0);
	assert_int_equal(costs.ns[COST_LINK], (8000 * 7 + 2000) / 8);
	cost_learn(&costs, COST_LINK, 0, 5);
	assert_int_equal(costs.ns[COST_LINK], 7250);
	cost_learn(&costs, COST_BIND, 1000, 5000); /* none is none */
	assert_int_equal(costs.ns[COST_BIND], 0);
}

static void
test_median(void **state)
{
	struct cost_samples samples = {.ns = {9, 1, 1000000, 5, 3}, .count = 5};

	assert_int_equal(cost_median(&samples), 5);
	samples.count = 0;
	assert_int_equal(cost_median(&samples), 0);
	for (unsigned i = 0; i < COST_SAMPLES_MAX + 10; i++) {
		cost_begin(&samples);
		cost_end(&samples, 1);
	}
	assert_int_equal(samples.count, COST_SAMPLES_MAX);
	assert_true(cost_median(&samples) > 0);
}

static void
test_ways(void **state)
{
	struct host_config config = {.state_fd = the_fd, .engine = ENGINE_IMAGE};
	struct probe probe = {.is_root = true};
	struct ways ways;

	assert_int_equal(ways_read(the_fd, &ways), -ENOENT);
	probe.ways[PLACE_BIND].works = probe.ways[PLACE_IMAGE].works = true;
	assert_int_equal(ways_keep(&config, &probe, ISOLATION_ROOT), 0);
	assert_int_equal(ways_read(the_fd, &ways), 0);
	assert_int_equal(ways.engine, ENGINE_IMAGE);
	assert_int_equal(ways.isolation, ISOLATION_ROOT);
	assert_true(ways.uid_differs);
	assert_false(ways.clone_is_native);
	for (int way = 0; way < PLACE_WAY_COUNT; way++)
		assert_int_equal(ways.works[way], way == PLACE_BIND || way == PLACE_IMAGE);
	assert_int_equal(ways_keep(&config, &probe, ISOLATION_USER), 0);
	assert_int_equal(ways_read(the_fd, &ways), 0);
	assert_false(ways.uid_differs);
}

static void
test_damaged_ways(void **state)
{
	static const char *const bad[] = {"", "engine auto\n", "isolation", "isolation x\n",
	    "isolation root\nengine x\n", "isolation root\nbind 2\n", "isolation root\nbind 01\n"};
	struct ways ways;

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		file_write("ways", bad[i]);
		assert_int_equal(ways_read(the_fd, &ways), -EBADMSG);
	}
	file_write("ways", "isolation none\nanother_version's 1\n");
	assert_int_equal(ways_read(the_fd, &ways), 0);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_kept_and_smoothed),
	    TEST(test_damaged_costs),
	    TEST(test_measured),
	    TEST(test_not_measured),
	    TEST(test_learnt),
	    TEST(test_median),
	    TEST(test_ways),
	    TEST(test_damaged_ways),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
