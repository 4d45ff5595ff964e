#include "base/clock.h"
#include "shm/usage.h"
#include "tests/unit/shm/shm_test.h"

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	fixture_dir(f);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	fixture_close(f);
	free(f);
	return 0;
}

static void
test_touch_and_totals(void **state)
{
	struct fixture *f = *state;
	struct usage *usage, *view;
	struct digest digest = test_digest(3, 3);
	uint32_t now_s = clock_realtime_s();

	assert_int_equal(usage_open(f->fd, false, &usage), -ENOENT);
	assert_int_equal(usage_open(f->fd, true, &usage), 0);
	/* A new file: everything counts as just used. */
	assert_in_range(usage_stamp(usage, &digest), now_s, now_s + 5);
	usage_touch(usage, &digest, now_s + 100);
	assert_int_equal(usage_stamp(usage, &digest), now_s + 100);
	usage_touch(usage, &digest, now_s + 50);
	assert_int_equal(usage_stamp(usage, &digest), now_s + 100);
	usage_add(usage, 3, 1000);
	usage_add(usage, -1, -300);
	assert_int_equal(usage_open(f->fd, false, &view), 0);
	assert_int_equal(usage_blobs(view), 2);
	assert_int_equal(usage_bytes(view), 700);
	assert_int_equal(usage_stamp(view, &digest), now_s + 100);
	usage_set(usage, -5, 9);
	assert_int_equal(usage_blobs(view), -5);
	usage_close(view);
	usage_close(usage);
}

static void
test_evict(void **state)
{
	struct fixture *f = *state;
	struct usage *usage;
	struct digest digest = test_digest(3, 3);
	uint32_t now_s = clock_realtime_s();

	assert_int_equal(usage_open(f->fd, true, &usage), 0);
	/* Never touched: as old as the file. */
	assert_int_equal(usage_evict_begin(usage, &digest, usage_stamp(usage, &digest)), 0);
	usage_evict_end(usage, &digest);
	usage_touch(usage, &digest, now_s + 10);
	assert_int_equal(usage_evict_begin(usage, &digest, now_s + 9), -EAGAIN);
	assert_int_equal(usage_evict_begin(usage, &digest, now_s + 10), 0);
	assert_int_equal(usage_evict_begin(usage, &digest, now_s + 10), -EAGAIN);
	assert_int_equal(usage_stamp(usage, &digest), now_s + 10);
	usage_evict_end(usage, &digest);
	assert_int_equal(usage_evict_begin(usage, &digest, now_s + 10), 0);
	usage_recover(usage);
	usage_touch(usage, &digest, now_s + 20);
	assert_int_equal(usage_stamp(usage, &digest), now_s + 20);
	usage_close(usage);
}

static void
present(struct usage *usage, const struct digest *digest)
{
	usage_present(usage, digest, usage_present_look(usage, digest));
}

/* What is known to be there, until it is about to go; other blobs are not meant by it. */
static void
test_present(void **state)
{
	struct fixture *f = *state;
	struct usage *usage, *view;
	struct digest digest = test_digest(3, 3), other = digest, longer = digest;

	other.hash[7] ^= 2; /* of the same stamp */
	longer.size_bytes++;
	assert_int_equal(usage_open(f->fd, true, &usage), 0);
	assert_int_equal(usage_open(f->fd, false, &view), 0);
	assert_false(usage_is_present(usage, &digest));
	present(usage, &digest);
	assert_true(usage_is_present(view, &digest));
	assert_false(usage_is_present(view, &other));
	assert_false(usage_is_present(view, &longer));
	present(usage, &other); /* the last one is known */
	assert_true(usage_is_present(view, &other));
	assert_false(usage_is_present(view, &digest));
	usage_absent(usage, &digest);
	assert_false(usage_is_present(view, &other));
	present(usage, &digest);
	assert_int_equal(usage_evict_begin(usage, &digest, usage_stamp(usage, &digest)), 0);
	assert_false(usage_is_present(view, &digest));
	usage_evict_end(usage, &digest);
	present(usage, &digest);
	usage_forget_present(usage);
	assert_false(usage_is_present(view, &digest));
	/* Taken away between the look and the word. */
	uint32_t seen = usage_present_look(usage, &digest);
	usage_absent(usage, &digest);
	usage_present(usage, &digest, seen);
	assert_false(usage_is_present(view, &digest));
	longer.size_bytes = digest.size_bytes + (INT64_C(1) << 32);
	present(usage, &digest);
	assert_false(usage_is_present(view, &longer));
	usage_close(view);
	usage_close(usage);
}

/* A toucher waits for the eviction; and if the evictor is dead, not for ever. */
static void
test_touch_waits(void **state)
{
	struct fixture *f = *state;
	struct usage *usage;
	struct digest digest = test_digest(3, 3);
	uint32_t now_s = clock_realtime_s();
	uint64_t start_us;
	int pipe_fds[2];
	pid_t child;
	char byte;

	assert_int_equal(usage_open(f->fd, true, &usage), 0);
	usage_touch(usage, &digest, now_s);
	assert_int_equal(usage_evict_begin(usage, &digest, usage_stamp(usage, &digest)), 0);
	assert_int_equal(pipe(pipe_fds), 0);
	child = fork();
	if (child == 0) {
		if (write(pipe_fds[1], "x", 1) != 1)
			_exit(1);
		usage_touch(usage, &digest, now_s + 30);
		_exit(usage_stamp(usage, &digest) == now_s + 30 ? 0 : 2);
	}
	assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
	usage_evict_end(usage, &digest);
	test_child_ok(child);
	assert_int_equal(usage_evict_begin(usage, &digest, now_s + 30), 0);
	start_us = clock_monotonic_us();
	usage_touch(usage, &digest, now_s + 40);
	assert_true(clock_monotonic_us() - start_us >= 500000);
	assert_int_equal(usage_stamp(usage, &digest), now_s + 40);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	usage_close(usage);
}

static void
test_damaged(void **state)
{
	struct fixture *f = *state;
	struct usage *usage;
	struct digest digest = test_digest(3, 3);
	int fd = openat(f->fd, "usage", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_int_equal(write(fd, "nonsense", 8), 8);
	close(fd);
	assert_int_equal(usage_open(f->fd, false, &usage), -EPROTO);
	assert_int_equal(usage_open(f->fd, true, &usage), 0);
	assert_true(usage_stamp(usage, &digest) + 10 > clock_realtime_s());
	assert_int_equal(usage_blobs(usage), 0);
	usage_close(usage);
	fd = openat(f->fd, "usage", O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "bad", 3, 0), 3);
	close(fd);
	assert_int_equal(usage_open(f->fd, false, &usage), -EPROTO);
	assert_int_equal(usage_open(f->fd, true, &usage), 0);
	usage_close(usage);
}

/* Several processes make it at once: one file, and all see it. */
static void
test_made_by_many(void **state)
{
	struct fixture *f = *state;
	struct usage *usage;
	pid_t pids[6];

	for (int i = 0; i < 6; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			if (usage_open(f->fd, true, &usage) != 0)
				_exit(1);
			usage_add(usage, 1, 10);
			_exit(0);
		}
	}
	for (int i = 0; i < 6; i++)
		test_child_ok(pids[i]);
	assert_int_equal(usage_open(f->fd, true, &usage), 0);
	assert_int_equal(usage_blobs(usage), 6);
	assert_int_equal(usage_bytes(usage), 60);
	usage_close(usage);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_touch_and_totals, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_evict, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_present, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_touch_waits, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_made_by_many, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
