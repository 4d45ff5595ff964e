/*
 * One end of a Unix stream socket that carries messages, with its buffers.
 *
 * Any process, one thread.  The descriptor is non-blocking and close-on-exec; the channel owns it.
 * Two ways of use:
 *   in an event loop: on readable channel_fill(), then channel_next() until -EAGAIN; channel_send()
 *     queues and tries to write; while channel_wants_write(), watch for writable and
 * channel_flush(); one thing at a time: channel_receive() and channel_send_wait() wait with
 * poll(2).
 *
 * After -ECONNRESET from sending, what the peer sent before it went can still be read.  Messages of
 * an unknown type are skipped.  Sending never raises SIGPIPE.
 *
 * Bounds: a frame of IPC_FRAME_MAX bytes; CHANNEL_QUEUE_MAX bytes unsent, then -ENOBUFS (the peer
 * does not read: drop it).  Errors: -ECONNRESET at the end of the stream, -EPROTO for malformed
 * input (drop the peer and count it), -EAGAIN nothing yet.  A message's text points into the
 * channel's buffer: valid until the next channel_next or channel_fill.
 */
#ifndef IPC_CHANNEL_H
#define IPC_CHANNEL_H

#include <stdbool.h>

#include "base/error_text.h"
#include "ipc/messages.h"

enum { CHANNEL_QUEUE_MAX = 4 << 20 };

struct channel;

int channel_new(int fd, struct channel **ret_channel);
void channel_free(struct channel *channel); /* closes the descriptor; NULL is fine */
int channel_fd(const struct channel *channel);
/* For a peer that may be told more at once than it can read in time: instead of CHANNEL_QUEUE_MAX.
 */
void channel_set_queue_max(struct channel *channel, size_t bytes);

int channel_fill(struct channel *channel);
int channel_next(struct channel *channel, struct message *ret_message);
int channel_send(struct channel *channel, const struct message *message);
int channel_flush(struct channel *channel);
bool channel_wants_write(const struct channel *channel);

/* timeout_ms -1: for ever.  -ETIMEDOUT. */
int channel_receive(struct channel *channel, struct message *ret_message, int timeout_ms);
int channel_send_wait(struct channel *channel, const struct message *message, int timeout_ms);

/*
 * Unix sockets by name below a directory descriptor: the name may be longer than sun_path allows
 * (bound through /proc/self/fd; on macOS through the working directory, so listen and connect only
 * while the process has one thread).  channel_listen makes it with mode 0600 and replaces a dead
 * one; call it only with the state directory's lock held.  channel_connect: -ENOENT, -ECONNREFUSED
 * when nobody listens.  channel_accept: a descriptor for channel_new, non-blocking, close-on-exec;
 * -EAGAIN.
 */
int channel_listen(int dirfd, const char *name, int *ret_fd, struct error_text *err);
int channel_accept(int listen_fd, int *ret_fd);
int channel_connect(int dirfd, const char *name, struct channel **ret_channel);
int channel_pair(
    struct channel **ret_a, int *ret_b_fd); /* b's end for a child, inheritable by fork */

/* The peer's credentials; -errno. */
int channel_peer(int fd, uint32_t *ret_uid, int32_t *ret_pid);

#endif
