/*
 * gRPC's server side as a few calls: everything of gRPC itself stands in rpc_grpc.c.
 *
 * Gateway.  rpc_server_start binds and starts `pollers` threads, which call the methods' handlers;
 * rpc_server_stop ends it.  One call is one thread's at a time: its lock is held while a handler
 * runs, so a handler may block for a disk, but never for another call.
 *
 * The life of a call:
 *
 *   on_message, for its first message
 *
 *   where a client streams: rpc_read asks for the next one; on_half_close says that there is none
 *
 *   rpc_send, then on_sent when it has gone: one at a time, that is the back pressure
 *
 *   rpc_reply (the last message and OK) or rpc_finish
 *
 *   on_end, once, however it ended
 *
 * The state is `state_size` zeroed bytes of the call's own, gone after on_end.  No handler is
 * called after on_end; what a handler sends to a client that has gone is thrown away.
 *
 * From outside a handler only rpc_hold, rpc_release and rpc_wake may be called: whoever holds a
 * call may wake it, which runs its on_woken in the waker's thread.  The waker holds no lock that a
 * handler takes, and is no handler.
 *
 * Everything a client sends is input.  Limits: bytes of a message (RESOURCE_EXHAUSTED), calls at
 * once (RESOURCE_EXHAUSTED), metadata of 8 KiB.  A call without the token, where one is set, is
 * UNAUTHENTICATED and reaches no handler.
 */
#ifndef GATEWAY_RPC_H
#define GATEWAY_RPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/address.h"
#include "base/error_text.h"

enum rpc_code {
	RPC_OK = 0,
	RPC_CANCELLED = 1,
	RPC_UNKNOWN = 2,
	RPC_INVALID_ARGUMENT = 3,
	RPC_DEADLINE_EXCEEDED = 4,
	RPC_NOT_FOUND = 5,
	RPC_ALREADY_EXISTS = 6,
	RPC_PERMISSION_DENIED = 7,
	RPC_RESOURCE_EXHAUSTED = 8,
	RPC_FAILED_PRECONDITION = 9,
	RPC_ABORTED = 10,
	RPC_OUT_OF_RANGE = 11,
	RPC_UNIMPLEMENTED = 12,
	RPC_INTERNAL = 13,
	RPC_UNAVAILABLE = 14,
	RPC_DATA_LOSS = 15,
	RPC_UNAUTHENTICATED = 16,
};

struct rpc_call;
struct rpc_server;

struct rpc_method {
	const char *path; /* "/package.Service/Method" */
	bool client_streams;
	bool open_to_all; /* needs no token */
	size_t state_size;
	void (*on_message)(struct rpc_call *call, void *state, const uint8_t *data, size_t len);
	void (*on_half_close)(struct rpc_call *call, void *state); /* where client_streams */
	void (*on_sent)(struct rpc_call *call, void *state); /* where rpc_send is used */
	void (*on_woken)(struct rpc_call *call, void *state); /* where rpc_wake is used */
	void (*on_end)(struct rpc_call *call, void *state); /* may be NULL */
};

struct rpc_server_config {
	const struct rpc_method *const *methods; /* NULL-terminated */
	void *context; /* for rpc_context */
	const struct address *addresses;
	size_t address_count;
	const char *tls_cert, *tls_key, *tls_client_ca; /* PEM; NULL where there is none */
	const char *token; /* NULL: none is asked for */
	uint64_t message_max;
	uint32_t streams_max;
	unsigned pollers;
	void (*on_thread_start)(void *context); /* in each poller, first; may be NULL */
	/* For counters, from the pollers: a call has begun (OK), or ended with this code. */
	void (*on_count)(void *context, bool begun, enum rpc_code code);
};

/* -EADDRINUSE, -EADDRNOTAVAIL, -EINVAL (bad TLS material); words in err. */
int rpc_server_start(
    const struct rpc_server_config *config, struct rpc_server **ret_server, struct error_text *err);
/* The port really bound, for an address whose port was 0. */
uint16_t rpc_server_port(const struct rpc_server *server, size_t address);
/* No new calls; those there are have grace_ms to end, then they are cancelled.  Frees. */
void rpc_server_stop(struct rpc_server *server, unsigned grace_ms);

/* In a handler. */
void *rpc_context(const struct rpc_call *call);
/* A header's bytes, NULL if it did not come; valid as long as the call is. */
const uint8_t *rpc_header(const struct rpc_call *call, const char *name, size_t *ret_len);
void rpc_read(struct rpc_call *call);
bool rpc_is_sending(const struct rpc_call *call);
void rpc_send(struct rpc_call *call, const void *data, size_t len);
/* The same without a copy: `size` bytes to be filled, of which `len` are sent. */
uint8_t *rpc_send_begin(struct rpc_call *call, size_t size);
void rpc_send_commit(struct rpc_call *call, size_t len);
void rpc_send_drop(struct rpc_call *call);
/* The last message and OK, in one write.  No on_sent follows, but on_end, where rpc_is_delivered
 * tells whether it has gone. */
void rpc_reply(struct rpc_call *call, const void *data, size_t len);
void rpc_reply_commit(struct rpc_call *call, size_t len); /* of what rpc_send_begin gave */
bool rpc_is_delivered(const struct rpc_call *call);
/* May come while a message is being sent: it follows it.  The first one counts. */
void rpc_finish(struct rpc_call *call, enum rpc_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* With a google.rpc.Status in wire form, for clients that read details. */
void rpc_finish_with(
    struct rpc_call *call, enum rpc_code code, const char *text, const void *status, size_t len);
bool rpc_is_finished(const struct rpc_call *call);

/* Anywhere. */
void rpc_hold(struct rpc_call *call);
void rpc_release(struct rpc_call *call);
void rpc_wake(struct rpc_call *call);

#endif
