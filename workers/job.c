#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "cas/action.h"
#include "cas/action_cache.h"
#include "cas/directory.h"
#include "shm/counters.h"
#include "workers/collect.h"
#include "workers/job_command.h"
#include "workers/job_internal.h"

static bool
shows_writes(const struct job *job)
{
	return job->run->has_show_writes && job->run->show_writes;
}

/* True: answered. */
static bool
cache_answers(struct job *job)
{
	struct job_worker *worker = job->worker;
	struct msg_done *done = &job->outcome->done.done;
	uint8_t *data;
	size_t len;
	int rc;

	if ((job->run->has_skip_cache_lookup && job->run->skip_cache_lookup) || shows_writes(job))
		return false;
	rc = action_cache_get(worker->cas, worker->arena, job_cache_key(job), &job->result);
	if (rc != 0) {
		COUNTER_ADD(worker->slot, cache_misses, 1);
		if (rc == -ESTALE)
			COUNTER_ADD(worker->slot, cache_incomplete, 1);
		return false;
	}
	COUNTER_ADD(worker->slot, cache_hits, 1);
	data = reapi_encode(worker->arena, &job->result->base, &len);
	done->status = JOB_OK;
	done->cached = done->has_cached = true;
	job_result_say(job, data, len);
	return true;
}

/* What the Action names is known although its Command is not there: the tree's gaps belong in the
 * list. */
static enum job_status
missing_with_tree(struct job *job, const struct action_missing *missing)
{
	struct job_worker *worker = job->worker;
	struct digest root, *below = NULL, *all;
	size_t below_count = 0, count = missing->count, len;
	ReapiAction *action = NULL;
	uint8_t *data;

	if (cas_read(worker->cas, &job->run->action, CAS_MESSAGE_MAX, &data, &len) == 0) {
		action = REAPI_DECODE(worker->arena, action, data, len);
		free(data);
	}
	if (action != NULL && reapi_digest_get(action->input_root_digest, &root) == 0)
		(void)tree_missing(worker->cas, &root, &below, &below_count, NULL);
	all = arena_alloc(worker->arena, (count + below_count + 1) * sizeof(*all));
	memcpy(all, missing->digests, count * sizeof(*all));
	for (size_t i = 0; i < below_count; i++) {
		bool known = false;

		for (unsigned j = 0; j < missing->count; j++)
			known = known || digest_equal(&below[i], &missing->digests[j]);
		if (!known)
			all[count++] = below[i];
	}
	free(below);
	return job_missing_say(job, all, count);
}

static enum job_status
load(struct job *job)
{
	struct job_worker *worker = job->worker;
	struct action_missing missing = {.count = 0};
	int rc = action_load(worker->cas, worker->arena, &job->run->action, &job->action,
	    &job->command, &missing, &job->err);

	job->load_us = clock_monotonic_us() - job->start_us;
	if (rc == 0) {
		job->outcome->ignored_property =
		    job_command_ignored_property(job->action, job->command);
		COUNTER_ADD(worker->slot, platform_ignored, job->outcome->ignored_property != NULL);
		return JOB_OK;
	}
	if (missing.count > 0)
		return missing_with_tree(job, &missing);
	return job_status_of(job, rc);
}

/* Into a sandbox of its own; job->stage says how. */
static enum job_status
stage(struct job *job)
{
	struct job_worker *worker = job->worker;
	int rc;

	slot_set_phase(worker->slot, SLOT_STAGING);
	job->times->input_fetch_start_timestamp = job_now(job);
	if (worker->ahead != NULL &&
	    ahead_take(
		worker->ahead, job->run->job, &job->stage, &job->outcome->sandbox, &job->staged)) {
		job->outcome->has_sandbox = true;
		job->times->input_fetch_completed_timestamp = job_now(job);
		CRASH_POINT(staged);
		return JOB_OK;
	}
	rc = sandbox_make(worker->config->state_fd, worker->slot, worker->slot_number,
	    worker->action_uid, &job->outcome->sandbox, &job->err);
	if (rc != 0)
		return job_disk_is_full(job, rc) || rc == -ENOENT ? JOB_FAILED
								  : job_status_of(job, rc);
	job->outcome->has_sandbox = true;
	rc = stage_compose(
	    worker->stager, &job->stage, &job->outcome->sandbox, &job->staged, &job->err);
	job->times->input_fetch_completed_timestamp = job_now(job);
	if (rc == 0) {
		CRASH_POINT(staged);
		return JOB_OK;
	}
	if (rc == -ENOENT && job->staged.missing_count > 0)
		return job_missing_say(job, job->staged.missing, job->staged.missing_count);
	return rc == -ENOENT ? JOB_FAILED : job_status_of(job, rc);
}

/* The action runs: time for what it did not have to wait for, and for the next one's sandbox. */
static void
on_started(void *arg)
{
	struct job_worker *worker = arg;

	stage_after(worker->stager);
	if (worker->ahead == NULL)
		return;
	worker->ahead->may_stage = true;
	ahead_stage(worker->ahead);
}

/* What was mounted by the action's init was part of staging it. */
static void
count_mounting(struct job *job)
{
	const struct run_result *ran = &job->ran;
	uint64_t mount_us = ran->bind_us + ran->overlay_us + ran->image_us;

	stage_mounted(job->worker->stager, &job->staged);
	job->staged.us[PLACE_BIND] += ran->bind_us;
	job->staged.us[PLACE_OVERLAY] += ran->overlay_us;
	job->staged.us[PLACE_IMAGE] += ran->image_us;
	job->staged.elapsed_us += mount_us;
	COUNTER_ADD(job->worker->slot, stage_us, mount_us);
}

static enum job_status
execute(struct job *job)
{
	struct job_worker *worker = job->worker;
	struct run_request request;
	int rc = job_command_run(
	    worker->arena, worker->config, job->action, job->command, &request, &job->err);

	if (rc != 0)
		return job_status_of(job, rc);
	request.binds = job->staged.binds;
	request.bind_count = job->staged.bind_count;
	request.image = job->staged.image;
	request.overlay = job->staged.has_overlay ? &job->staged.overlay : NULL;
	request.seal = job->staged.is_sealed ? &job->staged.seal : NULL;
	request.cancel_fd = worker->cancel_fd;
	request.cancelled = worker->cancelled;
	request.cancelled_arg = worker->cancelled_arg;
	request.started = on_started;
	request.started_arg = worker;
	slot_set_phase(worker->slot, SLOT_RUNNING);
	rc = run_action(worker->runner, &job->outcome->sandbox, &request, &job->ran, &job->err);
	if (worker->ahead != NULL)
		worker->ahead->may_stage = false;
	CRASH_POINT(action_ended);
	if (rc != 0) {
		(void)job_disk_is_full(job, rc);
		return JOB_FAILED;
	}
	job->outcome->has_ended = true;
	COUNTER_ADD(worker->slot, exec_us, job->ran.elapsed_us);
	count_mounting(job);
	COUNTER_ADD(worker->slot, output_log_truncated, job->ran.stdout_cut + job->ran.stderr_cut);
	job->outcome->host_proc = job->ran.host_proc && !worker->host_proc_said;
	worker->host_proc_said = worker->host_proc_said || job->ran.host_proc;
	job->times->execution_start_timestamp =
	    reapi_timestamp_new(worker->arena, job->ran.start_us);
	job->times->execution_completed_timestamp =
	    reapi_timestamp_new(worker->arena, job->ran.end_us);
	job->result->exit_code = job->ran.exit_code;
	if (job->ran.was_cancelled) {
		error_set(&job->err, 0, "cancelled while it ran");
		return JOB_CANCELLED;
	}
	return JOB_OK;
}

/* For another try. */
static void
sandbox_give_back(struct job *job)
{
	struct job_worker *worker = job->worker;

	(void)stage_release(worker->stager, &job->staged, NULL);
	(void)sandbox_release(worker->config->state_fd, worker->slot, &job->outcome->sandbox);
	job->outcome->has_sandbox = job->outcome->has_ended = false;
	job->outcome->disk_full = false;
	job->err.text[0] = '\0';
}

/*
 * The input tree into a sandbox, and the action to its end.  Where the system refuses the overlay
 * or the image after all, or a cached tree is gone, nothing of the action has run: it gets a
 * sandbox without.
 */
static enum job_status
stage_and_execute(struct job *job)
{
	struct job_worker *worker = job->worker;
	enum job_status status;
	enum place_way way = PLACE_OVERLAY;

	for (;;) {
		status = stage(job);
		if (status != JOB_OK)
			return status;
		status = execute(job);
		int error = status == JOB_FAILED ? runner_refused(worker->runner, &way) : 0;
		bool *without = stage_without_way(&job->stage, way);
		if (error == 0 || *without)
			return status;
		stage_mount_failed(worker->stager, &job->staged, way, error);
		sandbox_give_back(job);
		*without = true;
	}
}

/* What is to be staged, as the client and the kind say; a kind that is looked at has its name. */
static void
stage_choose(struct job *job)
{
	struct job_worker *worker = job->worker;
	char label[SLOT_LABEL_SIZE];

	job_command_stage(worker->arena, job->action, job->command,
	    (job->run->has_guard_off && job->run->guard_off) || shows_writes(job), &job->stage);
	/* (With that engine guarded actions may write too: nothing would be learnt of them.) */
	if (job->stage.guard_off || !worker->config->guard_learning ||
	    worker->config->engine == ENGINE_OVERLAY || digest_is_empty(&job->stage.root) ||
	    !stager_has_overlay(worker->stager))
		return;
	msg_text_copy(job->run->label, label, sizeof(label));
	job_kind_get(&worker->kinds, job->command->arguments[0], label, &job->kind);
	if (job->kind.state != ACTION_KIND_WRITER)
		return;
	job->stage.guard_off = true;
	job->kind.name[0] = '\0';
	COUNTER_ADD(worker->slot, kinds_writer_runs, 1);
}

static bool
has_failed(const struct job *job)
{
	return job->ran.exit_code != 0 && !job->ran.timed_out;
}

/* It may have failed for want of inputs that it can write into. */
static enum job_status
execute_as_writer(struct job *job)
{
	struct job_worker *worker = job->worker;
	enum job_status status;

	COUNTER_ADD(worker->slot, kinds_tried, 1);
	sandbox_give_back(job);
	job->stage.guard_off = true;
	job->stage.no_overlay = job->stage.no_image = job->stage.no_cached = false;
	status = stage_and_execute(job);
	if (status != JOB_OK || job->ran.timed_out || !job->staged.has_overlay)
		return status;
	if (!has_failed(job)) {
		job_kind_proved(&worker->kinds, &job->kind, ACTION_KIND_WRITER);
	} else {
		COUNTER_ADD(worker->slot, kinds_tried_in_vain, 1);
		job_kind_failed(&worker->kinds, &job->kind);
	}
	return status;
}

/* It may have failed because a blob of its image was not there after all. */
static enum job_status
look_for_missing(struct job *job)
{
	int rc = stage_look_for_missing(job->worker->stager, &job->staged, &job->err);

	if (rc == -ENOENT)
		return job_missing_say(job, job->staged.missing, job->staged.missing_count);
	return JOB_OK;
}

/* The action to its end, perhaps twice. */
static enum job_status
perform(struct job *job)
{
	enum job_status status;

	stage_choose(job);
	status = stage_and_execute(job);
	if (status == JOB_OK && has_failed(job))
		status = look_for_missing(job);
	if (status != JOB_OK || job->kind.name[0] == '\0' ||
	    job->kind.state != ACTION_KIND_UNPROVED)
		return status;
	if (has_failed(job))
		return execute_as_writer(job);
	if (!job->ran.timed_out)
		job_kind_proved(&job->worker->kinds, &job->kind, ACTION_KIND_GUARDED);
	return status;
}

/* Beside its outputs; a list that cannot be had is none, and the client says so. */
static void
writes_say(struct job *job, const struct collect_request *request)
{
	struct job_worker *worker = job->worker;
	struct msg_done *done = &job->outcome->done.done;
	struct error_text err;
	char *text;
	size_t len;

	if (!shows_writes(job))
		return;
	if (collect_writes(worker->cas, worker->arena, &job->outcome->sandbox, request,
		job->stage.output_paths, job->stage.output_count, &text, &len, &err) != 0)
		return;
	done->has_writes = cas_put_bytes(worker->cas, text, len, &done->writes) == 0;
	free(text);
}

static enum job_status
collect(struct job *job)
{
	struct job_worker *worker = job->worker;
	/*
	 * Nobody should have an output open: all are dead. Where the host's sockets can be reached
	 * one may have been handed out; cas_put_move looks at each file for that.
	 */
	struct collect_request request = {.command = job->command,
	    .overlay = job->staged.has_overlay ? &job->staged.overlay : NULL,
	    .may_move = worker->isolation != ISOLATION_NONE && !worker->config->network_host};
	struct collect_stats stats;
	int rc;

	slot_set_phase(worker->slot, SLOT_COLLECTING);
	job->times->output_upload_start_timestamp = job_now(job);
	writes_say(job, &request);
	rc = collect_outputs(worker->cas, worker->arena, worker->slot, &job->outcome->sandbox,
	    &request, job->result, &stats, &job->err);
	job->times->output_upload_completed_timestamp = job_now(job);
	if (rc != 0)
		return rc == -ENOENT ? JOB_FAILED : job_status_of(job, rc);
	CRASH_POINT(collected);
	*job_metric_of(job, METRIC_OUTPUT_FILES) = stats.files;
	*job_metric_of(job, METRIC_OUTPUT_BYTES) = stats.bytes;
	job->collect_us = stats.elapsed_us;
	return JOB_OK;
}

/* Gives the inputs back; where they could have been changed, says if one was. */
static enum job_status
inputs_release(struct job *job, enum job_status status)
{
	int rc =
	    stage_release(job->worker->stager, &job->staged, status == JOB_OK ? &job->err : NULL);

	if (rc == 0 || status != JOB_OK)
		return status;
	return JOB_FAILED;
}

static void
job_do(struct job *job)
{
	struct arena *arena = job->worker->arena;
	enum job_status status;

	job->times = REAPI_NEW(arena, executed_action_metadata);
	job->times->worker_start_timestamp = job_now(job);
	if (job->run->has_queued_us)
		job->times->queued_timestamp = reapi_timestamp_new(arena, job->run->queued_us);
	if (cache_answers(job))
		return;
	job->result = REAPI_NEW(arena, action_result);
	status = load(job);
	if (status == JOB_OK) {
		status = perform(job);
		if (status == JOB_OK)
			status = collect(job);
		status = inputs_release(job, status);
	}
	if (status == JOB_OK)
		job_result_finish(job);
	else
		job_done_say(job, status);
}

static struct job
job_begin(struct job_worker *worker, const struct msg_run *run, struct job_outcome *outcome)
{
	struct job job = {
	    .worker = worker, .run = run, .outcome = outcome, .start_us = clock_monotonic_us()};
	struct msg_done *done = &outcome->done.done;

	memset(outcome, 0, sizeof(*outcome));
	outcome->done.type = MSG_done;
	done->job = outcome->job = run->job;
	done->attempt = run->attempt;
	done->worker = worker->slot_number - SLOT_WORKER_FIRST;
	done->has_attempt = done->has_worker = true;
	slot_set_phase(worker->slot, SLOT_LOADING);
	arena_reset(worker->arena);
	return job;
}

void
job_run(struct job_worker *worker, const struct msg_run *run, struct job_outcome *ret_outcome)
{
	struct job job = job_begin(worker, run, ret_outcome);

	CRASH_POINT(worker_job_taken);
	job_do(&job);
	job_metrics_fill(&job);
}

void
job_cancel(struct job_worker *worker, const struct msg_run *run, struct job_outcome *ret_outcome)
{
	struct job job = job_begin(worker, run, ret_outcome);

	error_set(&job.err, 0, "cancelled before it began");
	job_done_say(&job, JOB_CANCELLED);
	job_metrics_fill(&job);
}

void
job_release(struct job_worker *worker, struct job_outcome *outcome)
{
	CRASH_POINT(worker_reported);
	slot_set_phase(worker->slot, SLOT_CLEANING);
	if (outcome->disk_full)
		stager_drop_kept(worker->stager);
	else if (outcome->has_sandbox && outcome->has_ended)
		stage_keep(worker->stager, &outcome->sandbox);
	if (outcome->has_sandbox)
		(void)sandbox_release(worker->config->state_fd, worker->slot, &outcome->sandbox);
	outcome->has_sandbox = false;
	if (worker->ahead != NULL)
		ahead_settle(worker->ahead, outcome->job);
	slot_clear_action(worker->slot);
	slot_set_phase(worker->slot, SLOT_IDLE);
}
