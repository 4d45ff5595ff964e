/*
 * The supervisor process: everything it knows, and its loop.
 *
 * Private to supervisor/.  One thread, one event loop; nothing here touches file trees or waits for
 * a client.  supervisor_run takes a locked state directory to the end of the host and returns the
 * exit code.  It writes to `ready_fd` (-1: nobody waits) once: "ok\n" when the host listens and its
 * first workers are ready, else why not.
 *
 * After a crash of the supervisor: its children die with it; queued jobs are gone, and their
 * clients see the end of their streams; the index stays and is repaired by the next start.
 */
#ifndef SUPERVISOR_SUPERVISOR_H
#define SUPERVISOR_SUPERVISOR_H

#include <sys/queue.h>
#include <sys/stat.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "shm/counters.h"
#include "shm/region.h"
#include "shm/slot.h"
#include "supervisor/child.h"
#include "supervisor/config.h"
#include "supervisor/queue.h"
#include "workers/probe.h"

enum { SIGNAL_COUNT = 4 };

struct pidfh;
TAILQ_HEAD(client_list, client);
TAILQ_HEAD(job_list, job);

struct supervisor {
	struct settings *settings;
	const struct host_config *config; /* of settings */
	struct probe probe;
	bool stages_ahead; /* workers compose sandboxes for queued jobs */
	enum isolation isolation;
	struct region *region;
	struct slot *slot;
	struct pidfh *pidfile;
	struct event_base *base;
	int listen_fd, ready_fd;
	struct stat listen_file; /* ramet.sock as we made it */
	struct event listener, listen_again, signals[SIGNAL_COUNT];
	struct event sweep_soon, each_minute, settle, stop_late;

	struct child janitor, gateway, workers[SLOT_WORKERS_MAX];
	struct client *gateway_client; /* NULL: no gateway is wanted */
	char *gateway_program;
	unsigned deaths_before_ready;
	bool trusted; /* the janitor has looked once: index and store hold what they say */
	bool verifying; /* and before that it looks at blobs or trees, which may take its time */

	struct client_list clients;
	unsigned client_count;
	struct job_list jobs; /* all live ones, in order of arrival */
	struct job_list ended; /* kept for the gateway, the oldest first */
	unsigned ended_count;
	struct queue queue;
	uint64_t last_job_number;
	unsigned running;

	bool ready, draining, stopping;
	int exit_code;
};

int supervisor_run(
    struct settings *settings, struct pidfh *pidfile, uint32_t last_start_s, int ready_fd);

/* pool.c: which children there should be, and who gets the next job. */
void pool_init(struct supervisor *host);
void pool_start(struct supervisor *host);
void pool_resize(struct supervisor *host, unsigned workers);
void pool_halt(struct supervisor *host);
void pool_dispatch(struct supervisor *host);
void pool_reap(struct supervisor *host);
bool pool_is_empty(const struct supervisor *host);
bool pool_knows(void *host, pid_t pid); /* a child of ours, no stray */
void pool_child_ready(struct supervisor *host, struct child *child);
void pool_child_gone(struct supervisor *host, struct child *child);
void pool_forget_others(struct supervisor *host, const struct child *child);
unsigned pool_alive(const struct supervisor *host);

/* control.c: signals, resizing, stopping, and telling the janitor. */
int control_init(struct supervisor *host);
void control_drain(struct supervisor *host);
void control_stop(struct supervisor *host);
void control_resize(struct supervisor *host, unsigned workers);
void control_settle(struct supervisor *host); /* call when a job or a child has gone */
void control_sweep(struct supervisor *host, bool urgent);
void control_sweep_soon(struct supervisor *host);
void control_fini(struct supervisor *host);
void control_tell(struct supervisor *host, const char *failure); /* NULL: the host is ready */
void control_started(struct supervisor *host, const char *failure); /* ... and stops if not */

/* In a forked child: nothing of the supervisor's own stays open but what the child needs. */
void supervisor_forget(struct supervisor *host, const struct child *child);

#endif
