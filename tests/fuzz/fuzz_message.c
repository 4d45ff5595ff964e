/* Any bytes as a message's body: decoded or refused; what is decoded can be encoded again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/messages.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static uint8_t frame[2][IPC_FRAME_MAX + 4];
	struct message message, again;
	size_t frame_len[2];

	if (message_decode(data, len, &message) != 0)
		return 0;
	if (message_encode(&message, frame[0], &frame_len[0]) != 0 ||
	    message_decode(frame[0] + 4, frame_len[0] - 4, &again) != 0 ||
	    message_encode(&again, frame[1], &frame_len[1]) != 0)
		abort();
	if (frame_len[0] != frame_len[1] || memcmp(frame[0], frame[1], frame_len[0]) != 0)
		abort();
	return 0;
}
