/* What this host can do: Capabilities. */
#include "gateway/methods.h"
#include "gateway/service.h"

enum { PRIORITY_MIN = -1000000, PRIORITY_MAX = 1000000 };

static SemVer *
version(struct arena *arena, int major, int minor)
{
	SemVer *version = reapi_new(arena, &build__bazel__semver__sem_ver__descriptor);

	version->major = major;
	version->minor = minor;
	return version;
}

static ReapiPriorityCapabilities *
priorities(struct arena *arena, int min, int max)
{
	ReapiPriorityCapabilities *all = REAPI_NEW(arena, priority_capabilities);
	ReapiPriorityRange *range = REAPI_NEW(arena, priority_capabilities__priority_range);

	range->min_priority = min;
	range->max_priority = max;
	all->n_priorities = 1;
	all->priorities = arena_alloc(arena, sizeof(void *));
	all->priorities[0] = range;
	return all;
}

static ReapiCacheCapabilities *
cache(struct arena *arena, const struct gateway *gateway)
{
	static REAPI(DigestFunction__Value) functions[] = {DIGEST_FUNCTION(SHA256)};
	static REAPI(Compressor__Value) compressors[] = {COMPRESSOR(ZSTD)};
	ReapiCacheCapabilities *cache = REAPI_NEW(arena, cache_capabilities);

	cache->n_digest_functions = 1;
	cache->digest_functions = functions;
	cache->action_cache_update_capabilities =
	    REAPI_NEW(arena, action_cache_update_capabilities);
	cache->action_cache_update_capabilities->update_enabled = 1;
	cache->cache_priority_capabilities = priorities(arena, 0, 0);
	cache->max_batch_total_size_bytes = BATCH_BYTES_MAX;
	cache->symlink_absolute_path_strategy = SYMLINK_STRATEGY(ALLOWED);
	cache->n_supported_compressors = cache->n_supported_batch_update_compressors = 1;
	cache->supported_compressors = cache->supported_batch_update_compressors = compressors;
	cache->max_cas_blob_size_bytes = (int64_t)gateway->limits.blob_max;
	return cache;
}

static ReapiExecutionCapabilities *
execution(struct arena *arena)
{
	static REAPI(DigestFunction__Value) functions[] = {DIGEST_FUNCTION(SHA256)};
	static char mtime[] = "mtime", unix_mode[] = "unix_mode";
	static char *properties[] = {mtime, unix_mode};
	ReapiExecutionCapabilities *execution = REAPI_NEW(arena, execution_capabilities);

	execution->digest_function = DIGEST_FUNCTION(SHA256);
	execution->n_digest_functions = 1;
	execution->digest_functions = functions;
	execution->exec_enabled = 1;
	execution->execution_priority_capabilities = priorities(arena, PRIORITY_MIN, PRIORITY_MAX);
	execution->n_supported_node_properties = 2;
	execution->supported_node_properties = properties;
	return execution;
}

static void
on_get_capabilities(struct rpc_call *call, void *state, const uint8_t *data, size_t len)
{
	struct arena *arena = arena_new();
	ReapiServerCapabilities *all = REAPI_NEW(arena, server_capabilities);
	const ReapiGetCapabilitiesRequest *request =
	    service_decode(call, arena, REAPI_TYPE(get_capabilities_request), data, len);

	if (request != NULL && service_instance(call, request->instance_name)) {
		all->cache_capabilities = cache(arena, service_gateway(call));
		all->execution_capabilities = execution(arena);
		all->low_api_version = version(arena, 2, 0);
		all->high_api_version = version(arena, 2, 11);
		service_reply(call, arena, &all->base);
	}
	arena_free(arena);
}

const struct rpc_method method_get_capabilities = {
    .path = REAPI_METHOD("Capabilities", "GetCapabilities"), .on_message = on_get_capabilities};
