#include "gateway/service.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "cas/hash.h"
#include "gateway/link.h"
#include "gateway/resource_name.h"
#include "shm/usage.h"

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

struct cas *
service_cas(struct rpc_call *call)
{
	struct cas *cas;
	int rc;

	pthread_once(&cas_key_made, make_cas_key);
	cas = pthread_getspecific(cas_key);
	if (cas != NULL)
		return cas;
	rc = cas_dup(service_gateway(call)->cas, &cas);
	if (rc != 0) {
		service_fail(call, rc, "the store");
		return NULL;
	}
	pthread_setspecific(cas_key, cas);
	return cas;
}

void *
service_decode(struct rpc_call *call, struct arena *arena, const ProtobufCMessageDescriptor *type,
    const uint8_t *data, size_t len)
{
	void *message = reapi_decode(arena, type, data, len);

	if (message == NULL)
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

void
service_note_failure(struct gateway *gateway, int rc)
{
	static const struct message disk_full = {.type = MSG_disk_full};

	if (rc == -ENOSPC || rc == -EDQUOT)
		link_send(gateway->link, &disk_full);
}

/* The janitor keeps to cas-size; a tenth above it, it has not kept up or may not remove anything.
 */
bool
service_has_room(struct gateway *gateway, int64_t more, struct error_text *err)
{
	uint64_t limit = gateway->limits.cas_size;
	int64_t held = usage_bytes(cas_usage(gateway->cas));

	if (limit == 0 || (uint64_t)(held < 0 ? 0 : held) + (uint64_t)more <= limit + limit / 10)
		return true;
	service_note_failure(gateway, -ENOSPC);
	COUNTER_ADD(gateway->slot, uploads_refused, 1);
	error_set(err, -ENOSPC,
	    "the store holds %lld bytes of %llu allowed (--cas-size), and all of them are in use",
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
