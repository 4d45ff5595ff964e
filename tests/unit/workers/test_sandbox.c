/* Sandboxes: made, in the slot, released in one step, never the same name twice. */
#include "tests/cmocka_wrap.h"
#include "tests/unit/workers/stage_host.h"

static int
setup(void **state)
{
	struct host *host = malloc(sizeof *host);

	host_start(host, "/dev/shm");
	*state = host;
	return 0;
}

static int
teardown(void **state)
{
	host_stop(*state);
	free(*state);
	return 0;
}

static uint64_t
in_slot(struct host *host)
{
	struct slot_info info;

	slot_read(host->region, HOST_SLOT, &info);
	return info.sandbox;
}

static bool
exists(struct host *host, const char *before, const char *name, const char *after)
{
	char path[128];

	snprintf(path, sizeof path, "%s%s%s", before, name, after);
	return faccessat(host->config.state_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void
test_made_and_released(void **state)
{
	struct host *host = *state;
	struct sandbox *sandbox = &host->sandbox;
	char name[sizeof sandbox->name];
	struct stat st;
	uid_t uid = geteuid() == 0 ? 64321 : geteuid();

	assert_int_equal(
	    sandbox_make(host->config.state_fd, host->slot, HOST_SLOT, uid, sandbox, &host->err),
	    0);
	assert_int_equal(in_slot(host), sandbox->number);
	strlcpy(name, sandbox->name, sizeof name);
	assert_true(exists(host, "sandboxes/", name, "/root"));
	assert_int_equal(fstat(sandbox->rootfd, &st), 0);
	assert_int_equal(st.st_uid, uid);
	assert_int_equal(st.st_mode & 07777, 0755);
	assert_int_equal(fs_mkdir_path(sandbox->rootfd, "left/behind", 0700), 0);
	assert_int_equal(sandbox_release(host->config.state_fd, host->slot, sandbox), 0);
	assert_int_equal(sandbox->rootfd, -1);
	assert_int_equal(in_slot(host), 0);
	assert_false(exists(host, "sandboxes/", name, ""));
	assert_true(exists(host, "trash/sandbox.", name, "/root/left/behind"));
}

static void
test_numbers_never_repeat(void **state)
{
	uint64_t last = 0;

	(void)state;
	for (int i = 0; i < 10000; i++) {
		uint64_t number = sandbox_next_number();
		assert_true(number > last);
		last = number;
	}
}

static void
test_discard_of_the_dead(void **state)
{
	struct host *host = *state;

	assert_int_equal(sandbox_make(host->config.state_fd, host->slot, HOST_SLOT, (uid_t)-1,
			     &host->sandbox, &host->err),
	    0);
	/* An action of our own user may have closed the door. */
	assert_int_equal(fchmod(host->sandbox.dirfd, 0), 0);
	uint64_t number = in_slot(host);
	assert_int_equal(sandbox_discard(host->config.state_fd, HOST_SLOT, number), 0);
	assert_false(exists(host, "sandboxes/", host->sandbox.name, ""));
	assert_int_equal(sandbox_discard(host->config.state_fd, HOST_SLOT, number), 0);
	close(host->sandbox.rootfd);
	close(host->sandbox.dirfd);
}

static void
test_no_room_is_an_error_with_words(void **state)
{
	struct host *host = *state;

	assert_int_equal(fs_write_atomic(host->config.state_fd, "sandboxes", "x", 1, 0644), 0);
	assert_int_equal(sandbox_make(host->config.state_fd, host->slot, HOST_SLOT, (uid_t)-1,
			     &host->sandbox, &host->err),
	    -ENOTDIR);
	assert_non_null(strstr(host->err.text, "sandboxes/"));
	assert_int_equal(in_slot(host), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_made_and_released, setup, teardown),
	    cmocka_unit_test(test_numbers_never_repeat),
	    cmocka_unit_test_setup_teardown(test_discard_of_the_dead, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_no_room_is_an_error_with_words, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
