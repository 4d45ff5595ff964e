#include "tests/unit/shm/shm_test.h"

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	fixture_dir(f);
	fixture_open(f, 256, 4);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;
	unsigned breaches = index_check(f->region, test_report, NULL);

	fixture_close(f);
	free(f);
	return breaches == 0 ? 0 : -1;
}

static void
test_claim_publish_pin(void **state)
{
	struct fixture *f = *state;
	struct slot *slot = fixture_slot(f, 2), *other = fixture_slot(f, 3);
	struct digest digest = test_digest(1, 1);
	struct index_tree tree = {.files = 9, .bytes = 1000, .private_bytes = 10, .build_us = 3};
	struct index_tree got;
	struct index_claim claim, second;
	struct index_pin pin, mine;
	struct index_info info;
	char location[INDEX_LOCATION_SIZE], name[DIGEST_TEXT_SIZE];

	assert_int_equal(index_pin(f->region, slot, &digest, &pin), -ENOENT);
	assert_int_equal(index_claim(f->region, slot, &digest, &claim), 0);
	assert_int_equal(index_claim(f->region, other, &digest, &second), -EBUSY);
	assert_int_equal(index_pin(f->region, other, &digest, &pin), -EBUSY);
	assert_int_equal(index_wait(f->region, &digest, 1000), -ETIMEDOUT);
	assert_int_equal(index_read(f->region, claim.entry, &info), 0);
	assert_int_equal(info.state, INDEX_BUILDING);
	assert_int_equal(info.owner, 2);
	assert_int_equal(index_publish(f->region, slot, &claim, &tree, &mine), 0);
	assert_int_equal(index_wait(f->region, &digest, 1000), 0);
	assert_int_equal(index_claim(f->region, other, &digest, &second), -EEXIST);
	assert_int_equal(index_pin(f->region, other, &digest, &pin), 0);
	assert_int_equal(pin.host, pin.entry);
	index_location(f->region, &pin, location);
	index_tree_name(&digest, name);
	assert_memory_equal(location, "trees/", 6);
	assert_string_equal(location + 6, name);
	index_tree_of(f->region, &pin, &got);
	assert_int_equal(got.files, tree.files);
	assert_int_equal(got.bytes, tree.bytes);
	assert_int_equal(got.private_bytes, tree.private_bytes);
	assert_int_equal(got.build_us, tree.build_us);
	assert_int_equal(index_read(f->region, pin.entry, &info), 0);
	assert_int_equal(info.state, INDEX_READY);
	assert_int_equal(info.pins, 2);
	assert_int_equal(info.hits, 1);
	assert_false(info.inside);
	assert_true(digest_equal(&info.directory, &digest));
	assert_true(digest_equal(&info.host, &digest));
	assert_int_equal(test_counter(f->region, COUNTER_index_trees), 1);
	assert_int_equal(test_counter(f->region, COUNTER_index_bytes), 1000);
	assert_int_equal(test_counter(f->region, COUNTER_index_hits), 1);
	assert_int_equal(test_counter(f->region, COUNTER_index_misses), 1);
	index_unpin(f->region, slot, &mine);
	index_unpin(f->region, other, &pin);
}

static void
test_abandon(void **state)
{
	struct fixture *f = *state;
	struct slot *slot = fixture_slot(f, 2);
	struct digest digest = test_digest(1, 1);
	struct index_claim claim;
	struct index_pin pin;
	uint32_t entry;

	assert_int_equal(index_claim(f->region, slot, &digest, &claim), 0);
	index_abandon(f->region, slot, &claim);
	assert_int_equal(index_pin(f->region, slot, &digest, &pin), -ENOENT);
	assert_int_equal(index_find(f->region, &digest, &entry), -ENOENT);
	assert_int_equal(test_counter(f->region, COUNTER_trees_abandoned), 1);
	assert_int_equal(index_claim(f->region, slot, &digest, &claim), 0);
	index_abandon(f->region, slot, &claim);
}

static void
test_evict(void **state)
{
	struct fixture *f = *state;
	struct slot *slot = fixture_slot(f, 2), *janitor = fixture_slot(f, SLOT_JANITOR);
	struct digest digest = test_digest(1, 1), seen;
	struct index_pin pin = test_publish(f->region, slot, &digest, 500), again;
	struct index_claim claim;

	assert_int_equal(index_evict_begin(f->region, janitor, pin.entry, &seen), -EBUSY);
	index_unpin(f->region, slot, &pin);
	assert_int_equal(index_evict_begin(f->region, janitor, pin.entry, &seen), 0);
	assert_true(digest_equal(&seen, &digest));
	assert_int_equal(index_evict_begin(f->region, janitor, pin.entry, &seen), -ENOENT);
	assert_int_equal(index_pin(f->region, slot, &digest, &again), -ENOENT);
	assert_int_equal(index_claim(f->region, slot, &digest, &claim), -EAGAIN);
	index_evict_cancel(f->region, janitor, pin.entry);
	assert_int_equal(index_pin(f->region, slot, &digest, &again), 0);
	index_unpin(f->region, slot, &again);
	assert_int_equal(index_evict_begin(f->region, janitor, pin.entry, &seen), 0);
	index_evict_finish(f->region, janitor, pin.entry);
	assert_int_equal(index_pin(f->region, slot, &digest, &again), -ENOENT);
	assert_int_equal(test_counter(f->region, COUNTER_index_trees), 0);
	assert_int_equal(test_counter(f->region, COUNTER_index_bytes), 0);
	assert_int_equal(test_counter(f->region, COUNTER_trees_evicted), 1);
	assert_int_equal(index_evict_begin(f->region, janitor, 1 << 30, &seen), -ENOENT);
}

static void
test_inside(void **state)
{
	struct fixture *f = *state;
	struct slot *slot = fixture_slot(f, 2), *janitor = fixture_slot(f, SLOT_JANITOR);
	struct digest digest = test_digest(1, 1), inner = test_digest(2, 2), seen;
	struct index_tree tree = {.files = 1, .bytes = 7};
	struct index_pin host = test_publish(f->region, slot, &digest, 500), pin;
	struct index_claim claim;
	struct index_info info;
	char location[INDEX_LOCATION_SIZE], path[INDEX_PATH_SIZE + 1];

	assert_int_equal(index_add_inside(f->region, slot, &host, &inner, "usr/include", &tree), 0);
	assert_int_equal(
	    index_add_inside(f->region, slot, &host, &inner, "usr/other", &tree), -EEXIST);
	memset(path, 'x', sizeof(path));
	path[INDEX_PATH_SIZE] = '\0';
	assert_int_equal(
	    index_add_inside(f->region, slot, &host, &inner, path, &tree), -ENAMETOOLONG);
	index_unpin(f->region, slot, &host);
	assert_int_equal(index_pin(f->region, slot, &inner, &pin), 0);
	assert_int_equal(pin.host, host.entry);
	assert_int_not_equal(pin.entry, pin.host);
	index_location(f->region, &pin, location);
	assert_non_null(strstr(location, "-101/usr/include"));
	assert_int_equal(index_read(f->region, pin.entry, &info), 0);
	assert_true(info.inside);
	assert_string_equal(info.path, "usr/include");
	assert_true(digest_equal(&info.host, &digest));
	/* The pin on what lies inside holds the host; an inside entry is not evicted by itself. */
	assert_int_equal(index_evict_begin(f->region, janitor, host.entry, &seen), -EBUSY);
	assert_int_equal(index_evict_begin(f->region, janitor, pin.entry, &seen), -ENOENT);
	assert_int_equal(test_counter(f->region, COUNTER_index_trees), 1);
	index_unpin(f->region, slot, &pin);
	assert_int_equal(index_evict_begin(f->region, janitor, host.entry, &seen), 0);
	assert_int_equal(index_pin(f->region, slot, &inner, &pin), -ENOENT);
	index_evict_finish(f->region, janitor, host.entry);
	assert_int_equal(index_pin(f->region, slot, &inner, &pin), -ENOENT);
	assert_int_equal(index_read(f->region, pin.entry, &info), -ENOENT);
	/* The host again, a generation later: the old inside entry stays absent. */
	host = test_publish(f->region, slot, &digest, 500);
	assert_int_equal(index_pin(f->region, slot, &inner, &pin), -ENOENT);
	assert_int_equal(index_claim(f->region, slot, &inner, &claim), 0);
	index_abandon(f->region, slot, &claim);
	index_unpin_all(f->region, slot);
}

/* Nobody gets it any more; who has it keeps it, and what lies inside it, until the last lets go. */
static void
test_hold(void **state)
{
	struct fixture *f = *state;
	struct slot *slot = fixture_slot(f, 2), *janitor = fixture_slot(f, SLOT_JANITOR);
	struct digest digest = test_digest(1, 1), inner = test_digest(2, 2), seen;
	struct index_tree tree = {.files = 1, .bytes = 7};
	struct index_pin host = test_publish(f->region, slot, &digest, 500), pin, again;
	struct index_claim claim;

	assert_int_equal(index_add_inside(f->region, slot, &host, &inner, "usr", &tree), 0);
	assert_int_equal(index_pin(f->region, slot, &inner, &pin), 0);
	assert_int_equal(index_evict_hold(f->region, janitor, pin.entry), -ENOENT);
	assert_int_equal(index_evict_hold(f->region, janitor, host.entry), 0);
	assert_int_equal(index_evict_hold(f->region, janitor, host.entry), -ENOENT);
	assert_int_equal(index_pin(f->region, slot, &digest, &again), -ENOENT);
	assert_int_equal(index_pin(f->region, slot, &inner, &again), -ENOENT);
	assert_int_equal(index_claim(f->region, slot, &digest, &claim), -EAGAIN);
	assert_int_equal(index_check(f->region, test_report, NULL), 0);
	assert_int_equal(index_evict_settle(f->region, janitor, host.entry, &seen), -EBUSY);
	index_unpin(f->region, slot, &host);
	assert_int_equal(index_evict_settle(f->region, janitor, host.entry, &seen), -EBUSY);
	/* A janitor that ends meanwhile leaves it as it was. */
	slot_retire(f->region, SLOT_JANITOR);
	janitor = fixture_slot(f, SLOT_JANITOR);
	assert_int_equal(index_pin(f->region, slot, &digest, &again), 0);
	index_unpin(f->region, slot, &again);
	assert_int_equal(index_evict_hold(f->region, janitor, host.entry), 0);
	index_unpin(f->region, slot, &pin);
	assert_int_equal(index_evict_settle(f->region, janitor, host.entry, &seen), 0);
	assert_true(digest_equal(&seen, &digest));
	index_evict_finish(f->region, janitor, host.entry);
	assert_int_equal(test_counter(f->region, COUNTER_index_trees), 0);
	assert_int_equal(index_claim(f->region, slot, &digest, &claim), 0);
	index_abandon(f->region, slot, &claim);
}

static void
test_bucket_full(void **state)
{
	struct fixture *f = *state;
	struct slot *slot = fixture_slot(f, 2);
	struct digest digest = test_digest(5, 1000), inner;
	struct index_tree tree = {.bytes = 1};
	struct index_pin host, pin;
	struct index_claim claim;

	host = test_publish(f->region, slot, &digest, 1);
	for (uint32_t n = 1; n < INDEX_WAYS; n++) {
		inner = test_digest(5, n);
		assert_int_equal(index_add_inside(f->region, slot, &host, &inner, "a", &tree), 0);
	}
	inner = test_digest(5, 500);
	assert_int_equal(index_add_inside(f->region, slot, &host, &inner, "a", &tree), -ENOSPC);
	/* A pinned inside entry stays, another gives way to a tree of its own. */
	inner = test_digest(5, 1);
	assert_int_equal(index_pin(f->region, slot, &inner, &pin), 0);
	for (uint32_t n = 2; n < INDEX_WAYS; n++) {
		struct digest own = test_digest(5, 100 + n);

		test_publish(f->region, slot, &own, 1);
	}
	digest = test_digest(5, 300);
	assert_int_equal(index_claim(f->region, slot, &digest, &claim), -ENOSPC);
	assert_int_equal(test_counter(f->region, COUNTER_index_full), 1);
	index_unpin(f->region, slot, &pin);
	assert_int_equal(index_pin(f->region, slot, &inner, &pin), 0);
	index_unpin(f->region, slot, &pin);
	assert_int_equal(index_claim(f->region, slot, &digest, &claim), 0);
	assert_int_equal(index_pin(f->region, slot, &inner, &pin), -ENOENT);
	index_abandon(f->region, slot, &claim);
	index_unpin_all(f->region, slot);
}

static void
test_leases_run_out(void **state)
{
	struct fixture *f = *state;
	struct slot *slot = fixture_slot(f, 2), *other = fixture_slot(f, 3);
	struct digest digest = test_digest(1, 1), next = test_digest(1, 2);
	struct index_pin pins[SLOT_LEASES], pin;
	struct index_claim claim;

	pins[0] = test_publish(f->region, slot, &digest, 1);
	for (int i = 1; i < SLOT_LEASES; i++)
		assert_int_equal(index_pin(f->region, slot, &digest, &pins[i]), 0);
	assert_int_equal(index_pin(f->region, slot, &digest, &pin), -ENOSPC);
	assert_int_equal(index_claim(f->region, slot, &next, &claim), -ENOSPC);
	assert_int_equal(index_pin(f->region, other, &digest, &pin), 0);
	index_unpin(f->region, other, &pin);
	index_unpin(f->region, slot, &pins[100]);
	assert_int_equal(index_pin(f->region, slot, &digest, &pin), 0);
	assert_int_equal(pin.lease, pins[100].lease);
	index_unpin_all(f->region, slot);
	assert_int_equal(index_pin(f->region, slot, &digest, &pin), 0);
	index_unpin(f->region, slot, &pin);
}

static void
test_resume(void **state)
{
	struct fixture *f = *state;
	struct slot *slot = fixture_slot(f, 2), *janitor = fixture_slot(f, SLOT_JANITOR);
	struct digest first = test_digest(1, 1), second = test_digest(2, 2), seen;
	struct index_pin a = test_publish(f->region, slot, &first, 10);
	struct index_pin b = test_publish(f->region, slot, &second, 20);
	struct slot_repaired repaired;
	uint32_t entry = 0;

	index_unpin_all(f->region, slot);
	assert_int_equal(index_evict_begin(f->region, janitor, a.entry, &seen), 0);
	assert_int_equal(index_evict_begin(f->region, janitor, b.entry, &seen), 0);
	slot_repair(f->region, SLOT_JANITOR, &repaired);
	janitor = fixture_slot(f, SLOT_JANITOR);
	assert_int_equal(index_evict_resume(f->region, janitor, &entry, &seen), 0);
	assert_true(digest_equal(&seen, &first));
	index_evict_finish(f->region, janitor, entry);
	assert_int_equal(index_evict_resume(f->region, janitor, &entry, &seen), 0);
	assert_true(digest_equal(&seen, &second));
	index_evict_cancel(f->region, janitor, entry);
	assert_int_equal(index_evict_resume(f->region, janitor, &entry, &seen), -ENOENT);
	assert_int_equal(test_counter(f->region, COUNTER_index_trees), 1);
	assert_int_equal(test_counter(f->region, COUNTER_index_bytes), 20);
}

/* An entry that keeps changing is given up and counted, in bounded time. */
static void
test_torn(void **state)
{
	struct fixture *f = *state;
	struct slot *slot = fixture_slot(f, 2), *other = fixture_slot(f, 3);
	struct digest digest = test_digest(1, 1);
	struct index_claim claim;

	atom_store_relaxed(&f->region->heads[bucket_of(f->region, &digest)].claimer, 3 + 1);
	assert_int_equal(index_claim(f->region, slot, &digest, &claim), -EAGAIN);
	assert_int_equal(test_counter(f->region, COUNTER_index_torn), 1);
	slot_repair(f->region, 3, &(struct slot_repaired){0});
	assert_int_equal(index_claim(f->region, slot, &digest, &claim), 0);
	index_abandon(f->region, slot, &claim);
	assert_non_null(other);
}

/* A child waits, the claim ends, the child sees it and pins. */
static void
test_wait_across_processes(void **state)
{
	struct fixture *f = *state;
	struct slot *slot = fixture_slot(f, 2);
	struct digest digest = test_digest(1, 1);
	struct index_tree tree = {.bytes = 1};
	struct index_claim claim;
	struct index_pin pin;
	pid_t child;

	fixture_slot(f, 3);
	assert_int_equal(index_claim(f->region, slot, &digest, &claim), 0);
	child = fork();
	if (child == 0) {
		if (index_wait(f->region, &digest, 20000000) != 0)
			_exit(1);
		_exit(index_pin(f->region, slot_at(f->region, 3), &digest, &pin) == 0 ? 0 : 2);
	}
	assert_int_equal(index_publish(f->region, slot, &claim, &tree, &pin), 0);
	test_child_ok(child);
	index_unpin_all(f->region, slot);
	index_unpin_all(f->region, slot_at(f->region, 3));
}

static void
test_check_finds(void **state)
{
	struct fixture *f = *state;
	struct slot *slot = fixture_slot(f, 2);
	struct digest digest = test_digest(1, 1), other = test_digest(1, 2);
	struct index_pin pin = test_publish(f->region, slot, &digest, 10);
	struct layout_hot *hot = &f->region->hot[pin.entry];
	uint64_t word = atom_load_relaxed(&hot->word);

	assert_int_equal(index_check(f->region, test_report, NULL), 0);
	atom_store_relaxed(&hot->word, word_make(word_generation(word), 0, INDEX_ABSENT));
	assert_true(index_check(f->region, test_report_quiet, NULL) >= 2);
	atom_store_relaxed(&hot->word, word);
	atom_copy_in(hot->key, &other, sizeof(other));
	assert_int_equal(index_check(f->region, test_report_quiet, NULL), 1);
	atom_copy_in(hot->key, &digest, sizeof(digest));
	atom_store_relaxed(&f->region->gate->cells[3].holder, 200);
	assert_int_equal(index_check(f->region, test_report_quiet, NULL), 1);
	atom_store_relaxed(&f->region->gate->cells[3].holder, 0);
	COUNTER_ADD(slot, index_trees, 1);
	assert_int_equal(index_check(f->region, test_report_quiet, NULL), 1);
	COUNTER_ADD(slot, index_trees, UINT64_MAX);
	atom_store_relaxed(&hot->word, word_make(word_generation(word), 77, INDEX_LEAVING));
	assert_int_equal(index_check(f->region, test_report_quiet, NULL), 1);
	atom_store_relaxed(&hot->word, word);
	index_unpin(f->region, slot, &pin);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_claim_publish_pin, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_abandon, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_evict, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_inside, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_hold, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_bucket_full, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_leases_run_out, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_resume, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_torn, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_wait_across_processes, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_check_finds, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
