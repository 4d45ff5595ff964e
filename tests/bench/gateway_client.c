#include "tests/bench/gateway_client.h"

#include <err.h>
#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

enum { CONNECT_S = 10 };

enum part { PART_SEND, PART_READ, PART_STATUS, PART_INITIAL, PART_COUNT };

struct tag {
	struct gateway_call *call;
	enum part part;
};

struct gateway_call {
	struct gateway_client *client;
	const struct gateway_call_ops *ops;
	void *arg;
	grpc_call *call;
	struct tag tags[PART_COUNT];
	unsigned pending; /* batches */
	bool reading, wants_read, ended;
	grpc_byte_buffer *sending, *received;
	grpc_metadata_array initial, trailing;
	grpc_status_code status;
	grpc_slice status_text;
};

struct gateway_client {
	grpc_channel *channel;
	grpc_completion_queue *queue;
	unsigned calls; /* in flight */
};

struct gateway_client *
gateway_connect(const char *target)
{
	grpc_arg args[] = {{.type = GRPC_ARG_INTEGER,
	    .key = (char *)GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
	    .value.integer = -1}};
	const grpc_channel_args all = {1, args};
	struct gateway_client *client = calloc(1, sizeof(*client));
	grpc_channel_credentials *credentials;
	gpr_timespec until;
	grpc_connectivity_state state;

	CHECK(client != NULL);
	grpc_init();
	client->queue = grpc_completion_queue_create_for_next(NULL);
	credentials = grpc_insecure_credentials_create();
	client->channel = grpc_channel_create(target, credentials, &all);
	grpc_channel_credentials_release(credentials);
	until = gpr_time_add(
	    gpr_now(GPR_CLOCK_REALTIME), gpr_time_from_seconds(CONNECT_S, GPR_TIMESPAN));
	while ((state = grpc_channel_check_connectivity_state(client->channel, 1)) !=
	    GRPC_CHANNEL_READY) {
		grpc_channel_watch_connectivity_state(
		    client->channel, state, until, client->queue, NULL);
		if (!grpc_completion_queue_next(
			client->queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL)
			 .success)
			errx(1, "%s: cannot connect", target);
	}
	return client;
}

void
gateway_disconnect(struct gateway_client *client)
{
	CHECK(client->calls == 0);
	grpc_channel_destroy(client->channel);
	grpc_completion_queue_shutdown(client->queue);
	while (grpc_completion_queue_next(client->queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL)
		   .type != GRPC_QUEUE_SHUTDOWN)
		;
	grpc_completion_queue_destroy(client->queue);
	grpc_shutdown_blocking();
	free(client);
}

static void
batch_start(struct gateway_call *call, const grpc_op *ops, size_t count, enum part part)
{
	call->pending++;
	CHECK(
	    grpc_call_start_batch(call->call, ops, count, &call->tags[part], NULL) == GRPC_CALL_OK);
}

static void
read_next(struct gateway_call *call)
{
	grpc_op op;

	if (call->reading || call->ended)
		return;
	call->reading = true;
	memset(&op, 0, sizeof(op));
	op.op = GRPC_OP_RECV_MESSAGE;
	op.data.recv_message.recv_message = &call->received;
	batch_start(call, &op, 1, PART_READ);
}

void
gateway_call_read(struct gateway_call *call)
{
	read_next(call);
}

void
gateway_call_cancel(struct gateway_call *call)
{
	CHECK(grpc_call_cancel(call->call, NULL) == GRPC_CALL_OK);
}

static void
send_slices(struct gateway_call *call, grpc_slice *slices, size_t count, bool first, bool last)
{
	grpc_op ops[3] = {0};
	size_t n = 0;

	CHECK(call->sending == NULL);
	call->sending = grpc_raw_byte_buffer_create(slices, count);
	for (size_t i = 0; i < count; i++)
		grpc_slice_unref(slices[i]);
	if (first)
		ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
	ops[n].op = GRPC_OP_SEND_MESSAGE;
	ops[n++].data.send_message.send_message = call->sending;
	if (last)
		ops[n++].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
	batch_start(call, ops, n, PART_SEND);
}

void
gateway_call_send(struct gateway_call *call, const void *head, size_t head_len, const void *body,
    size_t body_len, bool last)
{
	grpc_slice slices[2] = {grpc_slice_from_copied_buffer(head, head_len),
	    grpc_slice_from_static_buffer(body, body_len)};

	send_slices(call, slices, 2, false, last);
}

struct gateway_call *
gateway_call_start(struct gateway_client *client, const char *method,
    const struct gateway_call_ops *ops, void *arg, const void *message, size_t len, bool last)
{
	struct gateway_call *call = calloc(1, sizeof(*call));
	grpc_slice slice = grpc_slice_from_copied_buffer(message, len);
	grpc_op op;

	CHECK(call != NULL);
	client->calls++;
	call->client = client;
	call->ops = ops;
	call->arg = arg;
	for (int i = 0; i < PART_COUNT; i++)
		call->tags[i] = (struct tag){call, (enum part)i};
	call->call = grpc_channel_create_call(client->channel, NULL, GRPC_PROPAGATE_DEFAULTS,
	    client->queue, grpc_slice_from_static_string(method), NULL,
	    gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
	send_slices(call, &slice, 1, true, last);
	memset(&op, 0, sizeof(op));
	op.op = GRPC_OP_RECV_INITIAL_METADATA;
	op.data.recv_initial_metadata.recv_initial_metadata = &call->initial;
	batch_start(call, &op, 1, PART_INITIAL);
	memset(&op, 0, sizeof(op));
	op.op = GRPC_OP_RECV_STATUS_ON_CLIENT;
	op.data.recv_status_on_client.trailing_metadata = &call->trailing;
	op.data.recv_status_on_client.status = &call->status;
	op.data.recv_status_on_client.status_details = &call->status_text;
	batch_start(call, &op, 1, PART_STATUS);
	if (!ops->slow)
		read_next(call);
	return call;
}

static void
message_deliver(struct gateway_call *call, grpc_byte_buffer *buffer)
{
	size_t len = grpc_byte_buffer_length(buffer);
	grpc_byte_buffer_reader reader;
	grpc_slice whole;

	if (call->ops->on_message == NULL)
		return;
	if (call->ops->lengths_only || len > GATEWAY_WHOLE_MAX) {
		call->ops->on_message(call->arg, NULL, len);
		return;
	}
	CHECK(grpc_byte_buffer_reader_init(&reader, buffer));
	whole = grpc_byte_buffer_reader_readall(&reader);
	call->ops->on_message(call->arg, GRPC_SLICE_START_PTR(whole), GRPC_SLICE_LENGTH(whole));
	grpc_slice_unref(whole);
	grpc_byte_buffer_reader_destroy(&reader);
}

static void
on_read(struct gateway_call *call)
{
	grpc_byte_buffer *buffer = call->received;

	call->received = NULL;
	call->reading = false;
	if (buffer == NULL) /* there are no more */
		return;
	message_deliver(call, buffer);
	grpc_byte_buffer_destroy(buffer);
	if (!call->ops->slow && !call->ops->one_answer)
		read_next(call);
}

static void
call_free(struct gateway_call *call)
{
	grpc_slice_unref(call->status_text);
	grpc_metadata_array_destroy(&call->initial);
	grpc_metadata_array_destroy(&call->trailing);
	grpc_call_unref(call->call);
	free(call);
}

static void
call_end(struct gateway_call *call)
{
	char *text = grpc_slice_to_c_string(call->status_text);

	call->client->calls--;
	call->ops->on_end(call->arg, (int)call->status, text);
	gpr_free(text);
	call_free(call);
}

static void
on_event(struct gateway_call *call, enum part part, bool success)
{
	call->pending--;
	switch (part) {
	case PART_SEND:
		grpc_byte_buffer_destroy(call->sending);
		call->sending = NULL;
		if (success && !call->ended && call->ops->on_sent != NULL)
			call->ops->on_sent(call->arg, call);
		break;
	case PART_READ:
		on_read(call);
		break;
	case PART_STATUS:
		call->ended = true;
		break;
	case PART_INITIAL:
	case PART_COUNT:
		break;
	}
	if (call->ended && call->pending == 0)
		call_end(call);
}

bool
gateway_step(struct gateway_client *client, int timeout_ms)
{
	gpr_timespec until = gpr_inf_future(GPR_CLOCK_REALTIME);
	grpc_event event;
	struct tag *tag;

	if (client->calls == 0)
		return false;
	if (timeout_ms >= 0)
		until = gpr_time_add(
		    gpr_now(GPR_CLOCK_REALTIME), gpr_time_from_millis(timeout_ms, GPR_TIMESPAN));
	event = grpc_completion_queue_next(client->queue, until, NULL);
	tag = event.tag;
	if (event.type == GRPC_OP_COMPLETE)
		on_event(tag->call, tag->part, event.success != 0);
	return true;
}

void
gateway_run(struct gateway_client *client)
{
	while (gateway_step(client, -1))
		;
}

void
gateway_must_be_fine(const char *what, int code, const char *text)
{
	if (code != 0)
		errx(1, "%s: gRPC code %d: %s", what, code, text);
}
