#include <sys/mman.h>
#include <sys/wait.h>

#include <err.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/check.h"
#include "tests/bench/crowd.h"
#include "tests/bench/series.h"

struct shared {
	_Atomic int what;
	_Atomic bool stop;
	pthread_barrier_t start, end;
	uint64_t begun_ns[CROWD_WORKERS_MAX], ended_ns[CROWD_WORKERS_MAX];
};

static struct shared *shared;
static unsigned crowd_workers;

_Noreturn static void
worker(struct bench_host *host, const struct crowd_work *work, void *arg, unsigned number)
{
	void *state;
	int what;

	bench_host_take(host, host->slot_number + 1 + number);
	state = work->open(host, arg);
	for (;;) {
		pthread_barrier_wait(&shared->start); /* `what` is known */
		if (shared->stop)
			break;
		what = shared->what;
		work->prepare(state, what);
		pthread_barrier_wait(&shared->start);
		shared->begun_ns[number] = bench_now_ns();
		work->run(state, what);
		shared->ended_ns[number] = bench_now_ns();
		work->clear(state, what);
		pthread_barrier_wait(&shared->end);
	}
	slot_retire(host->region, host->slot_number);
	_exit(0);
}

static void
shared_make(unsigned workers)
{
	pthread_barrierattr_t attr;

	shared =
	    mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		err(1, "mmap");
	if (pthread_barrierattr_init(&attr) != 0 ||
	    pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED) != 0 ||
	    pthread_barrier_init(&shared->start, &attr, workers + 1) != 0 ||
	    pthread_barrier_init(&shared->end, &attr, workers + 1) != 0)
		errx(1, "barriers");
	pthread_barrierattr_destroy(&attr);
}

void
crowd_start(struct bench_host *host, unsigned workers, const struct crowd_work *work, void *arg)
{
	unsigned i;
	pid_t pid;

	CHECK(workers <= CROWD_WORKERS_MAX);
	shared_make(workers);
	crowd_workers = workers;
	for (i = 0; i < workers; i++) {
		pid = fork();
		if (pid < 0)
			err(1, "fork");
		if (pid == 0)
			worker(host, work, arg, i);
	}
	alarm(CROWD_SECONDS_MAX);
}

uint64_t
crowd_round(int what)
{
	uint64_t begun = UINT64_MAX, ended = 0;
	unsigned i;

	shared->what = what;
	pthread_barrier_wait(&shared->start);
	pthread_barrier_wait(&shared->start);
	pthread_barrier_wait(&shared->end);
	for (i = 0; i < crowd_workers; i++) {
		if (shared->begun_ns[i] < begun)
			begun = shared->begun_ns[i];
		if (shared->ended_ns[i] > ended)
			ended = shared->ended_ns[i];
	}
	return ended - begun;
}

void
crowd_stop(void)
{
	int status;

	shared->stop = true;
	pthread_barrier_wait(&shared->start);
	while (wait(&status) > 0)
		if (status != 0)
			errx(1, "a worker failed");
	alarm(0);
	pthread_barrier_destroy(&shared->start);
	pthread_barrier_destroy(&shared->end);
	munmap(shared, sizeof(*shared));
}
