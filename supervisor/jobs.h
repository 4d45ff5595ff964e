/*
 * Jobs: what clients asked for, from `submit` to the one `done` that ends each.
 *
 * Supervisor, its one thread.  A job is queued or with one worker; it is freed by the `done` that
 * ends it.  A job whose client has gone stays until its worker lets go of it.
 */
#ifndef SUPERVISOR_JOBS_H
#define SUPERVISOR_JOBS_H

#include "ipc/messages.h"
#include "supervisor/queue.h"

enum { JOB_ATTEMPTS = 3, JOBS_QUEUED_MAX = 100000 };

struct child;
struct supervisor;

void jobs_init(struct supervisor *host);

/* -EEXIST: the client has such a job; -EBUSY: too many are queued; -ENOMEM. */
int jobs_submit(struct supervisor *host, struct client *client, const struct msg_submit *submit);

/* The job goes to this idle worker. */
void jobs_given(struct job *job, struct child *worker);

/* The worker says so; the message is passed on. */
void jobs_done(struct supervisor *host, struct job *job, const struct msg_done *done);

/* Its worker died; `how` says of what. */
void jobs_worker_lost(struct supervisor *host, struct job *job, const char *how);

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
