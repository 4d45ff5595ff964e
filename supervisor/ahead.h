/*
 * Which busy worker stages which queued job ahead (workers/ahead.h).
 *
 * Supervisor, its one thread.  A hint and no more: a queued job is told to one busy worker at most,
 * a worker has one at most, and either may end up elsewhere.  ahead_look after each change of queue
 * or workers; ahead_forget when a job leaves the queue for another worker or for good, and
 * ahead_worker_gone when a worker does.  ahead_choose: which job an idle worker gets.
 *
 * The order of arrival is kept but for this: a job that the idle worker has staged goes before
 * those of the same priority in front of it, each of which is passed over a bounded number of
 * times.
 */
#ifndef SUPERVISOR_AHEAD_H
#define SUPERVISOR_AHEAD_H

struct child;
struct job;
struct supervisor;

void ahead_look(struct supervisor *host);
struct job *ahead_choose(
    struct supervisor *host, struct child *idle); /* NULL: the queue is empty */
void ahead_forget(struct job *job); /* its worker, if it is another than gets it, is told */
void ahead_worker_gone(struct child *worker);

#endif
