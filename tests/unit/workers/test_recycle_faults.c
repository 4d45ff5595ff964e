/*
 * Each call of recycling fails at each turn: the next action's tree is right all the same, or the
 * error is clean, nothing is leaked, and the action after it works.
 *
 *   test_recycle_faults work DIR ENGINE UID   some actions, with the fault in its environment
 */
#include <sys/wait.h>

#include <signal.h>
#include <spawn.h>

#include "base/log.h"
#include "tests/cmocka_wrap.h"
#include "tests/unit/workers/stage_host.h"

enum {
	EXIT_UNTOUCHED,
	EXIT_RECOVERED = 5,
	EXIT_REFUSED = 10,
	EXIT_WRONG = 20,
	EXIT_NO_HOST = 30,
	ACTION_UID = 58777,
	ROUNDS = 6
};

static char *self;

/* Files of the spine and of a subtree, one of each kind; `version` is in some of them. */
static struct digest
make_tree(struct host *host, const char *version)
{
	ReapiDirectory *deep = dir_new(host), *in = dir_new(host), *root = dir_new(host);
	char name[16];

	dir_add_file(host, deep, "y", version, false);
	dir_add_file(host, deep, version, "only here", false);
	struct digest deep_digest = dir_put(host, deep);
	for (int i = 0; i < 8; i++) {
		snprintf(name, sizeof name, "f%d", i);
		dir_add_file(host, in, name, name, i == 0);
	}
	dir_add_file(host, in, "empty", "", false);
	dir_add_symlink(host, in, "link", version);
	dir_add_dir(host, in, "deep", &deep_digest);
	struct digest in_digest = dir_put(host, in);
	dir_add_dir(host, root, "in", &in_digest);
	dir_add_dir(host, root, version, &deep_digest);
	dir_add_file(host, root, "loose", version, false);
	dir_add_symlink(host, root, "link", "in/f1");
	return dir_put(host, root);
}

static int
wrong(struct host *host, const char *what)
{
	fprintf(stderr, "%s (%s)\n", what, host->err.text);
	return EXIT_WRONG;
}

/* An output, a stranger, and an input that is replaced. */
static void
act(struct host *host)
{
	int rootfd = host->sandbox.rootfd;

	close(openat(rootfd, "out/o", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
	mkdirat(rootfd, "out/litter", 0755);
	close(openat(rootfd, "out/litter/x", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
	unlinkat(rootfd, "loose", 0);
	close(openat(rootfd, "loose", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
}

static bool
out_is_empty(struct host *host)
{
	int fd = openat(host->sandbox.rootfd, "out", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool is_empty = fd >= 0 && count_entries(fd) == 0;

	close(fd);
	return is_empty;
}

static int
one_action(struct host *host, const struct digest *root, uid_t owner)
{
	static const char *const outputs[] = {"out/o"}, *const extra[] = {"out", NULL};
	struct stage_request request = {
	    .root = *root, .working_directory = "", .output_paths = outputs, .output_count = 1};

	host->err.text[0] = '\0';
	int rc = sandbox_make(
	    host->config.state_fd, host->slot, HOST_SLOT, owner, &host->sandbox, &host->err);
	if (rc == 0) {
		rc = stage_compose(
		    host->stager, &request, &host->sandbox, &host->report, &host->err);
		if (rc == 0 && (host_compare(host, root, extra) != 0 || !out_is_empty(host)))
			return wrong(host, "another tree");
		if (rc == 0)
			act(host);
		stage_release(host->stager, &host->report, &host->err);
		if (rc == 0)
			stage_keep(host->stager, &host->sandbox);
		sandbox_release(host->config.state_fd, host->slot, &host->sandbox);
	}
	const char *leak = host_leak(host);
	if (leak != NULL)
		return wrong(host, leak);
	if (rc != 0 && host->err.text[0] == '\0')
		return wrong(host, "an error without words");
	return rc == 0 ? EXIT_UNTOUCHED : EXIT_REFUSED;
}

static int
work(char **argv)
{
	static const char *const versions[] = {"one", "two"};
	static uint64_t values[COUNTER_COUNT];
	static struct host host;
	uid_t uid = (uid_t)atoi(argv[4]);

	log_open(open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_LEVEL_ERROR);
	host_exit_code = EXIT_NO_HOST;
	strlcpy(host.dir, argv[2], sizeof host.dir);
	host_open(&host);
	host_take_slot(&host);
	host.config.recycle = true;
	host_stager(&host, (enum engine)atoi(argv[3]), ISOLATION_NONE, uid);
	int refused = 0;
	for (int i = 0; i < ROUNDS; i++) {
		struct digest root = make_tree(&host, versions[i / 2 % 2]);
		int result = one_action(&host, &root, uid == geteuid() ? (uid_t)-1 : uid);
		if (result == EXIT_WRONG)
			return result;
		refused += result == EXIT_REFUSED;
		if (refused > 1)
			return wrong(&host, "it goes on failing");
	}
	counters_read(host.region, values);
	slot_retire(host.region, HOST_SLOT);
	host_close(&host);
	if (refused > 0)
		return EXIT_REFUSED;
	return values[COUNTER_recycle_hits] == ROUNDS - 1 ? EXIT_UNTOUCHED : EXIT_RECOVERED;
}

static int
run_work(const char *dir, enum engine engine, uid_t uid, const char *fault)
{
	char engine_text[8], uid_text[16];
	char *argv[] = {self, (char *)"work", (char *)dir, engine_text, uid_text, NULL};
	pid_t pid;
	int status;

	snprintf(engine_text, sizeof engine_text, "%d", engine);
	snprintf(uid_text, sizeof uid_text, "%u", (unsigned)uid);
	setenv("RAMET_FAIL", fault, 1);
	int rc = posix_spawn(&pid, self, NULL, NULL, argv, environ);
	unsetenv("RAMET_FAIL");
	assert_int_equal(rc, 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_WRONG;
}

/* Until the turns are past the last call.  Adds how often recycling was really given up. */
static unsigned
check_fault(const char *call, int error, enum engine engine, uid_t uid)
{
	unsigned recovered = 0;

	for (int turn = 1, untouched = 0; turn < 400 && untouched < 15; turn++) {
		static struct host host;
		char value[64];

		host_start(&host, "/dev/shm");
		fs_mkdir(host.config.state_fd, "trash", 0700);
		slot_retire(host.region, HOST_SLOT);
		snprintf(value, sizeof value, "%s:%d:%d", call, turn, error);
		int code = run_work(host.dir, engine, uid, value);
		if (code != EXIT_UNTOUCHED && code != EXIT_RECOVERED && code != EXIT_REFUSED &&
		    code != EXIT_NO_HOST)
			fail_msg("RAMET_FAIL=%s engine %d uid %u: %d", value, engine, (unsigned)uid,
			    code);
		untouched = code == EXIT_UNTOUCHED ? untouched + 1 : 0;
		recovered += code == EXIT_RECOVERED;
		host_stop(&host);
	}
	return recovered;
}

static void
check_faults(enum engine engine, uid_t uid)
{
	static const struct {
		const char *call;
		int error;
		bool recovers; /* recycling makes this call itself */
	} faults[] = {
	    {"scan", EIO, true},
	    {"unlinkat", EIO, true},
	    {"renameat", EIO, true},
	    {"renameat", EACCES, true},
	    {"openat", EMFILE, true},
	    {"mkdirat", ENOSPC, false},
	    {"symlinkat", ENOSPC, true},
	    {"linkat", EIO, false},
	    {"copy", ENOSPC, false},
	};

#ifndef RAMET_FAULTS
	print_message("skipped: built without faults\n");
	skip();
#endif
	for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
		unsigned recovered = check_fault(faults[i].call, faults[i].error, engine, uid);
		if (faults[i].recovers && recovered == 0)
			fail_msg("%s never struck while recycling", faults[i].call);
	}
}

static void
test_one_uid(void **state)
{
	(void)state;
	check_faults(ENGINE_COPY, geteuid());
}

static void
test_own_uid(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	check_faults(ENGINE_AUTO, ACTION_UID);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_one_uid),
	    cmocka_unit_test(test_own_uid),
	};

	if (argc == 5 && strcmp(argv[1], "work") == 0)
		return work(argv);
	self = realpath("/proc/self/exe", NULL);
	if (self == NULL)
		self = argv[0];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
