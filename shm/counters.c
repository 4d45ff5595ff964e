#include "shm/counters.h"

#include "base/check.h"
#include "shm/internal.h"

const struct counter_info counter_table[COUNTER_COUNT] = {
#define COUNTER(name, kind, help) {#name, COUNTER_##kind, help},
#include "shm/counters.def"
#undef COUNTER
};

const char *const place_way_names[PLACE_WAY_COUNT] = {
    "bind", "overlay", "image", "clonefile", "reflink", "hardlink", "copy", "recycle"};

const uint32_t place_us_bounds[PLACE_US_BOUNDS] = {100, 300, 1000, 3000, 10000, 30000, 100000};

void
counter_add(struct slot *slot, enum counter counter, uint64_t n)
{
	CHECK((unsigned)counter < COUNTER_COUNT);
	atom_add_relaxed(&slot->counters[counter], n);
}

void
counter_max(struct slot *slot, enum counter counter, uint64_t value)
{
	uint64_t seen;

	CHECK((unsigned)counter < COUNTER_COUNT);
	seen = atom_load_relaxed(&slot->counters[counter]);
	while (seen < value && !atom_cas(&slot->counters[counter], &seen, value))
		;
}

void
counter_set(struct slot *slot, enum counter counter, uint64_t value)
{
	CHECK((unsigned)counter < COUNTER_COUNT);
	atom_store_relaxed(&slot->counters[counter], value);
}

void
counter_stage_time(struct slot *slot, enum place_way way, uint64_t us)
{
	int bucket = 0;

	while (bucket < PLACE_US_BOUNDS && us > place_us_bounds[bucket])
		bucket++;
	counter_add(slot, COUNTER_STAGE(way, PLACE_US), us);
	counter_add(slot, COUNTER_STAGE(way, PLACE_US_BUCKETS + bucket), 1);
}

void
counters_read(const struct region *region, uint64_t *values)
{
	for (unsigned c = 0; c < COUNTER_COUNT; c++)
		values[c] = 0;
	/* All of them: a slot that nobody has any more still counts what was done. */
	for (uint32_t n = 0; n < SLOT_COUNT_MAX; n++) {
		const struct slot *slot = slot_at_const(region, n);

		for (unsigned c = 0; c < COUNTER_COUNT; c++) {
			uint64_t value = atom_load_relaxed(&slot->counters[c]);

			if (counter_table[c].kind != COUNTER_MAX)
				values[c] += value;
			else if (value > values[c])
				values[c] = value;
		}
	}
}

uint64_t
counter_sum(const struct region *region, enum counter counter)
{
	uint64_t sum = 0;

	CHECK((unsigned)counter < COUNTER_COUNT && counter_table[counter].kind != COUNTER_MAX);
	for (uint32_t n = 0; n < SLOT_COUNT_MAX; n++)
		sum += atom_load_relaxed(&slot_at_const(region, n)->counters[counter]);
	return sum;
}
