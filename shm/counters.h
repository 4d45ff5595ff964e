/*
 * The counters of one process, in its slot; declared in counters.def and nowhere else.
 *
 * Written by the slot's owner alone (any of its threads: relaxed adds), read by anyone.  A process
 * adds with COUNTER_ADD(slot, name, n); a reader sums over all slots with counters_read.  After a
 * crash the block stays as it was and its next owner goes on from there, so nothing is lost but the
 * addition that was being made.
 */
#ifndef SHM_COUNTERS_H
#define SHM_COUNTERS_H

#include <stdint.h>

enum counter {
#define COUNTER(name, kind, help) COUNTER_##name,
#include "shm/counters.def"
#undef COUNTER
	COUNTER_COUNT
};

/* In the order of the groups in counters.def. */
enum place_way {
	PLACE_BIND,
	PLACE_OVERLAY,
	PLACE_IMAGE,
	PLACE_CLONEFILE,
	PLACE_REFLINK,
	PLACE_HARDLINK,
	PLACE_COPY,
	PLACE_RECYCLE,
	PLACE_WAY_COUNT
};
enum { PLACE_US_BOUNDS = 7 };
enum place_counter {
	PLACE_FILES,
	PLACE_SUBTREES,
	PLACE_BYTES,
	PLACE_US,
	PLACE_FALLBACKS,
	PLACE_US_BUCKETS, /* one for each bound, and one for what is over all */
	PLACE_FALLBACKS_EMLINK = PLACE_US_BUCKETS + PLACE_US_BOUNDS + 1,
	PLACE_FALLBACKS_EXDEV,
	PLACE_FALLBACKS_EPERM,
	PLACE_FALLBACKS_EOPNOTSUPP,
	PLACE_FALLBACKS_OTHER,
	PLACE_COUNTER_COUNT
};
extern const uint32_t place_us_bounds[PLACE_US_BOUNDS];
#define COUNTER_STAGE(way, which)                                                                  \
	((enum counter)(COUNTER_stage_bind_files + (int)(way)*PLACE_COUNTER_COUNT + (int)(which)))

enum counter_kind { COUNTER_SUM, COUNTER_MAX, COUNTER_LEVEL };

struct counter_info {
	const char *name;
	enum counter_kind kind;
	const char *help;
};
extern const struct counter_info counter_table[COUNTER_COUNT];
extern const char *const place_way_names[PLACE_WAY_COUNT];

struct region;
struct slot;

void counter_add(struct slot *slot, enum counter counter, uint64_t n);
void counter_max(struct slot *slot, enum counter counter, uint64_t value);
void counter_set(struct slot *slot, enum counter counter, uint64_t value);
#define COUNTER_ADD(slot, name, n) counter_add((slot), COUNTER_##name, (n))
#define COUNTER_MAX_OF(slot, name, value) counter_max((slot), COUNTER_##name, (value))
#define COUNTER_SET(slot, name, value) counter_set((slot), COUNTER_##name, (value))

/* An action's tree was placed by a way, among others perhaps, in so long. */
void counter_stage_time(struct slot *slot, enum place_way way, uint64_t us);

/* Sums (or takes the maximum of) all slots; values has COUNTER_COUNT places. */
void counters_read(const struct region *region, uint64_t *values);
/* The sum of one alone. */
uint64_t counter_sum(const struct region *region, enum counter counter);

#endif
