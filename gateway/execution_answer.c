#include "gateway/execution_answer.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "gateway/service.h"

enum { MISSING_TEXT_MAX = 64 << 20, VIOLATIONS_MAX = 20000 };

/* The message carries the result, or the digest of a blob with it. */
ReapiActionResult *
execution_result(struct cas *cas, struct arena *arena, const struct msg_done *done)
{
	ReapiActionResult *result;
	uint8_t *data;
	size_t len;

	if (done->has_result)
		return REAPI_DECODE(
		    arena, action_result, (const uint8_t *)done->result.data, done->result.len);
	if (!done->has_result_digest ||
	    cas_read(cas, &done->result_digest, CAS_MESSAGE_MAX, &data, &len) != 0)
		return NULL;
	result = REAPI_DECODE(arena, action_result, data, len);
	free(data);
	return result;
}

static PreconditionViolation *
violation(struct arena *arena, const char *digest, int len)
{
	static char type[] = "MISSING";
	PreconditionViolation *violation =
	    reapi_new(arena, &google__rpc__precondition_failure__violation__descriptor);

	violation->type = type;
	violation->subject = arena_printf(arena, "blobs/%.*s", len, digest);
	return violation;
}

/* Every missing blob by name, so that one more try of the client's is enough. */
static void
say_missing(struct cas *cas, struct arena *arena, const struct msg_done *done, RpcStatus *status)
{
	PreconditionFailure *failure =
	    reapi_new(arena, &google__rpc__precondition_failure__descriptor);
	uint8_t *text;
	size_t len;

	if (!done->has_missing || cas_read(cas, &done->missing, MISSING_TEXT_MAX, &text, &len) != 0)
		return;
	failure->violations = arena_alloc(arena, (VIOLATIONS_MAX + 1) * sizeof(void *));
	for (const char *at = (const char *)text;
	     *at != '\0' && failure->n_violations < VIOLATIONS_MAX; at += strcspn(at, "\n")) {
		at += *at == '\n';
		if (*at != '\0')
			failure->violations[failure->n_violations++] =
			    violation(arena, at, (int)strcspn(at, "\n"));
	}
	free(text);
	status->n_details = 1;
	status->details = arena_alloc(arena, sizeof(void *));
	status->details[0] = service_any(arena, &failure->base);
}

/*
 * Which code the client gets for how the job ended.  It tries again what is UNAVAILABLE, uploads
 * what is MISSING, and shows its user the rest.
 */
static enum rpc_code
code_of(const struct operation_view *view)
{
	switch ((enum job_status)view->done->status) {
	case JOB_OK:
		return RPC_OK;
	case JOB_TIMEOUT:
		return RPC_DEADLINE_EXCEEDED;
	case JOB_MISSING:
		return RPC_FAILED_PRECONDITION;
	case JOB_INVALID:
		return RPC_INVALID_ARGUMENT;
	case JOB_UNMET:
		return RPC_FAILED_PRECONDITION;
	case JOB_CANCELLED: /* by whom?  Else the host stops */
		return view->is_cancelled ? RPC_CANCELLED : RPC_UNAVAILABLE;
	case JOB_DISK_FULL:
		return RPC_RESOURCE_EXHAUSTED;
	case JOB_WORKER_LOST:
		return RPC_UNAVAILABLE;
	case JOB_FAILED:
	case JOB_STATUS_COUNT:
		break;
	}
	return RPC_INTERNAL;
}

/* Shown to a user whose action failed. */
static char *
message_of(struct arena *arena, const struct msg_done *done)
{
	if (done->has_term_signal && done->term_signal != 0 && done->status == JOB_OK)
		return arena_printf(arena, "killed by signal %d (%s)", (int)done->term_signal,
		    strsignal((int)done->term_signal));
	return utf8_clean(arena_printf(arena, "%.*s", (int)done->message.len,
	    done->message.data != NULL ? done->message.data : ""));
}

static ReapiExecuteResponse *
response_make(struct cas *cas, struct arena *arena, const struct operation_view *view,
    const struct inline_wish *wish)
{
	const struct msg_done *done = view->done;
	ReapiExecuteResponse *response = REAPI_NEW(arena, execute_response);
	enum rpc_code code = code_of(view);

	response->message = message_of(arena, done);
	response->cached_result = done->cached;
	response->result = execution_result(cas, arena, done);
	if (response->result == NULL && code == RPC_OK) {
		code = RPC_UNAVAILABLE;
		response->message = arena_strdup(arena, "the result is gone from the store");
	}
	response->status = service_status(arena, code, code == RPC_OK ? "" : response->message);
	if (done->status == JOB_MISSING)
		say_missing(cas, arena, done, response->status);
	if (response->result != NULL)
		inline_contents(cas, arena, wish, response->result);
	return response;
}

static int
stage_of(const struct operation_view *view)
{
	if (view->is_done)
		return EXECUTION_STAGE(COMPLETED);
	return view->is_started ? EXECUTION_STAGE(EXECUTING) : EXECUTION_STAGE(QUEUED);
}

static ProtobufAny *
metadata_make(struct arena *arena, const char *instance, const char *id,
    const struct digest *action, int stage, uint64_t queued_us)
{
	ReapiExecuteOperationMetadata *metadata = REAPI_NEW(arena, execute_operation_metadata);
	const char *slash = instance[0] != '\0' ? "/" : "";

	metadata->stage = (REAPI(ExecutionStage__Value))stage;
	metadata->action_digest = reapi_digest_new(arena, action);
	metadata->digest_function = DIGEST_FUNCTION(SHA256);
	if (id != NULL) {
		metadata->stdout_stream_name =
		    arena_printf(arena, "%s%slogstreams/%s/stdout", instance, slash, id);
		metadata->stderr_stream_name =
		    arena_printf(arena, "%s%slogstreams/%s/stderr", instance, slash, id);
	}
	if (queued_us != 0) {
		metadata->partial_execution_metadata = REAPI_NEW(arena, executed_action_metadata);
		metadata->partial_execution_metadata->queued_timestamp =
		    reapi_timestamp_new(arena, queued_us);
	}
	return service_any(arena, &metadata->base);
}

static void
respond(struct arena *arena, Operation *message, const ReapiExecuteResponse *response)
{
	message->done = 1;
	message->result_case = GOOGLE__LONGRUNNING__OPERATION__RESULT_RESPONSE;
	message->response = service_any(arena, &response->base);
}

Operation *
execution_answer(struct cas *cas, struct arena *arena, struct operation *operation,
    const struct operation_view *view, const struct inline_wish *wish)
{
	Operation *message = reapi_new(arena, &google__longrunning__operation__descriptor);

	message->name = arena_strdup(arena, operation_name(operation));
	message->metadata = metadata_make(arena, operation_instance(operation),
	    operation_id(operation), operation_action(operation), stage_of(view), view->queued_us);
	if (view->is_done)
		respond(arena, message, response_make(cas, arena, view, wish));
	return message;
}

Operation *
execution_answer_cached(struct arena *arena, const char *instance, const struct digest *action,
    ReapiActionResult *result)
{
	Operation *message = reapi_new(arena, &google__longrunning__operation__descriptor);
	ReapiExecuteResponse *response = REAPI_NEW(arena, execute_response);
	char hex[DIGEST_HEX_SIZE];

	message->name = arena_printf(arena, "%s%soperations/cached-%.16s", instance,
	    instance[0] != '\0' ? "/" : "", digest_to_hex(action, hex));
	message->metadata =
	    metadata_make(arena, instance, NULL, action, EXECUTION_STAGE(COMPLETED), 0);
	response->cached_result = 1;
	response->result = result;
	response->status = service_status(arena, RPC_OK, "");
	respond(arena, message, response);
	return message;
}
