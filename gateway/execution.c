/* Execution: Execute and WaitExecution, streams of what an operation becomes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "cas/action_cache.h"
#include "gateway/execution_answer.h"
#include "gateway/methods.h"
#include "gateway/service.h"

/* An Action larger than this is its worker's to refuse. */
enum { ACTION_BYTES_MAX = 1 << 20, ACTION_DECODED_MAX = 16 << 20 };

struct watch_state {
	struct operation *operation; /* NULL: answered at once */
	uint64_t sent; /* the version that was sent last */
	bool out, err; /* inline_stdout, inline_stderr */
	char **paths; /* inline_output_files; one block */
	size_t path_count;
};

/* Sends the operation as it is, if that is news and nothing is on its way. */
static void
say_news(struct rpc_call *call, struct watch_state *watch)
{
	const struct inline_wish wish = {watch->out, watch->err, watch->paths, watch->path_count};
	struct operations *operations = service_gateway(call)->operations;
	struct operation_view view;
	struct arena *arena;
	struct cas *cas;
	Operation *message;
	const uint8_t *data;
	size_t len;

	if (rpc_is_sending(call) || rpc_is_finished(call))
		return;
	operation_look(operations, watch->operation, &view);
	if (view.version == watch->sent || (cas = service_cas(call)) == NULL)
		return;
	arena = arena_new();
	message = execution_answer(cas, arena, watch->operation, &view, &wish);
	data = reapi_encode(arena, &message->base, &len);
	watch->sent = view.version;
	if (view.is_done)
		rpc_reply(call, data, len);
	else
		rpc_send(call, data, len);
	arena_free(arena);
}

static void
on_watch_sent(struct rpc_call *call, void *state)
{
	say_news(call, state);
}

static void
on_watch_woken(struct rpc_call *call, void *state)
{
	struct watch_state *watch = state;

	if (watch->operation != NULL)
		say_news(call, watch);
}

static void
on_watch_end(struct rpc_call *call, void *state)
{
	struct watch_state *watch = state;

	if (watch->operation != NULL)
		operation_leave(service_gateway(call)->operations, watch->operation, call,
		    rpc_is_delivered(call));
	watch->operation = NULL;
	free(watch->paths);
	watch->paths = NULL;
}

/* The wishes outlive the request: pointers and texts in one block. */
static int
paths_keep(struct watch_state *watch, char *const *paths, size_t count)
{
	size_t size;
	char *at;

	if (count > INLINE_PATHS_MAX)
		count = INLINE_PATHS_MAX;
	size = count * sizeof(void *);

	for (size_t i = 0; i < count; i++)
		size += strlen(paths[i]) + 1;
	watch->paths = malloc(size + 1);
	if (watch->paths == NULL)
		return -ENOMEM;
	at = (char *)(watch->paths + count);
	for (size_t i = 0; i < count; i++) {
		size_t len = strlen(paths[i]) + 1;

		watch->paths[i] = memcpy(at, paths[i], len);
		at += len;
	}
	watch->path_count = count;
	return 0;
}

/* True: answered from the action cache. */
static bool
answer_cached(struct rpc_call *call, struct cas *cas, struct arena *arena,
    const ReapiExecuteRequest *request, const struct operation_wish *wish)
{
	const struct inline_wish inlined = {.out = request->inline_stdout,
	    .err = request->inline_stderr,
	    .paths = request->inline_output_files,
	    .path_count = request->n_inline_output_files};
	struct slot *slot = service_gateway(call)->slot;
	ReapiActionResult *result;
	Operation *message;
	const uint8_t *data;
	size_t len;

	if (wish->skip_cache_lookup || action_cache_get(cas, arena, &wish->cache_key, &result) != 0)
		return false;
	COUNTER_ADD(slot, cache_hits, 1);
	COUNTER_ADD(slot, executions_cached, 1);
	inline_contents(cas, arena, &inlined, result);
	message = execution_answer_cached(arena, wish->instance, &wish->action, result);
	data = reapi_encode(arena, &message->base, &len);
	rpc_reply(call, data, len);
	return true;
}

/* Unless the Action is here and says otherwise, nobody may be joined to it. */
static bool
may_be_shared(struct cas *cas, struct arena *arena, const struct digest *digest)
{
	ReapiAction *action;
	uint8_t *data;
	size_t len;

	if (cas_read(cas, digest, ACTION_BYTES_MAX, &data, &len) != 0)
		return false;
	action = reapi_decode_within(arena, REAPI_TYPE(action), data, len, ACTION_DECODED_MAX);
	free(data);
	return action != NULL && !action->do_not_cache;
}

/* What the client calls it: "CppCompile //lib:hello". */
static const char *
label_of(const struct rpc_call *call, struct arena *arena)
{
	const ReapiRequestMetadata *metadata;
	const uint8_t *header;
	char *label;
	size_t len;

	header = rpc_header(call, "build.bazel.remote.execution.v2.requestmetadata-bin", &len);
	metadata = header == NULL ? NULL : REAPI_DECODE(arena, request_metadata, header, len);
	if (metadata == NULL)
		return "";
	label = arena_printf(arena, "%.32s%s%.30s", metadata->action_mnemonic,
	    metadata->action_mnemonic[0] != '\0' && metadata->target_id[0] != '\0' ? " " : "",
	    metadata->target_id);
	return ascii_clean(label);
}

static void
execute(struct rpc_call *call, struct watch_state *watch, struct cas *cas, struct arena *arena,
    const ReapiExecuteRequest *request)
{
	struct gateway *gateway = service_gateway(call);
	struct operation_wish wish = {.instance = request->instance_name,
	    .skip_cache_lookup = request->skip_cache_lookup,
	    .priority = request->execution_policy != NULL ? request->execution_policy->priority : 0,
	    .seen_s = 0};
	bool merged;

	if (!service_digest(call, request->action_digest, "action_digest", &wish.action))
		return;
	COUNTER_ADD(gateway->slot, executions, 1);
	wish.has_cache_key = request->instance_name[0] != '\0';
	service_cache_key(request->instance_name, &wish.action, &wish.cache_key);
	if (answer_cached(call, cas, arena, request, &wish))
		return;
	if (atomic_load(&gateway->draining)) {
		rpc_finish(call, RPC_UNAVAILABLE, "this host is draining: it takes no new actions");
		return;
	}
	if (paths_keep(watch, request->inline_output_files, request->n_inline_output_files) != 0) {
		rpc_finish(call, RPC_RESOURCE_EXHAUSTED, "no memory");
		return;
	}
	watch->out = request->inline_stdout;
	watch->err = request->inline_stderr;
	wish.alone = !may_be_shared(cas, arena, &wish.action);
	wish.label = label_of(call, arena);
	watch->operation = operations_join_or_start(gateway->operations, &wish, call, &merged);
	COUNTER_ADD(gateway->slot, executions_merged, merged);
	say_news(call, watch);
}

static void
on_execute(struct rpc_call *call, void *state, const uint8_t *data, size_t len)
{
	struct arena *arena = arena_new();
	const ReapiExecuteRequest *request =
	    service_decode(call, arena, REAPI_TYPE(execute_request), data, len);
	struct cas *cas;

	if (request != NULL && service_instance(call, request->instance_name) &&
	    service_digest_function(call, (int)request->digest_function) &&
	    (cas = service_cas(call)) != NULL)
		execute(call, state, cas, arena, request);
	arena_free(arena);
}

static void
on_wait(struct rpc_call *call, void *state, const uint8_t *data, size_t len)
{
	struct gateway *gateway = service_gateway(call);
	struct watch_state *watch = state;
	struct arena *arena = arena_new();
	const ReapiWaitExecutionRequest *request =
	    service_decode(call, arena, REAPI_TYPE(wait_execution_request), data, len);

	if (request != NULL) {
		watch->operation = operations_join(gateway->operations, request->name, call);
		if (watch->operation != NULL)
			say_news(call, watch);
		else
			rpc_finish(
			    call, RPC_NOT_FOUND, "%.200s: no such operation here", request->name);
	}
	arena_free(arena);
}

const struct rpc_method method_execute = {.path = REAPI_METHOD("Execution", "Execute"),
    .state_size = sizeof(struct watch_state),
    .on_message = on_execute,
    .on_sent = on_watch_sent,
    .on_woken = on_watch_woken,
    .on_end = on_watch_end};
const struct rpc_method method_wait_execution = {.path = REAPI_METHOD("Execution", "WaitExecution"),
    .state_size = sizeof(struct watch_state),
    .on_message = on_wait,
    .on_sent = on_watch_sent,
    .on_woken = on_watch_woken,
    .on_end = on_watch_end};
