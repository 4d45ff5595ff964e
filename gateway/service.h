/*
 * What every service does with a request and an answer.
 *
 * Gateway, in a handler of rpc.h.  Each service_ function that says false or NULL has finished the
 * call with what was wrong.  The arena is the caller's.
 */
#ifndef GATEWAY_SERVICE_H
#define GATEWAY_SERVICE_H

#include "gateway/gateway.h"
#include "gateway/rpc.h"
#include "gateway/wire_messages.h"

struct gateway *service_gateway(const struct rpc_call *call);

/* A poller's first: its handle of the store, so that no call waits for one. */
void service_thread_start(struct gateway *gateway);

/* This thread's handle of the store. */
struct cas *service_cas(struct rpc_call *call);

void *service_decode(struct rpc_call *call, struct arena *arena,
    const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t len);
bool service_instance(struct rpc_call *call, const char *instance);
/* Not given, or SHA256. */
bool service_digest_function(struct rpc_call *call, int function);
bool service_digest(
    struct rpc_call *call, const ReapiDigest *message, const char *what, struct digest *ret_digest);

void service_reply(struct rpc_call *call, struct arena *arena, const ProtobufCMessage *message);
/* The code that an errno of the store's is. */
enum rpc_code service_code(int rc);
void service_fail(struct rpc_call *call, int rc, const char *what);

/* May `more` bytes come into the store?  Else the janitor is woken and words are set. */
bool service_has_room(struct gateway *gateway, int64_t more, struct error_text *err);
/* A write failed: where the disk is full the janitor is woken. */
void service_note_failure(struct gateway *gateway, int rc);

/* A google.rpc.Status in the arena. */
RpcStatus *service_status(struct arena *arena, enum rpc_code code, const char *text);

/* Any of a message: its bytes under its type's URL. */
ProtobufAny *service_any(struct arena *arena, const ProtobufCMessage *message);

/* Where an instance's results stand in the action cache. */
void service_cache_key(const char *instance, const struct digest *action, struct digest *ret_key);

#endif
