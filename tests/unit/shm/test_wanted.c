#include "shm/wanted.h"
#include "tests/unit/shm/shm_test.h"

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	fixture_dir(f);
	fixture_open(f, 64, 1);
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

static struct digest
digest_of(unsigned n)
{
	struct digest digest = {.hash = {(uint8_t)n, 7}, .size_bytes = (int64_t)n + 1};

	return digest;
}

static void
test_each_is_taken_once(void **state)
{
	struct fixture *f = *state;
	struct slot *slot = fixture_slot(f, 3);
	struct digest digest, expected;

	assert_int_equal(wanted_take(f->region, 3, &digest), -ENOENT);
	for (unsigned i = 0; i < 3; i++) {
		expected = digest_of(i);
		wanted_add(slot, &expected);
	}
	for (unsigned i = 0; i < 3; i++) {
		expected = digest_of(i);
		assert_int_equal(wanted_take(f->region, 3, &digest), 0);
		assert_true(digest_equal(&digest, &expected));
	}
	assert_int_equal(wanted_take(f->region, 3, &digest), -ENOENT);
	assert_int_equal(wanted_take(f->region, 4, &digest), -ENOENT);
}

static void
test_the_oldest_are_forgotten(void **state)
{
	struct fixture *f = *state;
	struct slot *slot = fixture_slot(f, 3);
	struct digest digest, expected;

	for (unsigned i = 0; i < WANTED_MAX + 5; i++) {
		expected = digest_of(i);
		wanted_add(slot, &expected);
	}
	for (unsigned i = 5; i < WANTED_MAX + 5; i++) {
		expected = digest_of(i);
		assert_int_equal(wanted_take(f->region, 3, &digest), 0);
		assert_true(digest_equal(&digest, &expected));
	}
	assert_int_equal(wanted_take(f->region, 3, &digest), -ENOENT);
}

/* The counts run over where they end. */
static void
test_counts_wrap(void **state)
{
	struct fixture *f = *state;
	struct slot *slot = fixture_slot(f, 3);
	struct digest digest, expected;

	atom_store_relaxed(&slot->wanted_head, UINT32_MAX - 1);
	atom_store_relaxed(&slot->wanted_done, UINT32_MAX - 1);
	for (unsigned i = 0; i < 5; i++) {
		expected = digest_of(i);
		wanted_add(slot, &expected);
	}
	for (unsigned i = 0; i < 5; i++) {
		expected = digest_of(i);
		assert_int_equal(wanted_take(f->region, 3, &digest), 0);
		assert_true(digest_equal(&digest, &expected));
	}
	assert_int_equal(wanted_take(f->region, 3, &digest), -ENOENT);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_each_is_taken_once, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_the_oldest_are_forgotten, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_counts_wrap, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
