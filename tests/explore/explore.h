/*
 * The explorer: runs a few actors over the real code of shm/, built with -DRAMET_EXPLORE, through
 * every interleaving of their accesses to shared memory with a bounded number of preemptions, and
 * with a death before every write.
 *
 * Actors are coroutines of one thread.  atomics.h calls explore_step before each access; there the
 * explorer goes on, switches to another actor (a preemption), or lets this one die.  An access that
 * no two actors conflict in (found by running, and begun anew when found) cannot matter and is no
 * such point.  Waiting is real: who waits runs again when woken, and if nobody can run a wake was
 * lost. Each run starts from the same image; the runs are all paths of the tree of choices, in
 * order.
 *
 * What it cannot see: orders weaker than sequential consistency (ThreadSanitizer and the orders'
 * pairing in layout.h are for those).
 */
#ifndef TESTS_EXPLORE_EXPLORE_H
#define TESTS_EXPLORE_EXPLORE_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/region.h"
#include "shm/slot.h"

enum { ACTORS_MAX = 4 };

struct actor {
	void (*run)(struct region *region, struct slot *slot, int arg);
	int arg;
	uint32_t slot;
};

struct scenario {
	const char *name;
	uint32_t link_cap;
	struct actor actors[ACTORS_MAX]; /* up to the first without `run` */
	unsigned preemptions;
	unsigned deaths; /* 0 or 1: then a further actor repairs the dead one's slot */
	void (*prepare)(struct region *region); /* before the image is taken; slots are assigned */
	void (*reset)(void); /* the model, before each run */
	void (*verify)(struct region *region, bool died); /* after each run */
};

struct totals {
	uint64_t schedules, deaths;
};

void explore_run(struct region *region, const struct scenario *scenario, struct totals *totals);

/* From an actor: here the model was, or will be, looked at. */
void explore_point(void);

/* Ends the program: with 1 and the schedule, or where a mutant is hunted with 0. */
_Noreturn void explore_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define MUST(condition)                                                                            \
	((condition) ? (void)0 : explore_fail("%s:%d: %s", __FILE__, __LINE__, #condition))

#endif
