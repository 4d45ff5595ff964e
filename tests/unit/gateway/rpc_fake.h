/*
 * gateway/rpc.h and gateway/link.h without gRPC and without a supervisor: calls are made by hand,
 * and what is sent either way is kept to be looked at.
 *
 * One inclusion a program: it defines the functions of both headers, so the linker takes neither
 * rpc_grpc.o nor link.o.  What a handler must not do ends the program (CHECK), or hangs it: send
 * while something is being sent, read twice, wake its own call.
 *
 *   call_new -> call_message ... -> call_half_close -> (call_leave: the client goes) -> call_free
 *
 * A call is one thread's, but any may wake it: its lock is held while a handler runs, as the real
 * one's. After each handler what it sent has gone at once, and on_sent follows, unless `stalled` is
 * set: then it goes by call_flow.  The end of a call is on_end, once.
 */
#ifndef TESTS_UNIT_GATEWAY_RPC_FAKE_H
#define TESTS_UNIT_GATEWAY_RPC_FAKE_H

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "gateway/link.h"
#include "gateway/rpc.h"

struct fake_bytes {
	uint8_t *data;
	size_t len;
};

struct rpc_call {
	const struct rpc_method *method;
	pthread_mutex_t lock; /* while a handler runs */
	void *context, *state;
	struct fake_bytes header; /* the request's metadata */
	struct fake_bytes *sent; /* messages to the client */
	size_t sent_count;
	uint8_t *filling;
	size_t filling_size;
	bool stalled, wants_read, is_sending, replied, delivered, finished, in_handler, ended;
	enum rpc_code code;
	char text[1024];
	atomic_uint holds, wakes;
};

static inline struct rpc_call *
call_new(void *context, const struct rpc_method *method)
{
	struct rpc_call *call = calloc(1, sizeof(*call));

	CHECK(call != NULL);
	call->method = method;
	call->context = context;
	call->state = calloc(1, method->state_size + 1);
	CHECK(call->state != NULL);
	pthread_mutex_init(&call->lock, NULL);
	call->wants_read = true;
	return call;
}

static inline void
call_end(struct rpc_call *call)
{
	if (call->ended)
		return;
	call->ended = true;
	if (call->method->on_end != NULL)
		call->method->on_end(call, call->state);
}

static inline void
call_flow_locked(struct rpc_call *call)
{
	while (call->is_sending && !call->ended) {
		call->is_sending = false;
		call->in_handler = true;
		if (call->method->on_sent != NULL)
			call->method->on_sent(call, call->state);
		call->in_handler = false;
	}
	if (call->finished && !call->is_sending) {
		call->delivered = call->replied;
		call_end(call);
	}
}

/* What was sent has gone. */
static inline void
call_flow(struct rpc_call *call)
{
	pthread_mutex_lock(&call->lock);
	call_flow_locked(call);
	pthread_mutex_unlock(&call->lock);
}

static inline void
call_handler_begin(struct rpc_call *call)
{
	pthread_mutex_lock(&call->lock);
	call->in_handler = true;
}

static inline void
call_handler_end(struct rpc_call *call)
{
	call->in_handler = false;
	CHECK(call->filling == NULL);
	if (!call->stalled)
		call_flow_locked(call);
	pthread_mutex_unlock(&call->lock);
}

static inline void
call_message(struct rpc_call *call, const void *data, size_t len)
{
	/* of just that size, and gone afterwards */
	uint8_t *copy = malloc(len > 0 ? len : 1);

	CHECK(copy != NULL);
	CHECK(call->wants_read && !call->ended);
	call->wants_read = false;
	if (len > 0)
		memcpy(copy, data, len);
	call_handler_begin(call);
	call->method->on_message(call, call->state, copy, len);
	free(copy);
	call_handler_end(call);
}

static inline void
call_half_close(struct rpc_call *call)
{
	CHECK(call->method->client_streams && call->wants_read && !call->ended);
	call_handler_begin(call);
	call->method->on_half_close(call, call->state);
	call_handler_end(call);
}

/* The client has gone, or its connection. */
static inline void
call_leave(struct rpc_call *call)
{
	pthread_mutex_lock(&call->lock);
	call->finished = true;
	call_end(call);
	pthread_mutex_unlock(&call->lock);
}

static inline bool
call_has_ended(struct rpc_call *call)
{
	bool ended;

	pthread_mutex_lock(&call->lock);
	ended = call->ended;
	pthread_mutex_unlock(&call->lock);
	return ended;
}

/* Another thread may be waking it just now; nobody may keep it. */
static inline void
call_free(struct rpc_call *call)
{
	call_leave(call);
	for (int i = 0; call->holds > 0 && i < 10000; i++)
		usleep(1000);
	CHECK(call->holds == 0);
	for (size_t i = 0; i < call->sent_count; i++)
		free(call->sent[i].data);
	free(call->sent);
	free(call->state);
	pthread_mutex_destroy(&call->lock);
	free(call);
}

static inline void
call_keep_sent(struct rpc_call *call, const void *data, size_t len)
{
	struct fake_bytes *one;

	call->sent = reallocarray(call->sent, call->sent_count + 1, sizeof(*call->sent));
	CHECK(call->sent != NULL);
	one = &call->sent[call->sent_count++];
	*one = (struct fake_bytes){malloc(len + 1), len};
	CHECK(one->data != NULL);
	memcpy(one->data, data, len);
}

/* rpc.h */

void *
rpc_context(const struct rpc_call *call)
{
	return call->context;
}

const uint8_t *
rpc_header(const struct rpc_call *call, const char *name, size_t *ret_len)
{
	*ret_len = call->header.len;
	return call->header.data;
}

void
rpc_read(struct rpc_call *call)
{
	CHECK(!call->wants_read);
	call->wants_read = !call->finished && !call->ended;
}

bool
rpc_is_sending(const struct rpc_call *call)
{
	return call->is_sending;
}

bool
rpc_is_finished(const struct rpc_call *call)
{
	return call->finished || call->ended;
}

void
rpc_send(struct rpc_call *call, const void *data, size_t len)
{
	CHECK(!call->is_sending && call->filling == NULL);
	if (rpc_is_finished(call))
		return;
	call_keep_sent(call, data, len);
	call->is_sending = true;
}

uint8_t *
rpc_send_begin(struct rpc_call *call, size_t size)
{
	CHECK(!call->is_sending && call->filling == NULL);
	call->filling = malloc(size);
	CHECK(call->filling != NULL);
	call->filling_size = size;
	return call->filling;
}

void
rpc_send_drop(struct rpc_call *call)
{
	CHECK(call->filling != NULL);
	free(call->filling);
	call->filling = NULL;
}

void
rpc_send_commit(struct rpc_call *call, size_t len)
{
	uint8_t *filled = call->filling;

	CHECK(filled != NULL && len <= call->filling_size);
	call->filling = NULL;
	rpc_send(call, filled, len);
	free(filled);
}

void
rpc_reply(struct rpc_call *call, const void *data, size_t len)
{
	CHECK(!call->is_sending && call->filling == NULL);
	if (rpc_is_finished(call))
		return;
	call_keep_sent(call, data, len);
	call->replied = call->finished = true;
}

void
rpc_reply_commit(struct rpc_call *call, size_t len)
{
	uint8_t *filled = call->filling;

	CHECK(filled != NULL && len <= call->filling_size);
	call->filling = NULL;
	rpc_reply(call, filled, len);
	free(filled);
}

bool
rpc_is_delivered(const struct rpc_call *call)
{
	return call->delivered;
}

void
rpc_finish_with(
    struct rpc_call *call, enum rpc_code code, const char *text, const void *status, size_t len)
{
	if (rpc_is_finished(call))
		return;
	call->finished = true;
	call->code = code;
	snprintf(call->text, sizeof(call->text), "%s", text != NULL ? text : "");
}

void
rpc_finish(struct rpc_call *call, enum rpc_code code, const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	rpc_finish_with(call, code, text, NULL, 0);
}

void
rpc_hold(struct rpc_call *call)
{
	atomic_fetch_add(&call->holds, 1);
}

void
rpc_release(struct rpc_call *call)
{
	CHECK(atomic_fetch_sub(&call->holds, 1) > 0);
}

void
rpc_wake(struct rpc_call *call)
{
	CHECK(call->holds > 0);
	atomic_fetch_add(&call->wakes, 1);
	if (call->method->on_woken == NULL)
		return;
	call_handler_begin(call);
	if (!call->ended)
		call->method->on_woken(call, call->state);
	call_handler_end(call);
}

/* link.h: what would have gone to the supervisor, in order. */

static struct {
	pthread_mutex_t lock;
	struct fake_bytes bodies[64];
	size_t count, taken; /* the last 64 of them */
} fake_link = {.lock = PTHREAD_MUTEX_INITIALIZER};

void
link_send(struct link *link, const struct message *message)
{
	static uint8_t frame[IPC_FRAME_MAX + 4];
	struct fake_bytes *body;
	size_t len;

	pthread_mutex_lock(&fake_link.lock);
	CHECK(message_encode(message, frame, &len) == 0);
	body = &fake_link.bodies[fake_link.count++ % 64];
	free(body->data);
	*body = (struct fake_bytes){malloc(len), len - 4};
	CHECK(body->data != NULL);
	memcpy(body->data, frame + 4, len - 4);
	pthread_mutex_unlock(&fake_link.lock);
}

/* The next message that was sent; false: that was all.  It lives until 64 more have come. */
static inline bool
link_next(struct message *ret_message)
{
	const struct fake_bytes *body;
	bool is_one;

	pthread_mutex_lock(&fake_link.lock);
	body = &fake_link.bodies[fake_link.taken % 64];
	CHECK(fake_link.count - fake_link.taken <= 64);
	is_one = fake_link.taken < fake_link.count;
	if (is_one)
		CHECK(message_decode(body->data, body->len, ret_message) == 0);
	fake_link.taken += is_one;
	pthread_mutex_unlock(&fake_link.lock);
	return is_one;
}

static inline void
link_drop_all(void)
{
	for (size_t i = 0; i < 64; i++) {
		free(fake_link.bodies[i].data);
		fake_link.bodies[i] = (struct fake_bytes){NULL, 0};
	}
	fake_link.count = fake_link.taken = 0;
}

#endif
