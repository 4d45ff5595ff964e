/*
 * Every byte that two processes share, and nothing else.
 *
 * Included by shm/ alone (and its tests).  Fixed-width integers, no pointers; lines of 128 bytes
 * (Apple silicon), one writer to a line wherever the algorithm allows it.  Each field or line says
 * W: who writes, R: who reads, and the order used (atomics.h).  A change here changes the layout's
 * fingerprint (region.c), so that an older file is set aside and never misread.
 *
 * In the file: header, slots, gate, then the table in three arrays: bucket heads, hot lines, cold
 * parts.  Offsets follow from the counts; they stand in the header to be checked, not to be used.
 */
#ifndef SHM_LAYOUT_H
#define SHM_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#include "shm/atomics.h"
#include "shm/counters.h"
#include "shm/index.h"
#include "shm/region.h"
#include "shm/slot.h"
#include "shm/wanted.h"

/* Ways of a bucket; the explorer makes it smaller. */
#ifndef RAMET_INDEX_WAYS
#define RAMET_INDEX_WAYS 16
#endif

#define LAYOUT_LINE 128
#define LAYOUT_ALIGNED _Alignas(LAYOUT_LINE)

#define LAYOUT_MAGIC UINT64_C(0x3158444e54454d52) /* "RMETNDX1" in the file */
enum {
	LAYOUT_VERSION = 1,
	LAYOUT_READY = 0x79647221,
	LAYOUT_HEADER_SIZE = 4096,
	INDEX_WAYS = RAMET_INDEX_WAYS,
	INDEX_ENTRIES_MIN = RAMET_INDEX_WAYS,
	INDEX_ENTRIES_DEFAULT = 65536,
	INDEX_ENTRIES_MAX = 1 << 24,
	DIGEST_WORDS = 5, /* hash and size, in words of 8 bytes */
};

struct layout_header {
	/* W: its maker, before the file has its name.  R: all at open and attach, acquire */
	LAYOUT_ALIGNED shared_u64 magic;
	shared_u32 version;
	shared_u32 ready; /* stored last, release */
	shared_u64 fingerprint;
	shared_u64 file_size;
	shared_u64 instance;
	shared_u32 slot_count;
	shared_u32 entry_count;
	shared_u32 gate_cells;
	shared_u32 ways;
	shared_u64 slots_offset;
	shared_u64 gate_offset;
	shared_u64 heads_offset;
	shared_u64 hot_offset;
	shared_u64 cold_offset;

	/* W: supervisor.  R: supervisor at open, tools; relaxed */
	LAYOUT_ALIGNED shared_u64 boot_id;
	shared_u32 opened_s;
	shared_u32 clean_stop_s;

	/* W: supervisor, seq.  R: janitor, seq: before each blob that it removes */
	LAYOUT_ALIGNED shared_u32 needed_since_s;

	/* W: supervisor, seq.  R: who looks at all slots, seq: none at or above it was ever
	 * assigned */
	LAYOUT_ALIGNED shared_u32 slot_high;
};

struct slot {
	/* W: supervisor while unowned, the owner from slot_activate on; state seq (pairs with the
	 * scan of the leases), the rest relaxed.  R: supervisor, evictors, tools */
	LAYOUT_ALIGNED shared_u32 state;
	shared_u32 pid;
	shared_u64 start; /* the process's start time as the system has it: pids come again */

	/* W: owner, relaxed.  R: tools; supervisor after its death */
	LAYOUT_ALIGNED shared_u32 phase;
	shared_u32 attempt;
	shared_u32 action_pid;
	shared_u32 builds;
	shared_u64 phase_since_us;
	shared_u64 action_since_us;
	shared_u64 sandbox;
	shared_u64 ahead; /* of a sandbox made for the next action, 0: none */
	shared_u64 kept; /* of its folder of sandboxes kept for other actions, 0: none */
	shared_u64 job; /* the supervisor's number, 0: none */
	shared_u64 action[DIGEST_WORDS];

	/* W: owner, relaxed.  R: owner.  gate_hint by any of its threads */
	LAYOUT_ALIGNED shared_u32 lease_hint;
	shared_u32 pin_count;
	shared_u32 gate_hint;
	shared_u32 gate_count;

	/*
	 * The change of counters that goes with a change of an entry's word, written down before
	 * the word is changed.  `pending` names the word as it was; 0: none. W: owner, release;
	 * supervisor in repair.  R: supervisor in repair
	 */
	LAYOUT_ALIGNED shared_u64 pending;
	shared_u32 pending_entry;
	shared_u32 pending_spare;
	shared_u64 pending_trees; /* value of index_trees in this slot afterwards */
	shared_u64 pending_bytes; /* likewise index_bytes */

	/* W: owner, relaxed.  R: tools */
	LAYOUT_ALIGNED shared_u64 label[SLOT_LABEL_SIZE / 8];

	/* W: owner, by check.h alone (plain bytes).  R: supervisor after its death */
	LAYOUT_ALIGNED char words[SLOT_WORDS_SIZE];

	/* Cells used since the slot was assigned lie below it.  W: owner, seq.  R: evictors, seq */
	LAYOUT_ALIGNED shared_u32 lease_high;
	/* lease_make(): what is pinned; 0: free.  W: owner, seq to take, release to give back;
	 * supervisor in repair.  R: evictors, seq */
	LAYOUT_ALIGNED shared_u64 leases[SLOT_LEASES];

	/* A ring of wishes (wanted.h).  W: owner: the digest relaxed, then the head, release.
	 * R: janitor: the head acquire, then the digest, possibly torn */
	LAYOUT_ALIGNED shared_u64 wanted[WANTED_MAX][DIGEST_WORDS];
	shared_u32 wanted_head;
	/* W: janitor, relaxed.  R: janitor */
	LAYOUT_ALIGNED shared_u32 wanted_done;

	/* W: owner, relaxed; supervisor in repair.  R: anyone */
	LAYOUT_ALIGNED shared_u64 counters[COUNTER_COUNT];
};

struct layout_permit {
	/* Slot number + 1 of the holder; 0: free.  W: anyone, cas to take and seq to give back */
	LAYOUT_ALIGNED shared_u32 holder;
};

struct layout_gate {
	/* W: supervisor.  R: all, relaxed */
	LAYOUT_ALIGNED shared_u32 cap;
	/* W: who waits or wakes, seq.  R: who leaves.  Untouched as long as nobody waits */
	LAYOUT_ALIGNED shared_u32 waiters;
	shared_u32 sequence;
	struct layout_permit cells[LINK_CAP_MAX];
};

/* Per bucket. */
struct layout_head {
	/* Part of each way's digest, a hint to skip by.  W: holder of `claimer`, release.
	 * R: all, acquire */
	LAYOUT_ALIGNED shared_u32 tags[INDEX_WAYS];
	/* Slot number + 1 of who changes which keys the bucket holds; 0: nobody.  W: cas, release
	 */
	LAYOUT_ALIGNED shared_u32 claimer;
};

/* Per entry. */
struct layout_hot {
	/* word_make(): state, owner, generation.  W: see README.md, rule 4.  R: all, seq */
	LAYOUT_ALIGNED shared_u64 word;
	/* Bumped when BUILDING ends.  W: who ended it, seq.  R: waiters */
	shared_u32 wake;
	/* Seconds.  W: who pins, relaxed, when the second is a new one.  R: janitor, tools */
	shared_u32 last_used_s;
	/* All below: W: the owner while CLAIMED or BUILDING, release.  R: all, acquire, then the
	 * word again */
	shared_u64 key[DIGEST_WORDS];
	shared_u32 host; /* entry; itself when it has a tree of its own */
	shared_u32 host_generation;
	shared_u32 files, directories, symlinks;
	shared_u32 path_length;
	shared_u64 bytes;
	shared_u64 private_bytes;
	shared_u32 build_us;
	shared_u64 published_us; /* CLOCK_REALTIME */
};

struct layout_cold {
	/* W: who pins, relaxed; exact up to 64.  R: tools */
	LAYOUT_ALIGNED shared_u64 hits;
	/* As the hot part. */
	LAYOUT_ALIGNED shared_u64 path[INDEX_PATH_SIZE / 8];
};

_Static_assert(sizeof(struct layout_header) <= LAYOUT_HEADER_SIZE, "the header has its page");
_Static_assert(sizeof(struct slot) % LAYOUT_LINE == 0, "slots are whole lines");
_Static_assert(offsetof(struct slot, leases) % LAYOUT_LINE == 0, "leases have lines of their own");
_Static_assert(offsetof(struct slot, counters) % LAYOUT_LINE == 0, "so have counters");
_Static_assert(sizeof(struct layout_permit) == LAYOUT_LINE, "a permit has its line");
_Static_assert(sizeof(struct layout_hot) == LAYOUT_LINE, "what a lookup needs is one line");
_Static_assert(offsetof(struct layout_hot, word) == 0, "the word comes first");
_Static_assert(sizeof(struct layout_head) == 2 * LAYOUT_LINE, "claims do not touch the tags' line");
_Static_assert(sizeof(struct layout_cold) == 3 * LAYOUT_LINE, "hits and path");
_Static_assert(INDEX_PATH_SIZE % 8 == 0 && SLOT_LABEL_SIZE % 8 == 0, "text is whole words");
_Static_assert(sizeof(struct digest) == DIGEST_WORDS * 8, "a digest is five words");
_Static_assert((INDEX_WAYS & (INDEX_WAYS - 1)) == 0 && INDEX_WAYS <= 32, "ways are a power of two");

/*
 * An entry's word: generation (32 bits), owner's slot (16), flags and state.  WORD_CLEARED: a
 * LEAVING entry that no lease names and none ever can: its tree may be gone.
 */
enum { WORD_STATE_MASK = 7, WORD_CLEARED = 8 };

static inline uint64_t
word_make(uint32_t generation, uint32_t owner, uint32_t state)
{
	return (uint64_t)generation << 32 | (uint64_t)owner << 16 | state;
}

static inline uint32_t
word_state(uint64_t word)
{
	return (uint32_t)word & WORD_STATE_MASK;
}

static inline uint32_t
word_owner(uint64_t word)
{
	return (uint32_t)(word >> 16) & 0xffff;
}

static inline uint32_t
word_generation(uint64_t word)
{
	return (uint32_t)(word >> 32);
}

/* A lease: generation and entry + 1. */
static inline uint64_t
lease_make(uint32_t entry, uint32_t generation)
{
	return (uint64_t)generation << 32 | (entry + 1);
}

static inline uint32_t
lease_entry(uint64_t lease)
{
	return (uint32_t)lease - 1;
}

static inline uint32_t
lease_generation(uint64_t lease)
{
	return (uint32_t)(lease >> 32);
}

#endif
