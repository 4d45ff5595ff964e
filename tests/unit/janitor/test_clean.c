#include <sys/wait.h>

#include <errno.h>

#include "tests/unit/janitor/janitor_host.h"

static struct janitor_host host;

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

/* The number of a process that has been and gone. */
static pid_t
reaped_pid(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	return pid;
}

static void
sandboxes_of_no_live_slot(void **state)
{
	slot_set_sandbox(host.worker, 7);
	host_make_tree(&host, "sandboxes/3.7"); /* in use */
	host_make_tree(&host, "sandboxes/3.6"); /* of the same slot, earlier */
	host_make_tree(&host, "sandboxes/5.7"); /* of a slot that nobody has */
	host_make_tree(&host, "sandboxes/3.7x");
	host_make_tree(&host, "sandboxes/notes");
	assert_int_equal(clean_sandboxes(&host.janitor), 0);
	assert_true(host_has(&host, "sandboxes/3.7"));
	assert_false(host_has(&host, "sandboxes/3.6"));
	assert_false(host_has(&host, "sandboxes/5.7"));
	assert_true(host_has(&host, "sandboxes/3.7x"));
	assert_true(host_has(&host, "sandboxes/notes"));

	slot_set_sandbox(host.worker, 0);
	assert_int_equal(clean_sandboxes(&host.janitor), 0);
	assert_false(host_has(&host, "sandboxes/3.7"));
	assert_int_equal(trash_empty(&host.janitor), 0);
}

static void
trees_without_an_entry(void **state)
{
	struct index_claim claim;
	struct digest building = host_digest(2);
	struct index_pin pin = host_publish(&host, 1, 10);
	char path[128];

	index_unpin(host.region, host.worker, &pin);
	assert_int_equal(index_claim(host.region, host.worker, &building, &claim), 0);
	host_make_tree(&host, host_tree_path(2, path)); /* has its name, not yet published */
	host_make_tree(&host, host_tree_path(3, path)); /* nobody knows it */
	assert_int_equal(clean_trees(&host.janitor), 0);
	assert_true(host_has(&host, host_tree_path(1, path)));
	assert_true(host_has(&host, host_tree_path(2, path)));
	assert_false(host_has(&host, host_tree_path(3, path)));

	index_abandon(host.region, host.worker, &claim);
	assert_int_equal(clean_trees(&host.janitor), 0);
	assert_true(host_has(&host, host_tree_path(1, path)));
	assert_false(host_has(&host, host_tree_path(2, path)));
	assert_int_equal(index_check(host.region, NULL, NULL), 0);
}

static void
half_built_trees_of_the_dead(void **state)
{
	struct digest digest = host_digest(1);
	struct slot_repaired repaired;
	struct index_claim claim;

	assert_int_equal(index_claim(host.region, host.worker, &digest, &claim), 0);
	host_make_tree(&host, "trees/building.3.100"); /* of a slot that builds */
	host_make_tree(&host, "trees/building.9.100"); /* of one that does not */
	assert_int_equal(clean_trees(&host.janitor), 0);
	assert_true(host_has(&host, "trees/building.3.100"));
	assert_false(host_has(&host, "trees/building.9.100"));

	slot_repair(host.region, HOST_WORKER, &repaired);
	assert_int_equal(repaired.builds, 1);
	assert_int_equal(clean_trees(&host.janitor), 0);
	assert_false(host_has(&host, "trees/building.3.100"));
}

/* What is made in the place of something damaged is somebody's, too. */
static void
what_is_made_anew(void **state)
{
	host_make_tree(&host, "images");
	index_rebuild_begin(host.worker);
	host_make_tree(&host, "images/building.3.100");
	assert_int_equal(clean_trees(&host.janitor), 0);
	assert_true(host_has(&host, "images/building.3.100"));
	index_rebuild_end(host.worker);
	assert_int_equal(clean_trees(&host.janitor), 0);
	assert_false(host_has(&host, "images/building.3.100"));
}

/* Trials of the probe, and files under their temporary names. */
static void
what_the_dead_were_making(void **state)
{
	static const char *const parts[][2] = {{"probe.", ".3"}, {".tmp.", ".1"},
	    {".tmp.index.", ""}, {"cas/.tmp.usage.", ".0"}, {"ingest/.tmp.", ".9"}};
	const long dead_pid = reaped_pid();
	char ours[64], dead[64];

	assert_int_equal(fs_mkdir(host.config.state_fd, "cas", 0755), 0);
	assert_int_equal(fs_mkdir(host.config.state_fd, "ingest", 0755), 0);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		snprintf(ours, sizeof(ours), "%s%ld%s", parts[i][0], (long)getpid(), parts[i][1]);
		snprintf(dead, sizeof(dead), "%s%ld%s", parts[i][0], dead_pid, parts[i][1]);
		host_make_file(&host, ours);
		host_make_file(&host, dead);
		assert_int_equal(clean_leftovers(&host.janitor), 0);
		assert_true(host_has(&host, ours));
		assert_false(host_has(&host, dead));
	}
}

static void
indexes_set_aside_a_week_ago(void **state)
{
	struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	int fd = host.config.state_fd;

	host_make_file(&host, "index.bad.1");
	host_make_file(&host, "index.bad.2");
	host_make_file(&host, "index.unclean.1");
	host_make_file(&host, "notes");
	assert_int_equal(utimensat(fd, "index.bad.1", old, 0), 0);
	assert_int_equal(utimensat(fd, "index.unclean.1", old, 0), 0);
	assert_int_equal(utimensat(fd, "notes", old, 0), 0);
	assert_int_equal(utimensat(fd, "index", old, 0), 0);
	assert_int_equal(clean_leftovers(&host.janitor), 0);
	assert_false(host_has(&host, "index.bad.1"));
	assert_true(host_has(&host, "index.bad.2"));
	assert_false(host_has(&host, "index.unclean.1"));
	assert_true(host_has(&host, "notes"));
	assert_true(host_has(&host, "index"));
}

static void
trash_goes_whatever_its_modes(void **state)
{
	uint64_t counters[COUNTER_COUNT];
	int fd = host.config.state_fd;

	host_make_tree(&host, "trash/one");
	host_make_tree(&host, "trash/two");
	host_make_file(&host, "trash/three");
	assert_int_equal(fchmodat(fd, "trash/two", 0, 0), 0);
	assert_int_equal(symlinkat("/etc", fd, "trash/one/link"), 0);
	host_make_tree(&host, "sandboxes/1.1");
	assert_int_equal(trash_put(&host.janitor, "sandboxes", "1.1"), 0);
	assert_int_equal(trash_put(&host.janitor, "sandboxes", "1.1"), -ENOENT);
	assert_int_equal(trash_empty(&host.janitor), 0);
	assert_int_equal(unlinkat(fd, "trash", AT_REMOVEDIR), 0); /* empty */
	counters_read(host.region, counters);
	assert_int_equal(counters[COUNTER_trash_removed], 4);
	assert_int_equal(access("/etc/passwd", F_OK), 0);
	assert_int_equal(trash_empty(&host.janitor), 0); /* none: nothing to do */
}

/* A thing in the trash shares its inodes with the store: they keep their modes. */
static void
trash_leaves_shared_inodes_alone(void **state)
{
	int fd = host.config.state_fd;
	struct stat st;

	host_make_file(&host, "blob");
	host_make_tree(&host, "trash/tree");
	assert_int_equal(linkat(fd, "blob", fd, "trash/tree/blob", 0), 0);
	assert_int_equal(fchmodat(fd, "trash/tree", 0555, 0), 0);
	assert_int_equal(trash_empty(&host.janitor), 0);
	assert_int_equal(fstatat(fd, "blob", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0444);
	assert_int_equal(st.st_nlink, 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(sandboxes_of_no_live_slot, open_host, close_host),
	    cmocka_unit_test_setup_teardown(trees_without_an_entry, open_host, close_host),
	    cmocka_unit_test_setup_teardown(half_built_trees_of_the_dead, open_host, close_host),
	    cmocka_unit_test_setup_teardown(what_is_made_anew, open_host, close_host),
	    cmocka_unit_test_setup_teardown(what_the_dead_were_making, open_host, close_host),
	    cmocka_unit_test_setup_teardown(indexes_set_aside_a_week_ago, open_host, close_host),
	    cmocka_unit_test_setup_teardown(trash_goes_whatever_its_modes, open_host, close_host),
	    cmocka_unit_test_setup_teardown(
		trash_leaves_shared_inodes_alone, open_host, close_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
