/*
 * One child process, a worker, the janitor or the gateway: forked, greeted, given work, buried,
 * started again.
 *
 * Supervisor, its one thread.  Every change goes through child_raise and the table of
 * child_table.h. A child is forked without exec: it inherits the mapping and the configuration,
 * closes what is not its own, and never returns from worker_main or janitor_main.  The gateway
 * alone is exec'd, because gRPC bears no fork; it is told all it has to know (gateway.h).
 *
 * When one has died (CHILD_EXITED): its slot is repaired, its sandbox goes to the trash, its job is
 * tried again (JOB_ATTEMPTS in all), what it left running is killed, and it is started again after
 * a back-off of 100 ms, doubling to 10 s, which is forgotten once it has lived 10 s or finished a
 * job.
 */
#ifndef SUPERVISOR_CHILD_H
#define SUPERVISOR_CHILD_H

#include <sys/types.h>

#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>

#include "ipc/messages.h"
#include "supervisor/child_table.h"

struct job;
struct peer;
struct supervisor;

enum child_role { CHILD_IS_WORKER, CHILD_IS_JANITOR, CHILD_IS_GATEWAY };

struct child {
	struct supervisor *host;
	uint32_t slot;
	enum child_role role;
	char name[24]; /* "worker 3", "janitor", "gateway" */
	enum child_state state;
	bool wanted;
	bool dying; /* reaped, its last messages are being read: give it nothing */
	pid_t pid; /* 0: none */
	int status; /* as waitpid gives it, once reaped */
	struct peer *peer;
	struct job *job;
	struct job *ahead; /* what it was asked to stage ahead; queued */
	struct event timer;
	unsigned backoff_ms;
	uint64_t started_us; /* CLOCK_MONOTONIC */
	bool has_worked;
};

void child_init(struct child *child, struct supervisor *host, uint32_t slot);
void child_raise(struct child *child, enum child_event event);
void child_reaped(struct child *child, int status);
void child_give(struct child *child, struct job *job);
void child_send(struct child *child, const struct message *message);

/* The busy child's job is to end; one that does not let go of it in time is killed. */
void child_cancel(struct child *child, const struct message *message);

#endif
