/*
 * The gateway's connection to the supervisor.
 *
 * Gateway.  link_send from any thread: the message is encoded at once and sent by the main loop in
 * order; nothing of it need live on.  What arrives goes to operations.h and main.c in the main
 * thread.  The end of the stream ends the process: the supervisor is gone, or wants us to go.
 */
#ifndef GATEWAY_LINK_H
#define GATEWAY_LINK_H

#include "ipc/messages.h"

struct event_base;
struct link;

struct link_ops {
	int (*on_message)(void *arg, const struct message *message); /* -errno: the link is lost */
	void (*on_lost)(void *arg);
};

int link_open(
    struct event_base *base, int fd, const struct link_ops *ops, void *arg, struct link **ret_link);
void link_close(struct link *link);
void link_send(struct link *link, const struct message *message);
void link_flush(struct link *link); /* the main thread: what was sent, now */

#endif
