/*
 * One action from its digest to the message that ends it.
 *
 * Worker, one thread.  Calling sequence, for each `run` message:
 *
 *   job_run -> send outcome.done -> job_release
 *
 * job_run answers from the action cache, or loads Action and Command, stages, runs, collects and
 * stores the result.  It cannot fail: whatever happens is in outcome.done (enum job_status, with
 * words).  The message points into the worker's arena, valid until the next job_run.  job_release
 * puts the sandbox into the trash, off the client's critical path.
 *
 * A result is stored in the action cache when the action exited with 0, was not ended by its
 * timeout, and may be cached (do_not_cache).  Everything that the result names is in the store by
 * then.
 *
 * Guard learning: a failed action whose kind (job_kinds.h) is not proved is run once more, with
 * inputs that it may write into; what came of that is its end, and is remembered of its kind.
 *
 * After a crash anywhere: what the slot names (sandbox, pins, action) is given back by repair; the
 * blobs stay; a result that was stored but not reported is found by the next try.
 */
#ifndef WORKERS_JOB_H
#define WORKERS_JOB_H

#include <stdbool.h>

#include "cas/reapi.h"
#include "cas/store.h"
#include "ipc/messages.h"
#include "workers/ahead.h"
#include "workers/job_kinds.h"
#include "workers/run.h"
#include "workers/sandbox.h"
#include "workers/stage.h"
#include "workers/worker.h"

enum { JOB_RESULT_INLINE_MAX = 48 << 10 };

/* What a worker has for all its jobs. */
struct job_worker {
	const struct host_config *config;
	struct slot *slot;
	uint32_t slot_number;
	enum isolation isolation;
	uid_t action_uid;
	struct cas *cas;
	struct stager *stager;
	struct runner *runner;
	struct job_kinds kinds;
	struct arena *arena;
	const char *name; /* for the result's metadata */
	int cancel_fd; /* as in struct run_request */
	bool (*cancelled)(void *arg);
	void *cancelled_arg;
	struct ahead *ahead; /* NULL: nothing is staged ahead */
	bool host_proc_said;
};

struct job_outcome {
	struct message done;
	uint64_t job; /* its number */
	bool disk_full; /* something failed for want of room */
	bool host_proc; /* as in struct run_result; first time only */
	const char *ignored_property; /* of the platform; NULL: none.  In the worker's arena */
	bool has_sandbox;
	bool has_ended; /* the action that ran in it: nothing of it lives */
	struct sandbox sandbox;
};

void job_run(struct job_worker *worker, const struct msg_run *run, struct job_outcome *ret_outcome);
/* In place of job_run: cancelled before anything was done. */
void job_cancel(
    struct job_worker *worker, const struct msg_run *run, struct job_outcome *ret_outcome);
void job_release(struct job_worker *worker, struct job_outcome *outcome);

#endif
