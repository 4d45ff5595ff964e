/*
 * Jobs, and the order in which they get a worker.
 *
 * Supervisor, its one thread.  A job belongs to jobs.c; the queue only orders it.  Lower priority
 * numbers run sooner; within one priority in order of arrival.  A job that is queued again (its
 * worker died) keeps its place, which is then the first of its priority.
 */
#ifndef SUPERVISOR_QUEUE_H
#define SUPERVISOR_QUEUE_H

#include <sys/queue.h>
#include <sys/tree.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"

struct child;
struct client;

struct job {
	RB_ENTRY(job) queue_link;
	RB_ENTRY(job) client_link;
	TAILQ_ENTRY(job) arrival_link; /* in the list of the living, or of the ended */
	struct client *client; /* NULL: nobody waits for it any more */
	struct child *worker; /* NULL while it is queued */
	struct child *ahead; /* the worker that was asked to stage it ahead; NULL: none */
	uint32_t passed_over; /* times a job behind it went first, being staged already */
	uint64_t number; /* ours; also the order of arrival */
	uint64_t client_job; /* the client's */
	int64_t priority;
	uint64_t queued_us; /* CLOCK_REALTIME */
	uint32_t attempt; /* tries begun */
	uint32_t needed_since_s; /* CLOCK_REALTIME: its blobs were last used then or later */
	bool queued, cancelled, skip_cache_lookup, guard_off, show_writes, alone, has_cache_key;
	struct digest action, cache_key;
	char label[129];
	char *operation; /* the gateway's name for it, NULL if it has none */
	uint8_t *ended; /* its `done` as a frame, kept for the gateway; NULL while it lives */
	size_t ended_len;
};

RB_HEAD(job_queue_tree, job);
struct queue {
	struct job_queue_tree tree;
	uint32_t count;
};

void queue_init(struct queue *queue);
void queue_put(struct queue *queue, struct job *job);
void queue_remove(struct queue *queue, struct job *job);
struct job *queue_first(struct queue *queue); /* NULL: empty */
struct job *queue_next(struct job *job); /* NULL: it is the last */

#endif
