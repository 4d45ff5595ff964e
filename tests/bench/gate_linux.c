/*
 * bench_gate --state DIR [--list | ROW...]: what the link gate costs.
 *
 * gate/SHAPE/W: W processes, each a worker with a slot of its own, stage trees never seen before by
 * hard links, all at once; the time from the first start to the last end.  The limit, "no cap", is
 * the same without any gate: the linker gives every call of gate_enter and gate_leave to the two
 * functions below (--wrap), which leave the gate out when told to.
 */
#include <err.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shm/gate.h"
#include "tests/bench/crowd.h"
#include "tests/bench/isolate.h"
#include "tests/bench/series.h"
#include "tests/bench/shape.h"

enum { FILES_MAX = 2000, NO_PERMIT = 0xffffffffu };
enum { WITH_GATE, WITHOUT_GATE }; /* of a round */

static bool without_gate; /* this process's copy: the gate's cost is not this program's */

uint32_t __real_gate_enter(struct region *region, struct slot *slot);
void __real_gate_leave(struct region *region, struct slot *slot, uint32_t permit);
uint32_t __wrap_gate_enter(struct region *region, struct slot *slot);
void __wrap_gate_leave(struct region *region, struct slot *slot, uint32_t permit);

uint32_t
__wrap_gate_enter(struct region *region, struct slot *slot)
{
	return without_gate ? NO_PERMIT : __real_gate_enter(region, slot);
}

void
__wrap_gate_leave(struct region *region, struct slot *slot, uint32_t permit)
{
	if (permit != NO_PERMIT)
		__real_gate_leave(region, slot, permit);
}

struct worker {
	struct bench_host *host;
	struct filled_shape *filled;
	struct bench_stager stager;
	struct bench_placed placed;
};

static void *
worker_open(struct bench_host *host, void *arg)
{
	struct worker *worker = calloc(1, sizeof(*worker));

	if (worker == NULL)
		err(1, "worker");
	worker->host = host;
	worker->filled = arg;
	bench_stager_open(host, ENGINE_HARDLINK, &worker->stager);
	return worker;
}

static void
worker_prepare(void *state, int what)
{
	struct worker *worker = state;

	without_gate = what == WITHOUT_GATE;
	shape_variant(worker->host->cas, worker->filled);
}

static void
worker_run(void *state, int what)
{
	struct worker *worker = state;

	if (!bench_place(worker->host, &worker->stager, &worker->filled->root, &worker->placed))
		_exit(1);
}

static void
worker_clear(void *state, int what)
{
	struct worker *worker = state;

	bench_release(worker->host, &worker->stager, &worker->placed);
}

static uint64_t
with_gate(void *arg)
{
	uint64_t elapsed = crowd_round(WITH_GATE);

	bench_empty_trash(arg);
	return elapsed;
}

static uint64_t
no_gate(void *arg)
{
	uint64_t elapsed = crowd_round(WITHOUT_GATE);

	bench_empty_trash(arg);
	return elapsed;
}

static void
measure(struct bench_host *host, struct filled_shape *filled, unsigned workers, const char *name)
{
	static const struct crowd_work work = {
	    worker_open, worker_prepare, worker_run, worker_clear};
	struct series_bounds bounds = {.budget_ms = 2000, .least = 5, .most = 200};
	struct series with = {0}, without = {0};

	crowd_start(host, workers, &work, filled);
	with_gate(host);
	no_gate(host);
	series_alternate(&bounds, 1000, with_gate, no_gate, host, &with, &without);
	crowd_stop();
	row_print(name, "us", &with, "no cap", &without, 0);
	series_clear(&with);
	series_clear(&without);
}

static bool
named(char **names, const char *name)
{
	for (; *names != NULL; names++)
		if (strcmp(*names, name) == 0)
			return true;
	return false;
}

static void
measure_shape(struct bench_host *host, const struct shape *shape, char **names)
{
	static const unsigned workers[] = {1, 8};
	struct filled_shape filled = {0};
	char name[64];
	size_t i;

	for (i = 0; i < sizeof(workers) / sizeof(workers[0]); i++) {
		snprintf(name, sizeof(name), "gate/%s/%u", shape->name, workers[i]);
		if (host == NULL)
			puts(name);
		if (host == NULL || !named(names, name))
			continue;
		if (filled.shape == NULL) {
			shape_fill(host->cas, shape, &filled);
			isolate_settle(host->config.state_fd);
		}
		measure(host, &filled, workers[i], name);
	}
	shape_free(&filled);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
	    {"state", required_argument, NULL, 's'}, {"list", no_argument, NULL, 'l'}, {0}};
	struct bench_host host;
	const char *state_dir = NULL;
	bool list = false;
	size_t i;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 's')
			state_dir = optarg;
		else if (option == 'l')
			list = true;
		else
			return 2;
	}
	if (!list && state_dir == NULL)
		errx(2, "usage: bench_gate --state DIR [--list | ROW...]");
	if (!list)
		bench_host_open(state_dir, &host);
	for (i = 0; i < shapes_count && shapes[i].files <= FILES_MAX; i++)
		measure_shape(list ? NULL : &host, &shapes[i], argv + optind);
	if (!list)
		bench_host_close(&host);
	return 0;
}
