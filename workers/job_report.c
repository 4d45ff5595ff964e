#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "cas/action_cache.h"
#include "shm/counters.h"
#include "workers/collect.h"
#include "workers/job_internal.h"

/* Where its result stands in the action cache. */
const struct digest *
job_cache_key(const struct job *job)
{
	return job->run->has_cache_key ? &job->run->cache_key : &job->run->action;
}

uint64_t *
job_metric_of(struct job *job, enum job_metric which)
{
	return &job->outcome->done.done.metrics.values[which];
}

Google__Protobuf__Timestamp *
job_now(const struct job *job)
{
	return reapi_timestamp_new(job->worker->arena, clock_realtime_us());
}

/* What a failed step makes of the job; the words are in job->err. */
enum job_status
job_status_of(struct job *job, int rc)
{
	switch (rc) {
	case -ENOENT:
		return JOB_MISSING;
	case -EINVAL:
		return JOB_INVALID;
	case COLLECT_UNMET:
		return JOB_UNMET;
	case -ENOSPC:
	case -EDQUOT:
		job->outcome->disk_full = true;
		return JOB_FAILED;
	default:
		return JOB_FAILED;
	}
}

void
job_done_say(struct job *job, enum job_status status)
{
	struct msg_done *done = &job->outcome->done.done;
	const char *words = job->err.text;

	done->status = job->outcome->disk_full && status == JOB_FAILED ? JOB_DISK_FULL : status;
	if (job->outcome->disk_full)
		words = arena_printf(job->worker->arena, "disk full: %.900s", words);
	else
		words = arena_strdup(job->worker->arena, words);
	done->message = msg_text(words);
	done->has_message = words[0] != '\0';
}

bool
job_disk_is_full(struct job *job, int rc)
{
	if (rc != -ENOSPC && rc != -EDQUOT)
		return false;
	job->outcome->disk_full = true;
	return true;
}

/* The list of missing digests, as a blob: it may be longer than a message. */
enum job_status
job_missing_say(struct job *job, const struct digest *missing, size_t count)
{
	struct msg_done *done = &job->outcome->done.done;
	char *text = arena_alloc(job->worker->arena, count * DIGEST_TEXT_SIZE + 1);
	size_t len = 0;

	for (size_t i = 0; i < count; i++) {
		digest_to_text(&missing[i], '/', text + len);
		len += strlen(text + len);
		text[len++] = '\n';
	}
	if (count > 0 && cas_put_bytes(job->worker->cas, text, len, &done->missing) == 0)
		done->has_missing = true;
	if (count > 0)
		error_set(&job->err, 0, "%zu blobs are missing, %.*s first", count,
		    (int)strcspn(text, "\n"), text);
	return JOB_MISSING;
}

void
job_result_say(struct job *job, const uint8_t *data, size_t len)
{
	struct msg_done *done = &job->outcome->done.done;
	int rc;

	done->exit_code = job->result->exit_code;
	done->has_exit_code = true;
	if (len <= JOB_RESULT_INLINE_MAX) {
		done->result = (struct msg_text){(const char *)data, (uint32_t)len};
		done->has_result = true;
		return;
	}
	rc = cas_put_bytes(job->worker->cas, data, len, &done->result_digest);
	done->has_result_digest = rc == 0;
	if (rc != 0) {
		error_errno(&job->err, rc, "cannot store the result");
		job_done_say(job, job_status_of(job, rc));
	}
}

static void
result_store(struct job *job, const uint8_t *data, size_t len)
{
	struct job_worker *worker = job->worker;
	int rc;

	if (job->result->exit_code != 0 || job->ran.timed_out || job->action->do_not_cache)
		return;
	rc = action_cache_put(worker->cas, job_cache_key(job), data, len);
	if (rc != 0) {
		(void)job_disk_is_full(job, rc); /* the result is good all the same */
		return;
	}
	COUNTER_ADD(worker->slot, cache_stored, 1);
	CRASH_POINT(worker_result_stored);
}

void
job_result_finish(struct job *job)
{
	struct arena *arena = job->worker->arena;
	struct msg_done *done = &job->outcome->done.done;
	uint8_t *data;
	size_t len;

	job->times->worker = arena_strdup(arena, job->worker->name);
	job->times->worker_completed_timestamp = job_now(job);
	job->result->execution_metadata = job->times;
	data = reapi_encode(arena, &job->result->base, &len);
	done->sandbox = job->outcome->sandbox.number;
	done->has_sandbox = job->outcome->has_sandbox;
	done->status = job->ran.timed_out ? JOB_TIMEOUT : JOB_OK;
	done->term_signal = (uint64_t)job->ran.term_signal;
	done->has_term_signal = job->ran.term_signal != 0;
	if (job->outcome->ignored_property != NULL && !job->ran.timed_out) {
		error_set(&job->err, 0, "platform property '%.200s' means nothing here: ignored",
		    job->outcome->ignored_property);
		job_done_say(job, JOB_OK);
	}
	if (job->ran.timed_out) {
		error_set(&job->err, 0, "its timeout ended it after %.1f s",
		    (double)job->ran.elapsed_us / 1e6);
		job_done_say(job, JOB_TIMEOUT);
	}
	result_store(job, data, len);
	job_result_say(job, data, len);
}

void
job_metrics_fill(struct job *job)
{
	const struct stage_report *staged = &job->staged;
	const struct run_result *ran = &job->ran;
	uint64_t queued_us = job->run->has_queued_us ? job->run->queued_us : 0;
	uint64_t total_us = clock_monotonic_us() - job->start_us;
	uint64_t began_us = clock_realtime_us() - total_us;

	*job_metric_of(job, METRIC_FILES_PLACED) = staged->files_placed;
	*job_metric_of(job, METRIC_BYTES_PLACED) = staged->bytes_placed;
	*job_metric_of(job, METRIC_SUBTREES_PLACED) = staged->subtrees_placed;
	*job_metric_of(job, METRIC_DIRECTORIES_MADE) = staged->directories_made;
	*job_metric_of(job, METRIC_SUBTREES_BUILT) = staged->subtrees_built;
	*job_metric_of(job, METRIC_FALLBACKS) = staged->fallbacks;
	*job_metric_of(job, METRIC_STAGE_US) = staged->elapsed_us;
	*job_metric_of(job, METRIC_QUEUE_US) =
	    queued_us != 0 && began_us > queued_us ? began_us - queued_us : 0;
	*job_metric_of(job, METRIC_LOAD_US) = job->load_us;
	*job_metric_of(job, METRIC_EXEC_US) = ran->elapsed_us;
	*job_metric_of(job, METRIC_COLLECT_US) = job->collect_us;
	*job_metric_of(job, METRIC_TOTAL_US) = total_us;
	*job_metric_of(job, METRIC_MAX_RSS) = ran->max_rss_bytes;
	*job_metric_of(job, METRIC_USER_US) = ran->user_us;
	*job_metric_of(job, METRIC_SYSTEM_US) = ran->system_us;
	for (int way = 0; way < PLACE_WAY_COUNT; way++) {
		*job_metric_of(job, METRIC_WAY_FILES + way) = staged->files[way];
		*job_metric_of(job, METRIC_WAY_SUBTREES + way) = staged->subtrees[way];
	}
	job->outcome->done.done.metrics.count = METRIC_COUNT;
	job->outcome->done.done.has_metrics = true;
}
