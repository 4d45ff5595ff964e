/* What changes entries and leases.  The rules have their numbers in README.md. */
#include "shm/index.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "shm/internal.h"
#include "shm/wait.h"

enum {
	PIN_TRIES = 16,
	HITS_EXACT = 64, /* after as many, one hit in as many is counted, with that weight */
#ifdef RAMET_EXPLORE
	CLAIM_SPINS = 4,
	CLAIM_YIELDS = 0,
#else
	CLAIM_SPINS = 2000,
	CLAIM_YIELDS = 100,
#endif
};

/* A free lease cell, or -ENOSPC.  It is ours already: only the slot's owner takes cells. */
static int
lease_find(struct slot *slot, uint32_t *ret_lease)
{
	uint32_t first = atom_load_relaxed(&slot->lease_hint);

	for (uint32_t i = 0; i < SLOT_LEASES; i++) {
		uint32_t at = (first + i) % SLOT_LEASES;

		if (atom_load_relaxed(&slot->leases[at]) != 0)
			continue;
		/* Before the lease itself: the scan reads the mark first. */
		if (atom_load_relaxed(&slot->lease_high) <= at)
			atom_store_seq(&slot->lease_high, at + 1);
		*ret_lease = at;
		return 0;
	}
	return -ENOSPC;
}

static void
lease_clear(struct slot *slot, uint32_t lease)
{
	atom_store_release(&slot->leases[lease], 0);
	if (lease < atom_load_relaxed(&slot->lease_hint))
		atom_store_relaxed(&slot->lease_hint, lease);
}

/* Rule 2: the lease is stored first, then the word is looked at again. */
static bool
lease_take(struct slot *slot, uint32_t lease, struct layout_hot *hot, uint32_t entry, uint64_t word)
{
	uint64_t cell = lease_make(entry, word_generation(word));
#ifdef RAMET_EXPLORE_MUTANT
	bool same = atom_load_seq(&hot->word) == word;

	atom_store_seq(&slot->leases[lease], cell);
	return same;
#else
	atom_store_seq(&slot->leases[lease], cell);
	return atom_load_seq(&hot->word) == word;
#endif
}

static void
pin_note(struct region *region, struct slot *slot, const struct index_pin *pin)
{
	uint32_t now_s = clock_realtime_s(), nth = atom_load_relaxed(&slot->pin_count);
	uint32_t lease_hint = pin->lease + 1 < SLOT_LEASES ? pin->lease + 1 : 0;
	shared_u64 *hits = &region->cold[pin->entry].hits;

	atom_store_relaxed(&slot->lease_hint, lease_hint);
	atom_store_relaxed(&slot->pin_count, nth + 1);
	counter_bump(slot, COUNTER_index_hits, 1);
	if (atom_load_relaxed(&region->hot[pin->entry].last_used_s) != now_s)
		atom_store_relaxed(&region->hot[pin->entry].last_used_s, now_s);
	if (pin->host != pin->entry &&
	    atom_load_relaxed(&region->hot[pin->host].last_used_s) != now_s)
		atom_store_relaxed(&region->hot[pin->host].last_used_s, now_s);
	if (atom_load_relaxed(hits) < HITS_EXACT)
		atom_add_relaxed(hits, 1);
	else if (nth % HITS_EXACT == 0)
		atom_add_relaxed(hits, HITS_EXACT);
}

/* 0; -ENOENT not this one; -EBUSY it is being built; -EAGAIN it changed; -ENOSPC no lease. */
static int
pin_entry(struct region *region, struct slot *slot, uint32_t entry, const struct digest *directory,
    struct index_pin *ret_pin)
{
	struct layout_hot *hot = &region->hot[entry];
	uint64_t word = atom_load_acquire(&hot->word);
	uint32_t host, lease;

	if (word_state(word) != INDEX_READY && word_state(word) != INDEX_BUILDING)
		return -ENOENT;
	if (!entry_key_is(hot, directory))
		return -ENOENT;
	if (word_state(word) == INDEX_BUILDING)
		return atom_load_seq(&hot->word) == word ? -EBUSY : -EAGAIN;
	host = atom_load_acquire(&hot->host);
	if (lease_find(slot, &lease) != 0)
		return -ENOSPC;
	if (!lease_take(slot, lease, hot, entry, word)) {
		lease_clear(slot, lease);
		return -EAGAIN;
	}
	if (!entry_host_stands(region, entry, word)) {
		lease_clear(slot, lease);
		return -ENOENT;
	}
	*ret_pin = (struct index_pin){.entry = entry, .host = host, .lease = lease};
	return 0;
}

static int
pin_once(struct region *region, struct slot *slot, const struct digest *directory,
    struct index_pin *ret_pin)
{
	uint32_t bucket = bucket_of(region, directory), tag = tag_of(directory);
	const struct layout_head *head = &region->heads[bucket];

	for (uint32_t way = 0; way < INDEX_WAYS; way++) {
		int rc;

		if (atom_load_acquire(&head->tags[way]) != tag)
			continue;
		rc = pin_entry(region, slot, bucket * INDEX_WAYS + way, directory, ret_pin);
		if (rc != -ENOENT)
			return rc;
	}
	return -ENOENT;
}

int
index_pin(struct region *region, struct slot *slot, const struct digest *directory,
    struct index_pin *ret_pin)
{
	int rc = -EAGAIN;

	for (int tries = 0; tries < PIN_TRIES && rc == -EAGAIN; tries++)
		rc = pin_once(region, slot, directory, ret_pin);
	if (rc == 0)
		pin_note(region, slot, ret_pin);
	else if (rc == -ENOENT)
		counter_bump(slot, COUNTER_index_misses, 1);
	else if (rc == -EAGAIN)
		counter_bump(slot, COUNTER_index_torn, 1);
	return rc;
}

void
index_unpin(struct region *region, struct slot *slot, const struct index_pin *pin)
{
	CHECK(pin->lease < SLOT_LEASES);
	CHECK(lease_entry(atom_load_relaxed(&slot->leases[pin->lease])) == pin->entry);
	lease_clear(slot, pin->lease);
}

void
index_unpin_all(struct region *region, struct slot *slot)
{
	index_release_leases(region, slot_number(region, slot));
}

uint32_t
index_release_leases(struct region *region, uint32_t number)
{
	struct slot *slot = slot_at(region, number);
	uint32_t used = slot_leases_used(slot), count = 0;

	for (uint32_t i = 0; i < used; i++) {
		if (atom_load_relaxed(&slot->leases[i]) == 0)
			continue;
		atom_store_release(&slot->leases[i], 0);
		count++;
	}
	atom_store_relaxed(&slot->lease_hint, 0);
	return count;
}

/* Rule 5: who changes which keys a bucket holds has its name in it. */
static int
bucket_enter(struct layout_head *head, uint32_t number)
{
	for (int spin = 0; spin < CLAIM_SPINS + CLAIM_YIELDS; spin++) {
		uint32_t nobody = 0;

		if (atom_load_relaxed(&head->claimer) == 0 &&
		    atom_cas(&head->claimer, &nobody, number + 1))
			return 0;
		if (spin < CLAIM_SPINS)
			atom_relax();
		else
			sched_yield();
	}
	return -EAGAIN;
}

void
bucket_leave(struct layout_head *head)
{
	atom_store_release(&head->claimer, 0);
}

/* Where the digest is in a bucket that we entered: -ENOENT, or what keeps us from claiming it. */
static int
claim_find(
    struct region *region, uint32_t bucket, const struct digest *directory, uint32_t *ret_stale)
{
	const struct layout_head *head = &region->heads[bucket];

	for (uint32_t way = 0; way < INDEX_WAYS; way++) {
		uint32_t entry = bucket * INDEX_WAYS + way;
		const struct layout_hot *hot = &region->hot[entry];
		uint64_t word = atom_load_seq(&hot->word);

		if (atom_load_acquire(&head->tags[way]) != tag_of(directory) ||
		    word_state(word) == INDEX_ABSENT || !entry_key_is(hot, directory))
			continue;
		if (word_state(word) == INDEX_BUILDING)
			return -EBUSY;
		if (word_state(word) != INDEX_READY)
			return -EAGAIN;
		if (entry_host_stands(region, entry, word))
			return -EEXIST;
		*ret_stale = entry;
		return 0;
	}
	return -ENOENT;
}

/*
 * Makes an entry CLAIMED by us, with a new generation.  An inside entry gives way when no lease
 * names it, by rule 2's protocol; its host is not asked.
 */
static bool
claim_take(struct region *region, uint32_t number, uint32_t entry)
{
	struct layout_hot *hot = &region->hot[entry];
	uint64_t word = atom_load_seq(&hot->word);
	uint32_t generation = word_generation(word);

	if (word_state(word) == INDEX_ABSENT)
		return atom_cas(
		    &hot->word, &word, word_make(generation + 1, number, INDEX_CLAIMED));
	if (word_state(word) != INDEX_READY || atom_load_acquire(&hot->host) == entry)
		return false;
	if (!atom_cas(&hot->word, &word, word_make(generation, number, INDEX_LEAVING)))
		return false;
	if (entry_leases(region, entry, generation) != 0) {
		atom_store_seq(&hot->word, word_make(generation, 0, INDEX_READY));
		return false;
	}
	atom_store_seq(&hot->word, word_make(generation + 1, number, INDEX_CLAIMED));
	return true;
}

/* How gladly an entry is given up: 0 not at all, then live inside entries, the stale, the absent.
 */
static int
claim_rank(const struct region *region, uint32_t entry, bool may_evict, uint32_t *ret_used_s)
{
	const struct layout_hot *hot = &region->hot[entry];
	uint64_t word = atom_load_seq(&hot->word);

	*ret_used_s = atom_load_relaxed(&hot->last_used_s);
	if (word_state(word) == INDEX_ABSENT)
		return 3;
	if (word_state(word) != INDEX_READY || atom_load_acquire(&hot->host) == entry)
		return 0;
	if (!entry_host_stands(region, entry, word))
		return 2;
	return may_evict ? 1 : 0;
}

static int
claim_victim(
    struct region *region, uint32_t number, uint32_t bucket, bool may_evict, uint32_t *ret_entry)
{
	uint32_t refused = 0;

	for (uint32_t tries = 0; tries < INDEX_WAYS; tries++) {
		uint32_t best_way = INDEX_WAYS, best_used_s = 0, used_s;
		int best_rank = 0;

		for (uint32_t way = 0; way < INDEX_WAYS && best_rank < 3; way++) {
			int rank =
			    claim_rank(region, bucket * INDEX_WAYS + way, may_evict, &used_s);

			if (rank == 0 || (refused & 1u << way) != 0 || rank < best_rank ||
			    (rank == best_rank && used_s >= best_used_s))
				continue;
			best_way = way;
			best_rank = rank;
			best_used_s = used_s;
		}
		if (best_way == INDEX_WAYS)
			return -ENOSPC;
		*ret_entry = bucket * INDEX_WAYS + best_way;
		if (claim_take(region, number, *ret_entry))
			return 0;
		refused |= 1u << best_way;
	}
	return -ENOSPC;
}

/* An entry in the bucket, CLAIMED by us, for a digest that has none. */
static int
claim_any(struct region *region, uint32_t number, uint32_t bucket, const struct digest *directory,
    bool may_evict, uint32_t *ret_entry)
{
	uint32_t stale;
	int rc = claim_find(region, bucket, directory, &stale);

	if (rc == -ENOENT)
		return claim_victim(region, number, bucket, may_evict, ret_entry);
	if (rc != 0)
		return rc;
	if (!claim_take(region, number, stale))
		return -EAGAIN;
	*ret_entry = stale;
	return 0;
}

static void
entry_write_tree(struct layout_hot *hot, const struct index_tree *tree)
{
	atom_store_release(&hot->files, tree->files);
	atom_store_release(&hot->directories, tree->directories);
	atom_store_release(&hot->symlinks, tree->symlinks);
	atom_store_release(&hot->bytes, tree->bytes);
	atom_store_release(&hot->private_bytes, tree->private_bytes);
	atom_store_release(&hot->build_us, tree->build_us);
}

/* Everything but the word of an entry that is CLAIMED by us. */
static void
entry_write(struct region *region, uint32_t entry, const struct digest *directory, uint32_t host,
    uint32_t host_generation, const char *path)
{
	static const struct index_tree nothing;
	struct layout_hot *hot = &region->hot[entry];
	size_t length = strlen(path);

	atom_copy_in(hot->key, directory, sizeof(*directory));
	atom_store_release(&hot->host, host);
	atom_store_release(&hot->host_generation, host_generation);
	atom_store_release(&hot->path_length, (uint32_t)length);
	atom_copy_in(region->cold[entry].path, path, length);
	entry_write_tree(hot, &nothing);
	atom_store_relaxed(&hot->last_used_s, clock_realtime_s());
	atom_store_relaxed(&region->cold[entry].hits, 0);
	atom_store_release(
	    &region->heads[entry / INDEX_WAYS].tags[entry % INDEX_WAYS], tag_of(directory));
}

static uint32_t
entry_generation(const struct region *region, uint32_t entry)
{
	return word_generation(atom_load_acquire(&region->hot[entry].word));
}

static void
slot_count_builds(struct slot *slot, uint32_t delta)
{
	atom_store_release(&slot->builds, atom_load_relaxed(&slot->builds) + delta);
}

void
index_rebuild_begin(struct slot *slot)
{
	slot_count_builds(slot, 1);
}

void
index_rebuild_end(struct slot *slot)
{
	slot_count_builds(slot, UINT32_MAX);
}

int
index_claim(struct region *region, struct slot *slot, const struct digest *directory,
    struct index_claim *ret_claim)
{
	uint32_t number = slot_number(region, slot), entry, generation, lease;
	uint32_t bucket = bucket_of(region, directory);
	struct layout_head *head = &region->heads[bucket];
	int rc;

	if (lease_find(slot, &lease) != 0)
		return -ENOSPC;
	rc = bucket_enter(head, number);
	if (rc != 0) {
		counter_bump(slot, COUNTER_index_torn, 1);
		return rc;
	}
	rc = claim_any(region, number, bucket, directory, true, &entry);
	if (rc == 0) {
		generation = entry_generation(region, entry);
		entry_write(region, entry, directory, entry, generation, "");
		/* The lease that publishing needs is taken now, so that publishing cannot fail. */
		atom_store_seq(&slot->leases[lease], lease_make(entry, generation));
		atom_store_seq(
		    &region->hot[entry].word, word_make(generation, number, INDEX_BUILDING));
	}
	bucket_leave(head);
	if (rc == -ENOSPC)
		counter_bump(slot, COUNTER_index_full, 1);
	if (rc != 0)
		return rc;
	slot_count_builds(slot, 1);
	*ret_claim = (struct index_claim){.entry = entry, .lease = lease, .digest = *directory};
	return 0;
}

void
entry_wake(struct layout_hot *hot)
{
	atom_add_seq(&hot->wake, 1);
	wait_wake(&hot->wake, UINT_MAX);
}

/* Rule 6: a word, its waiters and the counters that go with it, in a way that repair can finish. */
static void
word_change_counted(struct region *region, struct slot *slot, uint32_t entry, uint64_t next,
    uint64_t trees, uint64_t bytes)
{
	struct layout_hot *hot = &region->hot[entry];

	trees += atom_load_relaxed(&slot->counters[COUNTER_index_trees]);
	bytes += atom_load_relaxed(&slot->counters[COUNTER_index_bytes]);
	atom_store_release(&slot->pending_entry, entry);
	atom_store_release(&slot->pending_trees, trees);
	atom_store_release(&slot->pending_bytes, bytes);
	atom_store_release(&slot->pending, atom_load_relaxed(&hot->word));
	atom_store_seq(&hot->word, next);
	entry_wake(hot);
	atom_store_release(&slot->counters[COUNTER_index_trees], trees);
	atom_store_release(&slot->counters[COUNTER_index_bytes], bytes);
	atom_store_release(&slot->pending, 0);
}

static void
claim_check(const struct region *region, const struct slot *slot, const struct index_claim *claim)
{
	uint64_t word = atom_load_relaxed(&region->hot[claim->entry].word);

	CHECK(word_state(word) == INDEX_BUILDING);
	CHECK(word_owner(word) == slot_number(region, slot));
}

int
index_publish(struct region *region, struct slot *slot, const struct index_claim *claim,
    const struct index_tree *tree, struct index_pin *ret_pin)
{
	struct layout_hot *hot = &region->hot[claim->entry];

	claim_check(region, slot, claim);
	entry_write_tree(hot, tree);
	atom_store_release(&hot->published_us, clock_realtime_us());
	atom_store_relaxed(&hot->last_used_s, clock_realtime_s());
	word_change_counted(region, slot, claim->entry,
	    word_make(entry_generation(region, claim->entry), 0, INDEX_READY), 1, tree->bytes);
	slot_count_builds(slot, UINT32_MAX);
	if (index_is_image(&claim->digest)) {
		counter_bump(slot, COUNTER_images_built, 1);
	} else {
		counter_bump(slot, COUNTER_trees_built, 1);
		counter_bump(slot, COUNTER_trees_build_us, tree->build_us);
	}
	*ret_pin =
	    (struct index_pin){.entry = claim->entry, .host = claim->entry, .lease = claim->lease};
	return 0;
}

void
index_abandon(struct region *region, struct slot *slot, const struct index_claim *claim)
{
	claim_check(region, slot, claim);
	word_change_counted(region, slot, claim->entry,
	    word_make(entry_generation(region, claim->entry), 0, INDEX_ABSENT), 0, 0);
	lease_clear(slot, claim->lease);
	slot_count_builds(slot, UINT32_MAX);
	counter_bump(slot, COUNTER_trees_abandoned, 1);
}

int
index_add_inside(struct region *region, struct slot *slot, const struct index_pin *host,
    const struct digest *directory, const char *path, const struct index_tree *tree)
{
	uint32_t number = slot_number(region, slot), entry, generation;
	uint32_t bucket = bucket_of(region, directory);
	struct layout_head *head = &region->heads[bucket];
	int rc;

	CHECK(host->entry == host->host);
	CHECK(path[0] != '\0');
	if (strlen(path) >= INDEX_PATH_SIZE)
		return -ENAMETOOLONG;
	rc = bucket_enter(head, number);
	if (rc != 0)
		return rc;
	rc = claim_any(region, number, bucket, directory, false, &entry);
	if (rc == 0) {
		generation = entry_generation(region, entry);
		entry_write(region, entry, directory, host->entry,
		    entry_generation(region, host->entry), path);
		entry_write_tree(&region->hot[entry], tree);
		atom_store_seq(&region->hot[entry].word, word_make(generation, 0, INDEX_READY));
	}
	bucket_leave(head);
	return rc == -EBUSY ? -EEXIST : rc;
}

int
index_wait(struct region *region, const struct digest *directory, uint64_t timeout_us)
{
	uint64_t end_us = clock_monotonic_us() + timeout_us, now_us;

	for (;;) {
		struct layout_hot *hot;
		uint32_t entry, sequence;
		uint64_t word;

		if (index_find(region, directory, &entry) != 0)
			return 0;
		hot = &region->hot[entry];
		/* The sequence first: who ends BUILDING changes the word, then the sequence. */
		sequence = atom_load_seq(&hot->wake);
		word = atom_load_seq(&hot->word);
		if (word_state(word) != INDEX_BUILDING || !entry_key_is(hot, directory))
			return 0;
		now_us = clock_monotonic_us();
		if (now_us >= end_us)
			return -ETIMEDOUT;
		wait_on(&hot->wake, sequence, end_us - now_us);
	}
}

/* A READY entry with a tree of its own, and its word; -ENOENT. */
static int
evict_find(
    const struct region *region, uint32_t entry, struct layout_hot **ret_hot, uint64_t *ret_word)
{
	struct layout_hot *hot = region_hot(region, entry);
	uint64_t word;

	if (hot == NULL)
		return -ENOENT;
	word = atom_load_seq(&hot->word);
	if (word_state(word) != INDEX_READY || atom_load_acquire(&hot->host) != entry)
		return -ENOENT;
	*ret_hot = hot;
	*ret_word = word;
	return 0;
}

static struct layout_hot *
evict_entry(struct region *region, struct slot *slot, uint32_t entry)
{
	struct layout_hot *hot = region_hot(region, entry);
	uint64_t word;

	CHECK(hot != NULL);
	word = atom_load_relaxed(&hot->word);
	CHECK(word_state(word) == INDEX_LEAVING);
	CHECK(word_owner(word) == slot_number(region, slot));
	return hot;
}

int
index_evict_hold(struct region *region, struct slot *slot, uint32_t entry)
{
	uint32_t number = slot_number(region, slot);
	struct layout_hot *hot;
	uint64_t word;
	int rc = evict_find(region, entry, &hot, &word);

	if (rc != 0)
		return rc;
	return atom_cas(&hot->word, &word, word_make(word_generation(word), number, INDEX_LEAVING))
	    ? 0
	    : -EBUSY;
}

int
index_evict_settle(
    struct region *region, struct slot *slot, uint32_t entry, struct digest *ret_directory)
{
	struct layout_hot *hot = evict_entry(region, slot, entry);
	uint32_t generation = entry_generation(region, entry);

	if (entry_leases(region, entry, generation) != 0)
		return -EBUSY;
	atom_store_seq(&hot->word,
	    word_make(generation, slot_number(region, slot), INDEX_LEAVING | WORD_CLEARED));
	entry_key_read(hot, ret_directory);
	return 0;
}

int
index_evict_begin(
    struct region *region, struct slot *slot, uint32_t entry, struct digest *ret_directory)
{
	struct layout_hot *hot;
	uint64_t word;
	int rc = evict_find(region, entry, &hot, &word);

	if (rc != 0)
		return rc;
	/* Cheap, and spares the pinned the flicker of LEAVING; the scan that counts is in settle.
	 */
	if (entry_leases(region, entry, word_generation(word)) != 0)
		return -EBUSY;
	rc = index_evict_hold(region, slot, entry);
	if (rc != 0)
		return rc;
	rc = index_evict_settle(region, slot, entry, ret_directory);
	if (rc != 0)
		index_evict_cancel(region, slot, entry);
	return rc;
}

void
index_evict_finish(struct region *region, struct slot *slot, uint32_t entry)
{
	struct layout_hot *hot = evict_entry(region, slot, entry);

	CHECK((atom_load_relaxed(&hot->word) & WORD_CLEARED) != 0);
	word_change_counted(region, slot, entry,
	    word_make(entry_generation(region, entry), 0, INDEX_ABSENT), UINT64_MAX,
	    UINT64_C(0) - atom_load_acquire(&hot->bytes));
	counter_bump(slot, COUNTER_trees_evicted, 1);
}

void
index_evict_cancel(struct region *region, struct slot *slot, uint32_t entry)
{
	struct layout_hot *hot = evict_entry(region, slot, entry);

	atom_store_seq(&hot->word, word_make(entry_generation(region, entry), 0, INDEX_READY));
}

int
index_evict_resume(
    struct region *region, struct slot *slot, uint32_t *inout_entry, struct digest *ret_directory)
{
	uint32_t number = slot_number(region, slot);

	for (uint32_t entry = *inout_entry; region_has_entry(region, entry); entry++) {
		struct layout_hot *hot = &region->hot[entry];
		uint64_t word = atom_load_seq(&hot->word);
		uint32_t owner = word_owner(word);

		if (word_state(word) != INDEX_LEAVING || (word & WORD_CLEARED) == 0)
			continue;
		if (owner != number && owner < SLOT_COUNT_MAX &&
		    atom_load_seq(&slot_at(region, owner)->state) != SLOT_UNUSED)
			continue;
		if (!atom_cas(&hot->word, &word,
			word_make(word_generation(word), number, INDEX_LEAVING | WORD_CLEARED)))
			continue;
		entry_key_read(hot, ret_directory);
		*inout_entry = entry;
		return 0;
	}
	return -ENOENT;
}
