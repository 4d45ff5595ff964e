/* ActionCache: results by action, of each instance its own. */
#include <errno.h>
#include <string.h>

#include "base/fs.h"
#include "cas/action_cache.h"
#include "gateway/inline.h"
#include "gateway/methods.h"
#include "gateway/service.h"

static void
result_get(struct rpc_call *call, struct cas *cas, struct arena *arena,
    const ReapiGetActionResultRequest *request)
{
	const struct inline_wish wish = {.out = request->inline_stdout,
	    .err = request->inline_stderr,
	    .paths = request->inline_output_files,
	    .path_count = request->n_inline_output_files};
	struct slot *slot = service_gateway(call)->slot;
	struct digest action, key;
	ReapiActionResult *result;
	int rc;

	if (!service_digest(call, request->action_digest, "action_digest", &action))
		return;
	service_cache_key(request->instance_name, &action, &key);
	rc = action_cache_get(cas, arena, &key, &result);
	if (rc == 0) {
		COUNTER_ADD(slot, cache_hits, 1);
		inline_contents(cas, arena, &wish, result);
		service_reply(call, arena, &result->base);
		return;
	}
	COUNTER_ADD(slot, cache_misses, 1);
	if (rc == -ESTALE)
		COUNTER_ADD(slot, cache_incomplete, 1);
	if (rc == -ENOENT || rc == -ESTALE)
		rpc_finish(call, RPC_NOT_FOUND, "no result of this action is here%s",
		    rc == -ESTALE ? " any more: a blob of it is gone" : "");
	else
		service_fail(call, rc, "the action cache");
}

static void
on_get(struct rpc_call *call, void *state, const uint8_t *data, size_t len)
{
	struct arena *arena = arena_new();
	const ReapiGetActionResultRequest *request =
	    service_decode(call, arena, REAPI_TYPE(get_action_result_request), data, len);
	struct cas *cas;

	if (request != NULL && service_instance(call, request->instance_name) &&
	    service_digest_function(call, (int)request->digest_function) &&
	    (cas = service_cas(call)) != NULL)
		result_get(call, cas, arena, request);
	arena_free(arena);
}

static int
output_check(const char *kind, const char *path, const ReapiDigest *message, struct error_text *err)
{
	struct digest digest;

	bool is_directory = strcmp(kind, "output directory") == 0;

	if (fs_path_check(path, is_directory ? FS_PATH_EMPTY_OK : 0) != 0)
		return error_set(err, -EINVAL, "%s '%.200s': no usable path", kind, path);
	if (message != NULL && reapi_digest_get(message, &digest) != 0)
		return error_set(err, -EINVAL, "%s '%.200s': a broken digest", kind, path);
	return 0;
}

/* What a result from elsewhere must be so that it can be served later. */
static int
result_check(const ReapiActionResult *result, struct error_text *err)
{
	struct digest digest;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < result->n_output_files; i++) {
		const ReapiOutputFile *file = result->output_files[i];

		rc = file->digest == NULL
		    ? error_set(err, -EINVAL, "output file '%.200s' has no digest", file->path)
		    : output_check("output file", file->path, file->digest, err);
	}
	for (size_t i = 0; rc == 0 && i < result->n_output_directories; i++) {
		const ReapiOutputDirectory *directory = result->output_directories[i];

		rc = output_check("output directory", directory->path, directory->tree_digest, err);
		if (rc == 0)
			rc = output_check("output directory", directory->path,
			    directory->root_directory_digest, err);
	}
	for (size_t i = 0; rc == 0 && i < result->n_output_symlinks; i++)
		rc = output_check("output symlink", result->output_symlinks[i]->path, NULL, err);
	for (size_t i = 0; rc == 0 && i < result->n_output_file_symlinks; i++)
		rc = output_check(
		    "output symlink", result->output_file_symlinks[i]->path, NULL, err);
	for (size_t i = 0; rc == 0 && i < result->n_output_directory_symlinks; i++)
		rc = output_check(
		    "output symlink", result->output_directory_symlinks[i]->path, NULL, err);
	if (rc == 0 && result->stdout_digest != NULL)
		rc = reapi_digest_get(result->stdout_digest, &digest);
	if (rc == 0 && result->stderr_digest != NULL)
		rc = reapi_digest_get(result->stderr_digest, &digest);
	return rc;
}

/* Inlined bytes are a blob like others: they go into the store, if they are what the digest says.
 */
static int
bytes_store(struct cas *cas, struct arena *arena, ProtobufCBinaryData *raw, ReapiDigest **digest)
{
	struct digest found;
	int rc;

	if (raw->len == 0)
		return 0;
	if (*digest == NULL) {
		rc = cas_put_bytes(cas, raw->data, raw->len, &found);
		if (rc == 0)
			*digest = reapi_digest_new(arena, &found);
	} else {
		rc = reapi_digest_get(*digest, &found);
		if (rc == 0)
			rc = cas_put_expected(cas, raw->data, raw->len, &found);
	}
	if (rc == 0)
		*raw = (ProtobufCBinaryData){0, NULL};
	return rc;
}

static size_t
inlined_size(const ReapiActionResult *result)
{
	size_t size = result->stdout_raw.len + result->stderr_raw.len;

	for (size_t i = 0; i < result->n_output_files; i++)
		size += result->output_files[i]->contents.len;
	return size;
}

static int
inlined_store(struct cas *cas, struct arena *arena, ReapiActionResult *result)
{
	int rc = bytes_store(cas, arena, &result->stdout_raw, &result->stdout_digest);

	if (rc == 0)
		rc = bytes_store(cas, arena, &result->stderr_raw, &result->stderr_digest);
	for (size_t i = 0; rc == 0 && i < result->n_output_files; i++)
		rc = bytes_store(cas, arena, &result->output_files[i]->contents,
		    &result->output_files[i]->digest);
	return rc;
}

static void
result_update(struct rpc_call *call, struct cas *cas, struct arena *arena,
    const ReapiUpdateActionResultRequest *request)
{
	struct error_text err = {"a broken digest"};
	struct digest action, key;
	uint8_t *data;
	size_t len;
	int rc;

	if (!service_digest(call, request->action_digest, "action_digest", &action))
		return;
	if (request->action_result == NULL || result_check(request->action_result, &err) != 0) {
		rpc_finish(call, RPC_INVALID_ARGUMENT, "action_result: %s",
		    request->action_result == NULL ? "missing" : err.text);
		return;
	}
	rc = service_has_room(
		 service_gateway(call), (int64_t)inlined_size(request->action_result), &err)
	    ? inlined_store(cas, arena, request->action_result)
	    : -ENOSPC;
	if (rc == -EBADMSG) {
		rpc_finish(call, RPC_INVALID_ARGUMENT,
		    "action_result: inlined bytes that are not the blob of their digest");
		return;
	}
	if (rc != 0) {
		service_fail(call, rc, "the store");
		return;
	}
	service_cache_key(request->instance_name, &action, &key);
	data = reapi_encode(arena, &request->action_result->base, &len);
	rc = action_cache_put(cas, &key, data, len);
	if (rc != 0) {
		service_fail(call, rc, "the action cache");
		return;
	}
	COUNTER_ADD(service_gateway(call)->slot, cache_stored, 1);
	rpc_reply(call, data, len);
}

static void
on_update(struct rpc_call *call, void *state, const uint8_t *data, size_t len)
{
	struct arena *arena = arena_new();
	const ReapiUpdateActionResultRequest *request =
	    service_decode(call, arena, REAPI_TYPE(update_action_result_request), data, len);
	struct cas *cas;

	if (request != NULL && service_instance(call, request->instance_name) &&
	    service_digest_function(call, (int)request->digest_function) &&
	    (cas = service_cas(call)) != NULL)
		result_update(call, cas, arena, request);
	arena_free(arena);
}

const struct rpc_method method_get_action_result = {
    .path = REAPI_METHOD("ActionCache", "GetActionResult"), .on_message = on_get};
const struct rpc_method method_update_action_result = {
    .path = REAPI_METHOD("ActionCache", "UpdateActionResult"), .on_message = on_update};
