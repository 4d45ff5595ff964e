/*
 * Each call of staging fails at each turn, and each crash point kills it: the tree is right by
 * another way or the error is clean, nothing is leaked, and the next try works.
 *
 * The work is done by this program started again with the fault in its environment:
 *   test_stage_faults work DIR ENGINE ISOLATION   exits 0 (staged), 10 (refused cleanly), 20
 * (wrong)
 */
#include <sys/wait.h>

#include <signal.h>
#include <spawn.h>

#include "base/log.h"
#include "tests/cmocka_wrap.h"
#include "tests/unit/workers/stage_host.h"

enum { EXIT_STAGED = 0, EXIT_REFUSED = 10, EXIT_WRONG = 20, EXIT_NO_HOST = 30 };

static char *self;

/* Two directories, one in the other, twins, an empty file, a symlink: every call is made. */
static struct digest
make_tree(struct host *host)
{
	ReapiDirectory *deep = dir_new(host), *a = dir_new(host), *root = dir_new(host);

	dir_add_file(host, deep, "y", "why", false);
	struct digest deep_digest = dir_put(host, deep);
	dir_add_file(host, a, "x", "ex", false);
	dir_add_file(host, a, "run", "run", true);
	dir_add_file(host, a, "empty", "", false);
	dir_add_symlink(host, a, "link", "x");
	dir_add_dir(host, a, "deep", &deep_digest);
	struct digest a_digest = dir_put(host, a);
	dir_add_dir(host, root, "a", &a_digest);
	dir_add_dir(host, root, "b", &digest_empty);
	dir_add_file(host, root, "loose", "loose", false);
	dir_add_symlink(host, root, "link", "a/x");
	return dir_put(host, root);
}

static int
wrong(struct host *host, const char *what)
{
	fprintf(stderr, "%s (%s)\n", what, host->err.text);
	return EXIT_WRONG;
}

static int
stage_once(struct host *host, const struct digest *root)
{
	int rc = sandbox_make(
	    host->config.state_fd, host->slot, HOST_SLOT, (uid_t)-1, &host->sandbox, &host->err);

	if (rc == 0) {
		struct stage_request request = {.root = *root, .working_directory = ""};
		rc = stage_compose(
		    host->stager, &request, &host->sandbox, &host->report, &host->err);
		if (rc == 0 && host_compare(host, root, NULL) != 0)
			return wrong(host, "another tree");
		stage_release(host->stager, &host->report, &host->err);
		sandbox_release(host->config.state_fd, host->slot, &host->sandbox);
	}
	const char *leak = host_leak(host);
	if (leak != NULL)
		return wrong(host, leak);
	if (rc != 0 && host->err.text[0] == '\0')
		return wrong(host, "an error without words");
	return rc == 0 ? EXIT_STAGED : EXIT_REFUSED;
}

static int
work(char **argv)
{
	static struct host host;

	log_open(open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_LEVEL_ERROR);
	host_exit_code = getenv("RAMET_FAIL") == NULL ? 0 : EXIT_NO_HOST;
	strlcpy(host.dir, argv[2], sizeof host.dir);
	host_open(&host);
	host_take_slot(&host);
	char text[DIGEST_TEXT_SIZE] = "";
	int fd = openat(host.config.state_fd, "root", O_RDONLY | O_CLOEXEC);
	struct digest root;
	if (fd < 0 || read(fd, text, sizeof text - 1) <= 0 || digest_from_text(text, &root) != 0)
		return wrong(&host, "no root");
	close(fd);
	host_stager(&host, (enum engine)atoi(argv[3]), (enum isolation)atoi(argv[4]), geteuid());
	/* The fault strikes once, in one of the tries; the next must work. */
	int refused = 0, result = EXIT_STAGED;
	for (int i = 0; i < 3 || result == EXIT_REFUSED; i++) {
		result = stage_once(&host, &root);
		if (result == EXIT_WRONG)
			return result;
		refused += result == EXIT_REFUSED;
		if (refused > 1)
			return wrong(&host, "it goes on failing");
	}
	slot_retire(host.region, HOST_SLOT);
	host_close(&host);
	return refused == 0 ? EXIT_STAGED : EXIT_REFUSED;
}

static int
run_work(const char *dir, enum engine engine, enum isolation isolation, const char *variable,
    const char *value)
{
	char engine_text[8], isolation_text[8];
	char *argv[] = {self, (char *)"work", (char *)dir, engine_text, isolation_text, NULL};
	pid_t pid;
	int status;

	snprintf(engine_text, sizeof engine_text, "%d", engine);
	snprintf(isolation_text, sizeof isolation_text, "%d", isolation);
	setenv(variable, value, 1);
	int rc = posix_spawn(&pid, self, NULL, NULL, argv, environ);
	unsetenv(variable);
	assert_int_equal(rc, 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* A host whose store holds the tree and nothing else. */
static void
fresh(struct host *host)
{
	char text[DIGEST_TEXT_SIZE];

	host_start(host, "/dev/shm");
	struct digest root = make_tree(host);
	digest_to_text(&root, '/', text);
	assert_int_equal(
	    fs_write_atomic(host->config.state_fd, "root", text, strlen(text), 0644), 0);
	slot_retire(host->region, HOST_SLOT);
}

static void
check_fault(const char *call, int error, enum engine engine, enum isolation isolation)
{
	for (int turn = 1, status = 0; turn < 60; turn++) {
		static struct host host;
		char value[64];

		fresh(&host);
		snprintf(value, sizeof value, "%s:%d:%d", call, turn, error);
		status = run_work(host.dir, engine, isolation, "RAMET_FAIL", value);
		int code = WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_WRONG;
		if (code != EXIT_STAGED && code != EXIT_REFUSED && code != EXIT_NO_HOST)
			fail_msg("RAMET_FAIL=%s engine %d: status %#x", value, engine, status);
		host_stop(&host);
		if (turn > 25 && code == EXIT_STAGED)
			return; /* past the last call */
	}
}

static void
test_every_call_fails_once(void **state)
{
	static const struct {
		const char *call;
		int error;
	} faults[] = {
	    {"linkat", EMLINK},
	    {"linkat", EXDEV},
	    {"linkat", EIO},
	    {"linkat", EEXIST},
	    {"mkdirat", ENOSPC},
	    {"symlinkat", ENOSPC},
	    {"renameat", EIO},
	    {"openat", EMFILE},
	};
	(void)state;
#ifndef RAMET_FAULTS
	print_message("skipped: built without faults\n");
	skip();
#endif
	for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
		check_fault(faults[i].call, faults[i].error, ENGINE_AUTO, ISOLATION_ROOT);
	check_fault("linkat", EPERM, ENGINE_HARDLINK, ISOLATION_NONE);
	check_fault("copy", ENOSPC, ENGINE_COPY, ISOLATION_NONE);
	check_fault("reflink", EXDEV, ENGINE_CLONEFILE, ISOLATION_NONE);
}

static void
test_killed_anywhere(void **state)
{
	static const char *const points[] = {"sandbox_made", "tree_claimed", "tree_half_built",
	    "tree_half_built:2", "tree_built", "tree_renamed", "tree_published", "staged",
	    "gate_permit_held", "gate_permit_held:3", "gate_permit_held:6"};
	(void)state;
#ifndef RAMET_FAULTS
	print_message("skipped: built without crash points\n");
	skip();
#endif
	for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
		static struct host host;
		struct slot_repaired repaired;

		fresh(&host);
		int status =
		    run_work(host.dir, ENGINE_AUTO, ISOLATION_ROOT, "RAMET_CRASH", points[i]);
		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
			fail_msg("%s: not killed there: %#x", points[i], status);
		slot_repair(host.region, HOST_SLOT, &repaired);
		assert_true(repaired.sandbox != 0);
		assert_int_equal(
		    sandbox_discard(host.config.state_fd, HOST_SLOT, repaired.sandbox), 0);
		assert_int_equal(gate_in_flight(host.region), 0);
		/* What a dead builder left is the janitor's. */
		assert_int_equal(fs_remove_tree(host.config.state_fd, "sandboxes"), 0);
		int trees = openat(host.config.state_fd, "trees", O_RDONLY | O_CLOEXEC);
		DIR *dir = fdopendir(trees);
		for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
			if (strncmp(entry->d_name, "building.", 9) == 0)
				assert_int_equal(fs_remove_tree(trees, entry->d_name), 0);
		closedir(dir);
		status = run_work(host.dir, ENGINE_AUTO, ISOLATION_ROOT, "RAMET_CRASH", "");
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), EXIT_STAGED);
		host_stop(&host);
	}
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_every_call_fails_once),
	    cmocka_unit_test(test_killed_anywhere),
	};

	if (argc == 5 && strcmp(argv[1], "work") == 0)
		return work(argv);
	self = realpath("/proc/self/exe", NULL);
	if (self == NULL)
		self = argv[0];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
