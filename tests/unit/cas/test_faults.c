/*
 * Every call that can fail fails, and every crash point kills, in a process of its own (this
 * program again, with the fault in its environment); what is left behind is looked at from here.
 */
#include <signal.h>

#include "base/fault.h"
#include "cas/action_cache.h"
#include "cas/evict.h"
#include "tests/unit/cas/cas_fixture.h"

static const char *self;

/* What a child does with the store; its exit status is the errno, 0 or 120 for a broken test. */
enum { BROKEN = 120 };

static int
do_put_bytes(struct cas *cas, int dirfd)
{
	struct digest digest;

	return cas_put_bytes(cas, "hello", 5, &digest);
}

static int
do_put_large(struct cas *cas, int dirfd)
{
	struct digest digest;
	int fd = openat(dirfd, "large", O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -BROKEN : cas_put_fd(cas, fd, &digest);
}

static int
do_move(struct cas *cas, int dirfd)
{
	struct digest digest;
	bool moved;

	return cas_put_move(cas, dirfd, "output", false, &digest, &moved);
}

static int
do_writer(struct cas *cas, int dirfd)
{
	struct cas_writer *writer;
	struct digest digest;
	int rc = cas_writer_open(cas, NULL, &writer);

	if (rc != 0)
		return rc;
	rc = cas_writer_write(writer, "hello", 5);
	if (rc == 0)
		return cas_writer_commit(writer, &digest);
	cas_writer_abort(writer);
	return rc;
}

static int
do_twin(struct cas *cas, int dirfd)
{
	struct digest digest;
	bool made;

	if (hash_bytes("present", 7, &digest) != 0)
		return -BROKEN;
	return cas_ensure(cas, &digest, true, &made);
}

static int
do_mint(struct cas *cas, int dirfd)
{
	struct digest digest;

	if (hash_bytes("present", 7, &digest) != 0)
		return -BROKEN;
	return cas_mint(cas, &digest, false);
}

static int
do_result(struct cas *cas, int dirfd)
{
	struct digest digest;

	if (hash_bytes("action", 6, &digest) != 0)
		return -BROKEN;
	return action_cache_put(cas, &digest, "\x20\x01", 2);
}

static const struct job {
	const char *name;
	int (*run)(struct cas *cas, int dirfd);
} jobs[] = {
    {"put_bytes", do_put_bytes},
    {"put_large", do_put_large},
    {"move", do_move},
    {"writer", do_writer},
    {"twin", do_twin},
    {"mint", do_mint},
    {"result", do_result},
};
enum { JOBS = sizeof(jobs) / sizeof(jobs[0]) };

static int
child_main(const char *name, int state_fd, int dirfd)
{
	struct cas *cas;

	/* Faults in opening the store are not what this is about. */
	if (cas_open(state_fd, true, &cas, NULL) != 0)
		return BROKEN;
	for (size_t i = 0; i < JOBS; i++)
		if (strcmp(jobs[i].name, name) == 0) {
			int rc = -jobs[i].run(cas, dirfd);

			cas_close(cas);
			return rc;
		}
	return BROKEN;
}

static int
run_child(struct fixture *f, const char *job, const char *variable, const char *value)
{
	char state_fd[16], dirfd[16];
	pid_t pid;
	int status;

	snprintf(state_fd, sizeof(state_fd), "%d", f->state_fd);
	snprintf(dirfd, sizeof(dirfd), "%d", f->dirfd);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (setenv(variable, value, 1) != 0 || fcntl(f->state_fd, F_SETFD, 0) != 0 ||
		    fcntl(f->dirfd, F_SETFD, 0) != 0)
			_exit(BROKEN);
		execl(self, self, "child", job, state_fd, dirfd, (char *)NULL);
		_exit(BROKEN);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static uint8_t large[600 << 10];

static void
prepare(struct fixture *f)
{
	memset(large, 'L', sizeof(large));
	put_text(f->cas, "present");
	file_write(f->dirfd, "large", large, sizeof(large), 0644);
	file_text(f->dirfd, "output", "output");
}

/* As if no job had run. */
static void
forget(struct fixture *f)
{
	const struct digest digests[] = {digest_of("hello", 5), digest_of("output", 6),
	    digest_of("present", 7), digest_of(large, sizeof(large))};

	for (size_t i = 0; i < sizeof(digests) / sizeof(digests[0]); i++)
		cas_drop(f->cas, &digests[i]);
}

static void
needs_faults(void)
{
	if (FAULTS_COMPILED_IN)
		return;
	print_message("needs V=debug or V=asan\n");
	skip();
}

static void
test_failing_calls(void **state)
{
	static const char *const calls[] = {"openat", "write", "renameat", "copy"};
	struct fixture *f = *state;
	unsigned failed = 0;

	needs_faults();
	for (size_t i = 0; i < 4 * JOBS; i++) {
		char plan[64];
		int status;

		prepare(f);
		snprintf(plan, sizeof(plan), "%s:1:%d:0", calls[i / JOBS], ENOSPC);
		status = run_child(f, jobs[i % JOBS].name, "RAMET_FAIL", plan);
		assert_true(WIFEXITED(status));
		if (WEXITSTATUS(status) != 0) {
			assert_int_equal(WEXITSTATUS(status), ENOSPC);
			assert_int_equal(usage_bytes(cas_usage(f->cas)), 7);
			assert_int_equal(faccessat(f->dirfd, "output", F_OK, 0), 0);
			failed++;
		}
		assert_int_equal(folder_count(f->state_fd, "cas/tmp"), 0);
		forget(f);
	}
	print_message("%u of %d jobs failed\n", failed, 4 * JOBS);
	assert_true(failed >= 12);
}

static void
test_crash_points(void **state)
{
	static const char *const points[] = {"blob_temp_written", "blob_renamed"};
	struct fixture *f = *state;

	needs_faults();
	for (size_t i = 0; i < 2 * 5; i++) { /* mint and result pass no crash point */
		const struct job *job = &jobs[i % 5];
		bool renamed = i >= 5;
		int status;

		prepare(f);
		status = run_child(f, job->name, "RAMET_CRASH", points[renamed]);
		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), SIGKILL);
		assert_int_equal(folder_count(f->state_fd, "cas/tmp"), renamed ? 0 : 1);
		assert_int_equal(evict_clean_temp(f->cas, 0), 0);
		assert_int_equal(folder_count(f->state_fd, "cas/tmp"), 0);
		if (job->run ==
		    do_move) { /* its source has gone: in the store, or with the crash */
			struct digest output = digest_of("output", 6);

			assert_int_equal(faccessat(f->dirfd, "output", F_OK, 0), -1);
			assert_int_equal(cas_has(f->cas, &output), renamed);
		} else {
			assert_int_equal(job->run(f->cas, f->dirfd), 0);
		}
		forget(f);
	}
}

/* A full volume: what cannot be written leaves nothing, and the store goes on when there is room.
 */
static void
test_full_disk(void **state)
{
	struct fixture *f = *state;
	char script[1024];
	pid_t pid;
	int status;

	if (geteuid() != 0 || access("/usr/bin/unshare", X_OK) != 0) {
		print_message("needs root and unshare(1) to mount a small volume\n");
		skip();
	}
	snprintf(script, sizeof(script),
	    "mount -t tmpfs -o size=10m none '%s/user' && exec \"$0\" full '%s/user'", f->path,
	    f->path);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		execl("/usr/bin/unshare", "unshare", "-m", "--propagation", "private", "sh", "-c",
		    script, self, (char *)NULL);
		_exit(BROKEN);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* The child's side, in its own mount namespace; the line where it went wrong is its exit status. */
static int
full_main(const char *path)
{
	static uint8_t bytes[3 << 20];
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct digest digest, small;
	struct cas_writer *writer;
	struct cas *cas;
	int large_fd;
	bool made;

	if (fd < 0 || cas_open(fd, true, &cas, NULL) != 0)
		return 1;
	memset(bytes, 'f', sizeof(bytes));
	if (cas_put_bytes(cas, bytes, 100 << 10, &small) != 0)
		return 2;
	if (cas_put_bytes(cas, bytes, sizeof(bytes), &digest) != -ENOSPC)
		return 3;
	if (cas_writer_open(cas, NULL, &writer) != 0 ||
	    cas_writer_write(writer, bytes, sizeof(bytes)) != -ENOSPC)
		return 4;
	cas_writer_abort(writer);
	large_fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	for (int i = 0; i < 40; i++) /* until there is no room for another */
		if (bytes[0] = (uint8_t)i, cas_put_bytes(cas, bytes, 100 << 10, &digest) != 0)
			break;
	if (cas_put_fd(cas, large_fd, &digest) != -ENOSPC)
		return 5;
	if (cas_ensure(cas, &small, true, &made) != -ENOSPC)
		return 6;
	if (cas_mint(cas, &small, false) != -ENOSPC)
		return 7;
	if (folder_count(fd, "cas/tmp") != 0 || cas_has(cas, &small) != 1)
		return 8;
	if (evict_run(cas, &(struct evict_policy){.limit_bytes = 1, .now_s = UINT32_MAX},
		&(struct evict_stats){0}) != 0)
		return 9;
	if (cas_put_bytes(cas, bytes, 1 << 20, &digest) != 0)
		return 10;
	cas_close(cas);
	close(large_fd);
	close(fd);
	return 0;
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    T(test_failing_calls),
	    T(test_crash_points),
	    T(test_full_disk),
	};

	if (argc == 5 && strcmp(argv[1], "child") == 0)
		return child_main(argv[2], atoi(argv[3]), atoi(argv[4]));
	if (argc == 3 && strcmp(argv[1], "full") == 0)
		return full_main(argv[2]);
	self = argv[0];
	return cmocka_run_group_tests_name("cas/faults", tests, NULL, NULL);
}
