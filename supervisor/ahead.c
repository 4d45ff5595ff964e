#include "supervisor/ahead.h"

#include <stddef.h>

#include "supervisor/child.h"
#include "supervisor/queue.h"
#include "supervisor/supervisor.h"

/* A job is passed over so many times at most for each worker. */
enum { PASSED_OVER_EACH = 2, LOOKED_AT_MAX = 2 * SLOT_WORKERS_MAX };

static void
tell(struct child *worker, struct job *job)
{
	struct message message = {.type = MSG_ahead};

	if (job != NULL) {
		message.ahead.job = job->number;
		message.ahead.action = job->action;
		message.ahead.skip_cache_lookup = message.ahead.has_skip_cache_lookup =
		    job->skip_cache_lookup;
		message.ahead.cache_key = job->cache_key;
		message.ahead.has_cache_key = job->has_cache_key;
	}
	child_send(worker, &message);
}

static void
unlink_both(struct job *job)
{
	job->ahead->ahead = NULL;
	job->ahead = NULL;
}

void
ahead_forget(struct job *job)
{
	struct child *worker = job->ahead;

	if (worker == NULL)
		return;
	unlink_both(job);
	if (worker != job->worker)
		tell(worker, NULL);
}

void
ahead_worker_gone(struct child *worker)
{
	if (worker->ahead != NULL)
		unlink_both(worker->ahead);
}

/* Those that want something else than a plain sandbox stage for themselves. */
static bool
can_be_ahead(const struct job *job)
{
	return job->ahead == NULL && !job->guard_off && !job->show_writes && !job->cancelled &&
	    job->attempt == 0;
}

static struct child *
busy_worker(struct supervisor *host, unsigned *from)
{
	for (; *from < SLOT_WORKERS_MAX; ++*from) {
		struct child *child = &host->workers[*from];
		if (child->state == CHILD_BUSY && child->ahead == NULL && !child->dying)
			return child;
	}
	return NULL;
}

void
ahead_look(struct supervisor *host)
{
	struct job *job = queue_first(&host->queue);
	unsigned worker = 0, looked = 0;
	struct child *child;

	if (!host->stages_ahead || host->stopping)
		return;
	for (; job != NULL && looked < LOOKED_AT_MAX; job = queue_next(job), looked++) {
		if (!can_be_ahead(job))
			continue;
		child = busy_worker(host, &worker);
		if (child == NULL)
			return;
		child->ahead = job;
		job->ahead = child;
		tell(child, job);
	}
}

/* None in front of it has waited long enough for its own worker. */
static bool
may_pass(struct supervisor *host, const struct job *staged)
{
	struct job *job;

	for (job = queue_first(&host->queue); job != staged; job = queue_next(job))
		if (job->priority != staged->priority || job->ahead == NULL ||
		    job->passed_over >= PASSED_OVER_EACH * host->config->workers)
			return false;
	return true;
}

struct job *
ahead_choose(struct supervisor *host, struct child *idle)
{
	struct job *staged = idle->ahead, *job;

	if (staged == NULL || !may_pass(host, staged))
		return queue_first(&host->queue);
	for (job = queue_first(&host->queue); job != staged; job = queue_next(job))
		job->passed_over++;
	return staged;
}
