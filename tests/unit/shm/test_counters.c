#include <ctype.h>

#include "tests/unit/shm/shm_test.h"

static void
test_table(void **state)
{
	(void)state;
	for (int c = 0; c < COUNTER_COUNT; c++) {
		const struct counter_info *info = &counter_table[c];

		assert_true(info->kind <= COUNTER_LEVEL);
		assert_true(info->help[0] != '\0');
		for (const char *at = info->name; *at != '\0'; at++)
			assert_true(islower((unsigned char)*at) || *at == '_' ||
			    (at != info->name && isdigit((unsigned char)*at)));
		for (int other = 0; other < c; other++)
			assert_string_not_equal(info->name, counter_table[other].name);
	}
}

static void
test_ways_in_order(void **state)
{
	static const char *const parts[] = {"files", "subtrees", "bytes", "us", "fallbacks"};
	char name[64];

	(void)state;
	for (int way = 0; way < PLACE_WAY_COUNT; way++) {
		for (int part = 0; part < 5; part++) {
			snprintf(
			    name, sizeof(name), "stage_%s_%s", place_way_names[way], parts[part]);
			assert_string_equal(counter_table[COUNTER_STAGE(way, part)].name, name);
		}
		for (int i = 0; i < PLACE_US_BOUNDS; i++) {
			snprintf(name, sizeof(name), "stage_%s_us_le_%u", place_way_names[way],
			    (unsigned)place_us_bounds[i]);
			assert_string_equal(
			    counter_table[COUNTER_STAGE(way, PLACE_US_BUCKETS + i)].name, name);
		}
		for (int i = 0; i < 5; i++) {
			const char *all = counter_table[COUNTER_fallback_emlink + i].name;

			snprintf(name, sizeof(name), "stage_%s_fallbacks%s", place_way_names[way],
			    strchr(all, '_'));
			assert_string_equal(
			    counter_table[COUNTER_STAGE(way, PLACE_FALLBACKS_EMLINK + i)].name,
			    name);
		}
	}
	assert_string_equal(
	    counter_table[COUNTER_STAGE(PLACE_WAY_COUNT, PLACE_FILES)].name, "stage_trees");
}

static void
test_buckets(void **state)
{
	struct fixture f;
	struct slot *slot;
	uint64_t sum = 0;

	(void)state;
	fixture_dir(&f);
	fixture_open(&f, 64, 0);
	slot = fixture_slot(&f, 2);
	for (int i = 0; i < PLACE_US_BOUNDS; i++) {
		counter_stage_time(slot, PLACE_OVERLAY, place_us_bounds[i]);
		counter_stage_time(slot, PLACE_OVERLAY, place_us_bounds[i] + 1);
		sum += 2 * (uint64_t)place_us_bounds[i] + 1;
	}
	for (int i = 0; i <= PLACE_US_BOUNDS; i++)
		assert_int_equal(
		    test_counter(f.region, COUNTER_STAGE(PLACE_OVERLAY, PLACE_US_BUCKETS + i)),
		    i == 0 || i == PLACE_US_BOUNDS ? 1 : 2);
	assert_int_equal(test_counter(f.region, COUNTER_STAGE(PLACE_OVERLAY, PLACE_US)), sum);
	fixture_close(&f);
}

static void
test_sums(void **state)
{
	struct fixture f;
	struct slot *a, *b;

	(void)state;
	fixture_dir(&f);
	fixture_open(&f, 64, 0);
	a = fixture_slot(&f, 2);
	b = fixture_slot(&f, 200);
	COUNTER_ADD(a, actions_done, 3);
	COUNTER_ADD(b, actions_done, 4);
	COUNTER_MAX_OF(a, link_gate_high_water, 9);
	COUNTER_MAX_OF(b, link_gate_high_water, 5);
	COUNTER_MAX_OF(a, link_gate_high_water, 2);
	COUNTER_SET(a, workers_alive, 6);
	COUNTER_SET(a, workers_alive, 5);
	COUNTER_ADD(a, index_bytes, 100);
	COUNTER_ADD(b, index_bytes, UINT64_C(0) - 40);
	assert_int_equal(test_counter(f.region, COUNTER_actions_done), 7);
	assert_int_equal(test_counter(f.region, COUNTER_link_gate_high_water), 9);
	assert_int_equal(test_counter(f.region, COUNTER_workers_alive), 5);
	assert_int_equal(test_counter(f.region, COUNTER_index_bytes), 60);
	/* Counters outlive their process. */
	slot_retire(f.region, 200);
	assert_int_equal(test_counter(f.region, COUNTER_actions_done), 7);
	fixture_close(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_table),
	    cmocka_unit_test(test_ways_in_order),
	    cmocka_unit_test(test_buckets),
	    cmocka_unit_test(test_sums),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
