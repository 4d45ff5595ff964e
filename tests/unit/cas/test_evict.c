#include <signal.h>
#include <time.h>

#include "base/clock.h"
#include "cas/evict.h"
#include "tests/unit/cas/cas_fixture.h"

enum { BLOBS = 20, BLOB_SIZE = 10 };

static uint32_t
stamp(const struct fixture *f, const struct digest *digest)
{
	return usage_stamp(cas_usage(f->cas), digest);
}

/* 20 blobs of 10 bytes, last wanted at times that have nothing to do with their names. */
static uint32_t
put_twenty(struct fixture *f, struct digest *ret_digests)
{
	uint32_t now_s = clock_realtime_s();

	for (int i = 0; i < BLOBS; i++) {
		char text[32];

		snprintf(text, sizeof(text), "blob %05d", i);
		ret_digests[i] = put_text(f->cas, text);
		usage_touch(
		    cas_usage(f->cas), &ret_digests[i], now_s + 100 + (uint32_t)(i * 7 % BLOBS));
	}
	return now_s;
}

static void
test_counts(void **state)
{
	struct fixture *f = *state;
	struct digest digest = put_text(f->cas, "12345");
	struct evict_policy policy = {.limit_bytes = 0};
	struct evict_stats stats;
	bool made;

	put_text(f->cas, "123");
	assert_int_equal(cas_ensure(f->cas, &digest, true, &made), 0);
	usage_set(cas_usage(f->cas), 77, 77);
	assert_int_equal(evict_run(f->cas, &policy, &stats), 0);
	assert_int_equal(stats.blobs, 3);
	assert_int_equal(stats.bytes, 13);
	assert_false(stats.over_limit);
	assert_int_equal(usage_blobs(cas_usage(f->cas)), 3);
	assert_int_equal(usage_bytes(cas_usage(f->cas)), 13);
}

static uint32_t
needed_since(void *arg)
{
	return *(uint32_t *)arg;
}

static void
test_grace(void **state)
{
	struct fixture *f = *state;
	struct digest digest = put_text(f->cas, "12345");
	uint32_t used_s = stamp(f, &digest);
	struct evict_policy policy = {.limit_bytes = 1, .grace_s = 60, .now_s = used_s + 60};
	struct evict_stats stats;

	assert_int_equal(evict_run(f->cas, &policy, &stats), 0);
	assert_int_equal(stats.evicted_blobs, 0);
	assert_true(stats.over_limit);
	policy.now_s = used_s + 1000;
	uint32_t since_s = used_s; /* a live job's client saw it then */
	policy.needed_since_s = needed_since;
	policy.arg = &since_s;
	assert_int_equal(evict_run(f->cas, &policy, &stats), 0);
	assert_int_equal(stats.evicted_blobs, 0);
	since_s = used_s + 1;
	policy.now_s = used_s + 61;
	assert_int_equal(evict_run(f->cas, &policy, &stats), 0);
	assert_int_equal(stats.evicted_blobs, 1);
	assert_int_equal(stats.evicted_bytes, 5);
	assert_false(stats.over_limit);
	assert_int_equal(cas_has(f->cas, &digest), 0);
}

static void
test_oldest_first(void **state)
{
	struct fixture *f = *state;
	struct digest digests[BLOBS];
	struct evict_policy policy = {.limit_bytes = 100};
	uint32_t gone_s = 0, kept_s = UINT32_MAX;
	struct evict_stats stats;

	policy.now_s = put_twenty(f, digests) + 1000;
	assert_int_equal(evict_run(f->cas, &policy, &stats), 0);
	assert_int_equal(stats.evicted_blobs, 11); /* down to 90 of 100 */
	assert_int_equal(stats.bytes, 90);
	assert_int_equal(usage_bytes(cas_usage(f->cas)), 90);
	for (int i = 0; i < BLOBS; i++) {
		uint32_t used_s = stamp(f, &digests[i]);

		if (blob_named(f->cas, &digests[i], false))
			kept_s = used_s < kept_s ? used_s : kept_s;
		else
			gone_s = used_s > gone_s ? used_s : gone_s;
	}
	assert_true(gone_s < kept_s);
	assert_int_equal(evict_run(f->cas, &policy, &stats), 0);
	assert_int_equal(stats.evicted_blobs, 0);
}

static void
test_what_trees_hold_stays(void **state)
{
	struct fixture *f = *state;
	struct digest digests[BLOBS];
	struct evict_policy policy = {.limit_bytes = 50};
	struct evict_stats stats;
	char name[CAS_NAME_SIZE];

	policy.now_s = put_twenty(f, digests) + 1000;
	for (int i = 0; i < BLOBS; i++) {
		snprintf(name, sizeof(name), "link%d", i);
		if (i < 15) {
			char blob[CAS_NAME_SIZE];

			cas_blob_name(&digests[i], false, blob);
			assert_int_equal(linkat(cas_dirfd(f->cas), blob, f->dirfd, name, 0), 0);
		}
	}
	assert_int_equal(evict_run(f->cas, &policy, &stats), 0);
	assert_int_equal(stats.evicted_blobs, 5);
	assert_int_equal(stats.linked_bytes, 150);
	assert_true(stats.over_limit);
	for (int i = 0; i < BLOBS; i++)
		assert_int_equal(blob_named(f->cas, &digests[i], false), i < 15);
}

static void
test_both_names_go(void **state)
{
	struct fixture *f = *state;
	struct digest digest = put_text(f->cas, "12345");
	struct evict_policy policy = {.limit_bytes = 1, .now_s = clock_realtime_s() + 1000};
	struct evict_stats stats;
	bool made;

	assert_int_equal(cas_ensure(f->cas, &digest, true, &made), 0);
	assert_int_equal(evict_run(f->cas, &policy, &stats), 0);
	assert_int_equal(stats.evicted_blobs, 2);
	assert_false(blob_named(f->cas, &digest, false));
	assert_false(blob_named(f->cas, &digest, true));
	assert_int_equal(usage_blobs(cas_usage(f->cas)), 0);
}

/*
 * A toucher against a janitor that believes everything old: what was touched and then found must
 * stay.  It starts with the first eviction and ends while others go on.
 */
enum { RACE_BLOBS = 1000 };

static void
race_digest(int i, struct digest *ret_digest)
{
	char text[32];

	snprintf(text, sizeof(text), "race %05d", i);
	hash_bytes(text, strlen(text), ret_digest);
}

static int
touch_and_look(int state_fd, uint32_t now_s, int done_fd)
{
	static bool found[RACE_BLOBS];
	struct digest digest;
	struct cas *cas;
	int seen = 0;
	char byte;

	if (cas_open(state_fd, true, &cas, NULL) != 0)
		return 1;
	while (usage_blobs(cas_usage(cas)) == RACE_BLOBS)
		continue;
	for (int i = 0; i < RACE_BLOBS; i++) {
		race_digest(i, &digest);
		usage_touch(cas_usage(cas), &digest, now_s + 9000);
		found[i] = blob_named(cas, &digest, false);
		seen += found[i];
	}
	if (read(done_fd, &byte, 1) != 0) /* the end of the pipe: the janitor is through */
		return 4;
	for (int i = 0; i < RACE_BLOBS; i++) {
		race_digest(i, &digest);
		if (found[i] && !blob_named(cas, &digest, false))
			return 2;
	}
	cas_close(cas);
	return seen > 0 ? 0 : 3;
}

static void
test_touch_against_eviction(void **state)
{
	struct fixture *f = *state;
	uint32_t now_s = clock_realtime_s();
	struct evict_policy policy = {.limit_bytes = RACE_BLOBS * 5, .now_s = now_s + 5000};
	struct evict_stats stats;
	int status = -1, done[2];
	pid_t pid;

	assert_int_equal(pipe(done), 0);
	for (int i = 0; i < RACE_BLOBS; i++) {
		char text[32];

		snprintf(text, sizeof(text), "race %05d", i);
		put_text(f->cas, text);
	}
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(done[1]);
		_exit(touch_and_look(f->state_fd, now_s, done[0]));
	}
	close(done[0]);
	assert_int_equal(evict_run(f->cas, &policy, &stats), 0);
	close(done[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_true(stats.evicted_blobs > 0);
	print_message("%d of %d evicted\n", (int)stats.evicted_blobs, RACE_BLOBS);
	/* What the toucher came too late for has gone whole. */
	assert_int_equal(evict_run(f->cas, &(struct evict_policy){0}, &stats), 0);
	assert_int_equal(usage_blobs(cas_usage(f->cas)), stats.blobs);
}

static void
test_clean_temp(void **state)
{
	struct fixture *f = *state;
	char live[64], name[64];
	pid_t dead;
	int status;

	dead = fork();
	assert_true(dead >= 0);
	if (dead == 0)
		_exit(0);
	assert_int_equal(waitpid(dead, &status, 0), dead);
	snprintf(live, sizeof(live), "cas/tmp/%ld.1", (long)getpid());
	snprintf(name, sizeof(name), "cas/tmp/%ld.1", (long)dead);
	file_text(f->state_fd, live, "being written");
	file_text(f->state_fd, name, "left behind");
	file_text(f->state_fd, "cas/tmp/foreign", "?");
	assert_int_equal(evict_clean_temp(f->cas, 3600), 0);
	assert_int_equal(folder_count(f->state_fd, "cas/tmp"), 2);
	assert_int_equal(faccessat(f->state_fd, name, F_OK, 0), -1);
	assert_int_equal(evict_clean_temp(f->cas, 0), 0);
	assert_int_equal(folder_count(f->state_fd, "cas/tmp"), 1);
	assert_int_equal(faccessat(f->state_fd, live, F_OK, 0), 0);
}

static void
test_verify_since(void **state)
{
	struct fixture *f = *state;
	struct digest good = put_text(f->cas, "good"), torn = put_text(f->cas, "torn");
	uint64_t checked, dropped;
	uint32_t now_s = clock_realtime_s();

	blob_spoil(f->cas, &torn, "");
	assert_int_equal(evict_verify_since(f->cas, now_s + 1000, &checked, &dropped), 0);
	assert_int_equal(checked, 0);
	assert_int_equal(evict_verify_since(f->cas, now_s - 1000, &checked, &dropped), 0);
	assert_int_equal(checked, 2);
	assert_int_equal(dropped, 1);
	assert_int_equal(cas_has(f->cas, &good), 1);
	assert_int_equal(cas_has(f->cas, &torn), 0);
}

static void
test_foreign_names_are_left(void **state)
{
	struct fixture *f = *state;
	struct evict_policy policy = {.limit_bytes = 1, .now_s = clock_realtime_s() + 1000};
	struct evict_stats stats;

	file_text(f->state_fd, "cas/ab/README", "not a blob");
	file_text(f->state_fd,
	    "cas/ab/cd00000000000000000000000000000000000000000000000000000000000000", "misplaced");
	assert_int_equal(evict_run(f->cas, &policy, &stats), 0);
	assert_int_equal(stats.blobs, 0);
	assert_int_equal(folder_count(f->state_fd, "cas/ab"), 2);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_counts),
	    T(test_grace),
	    T(test_oldest_first),
	    T(test_what_trees_hold_stays),
	    T(test_both_names_go),
	    T(test_touch_against_eviction),
	    T(test_clean_temp),
	    T(test_verify_since),
	    T(test_foreign_names_are_left),
	};

	return cmocka_run_group_tests_name("cas/evict", tests, NULL, NULL);
}
