#include "workers/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "base/utf8.h"
#include "ipc/channel.h"
#include "shm/counters.h"
#include "workers/job.h"

/* This process. */
struct worker {
	const struct worker_start *start;
	struct channel *channel;
	struct job_worker jobs;
	struct ahead ahead;
	char name[320]; /* for results: host name and slot */
	uint64_t job; /* the running one's number */
	bool lost; /* the supervisor is gone */
	bool asked_to_stop; /* `stop` came while a job ran */
};

static unsigned
worker_number(const struct worker *worker)
{
	return worker->start->slot_number - SLOT_WORKER_FIRST;
}

_Noreturn static void
worker_exit(struct worker *worker)
{
	ahead_fini(&worker->ahead);
	runner_free(worker->jobs.runner);
	cas_close(worker->jobs.cas);
	slot_retire(worker->start->region, worker->start->slot_number);
	exit(0);
}

static void
worker_send(struct worker *worker, const struct message *message)
{
	int rc = channel_send_wait(worker->channel, message, -1);

	if (rc == 0)
		return;
	if (rc != -ECONNRESET && rc != -EPIPE)
		log_error("cannot send %s: %s", message_name(message->type), strerror(-rc));
	worker->lost = true;
}

/* While a job runs: is it cancelled, or the supervisor gone? */
static bool
on_cancel_fd(void *arg)
{
	struct worker *worker = arg;
	bool cancelled = false;
	struct message message;
	int rc = channel_fill(worker->channel);

	while (rc == 0 || rc == -EAGAIN || rc == -ECONNRESET) {
		int next = channel_next(worker->channel, &message);

		if (next != 0) {
			if (next != -EAGAIN && next != -ENOMSG)
				rc = next;
			if (next != -ENOMSG)
				break;
			continue;
		}
		if (message.type == MSG_cancel)
			cancelled = cancelled || message.cancel.job == worker->job;
		else if (message.type == MSG_stop)
			worker->asked_to_stop = true;
		else if (message.type == MSG_ahead)
			ahead_wish(&worker->ahead, &message.ahead);
		else
			rc = -EPROTO;
	}
	ahead_stage(&worker->ahead);
	if (rc != 0 && rc != -EAGAIN)
		worker->lost = true;
	return cancelled || worker->lost;
}

/* Each name once, and no more names than anybody means. */
static void
ignored_log(const char *name)
{
	enum { NAMES_MAX = 32, NAME_SIZE = 64 };
	static char names[NAMES_MAX][NAME_SIZE];
	static unsigned count;
	char shown[NAME_SIZE];

	for (unsigned i = 0; i < count; i++)
		if (strncmp(names[i], name, NAME_SIZE - 1) == 0)
			return;
	if (count == NAMES_MAX)
		return;
	strlcpy(names[count], name, NAME_SIZE);
	strlcpy(shown, names[count++], sizeof(shown));
	log_info("platform property '%s' means nothing here: ignored", ascii_clean(shown));
}

static void
outcome_log(const struct job_outcome *outcome)
{
	const struct msg_done *done = &outcome->done.done;

	if (outcome->ignored_property != NULL)
		ignored_log(outcome->ignored_property);
	if (outcome->host_proc)
		log_warn(
		    "a fresh /proc was refused (a container's masks?): actions see the host's");
	if (done->status == JOB_FAILED || done->status == JOB_DISK_FULL)
		log_error("job %llu: %.*s", (unsigned long long)done->job, (int)done->message.len,
		    done->message.data);
}

static void
worker_do(struct worker *worker, const struct msg_run *received)
{
	struct msg_run run = *received;
	static const struct message disk_full = {.type = MSG_disk_full};
	struct job_outcome outcome;
	char label[SLOT_LABEL_SIZE];

	/* The message's text dies with the next one read: a cancel, say. */
	msg_text_copy(run.label, label, sizeof(label));
	run.label = msg_text(label);
	worker->job = run.job;
	ahead_begin(&worker->ahead, run.job);
	slot_set_job(worker->jobs.slot, run.job);
	slot_set_action(worker->jobs.slot, &run.action, label, (uint32_t)run.attempt);
	setproctitle("worker %u: %s", worker_number(worker), label);
	/* A cancel that was read along with the run message raises no descriptor any more. */
	if (on_cancel_fd(worker))
		job_cancel(&worker->jobs, &run, &outcome);
	else
		job_run(&worker->jobs, &run, &outcome);
	outcome_log(&outcome);
	/* However it ended: who hears of it next may wait for the sandbox to go. */
	slot_set_phase(worker->jobs.slot, SLOT_CLEANING);
	worker_send(worker, &outcome.done);
	if (outcome.disk_full)
		worker_send(worker, &disk_full);
	job_release(&worker->jobs, &outcome);
	worker->job = 0;
	setproctitle("worker %u", worker_number(worker));
}

/* How long it may wait before it has to see to something. */
static int
rest_ms(struct worker *worker)
{
	int runner = runner_rest_ms(worker->jobs.runner);
	int stager = stager_rest_ms(worker->jobs.stager);

	return runner < 0 || (stager >= 0 && stager < runner) ? stager : runner;
}

_Noreturn static void
worker_loop(struct worker *worker)
{
	struct message message = {.type = MSG_ready, .ready.pid = (uint64_t)getpid()};

	worker_send(worker, &message);
	while (!worker->lost && !worker->asked_to_stop) {
		int rc = channel_receive(worker->channel, &message, rest_ms(worker));

		if (rc == -ECONNRESET)
			break;
		if (rc == -ETIMEDOUT) {
			runner_rest(worker->jobs.runner);
			continue;
		}
		if (rc == -ENOMSG || rc == -EINTR)
			continue;
		if (rc != 0)
			fatalx("cannot read from the supervisor: %s", strerror(-rc));
		if (message.type == MSG_run)
			worker_do(worker, &message.run);
		else if (message.type == MSG_ahead)
			ahead_wish(&worker->ahead, &message.ahead);
		else if (message.type == MSG_stop)
			break;
		else if (message.type != MSG_cancel) /* one that came too late is none */
			fatalx(
			    "a message that is not for a worker: %s", message_name(message.type));
	}
	worker_exit(worker);
}

static uid_t
action_uid_choose(const struct worker_start *start)
{
	if (geteuid() != 0 || start->isolation == ISOLATION_USER)
		return geteuid();
	return start->config->action_uid_base + start->slot_number;
}

static void
worker_open(struct worker *worker)
{
	const struct worker_start *start = worker->start;
	struct job_worker *jobs = &worker->jobs;
	struct stager_config config = {.host = start->config,
	    .probe = start->probe,
	    .isolation = start->isolation,
	    .action_uid = jobs->action_uid,
	    .uid_differs = jobs->action_uid != geteuid(),
	    .seals_inputs = start->probe->seals_inputs};
	struct error_text err;

	/* First: nothing else may have made a thread by then. */
	if (runner_new(start->config, start->isolation, jobs->action_uid, jobs->slot, &jobs->runner,
		&err) != 0 ||
	    cas_open(start->config->state_fd, true, &jobs->cas, &err) != 0 ||
	    stager_new(&config, start->region, jobs->slot, jobs->cas, &jobs->stager, &err) != 0)
		fatalx("%s", err.text);
	jobs->arena = arena_new();
	if (channel_new(start->socket_fd, &worker->channel) != 0)
		fatalx("no memory");
	job_kinds_init(&jobs->kinds, start->config->state_fd, jobs->slot);
	jobs->cancel_fd = channel_fd(worker->channel);
	jobs->cancelled = on_cancel_fd;
	jobs->cancelled_arg = worker;
	ahead_init(&worker->ahead, jobs);
	jobs->ahead = &worker->ahead;
}

static void
worker_name(struct worker *worker)
{
	char host[256] = "";

	if (gethostname(host, sizeof(host) - 1) != 0 || host[0] == '\0')
		strlcpy(host, "localhost", sizeof(host));
	snprintf(worker->name, sizeof(worker->name), "%s/%u", host, worker_number(worker));
	worker->jobs.name = worker->name;
}

void
worker_main(const struct worker_start *start)
{
	static struct worker worker;

	worker.start = start;
	slot_activate(start->region, start->slot_number, getpid());
	worker.jobs = (struct job_worker){.config = start->config,
	    .slot = slot_at(start->region, start->slot_number),
	    .slot_number = start->slot_number,
	    .isolation = start->isolation,
	    .action_uid = action_uid_choose(start)};
	check_last_words(slot_words(worker.jobs.slot), SLOT_WORDS_SIZE);
	signal(SIGPIPE, SIG_IGN);
	setproctitle("worker %u", worker_number(&worker));
	worker_name(&worker);
	worker_open(&worker);
	worker_loop(&worker);
}
