/*
 * The life of a child process (a worker or the janitor) as a table [state][event].
 *
 * Pure: no process, no clock.  child.c raises the events and does the actions; the next state is in
 * force before its action is done, so that an action may raise further events.
 *
 * CHILD_DO_BUG marks what cannot come, whatever a child does: its events come from us alone.  What
 * a child sends out of turn is input, and gets it killed.
 */
#ifndef SUPERVISOR_CHILD_TABLE_H
#define SUPERVISOR_CHILD_TABLE_H

enum child_state {
	CHILD_FREE, /* no process, none wanted */
	CHILD_STARTING, /* forked, not ready */
	CHILD_IDLE,
	CHILD_BUSY, /* has a job */
	CHILD_LEAVING, /* has a job, and stops after it */
	CHILD_STOPPING, /* its socket is closed: it exits by itself */
	CHILD_KILLED, /* SIGKILL is sent, not reaped yet */
	CHILD_WAITING, /* died; the back-off timer runs */
	CHILD_STATE_COUNT
};

enum child_event {
	CHILD_WANTED, /* the pool is as large as this */
	CHILD_UNWANTED, /* the pool is smaller */
	CHILD_HALT, /* the host stops now */
	CHILD_READY, /* it says so */
	CHILD_GIVEN, /* a job for it */
	CHILD_DONE, /* it says so */
	CHILD_LOST, /* its stream ended, or is malformed */
	CHILD_TIMER, /* it had time enough */
	CHILD_EXITED, /* reaped */
	CHILD_EVENT_COUNT
};

enum child_do {
	CHILD_DO_UNSET, /* in no entry */
	CHILD_DO_BUG,
	CHILD_DO_NOTHING,
	CHILD_DO_FORK,
	CHILD_DO_GREET, /* it is ready: count it, give it work */
	CHILD_DO_GIVE, /* send it the job */
	CHILD_DO_TAKE, /* its job is finished */
	CHILD_DO_RETIRE, /* its job is finished, and so is it: close its socket */
	CHILD_DO_CLOSE, /* close its socket; the gateway is told to stop */
	CHILD_DO_KILL,
	CHILD_DO_DEATH, /* repair its slot, retry its job, start the back-off */
	CHILD_DO_BURY, /* it went as it was told to: repair its slot */
	CHILD_DO_FORGET, /* stop the timer */
};

struct child_rule {
	enum child_do action;
	enum child_state next;
};
extern const struct child_rule child_rules[CHILD_STATE_COUNT][CHILD_EVENT_COUNT];
extern const char *const child_state_names[CHILD_STATE_COUNT];
extern const char *const child_event_names[CHILD_EVENT_COUNT];

/* The next back-off after one of `ms` (0: none yet): 100 ms, doubling, 10 s at most. */
unsigned child_backoff_next(unsigned ms);

#endif
