#include "workers/ahead.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"
#include "cas/action.h"
#include "cas/action_cache.h"
#include "shm/counters.h"
#include "workers/job.h"
#include "workers/job_command.h"

void
ahead_init(struct ahead *ahead, struct job_worker *worker)
{
	*ahead = (struct ahead){.worker = worker, .arena = arena_new()};
}

void
ahead_fini(struct ahead *ahead)
{
	ahead_drop(ahead);
	stager_free_pair(ahead->worker->stager, ahead->stager);
	ahead->stager = ahead->worker->stager = NULL;
	arena_free(ahead->arena);
}

static void
staged_drop(struct ahead *ahead)
{
	struct job_worker *worker = ahead->worker;

	if (!ahead->has_staged)
		return;
	ahead->has_staged = false;
	(void)stage_release(ahead->stager, &ahead->staged, NULL);
	(void)sandbox_release(worker->config->state_fd, worker->slot, &ahead->sandbox);
	COUNTER_ADD(worker->slot, ahead_dropped, 1);
}

void
ahead_drop(struct ahead *ahead)
{
	ahead->has_wish = false;
	staged_drop(ahead);
}

/* One that it was to stage ahead may have become its own before it came to that. */
void
ahead_begin(struct ahead *ahead, uint64_t job)
{
	ahead->current = job;
	if (ahead->wished.job == job)
		ahead->has_wish = false;
}

/* What the worker is about to take stays, whatever is wished for by then. */
void
ahead_wish(struct ahead *ahead, const struct msg_ahead *wish)
{
	ahead->wished = *wish;
	ahead->has_wish = wish->job != 0 && wish->job != ahead->current &&
	    !(ahead->has_staged && ahead->job == wish->job);
	if (ahead->job != wish->job && ahead->job != ahead->current)
		staged_drop(ahead);
}

/* What the action asks for; an action that the cache answers needs no sandbox. */
static int
request_load(struct ahead *ahead)
{
	struct job_worker *worker = ahead->worker;
	const struct msg_ahead *wish = &ahead->wished;
	const struct digest *key = wish->has_cache_key ? &wish->cache_key : &wish->action;
	ReapiActionResult *result;
	ReapiCommand *command;
	ReapiAction *action;
	struct error_text unused;

	arena_reset(ahead->arena);
	if (!wish->skip_cache_lookup &&
	    action_cache_get(worker->cas, ahead->arena, key, &result) == 0)
		return -EALREADY;
	int rc =
	    action_load(worker->cas, ahead->arena, &wish->action, &action, &command, NULL, &unused);
	if (rc == 0)
		job_command_stage(ahead->arena, action, command, false, &ahead->request);
	return rc;
}

static int
compose(struct ahead *ahead)
{
	struct job_worker *worker = ahead->worker;
	struct error_text err;
	int rc = 0;

	if (ahead->stager == NULL)
		rc = stager_new_second(worker->stager, &ahead->stager, &err);
	if (rc == 0)
		rc = sandbox_make_ahead(worker->config->state_fd, worker->slot, worker->slot_number,
		    worker->action_uid, &ahead->sandbox, &err);
	if (rc != 0)
		return rc;
	CRASH_POINT(ahead_made);
	rc = stage_compose(ahead->stager, &ahead->request, &ahead->sandbox, &ahead->staged, &err);
	if (rc == 0) {
		stage_after(ahead->stager);
		return 0;
	}
	(void)stage_release(ahead->stager, &ahead->staged, NULL);
	(void)sandbox_release(worker->config->state_fd, worker->slot, &ahead->sandbox);
	return rc;
}

void
ahead_stage(struct ahead *ahead)
{
	struct job_worker *worker = ahead->worker;

	if (!ahead->has_wish || !ahead->may_stage)
		return;
	ahead->has_wish = false;
	staged_drop(ahead);
	int rc = request_load(ahead);
	if (rc == -EALREADY)
		return;
	if (rc == 0)
		rc = compose(ahead);
	if (rc != 0) {
		COUNTER_ADD(worker->slot, ahead_failed, 1);
		log_debug("staging ahead: %s", strerror(-rc));
		return;
	}
	ahead->job = ahead->wished.job;
	ahead->has_staged = true;
	COUNTER_ADD(worker->slot, ahead_staged, 1);
	CRASH_POINT(ahead_staged);
}

static bool
is_same_list(const char *const *a, size_t a_count, const char *const *b, size_t b_count)
{
	bool same = a_count == b_count;

	for (size_t i = 0; same && i < a_count; i++)
		same = strcmp(a[i], b[i]) == 0;
	return same;
}

/* The same action asks for the same; a writer, or a second try, for something else. */
static bool
fits(const struct stage_request *staged, const struct stage_request *request)
{
	return digest_equal(&staged->root, &request->root) && !request->guard_off &&
	    !request->no_overlay && !request->no_image && !request->no_cached &&
	    strcmp(staged->working_directory, request->working_directory) == 0 &&
	    is_same_list(staged->output_paths, staged->output_count, request->output_paths,
		request->output_count) &&
	    is_same_list(staged->output_directories, staged->output_directory_count,
		request->output_directories, request->output_directory_count);
}

bool
ahead_take(struct ahead *ahead, uint64_t job, const struct stage_request *request,
    struct sandbox *ret_sandbox, struct stage_report *ret_report)
{
	struct job_worker *worker = ahead->worker;
	struct stager *stager = ahead->stager;

	if (!ahead->has_staged || ahead->job != job)
		return false;
	if (!fits(&ahead->request, request) || sandbox_adopt(worker->slot, &ahead->sandbox) != 0) {
		staged_drop(ahead);
		return false;
	}
	ahead->has_staged = false;
	*ret_sandbox = ahead->sandbox;
	*ret_report = ahead->staged;
	ahead->stager = worker->stager;
	worker->stager = stager;
	COUNTER_ADD(worker->slot, ahead_used, 1);
	COUNTER_ADD(worker->slot, ahead_hidden_us, ret_report->elapsed_us);
	CRASH_POINT(ahead_taken);
	return true;
}

void
ahead_settle(struct ahead *ahead, uint64_t job)
{
	if (ahead->job == job)
		staged_drop(ahead);
	ahead->current = 0;
}
