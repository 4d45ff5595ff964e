#include "supervisor/queue.h"

#include <stddef.h>

#include "base/check.h"

static int
compare(const struct job *a, const struct job *b)
{
	if (a->priority != b->priority)
		return a->priority < b->priority ? -1 : 1;
	return a->number < b->number ? -1 : a->number > b->number;
}

RB_PROTOTYPE(job_queue_tree, job, queue_link, compare)
RB_GENERATE(job_queue_tree, job, queue_link, compare)

void
queue_init(struct queue *queue)
{
	RB_INIT(&queue->tree);
	queue->count = 0;
}

void
queue_put(struct queue *queue, struct job *job)
{
	CHECK(!job->queued);
	CHECK(job_queue_tree_RB_INSERT(&queue->tree, job) == NULL);
	job->queued = true;
	queue->count++;
}

void
queue_remove(struct queue *queue, struct job *job)
{
	CHECK(job->queued);
	job_queue_tree_RB_REMOVE(&queue->tree, job);
	job->queued = false;
	queue->count--;
}

struct job *
queue_first(struct queue *queue)
{
	return RB_MIN(job_queue_tree, &queue->tree);
}

struct job *
queue_next(struct job *job)
{
	return job_queue_tree_RB_NEXT(job);
}
