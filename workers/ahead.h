/*
 * Staging ahead: while an action runs, the sandbox of the next one in the queue is composed, so
 * that its cost is hidden where staging is slow (no mounts: macOS, containers without rights).
 *
 * Worker, one thread, for job.c and worker.c.  The supervisor says which action is likely to come
 * (`ahead`); it is not this worker's job by that.  Calling sequence:
 *   ahead_init;  ahead_wish when `ahead` comes;  ahead_stage while an action runs (it takes as long
 *   as staging does);  ahead_take when a job is to be staged, ahead_settle when it has ended;
 *   ahead_drop when `ahead` names nothing; ahead_fini.
 *
 * What is staged holds pins, a sandbox (slot_set_ahead) and the links it took through the gate as
 * any.  Its own stager makes it, which then changes places with the worker's.  A sandbox that waits
 * is closed to the action that runs (0700, where their uids differ from ours).
 *
 * Staging ahead never fails a job: what cannot be done is not done, counted (ahead_failed), and the
 * job stages for itself and says what is wrong.  After a crash the slot names the sandbox, as with
 * any other.
 */
#ifndef WORKERS_AHEAD_H
#define WORKERS_AHEAD_H

#include <stdbool.h>

#include "cas/reapi.h"
#include "ipc/messages.h"
#include "workers/sandbox.h"
#include "workers/stage.h"

struct job_worker;

struct ahead {
	struct job_worker *worker;
	struct stager *stager; /* the one that is not the worker's; NULL: never needed yet */
	struct arena *arena;
	struct msg_ahead wished; /* no text in it */
	bool may_stage; /* an action runs: job.c's to set */
	bool has_wish, has_staged;
	uint64_t current; /* the worker's own job */
	uint64_t job; /* whose sandbox is staged */
	struct stage_request request;
	struct sandbox sandbox;
	struct stage_report staged;
};

void ahead_init(struct ahead *ahead, struct job_worker *worker);
void ahead_fini(struct ahead *ahead);
void ahead_begin(struct ahead *ahead, uint64_t job); /* the worker has a job of its own */
void ahead_wish(struct ahead *ahead, const struct msg_ahead *wish); /* job 0: nothing any more */
void ahead_stage(struct ahead *ahead);
/* True: sandbox and report are the caller's, who releases them with the worker's stager. */
bool ahead_take(struct ahead *ahead, uint64_t job, const struct stage_request *request,
    struct sandbox *ret_sandbox, struct stage_report *ret_report);
/* The job has ended; what was staged for it and not taken goes. */
void ahead_settle(struct ahead *ahead, uint64_t job);
void ahead_drop(struct ahead *ahead);

#endif
