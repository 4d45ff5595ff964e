/* Every rule that must hold between entries, leases, slots and permits; reads only. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "shm/index.h"
#include "shm/internal.h"

enum { LOOKS = 3, LOOK_AGAIN_NS = 5000000 };

struct checker {
	const struct region *region;
	void (*report)(void *, const char *);
	void *arg;
	unsigned breaches;
};

/* A rule about thing number `n`: true if it holds, else says in `text` what is wrong. */
typedef bool rule_fn(const struct region *region, uint32_t n, char *text, size_t size);

/* What a busy host shows for a moment is no breach: it must still be there when looked at again. */
static void
check_rule(struct checker *checker, rule_fn *rule, uint32_t n)
{
	const struct timespec again = {.tv_nsec = LOOK_AGAIN_NS};
	char text[256] = "";

	for (int look = 0; look < LOOKS; look++) {
		if (rule(checker->region, n, text, sizeof(text)))
			return;
		if (look + 1 < LOOKS)
			nanosleep(&again, NULL);
	}
	checker->breaches++;
	checker->report(checker->arg, text);
}

static bool __attribute__((format(printf, 3, 4)))
breach(char *text, size_t size, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, size, format, ap);
	va_end(ap);
	return false;
}

static bool
slot_is_used(const struct region *region, uint32_t number)
{
	return number < SLOT_COUNT_MAX &&
	    atom_load_seq(&slot_at_const(region, number)->state) != SLOT_UNUSED;
}

static bool
rule_owner(const struct region *region, uint32_t entry, char *text, size_t size)
{
	uint64_t word = atom_load_seq(&region->hot[entry].word);
	uint32_t state = word_state(word), owner = word_owner(word);

	if (state > INDEX_LEAVING)
		return breach(
		    text, size, "entry %" PRIu32 ": no such state (%" PRIu32 ")", entry, state);
	if (state == INDEX_ABSENT || state == INDEX_READY)
		return true;
	if (owner >= SLOT_COUNT_MAX)
		return breach(
		    text, size, "entry %" PRIu32 ": no such owner (%" PRIu32 ")", entry, owner);
	/* A cleared LEAVING entry waits for the next janitor. */
	if ((word & WORD_CLEARED) == 0 && !slot_is_used(region, owner))
		return breach(text, size,
		    "entry %" PRIu32 ": owned by slot %" PRIu32 ", which is free", entry, owner);
	return true;
}

static bool
rule_place(const struct region *region, uint32_t entry, char *text, size_t size)
{
	const struct layout_hot *hot = &region->hot[entry];
	uint32_t state = word_state(atom_load_seq(&hot->word)), tag, host;
	struct digest key;

	if (state == INDEX_ABSENT || state == INDEX_CLAIMED)
		return true;
	entry_key_read(hot, &key);
	tag = atom_load_acquire(&region->heads[entry / INDEX_WAYS].tags[entry % INDEX_WAYS]);
	host = atom_load_acquire(&hot->host);
	if (bucket_of(region, &key) != entry / INDEX_WAYS)
		return breach(text, size, "entry %" PRIu32 ": in the wrong bucket", entry);
	if (tag_of(&key) != tag)
		return breach(text, size, "entry %" PRIu32 ": its tag is wrong", entry);
	if (!region_has_entry(region, host))
		return breach(
		    text, size, "entry %" PRIu32 ": no such host (%" PRIu32 ")", entry, host);
	if (atom_load_acquire(&hot->path_length) >= INDEX_PATH_SIZE)
		return breach(text, size, "entry %" PRIu32 ": its path is too long", entry);
	if ((atom_load_acquire(&hot->path_length) == 0) != (host == entry))
		return breach(text, size, "entry %" PRIu32 ": path and host do not fit", entry);
	if (host == entry &&
	    atom_load_acquire(&hot->host_generation) != word_generation(atom_load_seq(&hot->word)))
		return breach(text, size, "entry %" PRIu32 ": is another generation's host", entry);
	return true;
}

/* A digest stands in a bucket once. */
static bool
rule_single(const struct region *region, uint32_t entry, char *text, size_t size)
{
	uint32_t first = entry - entry % INDEX_WAYS;
	struct digest key;

	if (word_state(atom_load_seq(&region->hot[entry].word)) < INDEX_BUILDING)
		return true;
	entry_key_read(&region->hot[entry], &key);
	for (uint32_t other = first; other < entry; other++) {
		if (word_state(atom_load_seq(&region->hot[other].word)) >= INDEX_BUILDING &&
		    entry_key_is(&region->hot[other], &key))
			return breach(text, size,
			    "entries %" PRIu32 " and %" PRIu32 ": the same digest", other, entry);
	}
	return true;
}

static bool
rule_claimer(const struct region *region, uint32_t bucket, char *text, size_t size)
{
	uint32_t claimer = atom_load_seq(&region->heads[bucket].claimer);

	if (claimer == 0 || slot_is_used(region, claimer - 1))
		return true;
	return breach(text, size, "bucket %" PRIu32 ": held by slot %" PRIu32 ", which is free",
	    bucket, claimer - 1);
}

/* A host that no new pin is given of keeps those it had (index_evict_hold). */
static bool
host_is_held(const struct region *region, const struct layout_hot *hot)
{
	const struct layout_hot *host = region_hot(region, atom_load_acquire(&hot->host));
	uint64_t word;

	if (host == NULL)
		return false;
	word = atom_load_seq(&host->word);
	return word_state(word) == INDEX_LEAVING && (word & WORD_CLEARED) == 0 &&
	    word_generation(word) == atom_load_acquire(&hot->host_generation);
}

static bool
lease_is_sound(const struct region *region, uint64_t lease)
{
	const struct layout_hot *hot = region_hot(region, lease_entry(lease));
	uint64_t word;

	if (hot == NULL)
		return false;
	word = atom_load_seq(&hot->word);
	if (word_generation(word) != lease_generation(lease))
		return false;
	if (word_state(word) == INDEX_READY)
		return entry_host_stands(region, lease_entry(lease), word) ||
		    host_is_held(region, hot);
	return word_state(word) == INDEX_BUILDING ||
	    (word_state(word) == INDEX_LEAVING && (word & WORD_CLEARED) == 0);
}

static bool
rule_leases(const struct region *region, uint32_t number, char *text, size_t size)
{
	const struct slot *slot = slot_at_const(region, number);

	for (uint32_t i = 0; i < SLOT_LEASES; i++) {
		uint64_t lease = atom_load_seq(&slot->leases[i]);

		if (lease == 0)
			continue;
		if (!slot_is_used(region, number) || number >= region_slots_used(region))
			return breach(
			    text, size, "slot %" PRIu32 ": free, and holds a pin", number);
		if (i >= slot_leases_used(slot))
			return breach(text, size,
			    "slot %" PRIu32 ": lease %" PRIu32 " is above its mark", number, i);
		if (!lease_is_sound(region, lease))
			return breach(text, size,
			    "slot %" PRIu32 ": lease %" PRIu32 " pins entry %" PRIu32
			    ", which is gone",
			    number, i, lease_entry(lease));
	}
	return true;
}

static bool
rule_permit(const struct region *region, uint32_t cell, char *text, size_t size)
{
	uint32_t holder = atom_load_seq(&region->gate->cells[cell].holder);

	if (holder == 0 || slot_is_used(region, holder - 1))
		return true;
	return breach(text, size, "permit %" PRIu32 ": held by slot %" PRIu32 ", which is free",
	    cell, holder - 1);
}

static void
levels_count(const struct region *region, uint64_t *ret_trees, uint64_t *ret_bytes)
{
	uint64_t trees = 0, bytes = 0;

	for (uint32_t entry = 0; entry < region->entry_count; entry++) {
		const struct layout_hot *hot = &region->hot[entry];
		uint32_t state = word_state(atom_load_seq(&hot->word));

		if ((state != INDEX_READY && state != INDEX_LEAVING) ||
		    atom_load_acquire(&hot->host) != entry)
			continue;
		trees++;
		bytes += atom_load_acquire(&hot->bytes);
	}
	*ret_trees = trees;
	*ret_bytes = bytes;
}

static bool
rule_levels(const struct region *region, uint32_t n, char *text, size_t size)
{
	uint64_t values[COUNTER_COUNT], trees, bytes;

	(void)n;
	/* A change under way, or one that a dead process left for its repair. */
	for (uint32_t i = 0; i < region_slots_used(region); i++) {
		if (atom_load_acquire(&slot_at_const(region, i)->pending) != 0)
			return true;
	}
	levels_count(region, &trees, &bytes);
	counters_read(region, values);
	if (values[COUNTER_index_trees] != trees)
		return breach(text, size, "index_trees says %" PRIu64 ", there are %" PRIu64,
		    values[COUNTER_index_trees], trees);
	if (values[COUNTER_index_bytes] != bytes)
		return breach(text, size, "index_bytes says %" PRIu64 ", there are %" PRIu64,
		    values[COUNTER_index_bytes], bytes);
	return true;
}

unsigned
index_check(const struct region *region, void (*report)(void *, const char *), void *arg)
{
	struct checker checker = {.region = region, .report = report, .arg = arg};

	for (uint32_t entry = 0; entry < region->entry_count; entry++) {
		check_rule(&checker, rule_owner, entry);
		check_rule(&checker, rule_place, entry);
		check_rule(&checker, rule_single, entry);
	}
	for (uint32_t bucket = 0; bucket < region->entry_count / INDEX_WAYS; bucket++)
		check_rule(&checker, rule_claimer, bucket);
	for (uint32_t number = 0; number < SLOT_COUNT_MAX; number++)
		check_rule(&checker, rule_leases, number);
	for (uint32_t cell = 0; cell < LINK_CAP_MAX; cell++)
		check_rule(&checker, rule_permit, cell);
	check_rule(&checker, rule_levels, 0);
	return checker.breaches;
}
