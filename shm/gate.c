#include "shm/gate.h"

#include <limits.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "shm/internal.h"
#include "shm/wait.h"

enum {
#ifdef RAMET_EXPLORE
	GATE_SPINS = 0,
#else
	GATE_SPINS = 64,
#endif
	GATE_WAIT_US = 100000, /* no wake is ever lost; this bounds the harm if one were */
	GATE_COUNT_ALL =
	    16, /* so many first permits of a slot are counted each, then one in as many */
};
#define GATE_NONE UINT32_MAX

static uint32_t
gate_cap(const struct region *region)
{
	uint32_t cap = atom_load_relaxed(&region->gate->cap);

	return cap < 1 ? 1 : cap > LINK_CAP_MAX ? LINK_CAP_MAX : cap;
}

static uint32_t
gate_count(const struct region *region, uint32_t cells)
{
	uint32_t held = 0;

	for (uint32_t i = 0; i < cells; i++)
		held += atom_load_relaxed(&region->gate->cells[i].holder) != 0;
	return held;
}

uint32_t
gate_in_flight(const struct region *region)
{
	return gate_count(region, LINK_CAP_MAX);
}

/*
 * The high-water mark.  Counting all cells each time would pull every other holder's line over, so
 * it is done while a slot is new, then now and then, and whenever the wanted cell was taken.
 */
static void
gate_note_level(struct region *region, struct slot *slot, uint32_t cap, bool first_choice)
{
	uint32_t nth = atom_load_relaxed(&slot->gate_count);

	atom_store_relaxed(&slot->gate_count, nth + 1);
	if (first_choice && nth >= GATE_COUNT_ALL && nth % GATE_COUNT_ALL != 0)
		return;
	COUNTER_MAX_OF(slot, link_gate_high_water, gate_count(region, cap));
}

static uint32_t
gate_try(struct region *region, struct slot *slot, uint32_t number, uint32_t cap)
{
	uint32_t hint = atom_load_relaxed(&slot->gate_hint), first;

	first = hint == 0 ? number % cap : (hint - 1) % cap;
	for (uint32_t i = 0; i < cap; i++) {
		uint32_t at = (first + i) % cap, free_cell = 0;
		shared_u32 *cell = &region->gate->cells[at].holder;

		if (atom_load_seq(cell) != 0 || !atom_cas(cell, &free_cell, number + 1))
			continue;
		CRASH_POINT(gate_permit_held);
		if (hint != at + 1)
			atom_store_relaxed(&slot->gate_hint, at + 1);
		gate_note_level(region, slot, cap, i == 0);
		return at;
	}
	COUNTER_MAX_OF(slot, link_gate_high_water, cap);
	return GATE_NONE;
}

/* Full.  "waiters, then cells" here against "cell, then waiters" in gate_leave. */
static uint32_t
gate_wait(struct region *region, struct slot *slot, uint32_t number)
{
	struct layout_gate *gate = region->gate;
	uint64_t start_us = clock_monotonic_us();
	uint32_t permit;

	COUNTER_ADD(slot, link_gate_waits, 1);
	for (;;) {
		uint32_t sequence = atom_load_seq(&gate->sequence);

		atom_store_seq(&gate->waiters, 1);
		permit = gate_try(region, slot, number, gate_cap(region));
		if (permit != GATE_NONE)
			break;
		wait_on(&gate->sequence, sequence, GATE_WAIT_US);
	}
	COUNTER_ADD(slot, link_gate_wait_us, clock_monotonic_us() - start_us);
	return permit;
}

uint32_t
gate_enter(struct region *region, struct slot *slot)
{
	uint32_t number = slot_number(region, slot), permit;

	for (int spin = 0; spin <= GATE_SPINS; spin++) {
		permit = gate_try(region, slot, number, gate_cap(region));
		if (permit != GATE_NONE)
			return permit;
		if (spin < GATE_SPINS)
			atom_relax();
	}
	return gate_wait(region, slot, number);
}

/* One waiter is enough: it sets the flag again before it tries, so its own leave wakes the next. */
static void
gate_wake(struct region *region, unsigned count)
{
	atom_store_seq(&region->gate->waiters, 0);
	atom_add_seq(&region->gate->sequence, 1);
	wait_wake(&region->gate->sequence, count);
}

void
gate_leave(struct region *region, struct slot *slot, uint32_t permit)
{
	CHECK(permit < LINK_CAP_MAX);
	CHECK(atom_load_relaxed(&region->gate->cells[permit].holder) ==
	    slot_number(region, slot) + 1);
	atom_store_seq(&region->gate->cells[permit].holder, 0);
	if (atom_load_seq(&region->gate->waiters) != 0)
		gate_wake(region, 1);
}

uint32_t
gate_repair_slot(struct region *region, uint32_t number)
{
	uint32_t taken = 0;

	for (uint32_t i = 0; i < LINK_CAP_MAX; i++) {
		if (atom_load_relaxed(&region->gate->cells[i].holder) != number + 1)
			continue;
		atom_store_seq(&region->gate->cells[i].holder, 0);
		taken++;
	}
	/* Also when it held none: it may have been the one that a wake went to. */
	gate_wake(region, UINT_MAX);
	return taken;
}

/* Nobody lives: the supervisor at open. */
void
gate_reset(struct region *region)
{
	for (uint32_t i = 0; i < LINK_CAP_MAX; i++) {
		if (atom_load_relaxed(&region->gate->cells[i].holder) != 0)
			atom_store_relaxed(&region->gate->cells[i].holder, 0);
	}
	atom_store_relaxed(&region->gate->waiters, 0);
}
