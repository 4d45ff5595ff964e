/*
 * A channel in the event loop: reads, hands over messages, writes when it can, reports its loss.
 *
 * Supervisor and gateway, the thread of the loop.  peer_open takes the channel over, also on
 * failure.  on_message returns 0, or -errno which loses the peer.  on_lost comes once, from the
 * loop and never from inside a call of yours, with the reason: -ECONNRESET the other end closed,
 * -EPROTO or -E2BIG it sent what it must not, -ENOBUFS it does not read; the owner then calls
 * peer_close.  peer_close may be called at any time, also from on_message; no callback comes after
 * it.
 */
#ifndef IPC_PEER_H
#define IPC_PEER_H

#include <event2/event.h>

#include "ipc/channel.h"

struct peer;

struct peer_ops {
	int (*on_message)(void *arg, const struct message *message);
	void (*on_lost)(void *arg, int error);
};

int peer_open(struct event_base *base, struct channel *channel, const struct peer_ops *ops,
    void *arg, struct peer **ret_peer);
void peer_close(struct peer *peer); /* NULL is fine */
int peer_fd(const struct peer *peer);
void peer_set_queue_max(struct peer *peer, size_t bytes); /* as channel_set_queue_max */

/* Queues and tries to write; a failure becomes on_lost. */
void peer_send(struct peer *peer, const struct message *message);

/* Takes what has come so far, now: for a process that has died. */
void peer_drain(struct peer *peer);

/* In a forked child: closes the descriptor of a peer that is not its own; the event loop is gone.
 */
void peer_forget(struct peer *peer);

#endif
