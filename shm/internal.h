/*
 * What the files of shm/ share among themselves: this process's handle, and range-checked access.
 *
 * shm/ and its tests only.  A number that was read from the mapping becomes a pointer through
 * region_hot, region_cold, slot_at or permit cells below LINK_CAP_MAX, and through nothing else;
 * the bounds stand in the handle, not in the mapping, so nobody can change them under us.
 */
#ifndef SHM_INTERNAL_H
#define SHM_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shm/layout.h"

struct region {
	struct layout_header *header;
	struct slot *slots;
	struct layout_gate *gate;
	struct layout_head *heads;
	struct layout_hot *hot;
	struct layout_cold *cold;
	size_t size;
	uint32_t entry_count; /* a power of two, at least INDEX_WAYS */
	bool writable;
	bool booted_since;
	uint32_t clean_stop_s; /* of the run before, for who opened it */
	uint32_t opened_s; /* likewise */
};

/* Where things lie for a number of entries. */
struct region_plan {
	uint64_t slots, gate, heads, hot, cold, size;
};
void region_plan_make(uint32_t entry_count, struct region_plan *ret_plan);
uint64_t region_fingerprint(void);

static inline bool
region_has_entry(const struct region *region, uint32_t entry)
{
	return entry < region->entry_count;
}

/* NULL where there is no such entry. */
static inline struct layout_hot *
region_hot(const struct region *region, uint32_t entry)
{
	return region_has_entry(region, entry) ? &region->hot[entry] : NULL;
}

static inline struct layout_cold *
region_cold(const struct region *region, uint32_t entry)
{
	return region_has_entry(region, entry) ? &region->cold[entry] : NULL;
}

/* How many slots there can be anything in. */
static inline uint32_t
region_slots_used(const struct region *region)
{
	uint32_t high = atom_load_seq(&region->header->slot_high);

	return high < SLOT_COUNT_MAX ? high : SLOT_COUNT_MAX;
}

/* Cells of a slot that a lease can stand in. */
static inline uint32_t
slot_leases_used(const struct slot *slot)
{
	uint32_t high = atom_load_seq(&slot->lease_high);

	return high < SLOT_LEASES ? high : SLOT_LEASES;
}

/* For counters that only the slot's one index thread changes: no locked instruction. */
static inline void
counter_bump(struct slot *slot, enum counter counter, uint64_t n)
{
	shared_u64 *place = &slot->counters[counter];

	atom_store_relaxed(place, atom_load_relaxed(place) + n);
}

/* index.c */
void entry_wake(struct layout_hot *hot);
void bucket_leave(struct layout_head *head);
uint32_t index_release_leases(struct region *region, uint32_t number);
/* index_repair.c */
uint32_t index_repair_slot(struct region *region, uint32_t number); /* builds given back */
/* The supervisor at open, when nobody lives. */
void index_repair_all(struct region *region);
void index_recount(struct region *region);
/* slot.c */
void slot_repair_all(struct region *region);
/* gate.c */
uint32_t gate_repair_slot(struct region *region, uint32_t number); /* permits taken back */
void gate_reset(struct region *region);

/* index_read.c: shared with index.c. */
void entry_key_read(const struct layout_hot *hot, struct digest *ret_digest);
bool entry_key_is(const struct layout_hot *hot, const struct digest *digest);
uint32_t bucket_of(const struct region *region, const struct digest *digest);
uint32_t tag_of(const struct digest *digest);
/* Does the entry (of that word, READY) have a tree to lie in?  Its own, or its host's. */
bool entry_host_stands(const struct region *region, uint32_t entry, uint64_t word);
/* Leases that name it, or name an entry inside it. */
uint32_t entry_leases(const struct region *region, uint32_t entry, uint32_t generation);

#endif
