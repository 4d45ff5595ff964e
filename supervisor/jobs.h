/*
 * Jobs: what clients asked for, from `submit` to the one `done` that ends each.
 *
 * Supervisor, its one thread.  A job is queued or with one worker; it is freed by the `done` that
 * ends it.  A job whose client has gone stays until its worker lets go of it.  A job of the gateway
 * that has ended is kept with its `done` until the gateway forgets it (gateway.h).
 */
#ifndef SUPERVISOR_JOBS_H
#define SUPERVISOR_JOBS_H

#include "ipc/messages.h"
#include "supervisor/queue.h"

enum { JOB_ATTEMPTS = 3, JOBS_QUEUED_MAX = 100000, JOBS_ENDED_MAX = 1024 };

struct child;
struct client;
struct supervisor;

void jobs_init(struct supervisor *host);
void jobs_fini(struct supervisor *host); /* what is kept for the gateway */

/* -EEXIST: the client has such a job; -EBUSY: too many are queued; -ENOMEM. */
int jobs_submit(struct supervisor *host, struct client *client, const struct msg_submit *submit);

/* The job goes to this idle worker. */
void jobs_given(struct job *job, struct child *worker);

/* The worker says so; the message is passed on. */
void jobs_done(struct supervisor *host, struct job *job, const struct msg_done *done);

/* Its worker died; `how` says of what. */
void jobs_worker_lost(struct supervisor *host, struct job *job, const char *how);

/* A new gateway is told all that it has: the living, and the ended with their `done`. */
void jobs_adopt(struct client *gateway);

/* The ended job is freed; -EBUSY: it lives. */
int jobs_forget(struct supervisor *host, struct job *job);

/* Another priority, where it waits in the queue. */
void jobs_reorder(struct supervisor *host, struct job *job, int64_t priority);

/* Nobody waits any more: a queued job ends at once, a running one is told to. */
void jobs_cancel(struct supervisor *host, struct job *job);

/* The host stops now: every job ends. */
void jobs_cancel_all(struct supervisor *host, const char *why);

/* Blobs used at that second (CLOCK_REALTIME) or later are needed from now on; 0: no change. */
void jobs_need_since(struct supervisor *host, uint32_t since_s);

/* Tells the janitor, through the index, since when blobs may be needed by the jobs and clients that
 * live now.
 */
void jobs_say_needed(struct supervisor *host);

#endif
