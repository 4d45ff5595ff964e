#include "ipc/channel.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "ipc/channel_os.h"

enum { CHANNEL_MAGIC = 0x63686e6c, IN_SIZE = IPC_FRAME_MAX + 4, LISTEN_BACKLOG = 128 };

struct channel {
	uint32_t magic;
	int fd;
	int in_broken, out_broken; /* -errno that later calls repeat, 0 while sound */
	size_t in_start, in_end;
	uint8_t *out; /* unsent bytes: out_start..out_end, NULL when there are none */
	size_t out_start, out_end, out_size, out_max;
	uint8_t in[IN_SIZE];
};

int
channel_new(int fd, struct channel **ret_channel)
{
	struct channel *channel;
	int flags, rc;

	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
		return -errno;
	rc = channel_os_prepare(fd);
	if (rc != 0)
		return rc;
	channel = malloc(sizeof(*channel));
	if (channel == NULL)
		return -ENOMEM;
	memset(channel, 0, offsetof(struct channel, in));
	channel->magic = CHANNEL_MAGIC;
	channel->fd = fd;
	channel->out_max = CHANNEL_QUEUE_MAX;
	*ret_channel = channel;
	return 0;
}

void
channel_free(struct channel *channel)
{
	if (channel == NULL)
		return;
	CHECK(channel->magic == CHANNEL_MAGIC);
	channel->magic = 0;
	close(channel->fd);
	free(channel->out);
	free(channel);
}

int
channel_fd(const struct channel *channel)
{
	return channel->fd;
}

/* Each direction breaks for itself: what a dead peer sent before it died is still worth reading. */
static int
break_with(int *broken, int rc)
{
	*broken = rc;
	return rc;
}

int
channel_fill(struct channel *channel)
{
	ssize_t n;

	CHECK(channel->magic == CHANNEL_MAGIC);
	if (channel->in_broken != 0)
		return channel->in_broken;
	if (channel->in_start > 0) {
		memmove(channel->in, channel->in + channel->in_start,
		    channel->in_end - channel->in_start);
		channel->in_end -= channel->in_start;
		channel->in_start = 0;
	}
	if (channel->in_end == IN_SIZE)
		return 0; /* a whole frame lies there */
	do
		n = read(channel->fd, channel->in + channel->in_end, IN_SIZE - channel->in_end);
	while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return -EAGAIN;
	if (n <= 0)
		return break_with(&channel->in_broken, -ECONNRESET);
	channel->in_end += (size_t)n;
	return 0;
}

static uint32_t
frame_length(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

int
channel_next(struct channel *channel, struct message *ret_message)
{
	CHECK(channel->magic == CHANNEL_MAGIC);
	if (channel->in_broken == -EPROTO)
		return -EPROTO;
	for (;;) {
		const uint8_t *at = channel->in + channel->in_start;
		size_t have = channel->in_end - channel->in_start;
		uint32_t len;
		int rc;

		if (have < 4)
			return -EAGAIN;
		len = frame_length(at);
		if (len == 0 || len > IPC_FRAME_MAX)
			return break_with(&channel->in_broken, -EPROTO);
		if (have - 4 < len)
			return -EAGAIN;
		channel->in_start += 4 + len;
		rc = message_decode(at + 4, len, ret_message);
		if (rc == 0)
			return 0;
		if (rc != -ENOMSG)
			return break_with(&channel->in_broken, -EPROTO);
	}
}

bool
channel_wants_write(const struct channel *channel)
{
	return channel->out_end > channel->out_start;
}

/* Bytes taken by the kernel; 0 when it takes none now. */
static ssize_t
channel_write(struct channel *channel, const uint8_t *data, size_t len)
{
	ssize_t n = channel_os_send(channel->fd, data, len);

	if (n == -EAGAIN || n == -EWOULDBLOCK || n == -ENOBUFS)
		return 0;
	if (n < 0)
		return break_with(&channel->out_broken, -ECONNRESET);
	return n;
}

void
channel_set_queue_max(struct channel *channel, size_t bytes)
{
	CHECK(channel->magic == CHANNEL_MAGIC);
	channel->out_max = bytes;
}

static int
channel_queue(struct channel *channel, const uint8_t *data, size_t len)
{
	size_t queued = channel->out_end - channel->out_start;

	if (queued + len > channel->out_max)
		return -ENOBUFS;
	if (channel->out_start > 0 && channel->out_end + len > channel->out_size) {
		memmove(channel->out, channel->out + channel->out_start, queued);
		channel->out_start = 0;
		channel->out_end = queued;
	}
	if (queued + len > channel->out_size) {
		size_t size = channel->out_size == 0 ? 4096 : channel->out_size;
		uint8_t *out;

		while (size < queued + len)
			size *= 2;
		out = realloc(channel->out, size);
		if (out == NULL)
			return -ENOMEM;
		channel->out = out;
		channel->out_size = size;
	}
	memcpy(channel->out + channel->out_end, data, len);
	channel->out_end += len;
	return 0;
}

int
channel_flush(struct channel *channel)
{
	CHECK(channel->magic == CHANNEL_MAGIC);
	if (channel->out_broken != 0)
		return channel->out_broken;
	while (channel_wants_write(channel)) {
		ssize_t n = channel_write(channel, channel->out + channel->out_start,
		    channel->out_end - channel->out_start);

		if (n <= 0)
			return (int)n;
		channel->out_start += (size_t)n;
	}
	free(channel->out);
	channel->out = NULL;
	channel->out_start = channel->out_end = channel->out_size = 0;
	return 0;
}

int
channel_send(struct channel *channel, const struct message *message)
{
	uint8_t frame[IPC_FRAME_MAX + 4];
	ssize_t sent = 0;
	size_t len;
	int rc;

	CHECK(channel->magic == CHANNEL_MAGIC);
	if (channel->out_broken != 0)
		return channel->out_broken;
	rc = message_encode(message, frame, &len);
	if (rc != 0)
		return rc;
	if (channel_wants_write(channel)) {
		rc = channel_flush(channel);
		if (rc != 0)
			return rc;
	}
	if (!channel_wants_write(channel)) {
		sent = channel_write(channel, frame, len);
		if (sent < 0)
			return (int)sent;
	}
	if ((size_t)sent == len)
		return 0;
	rc = channel_queue(channel, frame + sent, len - (size_t)sent);
	if (rc != 0 && sent > 0) /* half a frame is out: nothing sensible can follow it */
		return break_with(&channel->out_broken, -ECONNRESET);
	return rc;
}

/* Waits until the descriptor has one of `events`; the deadline is in CLOCK_MONOTONIC, 0: none. */
static int
channel_wait(struct channel *channel, short events, uint64_t deadline_us)
{
	struct pollfd poll_fd = {.fd = channel->fd, .events = events};

	for (;;) {
		int wait_ms = -1;
		int n;

		if (deadline_us != 0) {
			uint64_t now = clock_monotonic_us();
			uint64_t left = deadline_us > now ? deadline_us - now : 0;

			wait_ms = left / 1000 > 60000 ? 60000 : (int)((left + 999) / 1000);
		}
		n = poll(&poll_fd, 1, wait_ms);
		if (n > 0)
			return 0;
		if (n < 0)
			return -errno;
		if (deadline_us != 0 && clock_monotonic_us() >= deadline_us)
			return -ETIMEDOUT;
	}
}

static uint64_t
deadline_after(int timeout_ms)
{
	return timeout_ms < 0 ? 0 : clock_monotonic_us() + (uint64_t)timeout_ms * 1000;
}

int
channel_receive(struct channel *channel, struct message *ret_message, int timeout_ms)
{
	uint64_t deadline_us = deadline_after(timeout_ms);
	int rc;

	for (;;) {
		rc = channel_next(channel, ret_message);
		if (rc != -EAGAIN)
			return rc;
		rc = channel_fill(channel);
		if (rc == -EAGAIN)
			rc = channel_wait(channel, POLLIN, deadline_us);
		if (rc != 0)
			return rc;
	}
}

int
channel_send_wait(struct channel *channel, const struct message *message, int timeout_ms)
{
	uint64_t deadline_us = deadline_after(timeout_ms);
	int rc = channel_send(channel, message);

	while (rc == 0 && channel_wants_write(channel)) {
		rc = channel_wait(channel, POLLOUT, deadline_us);
		if (rc == 0)
			rc = channel_flush(channel);
	}
	return rc;
}

static int
remove_dead_socket(int dirfd, const char *name)
{
	struct stat st;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	return unlinkat(dirfd, name, 0) == 0 ? 0 : -errno;
}

int
channel_listen(int dirfd, const char *name, int *ret_fd, struct error_text *err)
{
	int fd = -1;
	int rc;

	rc = remove_dead_socket(dirfd, name);
	if (rc == -EEXIST)
		return error_set(err, rc, "%s: not a socket; move it out of the way", name);
	if (rc != 0)
		return error_errno(err, rc, "%s: cannot remove the old socket", name);
	rc = channel_os_socket(&fd);
	if (rc != 0)
		return error_errno(err, rc, "%s: cannot make a socket", name);
	rc = channel_os_bind(fd, dirfd, name);
	/* Nobody can connect before listen, so the mode is right when it matters. */
	if (rc == 0 && fchmodat(dirfd, name, 0600, 0) != 0)
		rc = -errno;
	if (rc == 0 && listen(fd, LISTEN_BACKLOG) != 0)
		rc = -errno;
	if (rc == 0 && fcntl(fd, F_SETFL, O_NONBLOCK) != 0)
		rc = -errno;
	if (rc != 0) {
		close(fd);
		return error_errno(err, rc, "%s: cannot listen", name);
	}
	*ret_fd = fd;
	return 0;
}

int
channel_connect(int dirfd, const char *name, struct channel **ret_channel)
{
	int fd = -1;
	int rc;

	rc = channel_os_socket(&fd);
	if (rc != 0)
		return rc;
	rc = channel_os_connect(fd, dirfd, name);
	if (rc == 0)
		rc = channel_new(fd, ret_channel);
	if (rc != 0)
		close(fd);
	return rc;
}

int
channel_pair(struct channel **ret_a, int *ret_b_fd)
{
	int fds[2];
	int rc;

	rc = channel_os_pair(fds);
	if (rc != 0)
		return rc;
	rc = channel_new(fds[0], ret_a);
	if (rc != 0) {
		close(fds[0]);
		close(fds[1]);
		return rc;
	}
	*ret_b_fd = fds[1];
	return 0;
}
