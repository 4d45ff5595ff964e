/*
 * Real actions in composed sandboxes, under each isolation that this system allows: they see their
 * inputs, can write their outputs, and however hard one tries, the next one sees the same inputs.
 *
 * A runner changes its process for good, so each isolation has a process of its own: this program
 * started again with the isolation's name.
 */
#include <sys/wait.h>

#include <spawn.h>

#include "tests/cmocka_wrap.h"
#include "tests/unit/workers/stage_host.h"
#include "workers/run.h"

enum { OTHER_UID = 64321 };

static struct host the_host;
static struct runner *the_runner;
static enum isolation tested;

static const char vandal[] =
    "for f in in/x in/run in/deep/y loose loose-run large; do\n"
    "  echo bad > $f; chmod 666 $f; echo bad > $f; touch -d @0 $f; truncate -s 0 $f; rm -f $f\n"
    "done 2>/dev/null\n"
    "chmod 777 in in/deep; rm -rf in/deep; touch in/new; mv in elsewhere\n"
    "umount in; mount -o remount,rw in\n"
    "exec 2>/dev/null; ln in/x out/link; echo worse > out/link; chmod 777 out/link\n"
    "echo worse > out/link; exit 0\n";

static uid_t
action_uid(void)
{
	return geteuid() == 0 && tested != ISOLATION_USER ? OTHER_UID : geteuid();
}

static struct digest
make_tree(struct host *host)
{
	static char large[200000];
	ReapiDirectory *deep = dir_new(host), *in = dir_new(host), *root = dir_new(host);

	dir_add_file(host, deep, "y", "why\n", false);
	struct digest deep_digest = dir_put(host, deep);
	dir_add_file(host, in, "x", "ex\n", false);
	dir_add_file(host, in, "run", "#!/bin/sh\ncat in/x in/deep/y loose\n", true);
	dir_add_dir(host, in, "deep", &deep_digest);
	struct digest in_digest = dir_put(host, in);
	dir_add_dir(host, root, "in", &in_digest);
	dir_add_file(host, root, "loose", "loose\n", false);
	dir_add_file(host, root, "loose-run", "#!/bin/sh\n", true);
	memset(large, 'L', sizeof large);
	struct digest blob = host_put(host, large, sizeof large);
	dir_add_digest(host, root, "large", &blob, false);
	return dir_put(host, root);
}

static void
stage_as(struct host *host, const struct digest *root, const char *output, bool guard_off)
{
	const char *const outputs[] = {output};
	struct stage_request request = {.root = *root,
	    .working_directory = "",
	    .output_paths = outputs,
	    .output_count = 1,
	    .guard_off = guard_off};
	struct sandbox *sandbox = &host->sandbox;

	assert_int_equal(sandbox_make(host->config.state_fd, host->slot, HOST_SLOT, action_uid(),
			     sandbox, &host->err),
	    0);
	int rc = stage_compose(host->stager, &request, sandbox, &host->report, &host->err);
	if (rc != 0)
		fail_msg("%s", host->err.text);
}

static void
stage(struct host *host, const struct digest *root)
{
	stage_as(host, root, "out/o", false);
	assert_int_equal(host_compare(host, root, (const char *const[]){"out", NULL}), 0);
}

static int
run(struct host *host, const char *script)
{
	const char *argv[] = {"/bin/sh", "-c", script, NULL};
	const char *env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
	struct run_request request = {
	    .argv = (char *const *)argv,
	    .env = (char *const *)env,
	    .working_directory = "",
	    .binds = host->report.binds,
	    .bind_count = host->report.bind_count,
	    .overlay = host->report.has_overlay ? &host->report.overlay : NULL,
	    .cancel_fd = -1,
	};
	struct run_result result;

	int rc = run_action(the_runner, &host->sandbox, &request, &result, &host->err);
	if (rc != 0)
		fail_msg("%s", host->err.text);
	return result.exit_code;
}

static void
test_inputs_and_outputs(void **state)
{
	struct host *host = &the_host;
	struct digest root = make_tree(host);
	uint8_t *data;
	size_t len;

	(void)state;
	stage(host, &root);
	for (size_t i = 0; i < host->report.bind_count; i++) {
		const struct stage_bind *bind = &host->report.binds[i];
		struct stat st;

		assert_int_equal(fstatat(host->sandbox.rootfd, bind->target, &st, 0), 0);
		assert_int_equal(st.st_mode & 07777,
		    bind->is_directory ? MOUNT_POINT_DIRECTORY_MODE : MOUNT_POINT_FILE_MODE);
	}
	assert_int_equal(
	    run(host, "test -x loose-run && in/run > out/o && wc -c < large >> out/o"), 0);
	assert_int_equal(fs_read_file(host->sandbox.rootfd, "out/o", 1000, &data, &len), 0);
	assert_int_equal(len, strlen("ex\nwhy\nloose\n200000\n"));
	assert_memory_equal(data, "ex\nwhy\nloose\n200000\n", len);
	free(data);
	assert_int_equal(host_release(host), 0);
	assert_null(host_leak(host));
}

static void
test_no_action_changes_what_another_sees(void **state)
{
	static const enum engine engines[] = {ENGINE_AUTO, ENGINE_COPY, ENGINE_CLONEFILE};
	struct host *host = &the_host;
	struct digest root = make_tree(host);

	(void)state;
	for (size_t i = 0; i < sizeof engines / sizeof engines[0]; i++) {
		host_stager(host, engines[i], tested, action_uid());
		for (int again = 0; again < 2; again++) {
			stage(host, &root); /* compares */
			run(host, vandal);
			assert_int_equal(host_release(host), 0);
			assert_null(host_leak(host));
		}
		stage(host, &root);
		assert_int_equal(host_release(host), 0);
	}
	/* A blob that nobody stages: straight from the store. */
	struct digest *missing = NULL;
	size_t count;
	assert_int_equal(tree_missing(host->cas, &root, &missing, &count, &host->err), 0);
	assert_int_equal(count, 0);
	free(missing);
}

/* The cached tree below, entry by entry. */
static void
check_lower(struct host *host, const char *lower, const struct digest *root)
{
	struct compare compare = {.host = host};
	int fd;

	host->report.bind_count = 0;
	assert_int_equal(fs_open_beneath(host->config.state_fd, lower, &fd), 0);
	compare_directory(&compare, fd, "", root);
	close(fd);
	assert_int_equal(compare.differences, 0);
}

static bool
no_overlay(struct host *host)
{
	bool *works = &host->probe.ways[PLACE_OVERLAY].works;
	double us;

	if (tested == ISOLATION_NONE)
		return true;
	if (!*works)
		*works = run_try_overlay(&host->config, tested, &us, &host->err) == 0;
	if (!*works)
		print_message("skipped: overlay: %s\n", host->err.text);
	return !*works;
}

static void
test_inputs_that_may_be_written(void **state)
{
	struct host *host = &the_host;
	struct digest root = make_tree(host);
	char lower[INDEX_LOCATION_SIZE];
	uint8_t *data;
	size_t len;

	(void)state;
	if (no_overlay(host))
		return;
	host_stager(host, ENGINE_AUTO, tested, action_uid());
	for (int again = 0; again < 3; again++) {
		stage_as(host, &root, "out/o", true);
		assert_true(host->report.has_overlay && host->report.overlay.is_owned);
		assert_int_equal(host->report.bind_count, 0);
		assert_int_equal(host->report.files_placed, 6);
		assert_int_equal(host->report.files[PLACE_COPY], 0);
		strlcpy(lower, host->report.overlay.lower, sizeof lower);
		/* What is there is what was put in, whatever the action before has done. */
		assert_int_equal(
		    run(host,
			"set -e; in/run >out/o; wc -c <large >>out/o; echo more >>loose; "
			"cat loose >>out/o; chmod 600 in/x; echo y >in/x; mv in/run in/r; "
			"rm -r in/deep; mkdir in/deep; : >in/deep/z; rm large; "
			"ln in/r linked; test $(cat in/x) = y; test ! -e in/run"),
		    0);
		assert_int_equal(fs_read_file(host->sandbox.rootfd, "out/o", 1000, &data, &len), 0);
		assert_int_equal(len, strlen("ex\nwhy\nloose\n200000\nloose\nmore\n"));
		free(data);
		assert_int_equal(host_release(host), 0);
		stage_as(host, &root, "out/o", true); /* one action in one sandbox */
		run(host, vandal);
		assert_int_equal(host_release(host), 0);
		assert_null(host_leak(host));
		check_lower(host, lower, &root);
	}
}

/* The whole host is out of reach all the same: the action may write to what is its own, no more. */
static void
test_own_inputs_give_no_more_rights(void **state)
{
	struct host *host = &the_host;
	struct digest root = make_tree(host);

	(void)state;
	if (no_overlay(host) || (geteuid() == 0 && tested == ISOLATION_USER)) /* that is root */
		return;
	HOST_TRY("secret", fs_write_atomic(host->config.state_fd, "secret", "s", 1, 0));
	stage_as(host, &root, "out/o", true);
	char *script = arena_printf(host->arena,
	    "cat /etc/shadow && exit 1; cat %s/secret && exit 2; echo >/etc/ramet-test && exit 3; "
	    "mount -t tmpfs x in && exit 4; chown 0 in/x && exit 5; mknod dev c 1 3 && exit 6; "
	    "umount /tmp/ramet && exit 7; ls /proc/1/fd && exit 8; test $(id -u) = %u || exit 9; "
	    "ls -d %s/trees && exit 10; exit 0",
	    host->dir, (unsigned)action_uid(), host->dir);
	assert_int_equal(run(host, script), 0);
	assert_int_equal(host_release(host), 0);
	HOST_TRY("secret", unlinkat(host->config.state_fd, "secret", 0) != 0 ? -errno : 0);
}

/* A working directory of many files is mounted, not placed; what is made there is on one volume. */
static void
test_large_flat_spine(void **state)
{
	struct host *host = &the_host;
	ReapiDirectory *in = dir_new(host), *src = dir_new(host), *flat = dir_new(host);
	ReapiDirectory *root = dir_new(host), *lower_root = dir_new(host);
	char name[16], lower[INDEX_LOCATION_SIZE];
	uint8_t *data;
	size_t len;

	(void)state;
	if (no_overlay(host))
		return;
	dir_add_file(host, in, "x", "ex\n", false);
	struct digest in_digest = dir_put(host, in);
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof name, "f%02d", i);
		dir_add_file(host, src, name, name, i % 2 != 0);
		dir_add_file(host, flat, name, name, i % 2 != 0);
	}
	dir_add_symlink(host, src, "link", "f00");
	dir_add_symlink(host, flat, "link", "f00");
	dir_add_dir(host, src, "in", &in_digest);
	dir_add_file(host, root, "top", "top\n", false);
	struct digest src_digest = dir_put(host, src), flat_digest = dir_put(host, flat);
	dir_add_dir(host, root, "src", &src_digest);
	dir_add_dir(host, lower_root, "src", &flat_digest);
	struct digest digest = dir_put(host, root), lower_digest = dir_put(host, lower_root);

	host_stager(host, ENGINE_AUTO, tested, action_uid());
	for (int again = 0; again < 3; again++) {
		stage_as(host, &digest, "src/o", false);
		assert_true(host->report.has_overlay && !host->report.overlay.is_owned);
		assert_true(digest_equal(&host->report.overlay.digest, &lower_digest));
		assert_int_equal(host->report.bind_count, 1); /* src/in */
		assert_int_equal(host->report.files_placed, 102);
		assert_int_equal(host->report.files[PLACE_OVERLAY], 100);
		assert_int_equal(host->report.subtrees_built, again == 0 ? 2 : 0);
		strlcpy(lower, host->report.overlay.lower, sizeof lower);
		assert_int_equal(
		    run(host,
			"set -e; cat src/in/x >src/o; cat src/f07 top >>src/o; cat src/link "
			">>src/o; ls src | wc -l >>src/o; test -x src/f01; test ! -x src/f02; "
			"ln src/o top.o; rm src/f03; ! test -e src/f03; "
			"! (echo y >src/in/x) 2>/dev/null"),
		    0);
		assert_int_equal(fs_read_file(host->sandbox.rootfd, "src/o", 1000, &data, &len), 0);
		assert_int_equal(len, strlen("ex\nf07top\nf00104\n"));
		assert_memory_equal(data, "ex\nf07top\nf00103\n", 10);
		free(data);
		assert_int_equal(host_release(host), 0);
		stage_as(host, &digest, "src/o", false);
		run(host,
		    "cd src; for f in *; do echo y >$f; chmod 777 $f; echo y >$f; mv $f x$f; "
		    "done 2>/dev/null; rm -rf f*; exit 0");
		assert_int_equal(host_release(host), 0);
		assert_null(host_leak(host));
		check_lower(host, lower, &lower_digest);
	}
	/* Few files are placed one by one. */
	struct digest small = make_tree(host);
	stage(host, &small);
	assert_false(host->report.has_overlay);
	assert_int_equal(host_release(host), 0);
}

static int
run_isolation(enum isolation isolation)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_inputs_and_outputs),
	    cmocka_unit_test(test_no_action_changes_what_another_sees),
	    cmocka_unit_test(test_inputs_that_may_be_written),
	    cmocka_unit_test(test_own_inputs_give_no_more_rights),
	    cmocka_unit_test(test_large_flat_spine),
	};
	struct host *host = &the_host;

	tested = isolation;
	host_start(host, "/dev/shm");
	host->config.isolation = isolation;
	host->config.action_uid_base = OTHER_UID;
	host->config.kill_grace_ms = 1000;
	host->config.log_cap_bytes = 1 << 20;
	HOST_TRY("runner",
	    runner_new(
		&host->config, isolation, action_uid(), host->slot, &the_runner, &host->err));
	host_stager(host, ENGINE_AUTO, isolation, action_uid());
	int failed = cmocka_run_group_tests_name(isolation_names[isolation], tests, NULL, NULL);
	runner_free(the_runner);
	host_stop(host);
	return failed == 0 ? 0 : 1;
}

/* Does this system allow it?  Asked in a process of its own too. */
static int
try(enum isolation isolation)
{
	struct host *host = &the_host;
	double us;

	host_start(host, "/dev/shm");
	host->config.kill_grace_ms = 1000;
	host->config.log_cap_bytes = 1 << 20;
	int rc = run_try_isolation(&host->config, isolation, &us, &host->err);
	if (rc != 0)
		print_message(
		    "skipped: isolation %s: %s\n", isolation_names[isolation], host->err.text);
	host_stop(host);
	return rc == 0 ? 0 : 1;
}

static int
again(char *self, const char *what, enum isolation isolation)
{
	char *argv[] = {self, (char *)what, (char *)isolation_names[isolation], NULL};
	pid_t pid;
	int status;

	if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ) != 0 ||
	    waitpid(pid, &status, 0) != pid)
		return 1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int
main(int argc, char **argv)
{
	int failed = 0, ran = 0;

	for (int i = ISOLATION_ROOT; i < ISOLATION_COUNT; i++) {
		enum isolation isolation = (enum isolation)i;
		if (argc == 3 && strcmp(argv[2], isolation_names[i]) == 0)
			return strcmp(argv[1], "try") == 0 ? try(isolation)
							   : run_isolation(isolation);
		if (argc == 3)
			continue;
		if (isolation == ISOLATION_ROOT && geteuid() != 0) {
			print_message("skipped: isolation root: needs root\n");
			continue;
		}
		if (again(argv[0], "try", isolation) != 0)
			continue;
		failed += again(argv[0], "run", isolation);
		ran++;
	}
	return failed == 0 && ran > 0 ? 0 : 1;
}
