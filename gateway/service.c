#include "gateway/service.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "cas/hash.h"
#include "gateway/link.h"
#include "gateway/resource_name.h"
#include "shm/usage.h"

enum {
	ROOM_SURPLUS_MIN = 32 << 20,
	/* Honest requests grow by a factor of two or three when they are decoded. */
	DECODED_MIN = 1 << 20,
	DECODED_TIMES = 8,
};

static pthread_key_t cas_key;
static pthread_once_t cas_key_made = PTHREAD_ONCE_INIT;

static void
on_thread_exit(void *cas)
{
	cas_close(cas);
}

static void
make_cas_key(void)
{
	pthread_key_create(&cas_key, on_thread_exit);
}

struct gateway *
service_gateway(const struct rpc_call *call)
{
	return rpc_context(call);
}

static int
cas_of_thread(struct gateway *gateway, struct cas **ret_cas)
{
	struct cas *cas;
	int rc;

	pthread_once(&cas_key_made, make_cas_key);
	cas = pthread_getspecific(cas_key);
	if (cas == NULL) {
		rc = cas_dup(gateway->cas, &cas);
		if (rc != 0)
			return rc;
		pthread_setspecific(cas_key, cas);
	}
	*ret_cas = cas;
	return 0;
}

void
service_thread_start(struct gateway *gateway)
{
	struct cas *cas;

	(void)cas_of_thread(gateway, &cas); /* tried again, and said, at the first call */
}

struct cas *
service_cas(struct rpc_call *call)
{
	struct cas *cas;
	int rc = cas_of_thread(service_gateway(call), &cas);

	if (rc == 0)
		return cas;
	service_fail(call, rc, "the store");
	return NULL;
}

void *
service_decode(struct rpc_call *call, struct arena *arena, const ProtobufCMessageDescriptor *type,
    const uint8_t *data, size_t len)
{
	const char *field = NULL;
	void *message =
	    reapi_decode_strict(arena, type, data, len, DECODED_MIN + DECODED_TIMES * len, &field);

	if (message == NULL && field != NULL)
		rpc_finish(call, RPC_INVALID_ARGUMENT, "%s: '%s' is no UTF-8, or has a NUL in it",
		    type->short_name, field);
	else if (message == NULL)
		rpc_finish(call, RPC_INVALID_ARGUMENT, "these bytes are no %s", type->short_name);
	return message;
}

bool
service_instance(struct rpc_call *call, const char *instance)
{
	struct error_text err;

	if (instance_check(instance, &err) == 0)
		return true;
	rpc_finish(call, RPC_INVALID_ARGUMENT, "%s", err.text);
	return false;
}

bool
service_digest_function(struct rpc_call *call, int function)
{
	if (function == DIGEST_FUNCTION(UNKNOWN) || function == DIGEST_FUNCTION(SHA256))
		return true;
	rpc_finish(
	    call, RPC_INVALID_ARGUMENT, "digest function %d: this host has SHA256 only", function);
	return false;
}

bool
service_digest(
    struct rpc_call *call, const ReapiDigest *message, const char *what, struct digest *ret_digest)
{
	if (reapi_digest_get(message, ret_digest) == 0)
		return true;
	rpc_finish(call, RPC_INVALID_ARGUMENT, "%s: no digest, or a broken one", what);
	return false;
}

void
service_reply(struct rpc_call *call, struct arena *arena, const ProtobufCMessage *message)
{
	size_t len;
	const uint8_t *data = reapi_encode(arena, message, &len);

	rpc_reply(call, data, len);
}

enum rpc_code
service_code(int rc)
{
	switch (rc) {
	case -ENOENT:
		return RPC_NOT_FOUND;
	case -EINVAL:
	case -EBADMSG:
		return RPC_INVALID_ARGUMENT;
	case -EFBIG:
	case -ENOSPC:
	case -EDQUOT:
	case -EMFILE:
	case -ENFILE:
	case -ENOMEM:
		return RPC_RESOURCE_EXHAUSTED;
	default:
		return RPC_INTERNAL;
	}
}

void
service_fail(struct rpc_call *call, int rc, const char *what)
{
	service_note_failure(service_gateway(call), rc);
	rpc_finish(call, service_code(rc), "%s: %s", what, strerror(-rc));
}

/* Once a second is enough to tell the janitor that there is work. */
static void
ask_for_room(struct gateway *gateway, enum msg_type how)
{
	const struct message message = {.type = how};
	unsigned now_s = clock_realtime_s(), last_s = atomic_load(&gateway->asked_for_room_s);

	if (last_s != now_s &&
	    atomic_compare_exchange_strong(&gateway->asked_for_room_s, &last_s, now_s))
		link_send(gateway->link, &message);
}

void
service_note_failure(struct gateway *gateway, int rc)
{
	if (rc == -ENOSPC || rc == -EDQUOT)
		ask_for_room(gateway, MSG_disk_full);
}

/*
 * The janitor keeps to cas-size, and is told here when it is passed.  Above it by a tenth (and by
 * what clients can send while it works) it has not kept up, or may not remove anything.
 */
bool
service_has_room(struct gateway *gateway, int64_t more, struct error_text *err)
{
	uint64_t limit = gateway->limits.cas_size, surplus = limit / 10;
	int64_t held = usage_bytes(cas_usage(gateway->cas));
	uint64_t then = (uint64_t)(held < 0 ? 0 : held) + (uint64_t)more;

	if (limit == 0 || then <= limit)
		return true;
	ask_for_room(gateway, MSG_sweep);
	if (surplus < ROOM_SURPLUS_MIN)
		surplus = ROOM_SURPLUS_MIN;
	if (then <= limit + surplus)
		return true;
	COUNTER_ADD(gateway->slot, uploads_refused, 1);
	error_set(err, -ENOSPC,
	    "the store holds %lld bytes of %llu allowed (--cas-size) and nothing in it may go yet",
	    (long long)held, (unsigned long long)limit);
	return false;
}

RpcStatus *
service_status(struct arena *arena, enum rpc_code code, const char *text)
{
	RpcStatus *status = reapi_new(arena, &google__rpc__status__descriptor);

	status->code = (int32_t)code;
	status->message = utf8_clean(arena_strdup(arena, text));
	return status;
}

ProtobufAny *
service_any(struct arena *arena, const ProtobufCMessage *message)
{
	ProtobufAny *any = reapi_new(arena, &google__protobuf__any__descriptor);

	any->type_url = arena_printf(arena, "type.googleapis.com/%s", message->descriptor->name);
	any->value.data = reapi_encode(arena, message, &any->value.len);
	return any;
}

void
service_cache_key(const char *instance, const struct digest *action, struct digest *ret_key)
{
	char text[DIGEST_TEXT_SIZE + INSTANCE_MAX + 2];
	int len;

	*ret_key = *action;
	if (instance[0] == '\0')
		return;
	digest_to_text(action, '/', text);
	strlcat(text, "@", sizeof(text));
	len = (int)strlcat(text, instance, sizeof(text));
	(void)hash_bytes(text, (size_t)len, ret_key);
}
