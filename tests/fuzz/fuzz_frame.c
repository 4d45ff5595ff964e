/*
 * Any bytes as a peer's stream, in pieces whose sizes come from the input too: messages or an
 * error, and an error stays.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "ipc/channel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int
drain(struct channel *channel)
{
	struct message message;
	int rc;

	do
		rc = channel_next(channel, &message);
	while (rc == 0);
	return rc;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct channel *peer = NULL, *channel = NULL;
	size_t at = 1;
	int fd = -1, rc;

	if (len < 2 || len > 4096)
		return 0;
	if (channel_pair(&peer, &fd) != 0 || channel_new(fd, &channel) != 0)
		abort();
	while (at < len) {
		size_t piece = 1 + (data[0] ^ data[at]) % 64u;

		if (piece > len - at)
			piece = len - at;
		if (write(channel_fd(peer), data + at, piece) != (ssize_t)piece)
			abort();
		at += piece;
		if (channel_fill(channel) != 0)
			abort();
		rc = drain(channel);
		if (rc != -EAGAIN && rc != -EPROTO)
			abort();
		if (rc == -EPROTO) {
			if (drain(channel) != -EPROTO)
				abort();
			break;
		}
	}
	channel_free(peer);
	channel_free(channel);
	return 0;
}
