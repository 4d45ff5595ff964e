/* What the dead held in the index, given back: one slot, or at open everything. */
#include "shm/internal.h"

/* Only its owner takes an entry out of the state that `pending` names, so: changed means done. */
static void
pending_repair(struct region *region, struct slot *slot)
{
	uint64_t before = atom_load_acquire(&slot->pending);
	struct layout_hot *hot;

	if (before == 0)
		return;
	hot = region_hot(region, atom_load_acquire(&slot->pending_entry));
	if (hot != NULL && atom_load_seq(&hot->word) != before) {
		atom_store_release(
		    &slot->counters[COUNTER_index_trees], atom_load_acquire(&slot->pending_trees));
		atom_store_release(
		    &slot->counters[COUNTER_index_bytes], atom_load_acquire(&slot->pending_bytes));
		entry_wake(hot);
	}
	atom_store_release(&slot->pending, 0);
}

/* What the dead slot's word says, undone; true where that was a claim. */
static bool
entry_repair(struct layout_hot *hot, uint64_t word)
{
	uint32_t state = word_state(word), generation = word_generation(word);

	if (state == INDEX_LEAVING && (word & WORD_CLEARED) == 0) {
		/* It was still looking for leases: nothing was moved. */
		atom_store_seq(&hot->word, word_make(generation, 0, INDEX_READY));
		return false;
	}
	if (state != INDEX_CLAIMED && state != INDEX_BUILDING)
		return false;
	atom_store_seq(&hot->word, word_make(generation, 0, INDEX_ABSENT));
	entry_wake(hot);
	return true;
}

uint32_t
index_repair_slot(struct region *region, uint32_t number)
{
	uint32_t builds = 0;

	pending_repair(region, slot_at(region, number));
	for (uint32_t entry = 0; entry < region->entry_count; entry++) {
		uint64_t word = atom_load_relaxed(&region->hot[entry].word);

		if (word_state(word) != INDEX_ABSENT && word_state(word) != INDEX_READY &&
		    word_owner(word) == number)
			builds += entry_repair(&region->hot[entry], word);
	}
	/* Last, so that nobody claims beside a CLAIMED entry of the dead. */
	for (uint32_t bucket = 0; bucket < region->entry_count / INDEX_WAYS; bucket++) {
		if (atom_load_relaxed(&region->heads[bucket].claimer) == number + 1)
			bucket_leave(&region->heads[bucket]);
	}
	return builds;
}

/* A word that no crash can leave behind, now that claims and unfinished evictions are undone. */
static bool
word_is_damaged(uint64_t word)
{
	uint32_t generation = word_generation(word), owner = word_owner(word);

	return word != word_make(generation, 0, INDEX_READY) &&
	    (owner >= SLOT_COUNT_MAX ||
		word != word_make(generation, owner, INDEX_LEAVING | WORD_CLEARED));
}

static bool
entry_is_twice(const struct region *region, uint32_t entry, const struct digest *key)
{
	for (uint32_t other = entry - entry % INDEX_WAYS; other < entry; other++) {
		if (word_state(atom_load_relaxed(&region->hot[other].word)) != INDEX_ABSENT &&
		    entry_key_is(&region->hot[other], key))
			return true;
	}
	return false;
}

/* The file is damaged there, so the entry goes. */
static bool
entry_is_damaged(const struct region *region, uint32_t entry, uint64_t word)
{
	const struct layout_hot *hot = &region->hot[entry];
	uint32_t host = atom_load_relaxed(&hot->host);
	uint32_t length = atom_load_relaxed(&hot->path_length);
	struct digest key;

	entry_key_read(hot, &key);
	return word_is_damaged(word) || key.size_bytes < 0 ||
	    bucket_of(region, &key) != entry / INDEX_WAYS || !region_has_entry(region, host) ||
	    length >= INDEX_PATH_SIZE || (length == 0) != (host == entry) ||
	    (host == entry && atom_load_relaxed(&hot->host_generation) != word_generation(word)) ||
	    entry_is_twice(region, entry, &key);
}

static void
entry_repair_at_open(struct region *region, uint32_t entry)
{
	struct layout_hot *hot = &region->hot[entry];
	uint64_t word = atom_load_relaxed(&hot->word);
	uint64_t absent = word_make(word_generation(word), 0, INDEX_ABSENT);
	struct digest key;

	if (word == absent)
		return;
	entry_repair(hot, word);
	word = atom_load_relaxed(&hot->word);
	if (word == absent)
		return;
	if (entry_is_damaged(region, entry, word)) {
		atom_store_seq(&hot->word, absent);
		return;
	}
	entry_key_read(hot, &key);
	atom_store_relaxed(
	    &region->heads[entry / INDEX_WAYS].tags[entry % INDEX_WAYS], tag_of(&key));
}

void
index_repair_all(struct region *region)
{
	for (uint32_t n = 0; n < SLOT_COUNT_MAX; n++)
		pending_repair(region, slot_at(region, n));
	for (uint32_t entry = 0; entry < region->entry_count; entry++)
		entry_repair_at_open(region, entry);
	for (uint32_t bucket = 0; bucket < region->entry_count / INDEX_WAYS; bucket++) {
		if (atom_load_relaxed(&region->heads[bucket].claimer) != 0)
			bucket_leave(&region->heads[bucket]);
	}
}

/* The supervisor at open, when nobody lives: the levels as they are, in its own slot. */
void
index_recount(struct region *region)
{
	uint64_t trees = 0, bytes = 0;

	for (uint32_t entry = 0; entry < region->entry_count; entry++) {
		const struct layout_hot *hot = &region->hot[entry];
		uint32_t state = word_state(atom_load_relaxed(&hot->word));

		if ((state != INDEX_READY && state != INDEX_LEAVING) ||
		    atom_load_relaxed(&hot->host) != entry)
			continue;
		trees++;
		bytes += atom_load_relaxed(&hot->bytes);
	}
	for (uint32_t n = 0; n < SLOT_COUNT_MAX; n++) {
		struct slot *slot = slot_at(region, n);

		COUNTER_SET(slot, index_trees, n == SLOT_SUPERVISOR ? trees : 0);
		COUNTER_SET(slot, index_bytes, n == SLOT_SUPERVISOR ? bytes : 0);
	}
}
