#include "gateway/link.h"

#include <sys/queue.h>

#include <errno.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/fault.h"
#include "base/log.h"
#include "ipc/peer.h"

/* A message on its way from some thread to the main loop. */
struct parcel {
	STAILQ_ENTRY(parcel) link;
	size_t len;
	uint8_t body[];
};
STAILQ_HEAD(parcels, parcel);

struct link {
	struct peer *peer;
	const struct link_ops *ops;
	void *arg;
	int wake[2]; /* a byte in it: there are parcels */
	struct event woken;
	pthread_mutex_t lock; /* the rest */
	struct parcels parcels;
	bool is_woken;
};

static int
on_message(void *arg, const struct message *message)
{
	struct link *link = arg;

	return link->ops->on_message(link->arg, message);
}

static void
on_lost(void *arg, int error)
{
	struct link *link = arg;

	if (error != -ECONNRESET)
		log_error("the supervisor: %s", strerror(-error));
	peer_close(link->peer);
	link->peer = NULL;
	link->ops->on_lost(link->arg);
}

static const struct peer_ops ops = {on_message, on_lost};

static void
parcel_send(struct link *link, const struct parcel *parcel)
{
	struct message message;

	CHECK(message_decode(parcel->body, parcel->len, &message) == 0);
	if (message.type == MSG_submit)
		CRASH_POINT(gateway_submitted);
	if (link->peer != NULL)
		peer_send(link->peer, &message);
	if (message.type == MSG_forget)
		CRASH_POINT(gateway_forgot);
}

static void
on_woken(evutil_socket_t fd, short what, void *arg)
{
	struct parcels parcels = STAILQ_HEAD_INITIALIZER(parcels);
	struct link *link = arg;
	struct parcel *parcel;
	char bytes[64];

	while (read(link->wake[0], bytes, sizeof(bytes)) > 0)
		;
	pthread_mutex_lock(&link->lock);
	STAILQ_CONCAT(&parcels, &link->parcels);
	link->is_woken = false;
	pthread_mutex_unlock(&link->lock);
	while ((parcel = STAILQ_FIRST(&parcels)) != NULL) {
		STAILQ_REMOVE_HEAD(&parcels, link);
		parcel_send(link, parcel);
		free(parcel);
	}
}

void
link_flush(struct link *link)
{
	on_woken(link->wake[0], EV_READ, link);
}

void
link_send(struct link *link, const struct message *message)
{
	static _Thread_local uint8_t frame[IPC_FRAME_MAX + 4];
	struct parcel *parcel;
	size_t len;
	bool wake;
	int rc = message_encode(message, frame, &len);

	if (rc != 0)
		log_error("cannot send %s: %s", message_name(message->type), strerror(-rc));
	CHECK(rc == 0);
	parcel = malloc(sizeof(*parcel) + len - 4);
	CHECK(parcel != NULL);
	parcel->len = len - 4;
	memcpy(parcel->body, frame + 4, len - 4);
	pthread_mutex_lock(&link->lock);
	STAILQ_INSERT_TAIL(&link->parcels, parcel, link);
	wake = !link->is_woken;
	link->is_woken = true;
	pthread_mutex_unlock(&link->lock);
	if (wake && write(link->wake[1], "", 1) < 0)
		log_debug("the main loop is awake already");
}

static int
wake_make(struct link *link, struct event_base *base)
{
	if (pipe(link->wake) != 0)
		return -errno;
	for (int i = 0; i < 2; i++) {
		fcntl(link->wake[i], F_SETFD, FD_CLOEXEC);
		evutil_make_socket_nonblocking(link->wake[i]);
	}
	event_assign(&link->woken, base, link->wake[0], EV_READ | EV_PERSIST, on_woken, link);
	return event_add(&link->woken, NULL) == 0 ? 0 : -ENOMEM;
}

int
link_open(struct event_base *base, int fd, const struct link_ops *link_ops, void *arg,
    struct link **ret_link)
{
	struct link *link = calloc(1, sizeof(*link));
	struct channel *channel;
	int rc;

	if (link == NULL)
		return -ENOMEM;
	link->ops = link_ops;
	link->arg = arg;
	STAILQ_INIT(&link->parcels);
	pthread_mutex_init(&link->lock, NULL);
	rc = wake_make(link, base);
	if (rc == 0)
		rc = channel_new(fd, &channel);
	if (rc == 0)
		rc = peer_open(base, channel, &ops, link, &link->peer);
	if (rc != 0)
		free(link);
	else
		*ret_link = link;
	return rc;
}

void
link_close(struct link *link)
{
	struct parcel *parcel;

	event_del(&link->woken);
	close(link->wake[0]);
	close(link->wake[1]);
	peer_close(link->peer);
	while ((parcel = STAILQ_FIRST(&link->parcels)) != NULL) {
		STAILQ_REMOVE_HEAD(&link->parcels, link);
		free(parcel);
	}
	pthread_mutex_destroy(&link->lock);
	free(link);
}
