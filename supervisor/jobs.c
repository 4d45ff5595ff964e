#include "supervisor/jobs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "supervisor/ahead.h"
#include "supervisor/client.h"
#include "supervisor/supervisor.h"

static void
set_levels(struct supervisor *host)
{
	COUNTER_SET(host->slot, actions_queued, host->queue.count);
	COUNTER_SET(host->slot, actions_running, host->running);
}

void
jobs_init(struct supervisor *host)
{
	TAILQ_INIT(&host->jobs);
	TAILQ_INIT(&host->ended);
	queue_init(&host->queue);
	set_levels(host);
}

void
jobs_need_since(struct supervisor *host, uint32_t since_s)
{
	uint32_t now_s = region_needed_since(host->region);

	if (since_s != 0 && (now_s == 0 || since_s < now_s))
		region_set_needed_since(host->region, since_s);
}

/* What the client had seen to be there by then is kept for its job, from before it is queued. */
static void
job_need(struct supervisor *host, struct job *job, const struct msg_submit *submit)
{
	uint32_t now_s = clock_realtime_s();
	uint32_t grace_s = host->config->cas_grace_s;

	job->needed_since_s = now_s > grace_s ? now_s - grace_s : 1;
	if (submit->has_seen_s && submit->seen_s != 0 && submit->seen_s <= now_s)
		job->needed_since_s = (uint32_t)submit->seen_s;
	jobs_need_since(host, job->needed_since_s);
}

static struct job *
job_new(const struct msg_submit *submit)
{
	struct job *job = calloc(1, sizeof(*job));

	if (job == NULL)
		return NULL;
	job->client_job = submit->job;
	job->action = submit->action;
	job->skip_cache_lookup = submit->skip_cache_lookup;
	job->guard_off = submit->guard_off;
	job->show_writes = submit->show_writes;
	job->alone = submit->alone;
	job->has_cache_key = submit->has_cache_key;
	job->cache_key = submit->cache_key;
	job->priority = submit->priority;
	job->queued_us = clock_realtime_us();
	msg_text_copy(submit->label, job->label, sizeof(job->label));
	if (!submit->has_operation)
		return job;
	job->operation = strndup(submit->operation.data, submit->operation.len);
	if (job->operation == NULL) {
		free(job);
		return NULL;
	}
	return job;
}

static void
job_delete(struct job *job)
{
	free(job->operation);
	free(job->ended);
	free(job);
}

int
jobs_submit(struct supervisor *host, struct client *client, const struct msg_submit *submit)
{
	struct job *job;
	int rc;

	if (host->queue.count >= JOBS_QUEUED_MAX)
		return -EBUSY;
	job = job_new(submit);
	if (job == NULL)
		return -ENOMEM;
	rc = client_add_job(client, job);
	if (rc != 0) {
		job_delete(job);
		return rc;
	}
	job_need(host, job, submit);
	job->number = ++host->last_job_number;
	TAILQ_INSERT_TAIL(&host->jobs, job, arrival_link);
	queue_put(&host->queue, job);
	set_levels(host);
	CRASH_POINT(supervisor_job_queued);
	return 0;
}

static void
job_let_go(struct supervisor *host, struct job *job)
{
	if (job->worker == NULL)
		return;
	CHECK(job->worker->job == job);
	job->worker->job = NULL;
	job->worker = NULL;
	host->running--;
}

static void
ended_free(struct supervisor *host, struct job *job)
{
	client_remove_job(job);
	TAILQ_REMOVE(&host->ended, job, arrival_link);
	host->ended_count--;
	job_delete(job);
}

/* Its end, as a frame of its own: the message's text dies with the channel's buffer. */
static int
ended_keep(struct supervisor *host, struct job *job, const struct message *done)
{
	static uint8_t frame[IPC_FRAME_MAX + 4];
	size_t len;
	int rc = message_encode(done, frame, &len);

	if (rc != 0)
		return rc;
	job->ended = malloc(len);
	if (job->ended == NULL)
		return -ENOMEM;
	memcpy(job->ended, frame, len);
	job->ended_len = len;
	TAILQ_INSERT_TAIL(&host->ended, job, arrival_link);
	if (++host->ended_count > JOBS_ENDED_MAX)
		ended_free(host, TAILQ_FIRST(&host->ended));
	CRASH_POINT(supervisor_ended_kept);
	return 0;
}

/* The one way a job ends: its client hears of it. */
static void
job_finish(struct supervisor *host, struct job *job, const struct message *done)
{
	client_send(job->client, done);
	ahead_forget(job);
	job_let_go(host, job);
	if (job->queued)
		queue_remove(&host->queue, job);
	TAILQ_REMOVE(&host->jobs, job, arrival_link);
	if (job->client == NULL || !job->client->keeps_ended || ended_keep(host, job, done) != 0) {
		client_remove_job(job);
		job_delete(job);
	}
	set_levels(host);
	control_settle(host);
}

void
jobs_fini(struct supervisor *host)
{
	while (!TAILQ_EMPTY(&host->ended))
		ended_free(host, TAILQ_FIRST(&host->ended));
}

int
jobs_forget(struct supervisor *host, struct job *job)
{
	if (job->ended == NULL)
		return -EBUSY;
	ended_free(host, job);
	return 0;
}

void
jobs_reorder(struct supervisor *host, struct job *job, int64_t priority)
{
	bool queued = job->queued;

	if (queued)
		queue_remove(&host->queue, job);
	job->priority = priority;
	if (queued)
		queue_put(&host->queue, job);
}

/* Each job once, however many workers died of it. */
static void
count_end(struct supervisor *host, const struct msg_done *done)
{
	struct slot *slot = host->slot;

	COUNTER_ADD(slot, actions_done, 1);
	switch ((enum job_status)done->status) {
	case JOB_OK:
		COUNTER_ADD(slot, actions_succeeded, done->exit_code == 0);
		COUNTER_ADD(slot, actions_failed, done->exit_code != 0);
		break;
	case JOB_TIMEOUT:
		COUNTER_ADD(slot, actions_timed_out, 1);
		break;
	case JOB_CANCELLED:
		COUNTER_ADD(slot, actions_cancelled, 1);
		break;
	case JOB_WORKER_LOST:
		COUNTER_ADD(slot, actions_given_up, 1);
		break;
	default:
		COUNTER_ADD(slot, actions_errors, 1);
		break;
	}
}

static void
job_end(struct supervisor *host, struct job *job, enum job_status status, const char *why)
{
	struct message message = {.type = MSG_done};

	message.done.job = job->client_job;
	message.done.status = status;
	message.done.message = msg_text(why);
	message.done.has_message = true;
	message.done.attempt = job->attempt;
	message.done.has_attempt = true;
	count_end(host, &message.done);
	job_finish(host, job, &message);
}

void
jobs_given(struct job *job, struct child *worker)
{
	struct supervisor *host = worker->host;
	struct message message = {.type = MSG_run};

	queue_remove(&host->queue, job);
	job->worker = worker;
	ahead_forget(job);
	worker->job = job;
	job->attempt++;
	host->running++;
	set_levels(host);
	message.run.job = job->number;
	message.run.action = job->action;
	message.run.skip_cache_lookup = message.run.has_skip_cache_lookup = job->skip_cache_lookup;
	message.run.guard_off = message.run.has_guard_off = job->guard_off;
	message.run.show_writes = message.run.has_show_writes = job->show_writes;
	message.run.label = msg_text(job->label);
	message.run.has_label = job->label[0] != '\0';
	message.run.attempt = job->attempt;
	message.run.queued_us = job->queued_us;
	message.run.has_queued_us = true;
	message.run.cache_key = job->cache_key;
	message.run.has_cache_key = job->has_cache_key;
	child_send(worker, &message);
	CRASH_POINT(supervisor_job_dispatched);

	message = (struct message){.type = MSG_started};
	message.started.job = job->client_job;
	message.started.worker = worker->slot - SLOT_WORKER_FIRST;
	message.started.attempt = job->attempt;
	message.started.has_worker = message.started.has_attempt = true;
	message.started.number = job->number;
	client_send(job->client, &message);
}

void
jobs_done(struct supervisor *host, struct job *job, const struct msg_done *done)
{
	struct message message = {.type = MSG_done};

	message.done = *done;
	message.done.job = job->client_job;
	message.done.attempt = job->attempt;
	message.done.worker = job->worker->slot - SLOT_WORKER_FIRST;
	message.done.has_attempt = message.done.has_worker = true;
	count_end(host, done);
	job_finish(host, job, &message);
}

static void
say_adopt(const struct job *job)
{
	struct message message = {.type = MSG_adopt};
	struct msg_adopt *adopt = &message.adopt;

	adopt->job = job->client_job;
	adopt->action = job->action;
	adopt->operation = msg_text(job->operation != NULL ? job->operation : "");
	adopt->skip_cache_lookup = job->skip_cache_lookup;
	adopt->alone = job->alone;
	adopt->cancelled = job->cancelled;
	adopt->priority = job->priority;
	adopt->queued_us = job->queued_us;
	adopt->attempt = job->attempt;
	adopt->number = job->number;
	if (job->worker != NULL) {
		adopt->worker = job->worker->slot - SLOT_WORKER_FIRST;
		adopt->has_worker = true;
	}
	client_send(job->client, &message);
}

void
jobs_adopt(struct client *gateway)
{
	struct message done;
	struct job *job;

	RB_FOREACH(job, client_jobs, &gateway->jobs) {
		say_adopt(job);
		if (job->ended != NULL &&
		    message_decode(job->ended + 4, job->ended_len - 4, &done) == 0)
			client_send(gateway, &done);
	}
}

void
jobs_worker_lost(struct supervisor *host, struct job *job, const char *how)
{
	char why[512];

	if (job->cancelled) {
		job_end(host, job, JOB_CANCELLED, "cancelled");
		return;
	}
	if (job->attempt < JOB_ATTEMPTS) {
		job_let_go(host, job);
		queue_put(&host->queue, job);
		COUNTER_ADD(host->slot, actions_retried, 1);
		set_levels(host);
		return;
	}
	snprintf(why, sizeof(why), "%s; %u tries", how, job->attempt);
	log_warn("job %s given up: %s", job->label, why);
	job_end(host, job, JOB_WORKER_LOST, why);
}

void
jobs_cancel(struct supervisor *host, struct job *job)
{
	struct message message = {.type = MSG_cancel};

	if (job->ended != NULL) /* its end and the gateway's wish have crossed */
		return;
	if (job->worker == NULL) {
		job_end(host, job, JOB_CANCELLED, "cancelled while it was queued");
		return;
	}
	if (job->cancelled)
		return;
	job->cancelled = true;
	message.cancel.job = job->number;
	child_cancel(job->worker, &message);
}

void
jobs_cancel_all(struct supervisor *host, const char *why)
{
	struct job *job;

	while ((job = TAILQ_FIRST(&host->jobs)) != NULL)
		job_end(host, job, JOB_CANCELLED, why);
}

void
jobs_say_needed(struct supervisor *host)
{
	const struct client *client;
	const struct job *job;
	uint32_t since_s = 0;

	TAILQ_FOREACH(job, &host->jobs, arrival_link)
		if (since_s == 0 || job->needed_since_s < since_s)
			since_s = job->needed_since_s;
	TAILQ_FOREACH(client, &host->clients, link)
		if (client->needed_since_s != 0 &&
		    (since_s == 0 || client->needed_since_s < since_s))
			since_s = client->needed_since_s;
	region_set_needed_since(host->region, since_s);
}
