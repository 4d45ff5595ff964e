/* What a gateway says of itself: capabilities, health, reflection, metrics. */
#include <ctype.h>
#include <event2/buffer.h>
#include <inttypes.h>

#include "gateway/health.h"
#include "gateway/metrics.h"
#include "proto/descriptor.pb-c.h"
#include "proto/reflection_v1.pb-c.h"
#include "tests/cmocka_wrap.h"
#include "tests/unit/gateway/gateway_host.h"

typedef Grpc__Health__V1__HealthCheckRequest HealthRequest;
typedef Grpc__Health__V1__HealthCheckResponse HealthResponse;
typedef Grpc__Reflection__V1__ServerReflectionRequest ReflectionRequest;
typedef Grpc__Reflection__V1__ServerReflectionResponse ReflectionResponse;

#define STATUS(name) GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__##name
#define ASK(name) GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##name
#define ANSWER(name) GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##name

static void
capabilities(void **state)
{
	ReapiGetCapabilitiesRequest *request = REAPI_NEW(host.arena, get_capabilities_request);
	struct rpc_call *call = host_call(&method_get_capabilities, &request->base);
	const ReapiServerCapabilities *all = host_answer(call, 0, REAPI_TYPE(server_capabilities));

	assert_int_equal(all->low_api_version->major, 2);
	assert_int_equal(all->high_api_version->major, 2);
	assert_int_equal(all->cache_capabilities->max_batch_total_size_bytes, BATCH_BYTES_MAX);
	assert_int_equal(all->cache_capabilities->max_cas_blob_size_bytes, 1 << 30);
	assert_int_equal(all->cache_capabilities->n_digest_functions, 1);
	assert_int_equal(all->cache_capabilities->digest_functions[0], DIGEST_FUNCTION(SHA256));
	assert_true(all->execution_capabilities->exec_enabled);
	call_free(call);
	request->instance_name = arena_strdup(host.arena, "a//b");
	call = host_call(&method_get_capabilities, &request->base);
	assert_int_equal(call->code, RPC_INVALID_ARGUMENT);
	call_free(call);
}

static struct rpc_call *
health(const struct rpc_method *method, const char *service)
{
	HealthRequest *request =
	    reapi_new(host.arena, &grpc__health__v1__health_check_request__descriptor);

	request->service = arena_strdup(host.arena, service);
	return host_call(method, &request->base);
}

static int
said(const struct rpc_call *call, size_t i)
{
	const HealthResponse *response =
	    host_answer(call, i, &grpc__health__v1__health_check_response__descriptor);

	return (int)response->status;
}

static void
health_now(void **state)
{
	static const char *const known[] = {"", "google.bytestream.ByteStream",
	    "build.bazel.remote.execution.v2.Execution", "grpc.health.v1.Health"};
	static const char *const unknown[] = {"x", "google.bytestream",
	    "google.bytestream.ByteStrea", "google.bytestream.ByteStream/",
	    "google.bytestream.ByteStream/Read", "/", "\n"};
	struct rpc_call *call;

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		call = health(&method_health_check, known[i]);
		assert_int_equal(call->code, RPC_OK);
		assert_int_equal(said(call, 0), STATUS(SERVING));
		call_free(call);
	}
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		call = health(&method_health_check, unknown[i]);
		if (call->code != RPC_NOT_FOUND)
			fail_msg("'%s' is known", unknown[i]);
		call_free(call);
	}
	atomic_store(&host.gateway.draining, true);
	call = health(&method_health_check, "");
	assert_int_equal(said(call, 0), STATUS(NOT_SERVING));
	call_free(call);
}

/* At once, and at each change; the change alone. */
static void
health_as_it_changes(void **state)
{
	struct rpc_call *all = health(&method_health_watch, ""),
			*unknown = health(&method_health_watch, "nothing"),
			*leaver = health(&method_health_watch, "");

	assert_int_equal(said(all, 0), STATUS(SERVING));
	assert_int_equal(said(unknown, 0), STATUS(SERVICE_UNKNOWN));
	call_leave(leaver);
	health_changed();
	assert_int_equal(all->sent_count, 1);
	all->stalled = true;
	atomic_store(&host.gateway.draining, true);
	health_changed();
	assert_int_equal(said(all, 1), STATUS(NOT_SERVING));
	atomic_store(&host.gateway.draining, false); /* it has not heard of the first yet */
	health_changed();
	assert_int_equal(all->sent_count, 2);
	call_flow(all);
	assert_int_equal(said(all, 2), STATUS(SERVING));
	assert_int_equal(unknown->sent_count, 1);
	assert_false(all->ended);
	call_free(all);
	call_free(unknown);
	call_free(leaver);
}

static const ReflectionResponse *
reflect(struct rpc_call *call, int what, const char *text)
{
	ReflectionRequest *request =
	    reapi_new(host.arena, &grpc__reflection__v1__server_reflection_request__descriptor);
	const uint8_t *data;
	size_t len;

	request->message_request_case = (int)what;
	request->list_services = arena_strdup(host.arena, text); /* any of the union's texts */
	data = reapi_encode(host.arena, &request->base, &len);
	call_message(call, data, len);
	return host_answer(call, call->sent_count - 1,
	    &grpc__reflection__v1__server_reflection_response__descriptor);
}

/* The file's name, of answer number `i`. */
static const char *
file_name(const ReflectionResponse *response, size_t i)
{
	const Google__Protobuf__FileDescriptorProto *file;

	assert_int_equal(response->message_response_case, ANSWER(FILE_DESCRIPTOR_RESPONSE));
	assert_true(i < response->file_descriptor_response->n_file_descriptor_proto);
	file = reapi_decode(host.arena, &google__protobuf__file_descriptor_proto__descriptor,
	    response->file_descriptor_response->file_descriptor_proto[i].data,
	    response->file_descriptor_response->file_descriptor_proto[i].len);
	assert_non_null(file);
	return file->name;
}

static void
reflection(void **state)
{
	static const char *const symbols[] = {"build.bazel.remote.execution.v2.Execution",
	    "build.bazel.remote.execution.v2.Execution.Execute",
	    "build.bazel.remote.execution.v2.BatchUpdateBlobsRequest.Request",
	    "build.bazel.remote.execution.v2.Compressor.Value"};
	static const char *const unknown[] = {"", ".", "build", "build.bazel.remote.execution.v2",
	    "build.bazel.remote.execution.v2.", "build.bazel.remote.execution.v2.Exec",
	    "build.bazel.remote.execution.v2.Execution.", "build.bazel.remote.execution.v2.Nothing",
	    "build.bazel.remote.execution.v2.Execution.Execute.x"};
	struct rpc_call *call = call_new(&host.gateway, &method_reflection_v1);
	const ReflectionResponse *response = reflect(call, ASK(LIST_SERVICES), "");
	bool needed = false;

	assert_int_equal(response->message_response_case, ANSWER(LIST_SERVICES_RESPONSE));
	assert_int_equal(response->list_services_response->n_service, 8);
	for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++)
		assert_string_equal(
		    file_name(reflect(call, ASK(FILE_CONTAINING_SYMBOL), symbols[i]), 0),
		    "proto/remote_execution_rpc.proto");
	response = reflect(call, ASK(FILE_BY_FILENAME), "proto/remote_execution_rpc.proto");
	for (size_t i = 0; i < response->file_descriptor_response->n_file_descriptor_proto; i++)
		needed = needed || strcmp(file_name(response, i), "proto/semver.proto") == 0;
	assert_true(needed); /* with all that it imports */
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		response = reflect(call, ASK(FILE_CONTAINING_SYMBOL), unknown[i]);
		if (response->message_response_case != ANSWER(ERROR_RESPONSE))
			fail_msg("'%s' is known", unknown[i]);
	}
	response = reflect(call, ASK(FILE_BY_FILENAME), "/etc/passwd");
	assert_int_equal(response->error_response->error_code, RPC_NOT_FOUND);
	response = reflect(call, ASK(ALL_EXTENSION_NUMBERS_OF_TYPE), "x");
	assert_int_equal(response->message_response_case, ANSWER(ERROR_RESPONSE));
	call_half_close(call);
	assert_int_equal(call->code, RPC_OK);
	assert_true(call->ended);
	call_free(call);
}

/* Every method's service has a schema, and reflection finds the method there. */
static void
every_method_has_its_schema(void **state)
{
	struct rpc_call *call = call_new(&host.gateway, &method_reflection_v1alpha);

	for (const struct rpc_method *const *at = methods_all; *at != NULL; at++) {
		char *symbol = arena_strdup(host.arena, (*at)->path + 1);
		const ReflectionResponse *response;

		*strchr(symbol, '/') = '.';
		response = reflect(call, ASK(FILE_CONTAINING_SYMBOL), symbol);
		if (response->message_response_case != ANSWER(FILE_DESCRIPTOR_RESPONSE))
			fail_msg("%s", symbol);
	}
	call_free(call);
}

/* Prometheus' rules: HELP and TYPE before each value, names of letters, digits and '_', once each.
 */
static void
metrics(void **state)
{
	struct evbuffer *out = evbuffer_new();
	size_t count = 0, lines = 0;
	char *line, name[128] = "", type[32];

	COUNTER_ADD(host.gateway.slot, calls, 3);
	metrics_write(host.gateway.region, out);
	while ((line = evbuffer_readln(out, NULL, EVBUFFER_EOL_LF)) != NULL) {
		char value_name[128];
		uint64_t value;

		lines++;
		if (sscanf(line, "# HELP %127s", name) == 1) {
			assert_int_equal(lines % 3, 1);
			assert_true(strlen(line) > strlen("# HELP ") + strlen(name) + 3);
			assert_int_equal(line[strlen(line) - 1], '.');
			assert_null(strchr(line, '\\'));
		} else if (sscanf(line, "# TYPE %127s %31s", value_name, type) == 2) {
			assert_string_equal(value_name, name);
			assert_true(strcmp(type, "counter") == 0 || strcmp(type, "gauge") == 0);
			assert_int_equal(strcmp(type, "counter") == 0,
			    strlen(name) > 6 && strcmp(name + strlen(name) - 6, "_total") == 0);
		} else {
			assert_int_equal(sscanf(line, "%127[a-zA-Z0-9_]", value_name), 1);
			assert_string_equal(value_name, name);
			assert_int_equal(strncmp(name, "ramet_", 6), 0);
			assert_false(isdigit((unsigned char)name[6]));
			assert_int_equal(sscanf(strrchr(line, ' '), " %" SCNu64, &value), 1);
			if (strcmp(name, "ramet_calls_total") == 0)
				assert_true(value >= 3);
			count++;
		}
		free(line);
	}
	assert_int_equal(evbuffer_get_length(out), 0); /* the last line ends too */
	assert_int_equal(count, COUNTER_COUNT + 1); /* and build_info */
	assert_int_equal(lines, 3 * count);
	evbuffer_free(out);
}

#define TEST(name) cmocka_unit_test_teardown(name, host_renew)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(capabilities),
	    TEST(health_now),
	    TEST(health_as_it_changes),
	    TEST(reflection),
	    TEST(every_method_has_its_schema),
	    TEST(metrics),
	};

	return cmocka_run_group_tests(tests, host_open, host_close);
}
