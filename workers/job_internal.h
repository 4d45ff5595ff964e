/*
 * What job.c (an action through its steps) and job_report.c (what is said of it) share.  Worker,
 * private to jobs.
 */
#ifndef WORKERS_JOB_INTERNAL_H
#define WORKERS_JOB_INTERNAL_H

#include "workers/job.h"

/* One job_run. */
struct job {
	struct job_worker *worker;
	const struct msg_run *run;
	struct job_outcome *outcome;
	ReapiAction *action;
	ReapiCommand *command;
	ReapiActionResult *result;
	ReapiExecutedActionMetadata *times;
	struct stage_request stage;
	struct stage_report staged;
	struct run_result ran;
	struct error_text err;
	struct action_kind kind; /* guarded ones have a name */
	uint64_t start_us, load_us, collect_us; /* start: CLOCK_MONOTONIC */
};

/* Where its result stands in the action cache. */
const struct digest *job_cache_key(const struct job *job);
uint64_t *job_metric_of(struct job *job, enum job_metric which);
Google__Protobuf__Timestamp *job_now(const struct job *job);
/* What a failed step makes of the job; the words are in job->err. */
enum job_status job_status_of(struct job *job, int rc);
void job_done_say(struct job *job, enum job_status status);
/* True, and noted, when that is what rc says. */
bool job_disk_is_full(struct job *job, int rc);
/* The list of missing digests, as a blob: it may be longer than a message. */
enum job_status job_missing_say(struct job *job, const struct digest *missing, size_t count);
void job_result_say(struct job *job, const uint8_t *data, size_t len);
/* A job that came to its end: the result is stored where it may be, and said. */
void job_result_finish(struct job *job);
void job_metrics_fill(struct job *job);

#endif
