#include "shm/slot.h"

#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "shm/internal.h"
#include "shm/region_os.h"

const char *const slot_phase_names[SLOT_PHASE_COUNT] = {
    "idle", "loading", "staging", "running", "collecting", "cleaning"};

struct slot *
slot_at(struct region *region, uint32_t number)
{
	CHECK(number < SLOT_COUNT_MAX);
	return &region->slots[number];
}

const struct slot *
slot_at_const(const struct region *region, uint32_t number)
{
	CHECK(number < SLOT_COUNT_MAX);
	return &region->slots[number];
}

uint32_t
slot_number(const struct region *region, const struct slot *slot)
{
	CHECK(slot >= region->slots && slot < region->slots + SLOT_COUNT_MAX);
	return (uint32_t)(slot - region->slots);
}

static void
slot_clear_show(struct slot *slot)
{
	atom_store_relaxed(&slot->phase, SLOT_IDLE);
	atom_store_relaxed(&slot->phase_since_us, clock_monotonic_us());
	atom_store_relaxed(&slot->builds, 0);
	atom_store_relaxed(&slot->sandbox, 0);
	atom_store_relaxed(&slot->ahead, 0);
	atom_store_relaxed(&slot->kept, 0);
	slot_clear_action(slot);
}

void
slot_assign(struct region *region, uint32_t number)
{
	struct slot *slot = slot_at(region, number);

	CHECK(region->writable);
	CHECK(atom_load_relaxed(&slot->state) == SLOT_UNUSED);
	slot_clear_show(slot);
	slot->words[0] = '\0';
	atom_store_relaxed(&slot->lease_hint, 0);
	atom_store_relaxed(&slot->gate_hint, 0);
	atom_store_relaxed(&slot->gate_count, 0);
	atom_store_relaxed(&slot->pid, 0);
	atom_store_relaxed(&slot->start, 0);
	/* Pairs with the scan of the leases: a slot is in its reach before anything stands in it.
	 */
	if (atom_load_relaxed(&region->header->slot_high) <= number)
		atom_store_seq(&region->header->slot_high, number + 1);
	atom_store_seq(&slot->state, SLOT_ASSIGNED);
}

void
slot_activate(struct region *region, uint32_t number, pid_t pid)
{
	struct slot *slot = slot_at(region, number);

	CHECK(atom_load_relaxed(&slot->state) == SLOT_ASSIGNED);
	atom_store_relaxed(&slot->pid, (uint32_t)pid);
	atom_store_relaxed(&slot->start, os_process_start(pid));
	atom_store_seq(&slot->state, SLOT_ACTIVE);
}

/* Gives back all that names the slot; the order is README.md's rule 7. */
static void
slot_give_back(struct region *region, uint32_t number, struct slot_repaired *ret_repaired)
{
	ret_repaired->builds = index_repair_slot(region, number);
	ret_repaired->pins = index_release_leases(region, number);
	ret_repaired->permits = gate_repair_slot(region, number);
}

static void
slot_free(struct slot *slot)
{
	slot_clear_show(slot);
	atom_store_relaxed(&slot->pid, 0);
	atom_store_relaxed(&slot->start, 0);
	atom_store_seq(&slot->lease_high, 0);
	atom_store_seq(&slot->state, SLOT_UNUSED);
}

void
slot_retire(struct region *region, uint32_t number)
{
	struct slot *slot = slot_at(region, number);
	struct slot_repaired given;

	CHECK(atom_load_relaxed(&slot->state) == SLOT_ACTIVE);
	slot_give_back(region, number, &given);
	slot_free(slot);
}

void
slot_repair(struct region *region, uint32_t number, struct slot_repaired *ret_repaired)
{
	struct slot *slot = slot_at(region, number);

	CHECK(region->writable);
	memset(ret_repaired, 0, sizeof(*ret_repaired));
	if (atom_load_seq(&slot->state) == SLOT_UNUSED)
		return;
	slot_give_back(region, number, ret_repaired);
	ret_repaired->sandbox = atom_load_relaxed(&slot->sandbox);
	ret_repaired->ahead = atom_load_relaxed(&slot->ahead);
	ret_repaired->kept = atom_load_relaxed(&slot->kept);
	ret_repaired->action_pid = (int32_t)atom_load_relaxed(&slot->action_pid);
	memcpy(ret_repaired->words, slot->words, sizeof(ret_repaired->words));
	ret_repaired->words[SLOT_WORDS_SIZE - 1] = '\0';
	COUNTER_ADD(slot, trees_abandoned, ret_repaired->builds);
	COUNTER_ADD(slot, link_gate_reclaimed, ret_repaired->permits);
	COUNTER_ADD(slot, slot_repairs, 1);
	slot_free(slot);
}

/* The supervisor at open: index_repair_all and gate_reset do the rest. */
void
slot_repair_all(struct region *region)
{
	for (uint32_t n = 0; n < SLOT_COUNT_MAX; n++) {
		struct slot *slot = slot_at(region, n);

		/* Whatever the mark says: the file is input. */
		for (uint32_t i = 0; i < SLOT_LEASES; i++) {
			if (atom_load_relaxed(&slot->leases[i]) != 0)
				atom_store_relaxed(&slot->leases[i], 0);
		}
		if (atom_load_relaxed(&slot->state) == SLOT_UNUSED)
			continue;
		COUNTER_ADD(slot, slot_repairs, 1);
		slot_free(slot);
	}
}

void
slot_set_phase(struct slot *slot, enum slot_phase phase)
{
	CHECK((unsigned)phase < SLOT_PHASE_COUNT);
	atom_store_relaxed(&slot->phase_since_us, clock_monotonic_us());
	atom_store_relaxed(&slot->phase, phase);
}

void
slot_set_action(struct slot *slot, const struct digest *action, const char *label, uint32_t attempt)
{
	char text[SLOT_LABEL_SIZE] = "";

	strlcpy(text, label, sizeof(text));
	atom_copy_in(slot->label, text, sizeof(text));
	atom_copy_in(slot->action, action, sizeof(*action));
	atom_store_relaxed(&slot->attempt, attempt);
	atom_store_relaxed(&slot->action_since_us, clock_monotonic_us());
}

void
slot_set_job(struct slot *slot, uint64_t number)
{
	atom_store_release(&slot->job, number);
}

void
slot_clear_action(struct slot *slot)
{
	atom_store_release(&slot->job, 0);
	atom_store_relaxed(&slot->attempt, 0);
	atom_store_relaxed(&slot->action_pid, 0);
	atom_store_relaxed(&slot->action_since_us, 0);
	for (int i = 0; i < DIGEST_WORDS; i++)
		atom_store_relaxed(&slot->action[i], 0);
	for (int i = 0; i < SLOT_LABEL_SIZE / 8; i++)
		atom_store_relaxed(&slot->label[i], 0);
}

void
slot_set_sandbox(struct slot *slot, uint64_t number)
{
	atom_store_release(&slot->sandbox, number);
}

void
slot_set_ahead(struct slot *slot, uint64_t number)
{
	atom_store_release(&slot->ahead, number);
}

void
slot_set_kept(struct slot *slot, uint64_t number)
{
	atom_store_release(&slot->kept, number);
}

void
slot_set_action_pid(struct slot *slot, pid_t pid)
{
	atom_store_release(&slot->action_pid, (uint32_t)pid);
}

char *
slot_words(struct slot *slot)
{
	return slot->words;
}

static uint32_t
slot_count_permits(const struct region *region, uint32_t number)
{
	uint32_t held = 0;

	for (uint32_t i = 0; i < LINK_CAP_MAX; i++)
		held += atom_load_relaxed(&region->gate->cells[i].holder) == number + 1;
	return held;
}

void
slot_read(const struct region *region, uint32_t number, struct slot_info *ret_info)
{
	const struct slot *slot = slot_at_const(region, number);
	uint32_t state = atom_load_acquire(&slot->state), used = slot_leases_used(slot);
	uint32_t phase = atom_load_relaxed(&slot->phase);
	struct slot_info info;

	memset(&info, 0, sizeof(info));
	info.state = state <= SLOT_ACTIVE ? (enum slot_state)state : SLOT_UNUSED;
	info.phase = phase < SLOT_PHASE_COUNT ? (enum slot_phase)phase : SLOT_IDLE;
	info.pid = (int32_t)atom_load_relaxed(&slot->pid);
	info.action_pid = (int32_t)atom_load_relaxed(&slot->action_pid);
	info.attempt = atom_load_relaxed(&slot->attempt);
	info.phase_since_us = atom_load_relaxed(&slot->phase_since_us);
	info.action_since_us = atom_load_relaxed(&slot->action_since_us);
	/* One staged ahead is adopted by being named as the sandbox first: whoever no longer sees
	 * it here sees it there. */
	info.ahead = atom_load_acquire(&slot->ahead);
	info.sandbox = atom_load_acquire(&slot->sandbox);
	info.kept = atom_load_relaxed(&slot->kept);
	atom_copy_out(&info.action, slot->action, sizeof(info.action));
	atom_copy_out(info.label, slot->label, sizeof(info.label));
	info.label[SLOT_LABEL_SIZE - 1] = '\0';
	for (uint32_t i = 0; i < used; i++)
		info.pins += atom_load_relaxed(&slot->leases[i]) != 0;
	info.permits = slot_count_permits(region, number);
	info.builds = atom_load_relaxed(&slot->builds);
	*ret_info = info;
}

/* The job is set before its sandbox and cleared after it, so what lies between two equal looks is
 * its own. */
uint64_t
slot_sandbox_of_job(const struct region *region, uint32_t number, uint64_t job)
{
	const struct slot *slot = slot_at_const(region, number);
	uint64_t sandbox;

	if (job == 0 || atom_load_acquire(&slot->job) != job)
		return 0;
	sandbox = atom_load_acquire(&slot->sandbox);
	return atom_load_acquire(&slot->job) == job ? sandbox : 0;
}

/* Of its own slot: while its action runs, what it does beside is one more. */
uint32_t
slot_busy_others(const struct region *region, const struct slot *slot)
{
	uint32_t used = region_slots_used(region), busy = 0;

	for (uint32_t i = SLOT_WORKER_FIRST; i < used; i++) {
		const struct slot *one = &region->slots[i];
		uint32_t phase = atom_load_relaxed(&one->phase);
		if (atom_load_relaxed(&one->state) == SLOT_ACTIVE)
			busy += one == slot ? phase == SLOT_RUNNING : phase != SLOT_IDLE;
	}
	return busy;
}
