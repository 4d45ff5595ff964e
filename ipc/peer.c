#include "ipc/peer.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <stdlib.h>

#include "base/check.h"

enum { PEER_MAGIC = 0x70656572 };

struct peer {
	unsigned magic;
	struct channel *channel;
	const struct peer_ops *ops;
	void *arg;
	struct event readable, writable, lost;
	int error; /* why it is lost, 0 while it is not */
	bool reading; /* inside take_messages */
	bool closed; /* by its owner, while reading */
};

static void
peer_lose(struct peer *peer, int error)
{
	static const struct timeval now = {0, 0};

	if (peer->error != 0 || peer->closed)
		return;
	peer->error = error;
	event_del(&peer->readable);
	event_del(&peer->writable);
	event_add(&peer->lost, &now);
}

static void
peer_free(struct peer *peer)
{
	event_del(&peer->readable);
	event_del(&peer->writable);
	event_del(&peer->lost);
	channel_free(peer->channel);
	peer->magic = 0;
	free(peer);
}

static int
take_messages(struct peer *peer)
{
	struct message message;
	int rc;

	for (;;) {
		rc = channel_next(peer->channel, &message);
		if (rc == -ENOMSG)
			continue;
		if (rc == 0)
			rc = peer->ops->on_message(peer->arg, &message);
		if (rc != 0 || peer->closed || peer->error != 0)
			return rc == -EAGAIN ? 0 : rc;
	}
}

/* One fill and what it brought.  -EAGAIN: nothing more for now. */
static int
read_once(struct peer *peer)
{
	int rc, fill_rc;

	fill_rc = channel_fill(peer->channel);
	rc = take_messages(peer);
	return rc != 0 ? rc : fill_rc;
}

/* The peer may be gone afterwards. */
static int
peer_read(struct peer *peer)
{
	int rc;

	peer->reading = true;
	rc = read_once(peer);
	peer->reading = false;
	if (peer->closed) {
		peer_free(peer);
		return -ECANCELED;
	}
	if (rc != 0 && rc != -EAGAIN)
		peer_lose(peer, rc);
	return rc;
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct peer *peer = arg;

	CHECK(peer->magic == PEER_MAGIC);
	peer_read(peer);
}

static void
watch_writable(struct peer *peer)
{
	if (peer->error != 0)
		return;
	if (channel_wants_write(peer->channel))
		event_add(&peer->writable, NULL);
	else
		event_del(&peer->writable);
}

static void
on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct peer *peer = arg;
	int rc;

	CHECK(peer->magic == PEER_MAGIC);
	rc = channel_flush(peer->channel);
	if (rc != 0 && rc != -EAGAIN)
		peer_lose(peer, rc);
	watch_writable(peer);
}

static void
on_lost(evutil_socket_t fd, short what, void *arg)
{
	struct peer *peer = arg;

	CHECK(peer->magic == PEER_MAGIC);
	peer->ops->on_lost(peer->arg, peer->error);
}

int
peer_open(struct event_base *base, struct channel *channel, const struct peer_ops *ops, void *arg,
    struct peer **ret_peer)
{
	struct peer *peer;
	int fd = channel_fd(channel);

	peer = calloc(1, sizeof(*peer));
	if (peer == NULL) {
		channel_free(channel);
		return -ENOMEM;
	}
	*peer = (struct peer){.magic = PEER_MAGIC, .channel = channel, .ops = ops, .arg = arg};
	event_assign(&peer->readable, base, fd, EV_READ | EV_PERSIST, on_readable, peer);
	event_assign(&peer->writable, base, fd, EV_WRITE | EV_PERSIST, on_writable, peer);
	event_assign(&peer->lost, base, -1, 0, on_lost, peer);
	if (event_add(&peer->readable, NULL) != 0) {
		peer_free(peer);
		return -ENOMEM;
	}
	*ret_peer = peer;
	return 0;
}

void
peer_close(struct peer *peer)
{
	if (peer == NULL)
		return;
	CHECK(peer->magic == PEER_MAGIC);
	if (peer->reading)
		peer->closed = true;
	else
		peer_free(peer);
}

int
peer_fd(const struct peer *peer)
{
	return channel_fd(peer->channel);
}

void
peer_set_queue_max(struct peer *peer, size_t bytes)
{
	channel_set_queue_max(peer->channel, bytes);
}

void
peer_send(struct peer *peer, const struct message *message)
{
	int rc;

	CHECK(peer->magic == PEER_MAGIC);
	if (peer->error != 0 || peer->closed)
		return;
	rc = channel_send(peer->channel, message);
	if (rc != 0 && rc != -EAGAIN)
		peer_lose(peer, rc);
	watch_writable(peer);
}

void
peer_drain(struct peer *peer)
{
	CHECK(peer->magic == PEER_MAGIC);
	while (peer->error == 0 && peer_read(peer) == 0)
		;
}

void
peer_forget(struct peer *peer)
{
	if (peer == NULL)
		return;
	channel_free(peer->channel);
	peer->channel = NULL;
}
