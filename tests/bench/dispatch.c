/*
 * bench_dispatch --state DIR --rametd PROGRAM [--list | ROW...]
 *
 *   dispatch/true/W   a client keeps W actions in flight on a rametd of W workers: one action's
 * time from submit to done.  Limit: posix_spawn and waitpid, by W loops at once. dispatch/rate/W
 * four times as many in flight: time divided by actions, in batches. memory/...        private
 * resident memory of the idle processes after that.
 *
 * The action is /bin/true with an empty input root, isolated as any action, its result not cached.
 */
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <err.h>
#include <fcntl.h>
#include <getopt.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "cas/reapi.h"
#include "cas/store.h"
#include "shm/slot.h"
#include "tests/bench/daemon.h"
#include "tests/bench/series.h"

enum { BATCH = 100, BATCHES = 20, IN_FLIGHT_MAX = 64, WORKERS_MAX = 8, ACTIONS = 64 };

struct loop {
	uint64_t begun_ns, ended_ns, each_ns[BATCH];
};

struct trial {
	struct daemon *daemon;
	struct digest actions[ACTIONS];
	unsigned workers, in_flight;
	struct series latency, spawn_latency; /* of single actions, us */
	struct loop *loops; /* shared with the limit's processes */
};

static void
put_message(struct cas *cas, struct arena *arena, const ProtobufCMessage *message,
    struct digest *ret_digest)
{
	size_t len;
	uint8_t *bytes = reapi_encode(arena, message, &len);
	int rc = cas_put_bytes(cas, bytes, len, ret_digest);

	if (rc < 0)
		errx(1, "cannot store a message: %s", strerror(-rc));
}

/* As many actions as can be in flight: equal ones might be answered by one run. */
static void
put_actions(const char *state_dir, struct digest *actions)
{
	static char argument[] = "/bin/true";
	static char *arguments[] = {argument};
	struct arena *arena = arena_new();
	ReapiCommand *command = REAPI_NEW(arena, command);
	ReapiAction *action = REAPI_NEW(arena, action);
	struct digest digest;
	struct error_text words;
	struct cas *cas;
	uint8_t salt;
	unsigned i;
	int fd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		err(1, "%s", state_dir);
	if (cas_open(fd, true, &cas, &words) < 0)
		errx(1, "%s", words.text);
	command->arguments = arguments;
	command->n_arguments = 1;
	put_message(cas, arena, &command->base, &digest);
	action->command_digest = reapi_digest_new(arena, &digest);
	action->input_root_digest = reapi_digest_new(arena, &digest_empty);
	action->do_not_cache = true;
	for (i = 0; i < ACTIONS; i++) {
		salt = (uint8_t)i;
		action->salt = (ProtobufCBinaryData){.len = 1, .data = &salt};
		put_message(cas, arena, &action->base, &actions[i]);
	}
	cas_close(cas);
	close(fd);
	arena_free(arena);
}

static uint64_t
actions_batch(void *arg)
{
	struct trial *trial = arg;
	uint64_t start = bench_now_ns(), submitted_ns[BATCH], job;
	unsigned submitted = 0, finished;

	for (finished = 0; finished < BATCH; finished++) {
		while (submitted < BATCH && submitted - finished < trial->in_flight) {
			submitted_ns[submitted] = bench_now_ns();
			daemon_submit(
			    trial->daemon, submitted, &trial->actions[submitted % ACTIONS]);
			submitted++;
		}
		job = daemon_finish(trial->daemon);
		if (job >= BATCH)
			errx(1, "rametd answered a job that was never submitted");
		series_add(&trial->latency, (double)(bench_now_ns() - submitted_ns[job]) / 1000);
	}
	return (bench_now_ns() - start) / BATCH;
}

static void
spawn_one(void)
{
	static char program[] = "/bin/true";
	char *argv[] = {program, NULL};
	char *environment[] = {NULL}; /* the action has none either */
	int status;
	pid_t pid;

	if (posix_spawn(&pid, program, NULL, NULL, argv, environment) != 0 ||
	    waitpid(pid, &status, 0) != pid || status != 0)
		errx(1, "cannot spawn %s", program);
}

static void
spawn_loop(struct loop *loop, unsigned count)
{
	uint64_t start;
	unsigned i;

	loop->begun_ns = bench_now_ns();
	for (i = 0; i < count; i++) {
		start = bench_now_ns();
		spawn_one();
		loop->each_ns[i] = bench_now_ns() - start;
	}
	loop->ended_ns = bench_now_ns();
}

static uint64_t
spawn_batch(void *arg)
{
	struct trial *trial = arg;
	unsigned i, n, each = BATCH / trial->workers;
	uint64_t begun = UINT64_MAX, ended = 0;
	pid_t pids[WORKERS_MAX];
	int status;

	for (i = 0; i < trial->workers; i++) {
		pids[i] = fork();
		if (pids[i] < 0)
			err(1, "fork");
		if (pids[i] == 0) {
			spawn_loop(&trial->loops[i], each);
			_exit(0);
		}
	}
	for (i = 0; i < trial->workers; i++) {
		if (waitpid(pids[i], &status, 0) < 0 || status != 0)
			errx(1, "a spawning loop failed");
		begun = trial->loops[i].begun_ns < begun ? trial->loops[i].begun_ns : begun;
		ended = trial->loops[i].ended_ns > ended ? trial->loops[i].ended_ns : ended;
		for (n = 0; n < each; n++)
			series_add(
			    &trial->spawn_latency, (double)trial->loops[i].each_ns[n] / 1000);
	}
	return (ended - begun) / (each * trial->workers);
}

static void
measure_dispatch(struct trial *trial, unsigned in_flight, const char *name, bool latency)
{
	struct series_bounds bounds = {.budget_ms = 5000, .least = 3, .most = BATCHES};
	struct series rate = {0}, spawn_rate = {0};

	trial->in_flight = in_flight;
	actions_batch(trial);
	spawn_batch(trial);
	series_clear(&trial->latency);
	series_clear(&trial->spawn_latency);
	series_alternate(&bounds, 1000, actions_batch, spawn_batch, trial, &rate, &spawn_rate);
	if (latency)
		row_print(name, "us", &trial->latency, "posix_spawn", &trial->spawn_latency, 0);
	else
		row_print(name, "us", &rate, "posix_spawn", &spawn_rate, 0);
	series_clear(&trial->latency);
	series_clear(&trial->spawn_latency);
	series_clear(&rate);
	series_clear(&spawn_rate);
}

/* Private_Clean and Private_Dirty of a process, in KiB; -1 where the system does not tell. */
static long
private_kib(pid_t pid)
{
	char path[64], line[128];
	long total = 0, value;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	file = fopen(path, "re");
	if (file == NULL)
		return -1;
	while (fgets(line, sizeof(line), file) != NULL)
		if (sscanf(line, "Private_Clean: %ld", &value) == 1 ||
		    sscanf(line, "Private_Dirty: %ld", &value) == 1)
			total += value;
	fclose(file);
	return total;
}

static void
memory_row(const char *name, pid_t pid)
{
	struct series series = {0};
	long kib = private_kib(pid);

	if (kib < 0) {
		warnx("%s: left out: no smaps_rollup", name);
		return;
	}
	series_add(&series, (double)kib);
	row_print(name, "KiB", &series, "4 MiB", NULL, 4096);
	series_clear(&series);
}

static pid_t
worker_pid(const char *state_dir)
{
	struct slot_info info;
	struct region *region;
	struct error_text words;
	int fd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		err(1, "%s", state_dir);
	if (region_attach(fd, &region, &words) < 0)
		errx(1, "%s", words.text);
	slot_read(region, SLOT_WORKER_FIRST, &info);
	region_close(region);
	close(fd);
	return info.pid;
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
measure(const char *rametd, const char *state_dir, unsigned workers, char **names)
{
	struct trial trial = {.workers = workers};
	char latency[32], rate[32], path[4200];
	bool memory;

	snprintf(latency, sizeof(latency), "dispatch/true/%u", workers);
	snprintf(rate, sizeof(rate), "dispatch/rate/%u", workers);
	memory =
	    workers == 1 && (named(names, "memory/supervisor") || named(names, "memory/worker"));
	if (!named(names, latency) && !named(names, rate) && !memory)
		return;
	snprintf(path, sizeof(path), "%s/%u", state_dir, workers);
	if (mkdir(path, 0755) < 0)
		err(1, "%s", path);
	trial.loops = mmap(NULL, sizeof(struct loop) * WORKERS_MAX, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (trial.loops == MAP_FAILED)
		err(1, "mmap");
	put_actions(path, trial.actions);
	trial.daemon = daemon_start(rametd, path, workers);
	if (named(names, latency))
		measure_dispatch(&trial, workers, latency, true);
	if (named(names, rate))
		measure_dispatch(&trial, workers * 4, rate, false);
	if (memory) {
		trial.in_flight = 1;
		actions_batch(&trial);
		sleep(1);
		if (named(names, "memory/supervisor"))
			memory_row("memory/supervisor", daemon_pid(trial.daemon));
		if (named(names, "memory/worker"))
			memory_row("memory/worker", worker_pid(path));
	}
	daemon_stop(trial.daemon);
	series_clear(&trial.latency);
	munmap(trial.loops, sizeof(struct loop) * WORKERS_MAX);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {{"state", required_argument, NULL, 's'},
	    {"rametd", required_argument, NULL, 'r'}, {"list", no_argument, NULL, 'l'}, {0}};
	const char *state_dir = NULL, *rametd = NULL;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 's')
			state_dir = optarg;
		else if (option == 'r')
			rametd = optarg;
		else if (option == 'l')
			return puts("dispatch/true/1\ndispatch/rate/1\ndispatch/true/2\n"
				    "dispatch/rate/2\nmemory/supervisor\nmemory/worker") < 0;
		else
			return 2;
	}
	if (state_dir == NULL || rametd == NULL)
		errx(2, "usage: bench_dispatch --state DIR --rametd PROGRAM [--list | ROW...]");
	measure(rametd, state_dir, 1, argv + optind);
	measure(rametd, state_dir, 2, argv + optind);
	return 0;
}
