/*
 * Clients: connections to ramet.sock, from the command line.
 *
 * Supervisor, its one thread.  A client says `hello` first, then submits, cancels, resizes or
 * stops; it may have many jobs.  Only our own user and root may connect.  A client that sends what
 * it must not, or does not read, is dropped, counted and logged once; when it goes its jobs are
 * cancelled.
 */
#ifndef SUPERVISOR_CLIENT_H
#define SUPERVISOR_CLIENT_H

#include <sys/queue.h>
#include <sys/tree.h>

#include "base/error_text.h"
#include "ipc/messages.h"
#include "supervisor/queue.h"

enum { CLIENTS_MAX = 512 };

struct peer;
struct supervisor;

RB_HEAD(client_jobs, job);
RB_PROTOTYPE(client_jobs, job, client_link, client_jobs_compare)

struct client {
	TAILQ_ENTRY(client) link;
	struct supervisor *host;
	struct peer *peer; /* NULL: not connected (the gateway between two lives) */
	struct client_jobs jobs; /* by the client's number */
	bool greeted;
	bool keeps_ended; /* the gateway: its jobs outlive it, and stay until it forgets them */
	uint32_t needed_since_s; /* blobs used then or later stay while it is connected; 0: as its
				    jobs say */
	int32_t pid;
};

int client_init(struct supervisor *host, struct error_text *err); /* listens */
void client_fini(struct supervisor *host);
void client_send(struct client *client, const struct message *message); /* NULL is fine */

/* One without a connection of its own, in no list: the gateway (free(3)). */
struct client *client_new_unconnected(struct supervisor *host);

/* Takes the job, or sends `refused`. */
void client_submit(struct client *client, const struct message *message);

/* The client's own table of its jobs. */
struct job *client_find_job(struct client *client, uint64_t client_job); /* NULL: none */
int client_add_job(struct client *client, struct job *job); /* -EEXIST */
void client_remove_job(struct job *job);

#endif
