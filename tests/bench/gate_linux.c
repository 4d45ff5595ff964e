/*
 * bench_gate --state DIR [--list | ROW...]: what the link gate costs.
 *
 * gate/SHAPE/W: W processes, each a worker with a slot of its own, stage trees never seen before by
 * hard links, all at once; the time from the first start to the last end.  The limit, "no cap", is
 * the same without any gate: the linker gives every call of gate_enter and gate_leave to the two
 * functions below (--wrap), which leave the gate out when told to.
 */
#include <sys/mman.h>
#include <sys/wait.h>

#include <err.h>
#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "shm/gate.h"
#include "tests/bench/host.h"
#include "tests/bench/isolate.h"
#include "tests/bench/series.h"
#include "tests/bench/shape.h"

enum { WORKERS_MAX = 8, FILES_MAX = 2000, NO_PERMIT = 0xffffffffu };

struct shared {
	_Atomic bool without_gate, stop;
	pthread_barrier_t start, end;
	uint64_t begun_ns[WORKERS_MAX], ended_ns[WORKERS_MAX];
};

static struct shared *shared;
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

/* A worker: a round each time that all meet at the start. */
_Noreturn static void
worker(struct bench_host *host, struct filled_shape *filled, unsigned number)
{
	struct bench_stager stager;
	struct bench_placed placed;

	bench_host_take(host, host->slot_number + 1 + number);
	bench_stager_open(host, ENGINE_HARDLINK, &stager);
	for (;;) {
		shape_variant(host->cas, filled);
		pthread_barrier_wait(&shared->start);
		if (shared->stop)
			break;
		without_gate = shared->without_gate;
		shared->begun_ns[number] = bench_now_ns();
		if (!bench_place(host, &stager, &filled->root, &placed))
			_exit(1);
		shared->ended_ns[number] = bench_now_ns();
		bench_release(host, &stager, &placed);
		pthread_barrier_wait(&shared->end);
	}
	bench_stager_close(&stager);
	slot_retire(host->region, host->slot_number);
	_exit(0);
}

static uint64_t
round_of(unsigned workers, bool without)
{
	uint64_t begun = UINT64_MAX, ended = 0;
	unsigned i;

	shared->without_gate = without;
	pthread_barrier_wait(&shared->start);
	pthread_barrier_wait(&shared->end);
	for (i = 0; i < workers; i++) {
		if (shared->begun_ns[i] < begun)
			begun = shared->begun_ns[i];
		if (shared->ended_ns[i] > ended)
			ended = shared->ended_ns[i];
	}
	return ended - begun;
}

struct trial {
	struct bench_host *host;
	unsigned workers;
};

static uint64_t
with_gate(void *arg)
{
	struct trial *trial = arg;
	uint64_t elapsed = round_of(trial->workers, false);

	bench_empty_trash(trial->host);
	return elapsed;
}

static uint64_t
no_gate(void *arg)
{
	struct trial *trial = arg;
	uint64_t elapsed = round_of(trial->workers, true);

	bench_empty_trash(trial->host);
	return elapsed;
}

static void
barriers_init(unsigned workers)
{
	pthread_barrierattr_t attr;

	if (pthread_barrierattr_init(&attr) != 0 ||
	    pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED) != 0 ||
	    pthread_barrier_init(&shared->start, &attr, workers + 1) != 0 ||
	    pthread_barrier_init(&shared->end, &attr, workers + 1) != 0)
		errx(1, "barriers");
	pthread_barrierattr_destroy(&attr);
}

/* A worker that dies would leave the others at the barrier for ever: the alarm ends the bench. */
static void
measure(struct bench_host *host, struct filled_shape *filled, unsigned workers, const char *name)
{
	struct series_bounds bounds = {.budget_ms = 2000, .least = 5, .most = 200};
	struct series with = {0}, without = {0};
	struct trial trial = {.host = host, .workers = workers};
	unsigned i;
	int status;
	pid_t pid;

	shared->stop = false;
	barriers_init(workers);
	for (i = 0; i < workers; i++) {
		pid = fork();
		if (pid < 0)
			err(1, "fork");
		if (pid == 0)
			worker(host, filled, i);
	}
	alarm(60);
	with_gate(&trial);
	no_gate(&trial);
	series_alternate(&bounds, 1000, with_gate, no_gate, &trial, &with, &without);
	shared->stop = true;
	pthread_barrier_wait(&shared->start);
	while (wait(&status) > 0)
		if (status != 0)
			errx(1, "a worker failed");
	alarm(0);
	pthread_barrier_destroy(&shared->start);
	pthread_barrier_destroy(&shared->end);
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
	shared =
	    mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		err(1, "mmap");
	if (!list)
		bench_host_open(state_dir, &host);
	for (i = 0; i < shapes_count && shapes[i].files <= FILES_MAX; i++)
		measure_shape(list ? NULL : &host, &shapes[i], argv + optind);
	if (!list)
		bench_host_close(&host);
	return 0;
}
