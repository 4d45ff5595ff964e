#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "base/clock.h"
#include "shm/internal.h"
#include "shm/wait.h"
#include "tests/explore/explore.h"

enum {
	STACK_SIZE = 64 * 1024,
	DEPTH_MAX = 4096,
	STEPS_MAX = 1000000, /* of one run: a livelock */
	IMAGE_CELLS = 8,
	TRACE_SIZE = 64,
	CHECK_EVERY = 5000, /* runs between two full index_check */
	REAPER = ACTORS_MAX,
	COUNT_MAX,
};

enum status { IDLE, RUNNABLE, BLOCKED, FINISHED, DEAD };

struct choice {
	uint16_t taken, count;
};

static struct {
	struct region *region;
	const struct scenario *scenario;
	unsigned char *base, *image;
	size_t size;
	uint8_t *readers, *writers; /* actors by address */
	bool new_conflict;

	ucontext_t main, contexts[COUNT_MAX];
	char *stacks[COUNT_MAX];
	enum status status[COUNT_MAX];
	const void *waits_for[COUNT_MAX];
	unsigned current, count, preemptions, deaths, victim;
	bool running, stuck;
	uint64_t steps, traced;

	struct {
		const char *op;
		uint32_t at;
		uint32_t actor;
	} trace[TRACE_SIZE]; /* the last conflicting accesses */

	struct choice path[DEPTH_MAX];
	unsigned depth, known;
} explorer;

/* Where an offset lies, in words. */
static void
trace_print(uint32_t at)
{
	const struct region *region = explorer.region;
	uint32_t slots = (uint32_t)((unsigned char *)region->slots - explorer.base);
	uint32_t gate = (uint32_t)((unsigned char *)region->gate - explorer.base);
	uint32_t heads = (uint32_t)((unsigned char *)region->heads - explorer.base);
	uint32_t hot = (uint32_t)((unsigned char *)region->hot - explorer.base);
	uint32_t cold = (uint32_t)((unsigned char *)region->cold - explorer.base);

	if (at < slots)
		fprintf(stderr, "header+%u", at);
	else if (at < gate)
		fprintf(stderr, "slot %zu+%zu", (at - slots) / sizeof(struct slot),
		    (at - slots) % sizeof(struct slot));
	else if (at < heads)
		fprintf(stderr, "gate+%u", at - gate);
	else if (at < hot)
		fprintf(stderr, "head+%u", at - heads);
	else if (at < cold)
		fprintf(stderr, "hot %zu+%zu", (at - hot) / sizeof(struct layout_hot),
		    (at - hot) % sizeof(struct layout_hot));
	else
		fprintf(stderr, "cold+%u", at - cold);
}

_Noreturn void
explore_fail(const char *format, ...)
{
	va_list ap;

	explorer.running = false;
	va_start(ap, format);
	fprintf(stderr, "explore: %s: ", explorer.scenario->name);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	for (uint64_t i = explorer.traced > TRACE_SIZE ? explorer.traced - TRACE_SIZE : 0;
	     i < explorer.traced; i++) {
		fprintf(stderr, "explore:   actor %u: %s ", explorer.trace[i % TRACE_SIZE].actor,
		    explorer.trace[i % TRACE_SIZE].op);
		trace_print(explorer.trace[i % TRACE_SIZE].at);
		fprintf(stderr, "\n");
	}
	fprintf(stderr, "explore: schedule:");
	for (unsigned i = 0; i < explorer.depth; i++)
		fprintf(stderr, " %u/%u", explorer.path[i].taken, explorer.path[i].count);
	fprintf(stderr, "\n");
#ifdef RAMET_EXPLORE_MUTANT
	printf("explore: mutant found\n");
	exit(0);
#else
	printf("explore: 1 failure\n");
	exit(1);
#endif
}

/* The next branch of the tree: as known so far, then always the first. */
static unsigned
choose(unsigned count)
{
	struct choice *choice = &explorer.path[explorer.depth];

	if (explorer.depth + 1 >= DEPTH_MAX)
		explore_fail("schedule too long");
	if (explorer.depth < explorer.known && !explorer.new_conflict) {
		if (choice->count != count)
			explore_fail("not repeatable: %u choices, now %u", choice->count, count);
	} else if (explorer.depth >= explorer.known) {
		*choice = (struct choice){.taken = 0, .count = (uint16_t)count};
		explorer.known = explorer.depth + 1;
	} else if (choice->taken >= count) {
		choice->taken = 0;
	}
	explorer.depth++;
	return choice->taken;
}

static unsigned
others(unsigned *list)
{
	unsigned count = 0;

	for (unsigned i = 0; i < COUNT_MAX; i++) {
		if (i != explorer.current && explorer.status[i] == RUNNABLE)
			list[count++] = i;
	}
	return count;
}

static void
switch_to(unsigned next)
{
	unsigned from = explorer.current;

	explorer.current = next;
	swapcontext(&explorer.contexts[from], &explorer.contexts[next]);
}

/* The current actor cannot go on. */
static void
give_way(void)
{
	unsigned list[COUNT_MAX], count = others(list);

	if (count == 0) {
		/* Back to the run's end, which finds out whether that is right. */
		swapcontext(&explorer.contexts[explorer.current], &explorer.main);
		return;
	}
	switch_to(list[count > 1 ? choose(count) : 0]);
}

static void
die(void)
{
	explorer.status[explorer.current] = DEAD;
	explorer.deaths++;
	explorer.victim = explorer.current;
	explorer.status[REAPER] = RUNNABLE;
	give_way();
}

static void
decide(bool may_die)
{
	unsigned list[COUNT_MAX], count = 0, taken;

	if (explorer.preemptions < explorer.scenario->preemptions)
		count = others(list);
	may_die =
	    may_die && explorer.deaths < explorer.scenario->deaths && explorer.current != REAPER;
	if (count + may_die == 0)
		return;
	taken = choose(1 + count + may_die);
	if (taken == 0)
		return;
	if (taken > count) {
		die();
		return;
	}
	explorer.preemptions++;
	switch_to(list[taken - 1]);
}

/* True where at least two actors use the place and one of them writes it. */
static bool
conflicts(size_t at, bool write)
{
	uint8_t bit = (uint8_t)(1 << explorer.current);
	uint8_t *readers = &explorer.readers[at], *writers = &explorer.writers[at];
	uint8_t all = *readers | *writers;
	bool before = *writers != 0 && (all & (all - 1)) != 0, after;

	if (write)
		*writers |= bit;
	else
		*readers |= bit;
	all = *readers | *writers;
	after = *writers != 0 && (all & (all - 1)) != 0;
	if (after && !before)
		explorer.new_conflict = true;
	return after;
}

void
explore_step(const char *op, const void *address)
{
	size_t at = (size_t)((const unsigned char *)address - explorer.base);
	bool write = op[0] != 'l';

	if (!explorer.running || at >= explorer.size)
		return;
	if (++explorer.steps > STEPS_MAX)
		explore_fail("livelock");
	if (!conflicts(at / 4, write))
		return;
	decide(write);
	explorer.trace[explorer.traced % TRACE_SIZE].op = op;
	explorer.trace[explorer.traced % TRACE_SIZE].at = (uint32_t)at;
	explorer.trace[explorer.traced++ % TRACE_SIZE].actor = explorer.current;
}

void
explore_point(void)
{
	decide(true);
}

void
explore_relax(void)
{
	unsigned list[COUNT_MAX], count;

	if (!explorer.running)
		return;
	count = others(list);
	if (count > 0)
		switch_to(list[count > 1 ? choose(count) : 0]);
}

int
wait_on(shared_u32 *word, uint32_t expected, uint64_t timeout_us)
{
	(void)timeout_us;
	explore_step("load", word);
	if (atomic_load(&word->value) != expected)
		return 0;
	explorer.status[explorer.current] = BLOCKED;
	explorer.waits_for[explorer.current] = word;
	give_way();
	return 0;
}

void
wait_wake(shared_u32 *word, unsigned count)
{
	for (unsigned i = 0; i < COUNT_MAX && count > 0; i++) {
		if (explorer.status[i] != BLOCKED || explorer.waits_for[i] != word)
			continue;
		explorer.status[i] = RUNNABLE;
		count--;
	}
}

/* Time stands still, so that every run is the same. */
uint64_t
clock_monotonic_us(void)
{
	return 1000000;
}

uint64_t
clock_realtime_us(void)
{
	return 1700000000000000;
}

uint32_t
clock_realtime_s(void)
{
	return 1700000000;
}

static void
actor_main(unsigned number)
{
	const struct actor *actor = &explorer.scenario->actors[number];

	if (number == REAPER) {
		struct slot_repaired repaired;

		slot_repair(
		    explorer.region, explorer.scenario->actors[explorer.victim].slot, &repaired);
	} else {
		actor->run(explorer.region, slot_at(explorer.region, actor->slot), actor->arg);
	}
	explorer.status[number] = FINISHED;
	give_way();
	abort();
}

/* What a run can change: the header, the first slots and permits, the table. */
static void
image_copy(bool restore)
{
	const struct region *region = explorer.region;
	const struct {
		void *place;
		size_t size;
	} parts[] = {
	    {region->header, LAYOUT_HEADER_SIZE},
	    {region->slots, sizeof(struct slot) * (SLOT_WORKER_FIRST + ACTORS_MAX)},
	    {region->gate, offsetof(struct layout_gate, cells[IMAGE_CELLS])},
	    {region->heads,
		explorer.size - (size_t)((unsigned char *)region->heads - explorer.base)},
	};

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		unsigned char *copy =
		    explorer.image + ((unsigned char *)parts[i].place - explorer.base);

		if (restore)
			memcpy(parts[i].place, copy, parts[i].size);
		else
			memcpy(copy, parts[i].place, parts[i].size);
	}
}

static void
run_begin(void)
{
	image_copy(true);
	explorer.scenario->reset();
	explorer.depth = 0;
	explorer.preemptions = explorer.deaths = 0;
	explorer.steps = explorer.traced = 0;
	for (unsigned i = 0; i < COUNT_MAX; i++) {
		bool exists = i == REAPER || explorer.scenario->actors[i].run != NULL;

		explorer.status[i] = !exists || i == REAPER ? IDLE : RUNNABLE;
		if (!exists)
			continue;
		getcontext(&explorer.contexts[i]);
		explorer.contexts[i].uc_stack.ss_sp = explorer.stacks[i];
		explorer.contexts[i].uc_stack.ss_size = STACK_SIZE;
		explorer.contexts[i].uc_link = NULL;
		makecontext(&explorer.contexts[i], (void (*)(void))actor_main, 1, i);
	}
}

static void
run_once(void)
{
	unsigned list[COUNT_MAX], count;

	run_begin();
	explorer.running = true;
	explorer.current = COUNT_MAX;
	count = others(list);
	explorer.current = list[choose(count)];
	swapcontext(&explorer.main, &explorer.contexts[explorer.current]);
	explorer.running = false;
	for (unsigned i = 0; i < COUNT_MAX; i++) {
		if (explorer.status[i] == BLOCKED)
			explore_fail("actor %u waits and nobody will wake it", i);
	}
}

/* The next path, or false when all have been taken. */
static bool
backtrack(void)
{
	explorer.known = explorer.depth;
	while (explorer.known > 0) {
		struct choice *last = &explorer.path[explorer.known - 1];

		if (++last->taken < last->count)
			return true;
		explorer.known--;
	}
	return false;
}

static void
report(void *arg, const char *text)
{
	(void)arg;
	fprintf(stderr, "explore: %s\n", text);
}

static void
explore_prepare(struct region *region, const struct scenario *scenario)
{
	explorer.region = region;
	explorer.scenario = scenario;
	explorer.base = (unsigned char *)region->header;
	explorer.size = region->size;
	explorer.known = explorer.depth = 0;
	explorer.image = malloc(explorer.size);
	explorer.readers = calloc(1, explorer.size / 4 + 1);
	explorer.writers = calloc(1, explorer.size / 4 + 1);
	for (unsigned i = 0; i < COUNT_MAX; i++)
		explorer.stacks[i] = malloc(STACK_SIZE);
	region_set_link_cap(region, scenario->link_cap);
	for (unsigned i = 0; i < ACTORS_MAX && scenario->actors[i].run != NULL; i++) {
		slot_assign(region, scenario->actors[i].slot);
		slot_activate(region, scenario->actors[i].slot, 1000 + (int)i);
	}
	scenario->prepare(region);
	image_copy(false);
}

void
explore_run(struct region *region, const struct scenario *scenario, struct totals *totals)
{
	struct totals own = {0};
	bool more;

	explore_prepare(region, scenario);
	do {
		explorer.new_conflict = false;
		run_once();
		own.schedules++;
		own.deaths += explorer.deaths;
		scenario->verify(region, explorer.deaths > 0);
		if (own.schedules % CHECK_EVERY == 1)
			MUST(index_check(region, report, NULL) == 0);
		more = true;
		if (explorer.new_conflict) {
			explorer.known = 0;
			own = (struct totals){0};
		} else {
			more = backtrack();
		}
	} while (more);
	printf("explore: %s: %llu schedules, %llu deaths\n", scenario->name,
	    (unsigned long long)own.schedules, (unsigned long long)own.deaths);
	fflush(stdout);
	totals->schedules += own.schedules;
	totals->deaths += own.deaths;
	for (unsigned i = 0; i < COUNT_MAX; i++)
		free(explorer.stacks[i]);
	free(explorer.image);
	free(explorer.readers);
	free(explorer.writers);
}
