/*
 * The gateway as the supervisor sees it: a child that is exec'd, and a client whose jobs outlive
 * it.
 *
 * Supervisor, its one thread.  gateway_init once, before children start: finds the program beside
 * this one.  The gateway submits and cancels as other clients do (client.h), with three
 * differences: when it dies its jobs go on; a job that has ended is kept, with its `done`, until
 * the gateway says `forget` (JOBS_ENDED_MAX at most, the oldest go first); and each new gateway is
 * told all of them by `adopt`, and their `done`, before it is told to `listen`.  So a client of the
 * API that comes back finds its operation, whatever died, as long as this process lives.
 */
#ifndef SUPERVISOR_GATEWAY_H
#define SUPERVISOR_GATEWAY_H

#include <stdbool.h>

#include "base/error_text.h"
#include "ipc/messages.h"

struct child;
struct supervisor;

/* Whether one is wanted at all: --listen or --http is given. */
bool gateway_is_wanted(const struct supervisor *host);

int gateway_init(struct supervisor *host, struct error_text *err);
void gateway_fini(struct supervisor *host);

/* In the forked child: becomes the program. */
_Noreturn void gateway_exec(struct supervisor *host, int socket_fd);

/* The child's channel is open: what it has to know.  And: it is closed. */
void gateway_greet(struct supervisor *host);
void gateway_ready(struct supervisor *host, const struct msg_ready *ready);
void gateway_lost(struct supervisor *host);

/* 0, or -errno which loses the child. */
int gateway_message(struct supervisor *host, const struct message *message);

/* No new jobs are taken from now on. */
void gateway_say_draining(struct supervisor *host);

#endif
