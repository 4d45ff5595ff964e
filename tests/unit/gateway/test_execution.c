/* Execute, WaitExecution and the action cache: what becomes of a client's wish, and what it hears.
 */
#include "cas/action_cache.h"
#include "tests/cmocka_wrap.h"
#include "tests/unit/gateway/gateway_host.h"

static struct digest action; /* of this test alone */

static struct digest
action_put(bool do_not_cache)
{
	static unsigned number;
	ReapiAction *message = REAPI_NEW(host.arena, action);

	message->command_digest = reapi_digest_new(host.arena, &digest_empty);
	message->input_root_digest = reapi_digest_new(host.arena, &digest_empty);
	message->do_not_cache = do_not_cache;
	message->salt = (ProtobufCBinaryData){sizeof(number), (uint8_t *)&number};
	number++;
	return host_put_message(&message->base);
}

static int
other_action(void **state)
{
	action = action_put(false);
	return 0;
}

static ReapiExecuteRequest *
request_of(const struct digest *digest)
{
	ReapiExecuteRequest *request = REAPI_NEW(host.arena, execute_request);

	request->action_digest = reapi_digest_new(host.arena, digest);
	return request;
}

static struct rpc_call *
execute(const struct digest *digest)
{
	return host_call(&method_execute, &request_of(digest)->base);
}

static struct rpc_call *
wait_for(const char *name)
{
	ReapiWaitExecutionRequest *request = REAPI_NEW(host.arena, wait_execution_request);

	request->name = arena_strdup(host.arena, name);
	return host_call(&method_wait_execution, &request->base);
}

static Operation *
news(const struct rpc_call *call, size_t i)
{
	Operation *operation = host_answer(call, i, &google__longrunning__operation__descriptor);

	assert_non_null(operation);
	return operation;
}

static int
stage(const Operation *operation)
{
	const ReapiExecuteOperationMetadata *metadata;

	assert_string_equal(operation->metadata->type_url,
	    "type.googleapis.com/build.bazel.remote.execution.v2.ExecuteOperationMetadata");
	metadata = reapi_decode(host.arena, REAPI_TYPE(execute_operation_metadata),
	    operation->metadata->value.data, operation->metadata->value.len);
	assert_non_null(metadata);
	assert_int_equal(metadata->digest_function, DIGEST_FUNCTION(SHA256));
	return (int)metadata->stage;
}

/* The response of the call's last message. */
static ReapiExecuteResponse *
response_of(const struct rpc_call *call)
{
	Operation *last = news(call, call->sent_count - 1);
	ReapiExecuteResponse *response;

	assert_true(last->done);
	assert_int_equal(stage(last), EXECUTION_STAGE(COMPLETED));
	assert_string_equal(last->response->type_url,
	    "type.googleapis.com/build.bazel.remote.execution.v2.ExecuteResponse");
	response = reapi_decode(host.arena, REAPI_TYPE(execute_response),
	    last->response->value.data, last->response->value.len);
	assert_non_null(response);
	assert_non_null(response->status);
	return response;
}

static struct message
expect(enum msg_type type)
{
	struct message message;

	if (!link_next(&message))
		fail_msg("no %s was sent", message_name(type));
	assert_int_equal(message.type, type);
	return message;
}

static void
expect_nothing(void)
{
	struct message message;

	if (link_next(&message))
		fail_msg("%s was sent", message_name(message.type));
}

static void
started(uint64_t job)
{
	struct msg_started message = {.job = job, .worker = 1, .attempt = 1, .number = 5};

	operations_on_started(host.gateway.operations, &message);
}

static struct message
done_of(uint64_t job, enum job_status status, const char *why)
{
	struct message done = {.type = MSG_done};

	done.done.job = job;
	done.done.status = status;
	done.done.message = msg_text(why);
	done.done.has_message = why[0] != '\0';
	return done;
}

static ReapiActionResult *
result_new(int exit_code, const char *out)
{
	ReapiActionResult *result = REAPI_NEW(host.arena, action_result);
	struct digest digest = host_put(out, strlen(out));

	result->exit_code = exit_code;
	result->stdout_digest = reapi_digest_new(host.arena, &digest);
	return result;
}

static void
finish(uint64_t job, const ReapiActionResult *result)
{
	struct message done = done_of(job, JOB_OK, "");
	size_t len;
	uint8_t *bytes = reapi_encode(host.arena, &result->base, &len);

	done.done.result = (struct msg_text){(const char *)bytes, (uint32_t)len};
	done.done.has_result = true;
	assert_int_equal(operations_on_done(host.gateway.operations, &done), 0);
}

static void
from_queue_to_end(void **state)
{
	uint64_t executions = host_counter(COUNTER_executions);
	struct rpc_call *call = execute(&action);
	uint64_t job = expect(MSG_submit).submit.job;
	ReapiExecuteResponse *response;

	assert_int_equal(call->sent_count, 1);
	assert_int_equal(stage(news(call, 0)), EXECUTION_STAGE(QUEUED));
	started(job);
	assert_int_equal(stage(news(call, 1)), EXECUTION_STAGE(EXECUTING));
	finish(job, result_new(3, "out"));
	assert_int_equal(call->sent_count, 3);
	assert_true(call->ended);
	assert_int_equal(call->code, RPC_OK);
	response = response_of(call);
	assert_int_equal(response->status->code, 0);
	assert_int_equal(response->result->exit_code, 3);
	assert_int_equal(response->result->stdout_digest->size_bytes, 3);
	assert_int_equal(response->result->stdout_raw.len, 0);
	for (size_t i = 0; i < 2; i++) {
		assert_string_equal(news(call, i)->name, news(call, 2)->name);
		assert_false(news(call, i)->done);
	}
	assert_int_equal(host_counter(COUNTER_executions), executions + 1);
	call_free(call);
	expect_nothing();
}

/* One who reads slowly hears the last of what he missed, and no more than that. */
static void
a_slow_reader(void **state)
{
	struct rpc_call *call = call_new(&host.gateway, &method_execute);
	size_t len;
	const uint8_t *data = reapi_encode(host.arena, &request_of(&action)->base, &len);
	uint64_t job;

	call->stalled = true;
	call_message(call, data, len);
	job = expect(MSG_submit).submit.job;
	started(job);
	started(job);
	finish(job, result_new(0, ""));
	assert_int_equal(call->sent_count, 1);
	call_flow(call);
	assert_int_equal(call->sent_count, 2);
	assert_true(call->ended);
	assert_true(news(call, 1)->done);
	call_free(call);
}

static void
cut_and_waited_for_again(void **state)
{
	struct rpc_call *call = execute(&action), *again, *late;
	uint64_t job = expect(MSG_submit).submit.job;
	char name[OPERATION_NAME_SIZE];

	strlcpy(name, news(call, 0)->name, sizeof(name));
	call_free(call);
	again = wait_for(name);
	assert_int_equal(stage(news(again, 0)), EXECUTION_STAGE(QUEUED));
	started(job);
	finish(job, result_new(0, "x"));
	assert_string_equal(news(again, again->sent_count - 1)->name, name);
	assert_int_equal(response_of(again)->status->code, 0);
	call_free(again);
	late = wait_for(name); /* after the end too, at once */
	assert_true(late->ended);
	assert_int_equal(late->sent_count, 1);
	assert_int_equal(response_of(late)->result->stdout_digest->size_bytes, 1);
	call_free(late);
	for (const char *const *bad = (const char *const[]){"", "x", "operations/x",
		 "operations/cached-0123456789abcdef", NULL};
	     *bad != NULL; bad++) {
		late = wait_for(*bad);
		assert_true(late->ended);
		assert_int_equal(late->code, RPC_NOT_FOUND);
		call_free(late);
	}
	late = wait_for(arena_printf(host.arena, "%03000d", 0));
	assert_int_equal(late->code, RPC_NOT_FOUND);
	call_free(late);
}

/* How a job ended is what its client is told to do about it. */
static void
each_end_has_its_code(void **state)
{
	static const struct {
		enum job_status status;
		enum rpc_code code;
	} ends[] = {{JOB_TIMEOUT, RPC_DEADLINE_EXCEEDED}, {JOB_MISSING, RPC_FAILED_PRECONDITION},
	    {JOB_INVALID, RPC_INVALID_ARGUMENT}, {JOB_UNMET, RPC_FAILED_PRECONDITION},
	    {JOB_CANCELLED, RPC_UNAVAILABLE}, {JOB_WORKER_LOST, RPC_UNAVAILABLE},
	    {JOB_FAILED, RPC_INTERNAL}, {JOB_DISK_FULL, RPC_RESOURCE_EXHAUSTED},
	    {JOB_STATUS_COUNT, RPC_INTERNAL}};

	assert_int_equal(sizeof(ends) / sizeof(ends[0]), JOB_STATUS_COUNT);
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		struct rpc_call *call = execute(&action);
		struct message done =
		    done_of(expect(MSG_submit).submit.job, ends[i].status, "why \xff");

		assert_int_equal(operations_on_done(host.gateway.operations, &done), 0);
		assert_int_equal(call->code, RPC_OK); /* the call went well */
		assert_int_equal(response_of(call)->status->code, ends[i].code);
		assert_string_equal(response_of(call)->status->message, "why ?");
		assert_null(response_of(call)->result);
		call_free(call);
	}
}

static void
every_missing_blob_by_name(void **state)
{
	char list[2 * 90], *at = list;
	struct digest digest = {.size_bytes = 7}, digests;
	const PreconditionFailure *failure;
	const ReapiExecuteResponse *response;
	struct rpc_call *call = execute(&action);
	struct message done =
	    done_of(expect(MSG_submit).submit.job, JOB_MISSING, "blobs are missing");

	for (int i = 0; i < 2; i++) {
		digest.hash[0] = (uint8_t)i;
		digest_to_text(&digest, '/', at);
		at = strchr(at, '\0');
		*at++ = '\n';
	}
	*at = '\0';
	digests = host_put(list, strlen(list));
	done.done.missing = digests;
	done.done.has_missing = true;
	assert_int_equal(operations_on_done(host.gateway.operations, &done), 0);
	response = response_of(call);
	assert_int_equal(response->status->code, RPC_FAILED_PRECONDITION);
	assert_int_equal(response->status->n_details, 1);
	failure = reapi_decode(host.arena, &google__rpc__precondition_failure__descriptor,
	    response->status->details[0]->value.data, response->status->details[0]->value.len);
	assert_int_equal(failure->n_violations, 2);
	for (int i = 0; i < 2; i++) {
		char subject[100] = "blobs/";

		digest.hash[0] = (uint8_t)i;
		digest_to_text(&digest, '/', subject + 6);
		assert_string_equal(failure->violations[i]->type, "MISSING");
		assert_string_equal(failure->violations[i]->subject, subject);
	}
	call_free(call);
}

/* A result too large for a message lies in the store; and may be gone from there. */
static void
a_result_in_the_store(void **state)
{
	const ReapiActionResult *result = result_new(5, "abc");
	struct digest there = host_put_message(&result->base), gone = {.size_bytes = 99};

	for (int i = 0; i < 2; i++) {
		struct rpc_call *call = execute(&action);
		struct message done = done_of(expect(MSG_submit).submit.job, JOB_OK, "");

		done.done.result_digest = i == 0 ? there : gone;
		done.done.has_result_digest = true;
		assert_int_equal(operations_on_done(host.gateway.operations, &done), 0);
		if (i == 0)
			assert_int_equal(response_of(call)->result->exit_code, 5);
		else
			assert_int_equal(response_of(call)->status->code, RPC_UNAVAILABLE);
		call_free(call);
	}
}

static void
contents_in_place_of_digests(void **state)
{
	ReapiExecuteRequest *request = request_of(&action);
	ReapiActionResult *result = result_new(0, "the output");
	static char path[] = "dir/wished", other[] = "other";
	char *wished[] = {path};
	struct rpc_call *call;
	const ReapiExecuteResponse *response;

	result->output_files = arena_alloc(host.arena, 2 * sizeof(ReapiOutputFile *));
	result->n_output_files = 2;
	for (int i = 0; i < 2; i++) {
		result->output_files[i] = REAPI_NEW(host.arena, output_file);
		result->output_files[i]->path = i == 0 ? path : other;
		result->output_files[i]->digest = result->stdout_digest;
	}
	request->inline_stdout = request->inline_stderr = 1;
	request->inline_output_files = wished;
	request->n_inline_output_files = 1;
	call = host_call(&method_execute, &request->base);
	finish(expect(MSG_submit).submit.job, result);
	response = response_of(call);
	assert_int_equal(response->result->stdout_raw.len, 10);
	assert_memory_equal(response->result->stdout_raw.data, "the output", 10);
	assert_int_equal(response->result->stdout_digest->size_bytes, 10);
	assert_int_equal(response->result->output_files[0]->contents.len, 10);
	assert_int_equal(response->result->output_files[1]->contents.len, 0);
	call_free(call);
}

static void
the_same_action_is_joined(void **state)
{
	uint64_t merged = host_counter(COUNTER_executions_merged);
	struct rpc_call *calls[3];
	uint64_t job;

	for (size_t i = 0; i < 3; i++)
		calls[i] = execute(&action);
	job = expect(MSG_submit).submit.job;
	expect_nothing();
	assert_int_equal(host_counter(COUNTER_executions_merged), merged + 2);
	call_leave(calls[1]);
	finish(job, result_new(0, "x"));
	for (size_t i = 0; i < 3; i++) {
		if (i != 1)
			assert_int_equal(response_of(calls[i])->status->code, 0);
		call_free(calls[i]);
	}
}

/* do_not_cache, and what cannot be read: a client of such an action has it to himself. */
static void
some_are_not_joined(void **state)
{
	struct digest private = action_put(true), absent = {.size_bytes = 50},
		      garbage = host_put("\xff\xff", 2);
	const struct digest *alone[] = {&private, &absent, &garbage};
	struct rpc_call *call, *other;

	for (size_t i = 0; i < 3; i++) {
		call = execute(alone[i]);
		other = execute(alone[i]);
		assert_true(expect(MSG_submit).submit.alone);
		assert_true(expect(MSG_submit).submit.alone);
		call_free(call);
		call_free(other);
	}
}

static void
what_the_supervisor_is_told(void **state)
{
	/* tool_invocation_id is not looked at; target_id and action_mnemonic are */
	ReapiRequestMetadata *metadata = REAPI_NEW(host.arena, request_metadata);
	ReapiExecuteRequest *request = request_of(&action);
	Build__Bazel__Remote__Execution__V2__ExecutionPolicy *policy =
	    REAPI_NEW(host.arena, execution_policy);
	struct rpc_call *call = call_new(&host.gateway, &method_execute);
	struct digest key;
	struct message message;
	const uint8_t *data;
	char label[200];
	size_t len;

	metadata->action_mnemonic = arena_printf(host.arena, "Cpp\nCompile%0100d", 0);
	metadata->target_id = arena_strdup(host.arena, "//lib:h\xc3\xa9llo");
	call->header.data = reapi_encode(host.arena, &metadata->base, &call->header.len);
	policy->priority = -7;
	request->execution_policy = policy;
	request->instance_name = arena_strdup(host.arena, "some/instance");
	request->skip_cache_lookup = 1;
	data = reapi_encode(host.arena, &request->base, &len);
	call_message(call, data, len);
	message = expect(MSG_submit);
	assert_int_equal(message.submit.priority, -7);
	assert_true(message.submit.skip_cache_lookup);
	msg_text_copy(message.submit.label, label, sizeof(label));
	assert_string_equal(label, "Cpp?Compile000000000000000000000 //lib:h??llo");
	assert_memory_equal(message.submit.operation.data, "some/instance/operations/", 25);
	service_cache_key("some/instance", &action, &key);
	assert_true(message.submit.has_cache_key);
	assert_true(digest_equal(&message.submit.cache_key, &key));
	call_free(call);
}

/* Metadata that is none is no reason to refuse. */
static void
broken_metadata(void **state)
{
	struct rpc_call *call = call_new(&host.gateway, &method_execute);
	uint8_t garbage[] = {0xff, 0xff, 0xff};
	const uint8_t *data;
	size_t len;

	call->header = (struct fake_bytes){garbage, sizeof(garbage)};
	data = reapi_encode(host.arena, &request_of(&action)->base, &len);
	call_message(call, data, len);
	assert_int_equal(expect(MSG_submit).submit.label.len, 0);
	call_free(call);
}

static void
a_draining_host(void **state)
{
	struct rpc_call *call = execute(&action), *refused;
	char name[OPERATION_NAME_SIZE];
	uint64_t job = expect(MSG_submit).submit.job;

	strlcpy(name, news(call, 0)->name, sizeof(name));
	atomic_store(&host.gateway.draining, true);
	refused = execute(&action);
	assert_int_equal(refused->code, RPC_UNAVAILABLE);
	expect_nothing();
	call_free(refused);
	refused = wait_for(name); /* what runs is waited for all the same */
	finish(job, result_new(0, ""));
	assert_int_equal(response_of(refused)->status->code, 0);
	call_free(refused);
	call_free(call);
}

static void
what_is_not_executed(void **state)
{
	ReapiExecuteRequest *request = REAPI_NEW(host.arena, execute_request);
	struct rpc_call *call = host_call(&method_execute, &request->base); /* no digest */

	assert_int_equal(call->code, RPC_INVALID_ARGUMENT);
	call_free(call);
	request = request_of(&action);
	request->digest_function = 2; /* SHA1 */
	call = host_call(&method_execute, &request->base);
	assert_int_equal(call->code, RPC_INVALID_ARGUMENT);
	call_free(call);
	request = request_of(&action);
	request->instance_name = arena_strdup(host.arena, "a/uploads/b");
	call = host_call(&method_execute, &request->base);
	assert_int_equal(call->code, RPC_INVALID_ARGUMENT);
	call_free(call);
	expect_nothing();
}

/* The action cache. */

static struct rpc_call *
update(const char *instance, const ReapiActionResult *result)
{
	ReapiUpdateActionResultRequest *request =
	    REAPI_NEW(host.arena, update_action_result_request);

	request->instance_name = arena_strdup(host.arena, instance);
	request->action_digest = reapi_digest_new(host.arena, &action);
	request->action_result = (ReapiActionResult *)(uintptr_t)result;
	return host_call(&method_update_action_result, &request->base);
}

static struct rpc_call *
get(const char *instance, bool inline_stdout)
{
	ReapiGetActionResultRequest *request = REAPI_NEW(host.arena, get_action_result_request);

	request->instance_name = arena_strdup(host.arena, instance);
	request->action_digest = reapi_digest_new(host.arena, &action);
	request->inline_stdout = inline_stdout;
	return host_call(&method_get_action_result, &request->base);
}

static void
expect_cached(const char *instance, enum rpc_code code)
{
	struct rpc_call *call = get(instance, false);

	assert_int_equal(call->code, code);
	call_free(call);
}

static void
a_result_of_each_instance(void **state)
{
	const ReapiActionResult *result;
	struct rpc_call *call;

	expect_cached("", RPC_NOT_FOUND);
	call = update("one", result_new(4, "cached output"));
	assert_int_equal(call->code, RPC_OK);
	call_free(call);
	expect_cached("", RPC_NOT_FOUND);
	expect_cached("two", RPC_NOT_FOUND);
	call = get("one", true);
	assert_int_equal(call->code, RPC_OK);
	result = host_answer(call, 0, REAPI_TYPE(action_result));
	assert_int_equal(result->exit_code, 4);
	assert_memory_equal(result->stdout_raw.data, "cached output", 13);
	call_free(call);
	call = update("", result_new(0, ""));
	call_free(call);
	expect_cached("", RPC_OK);
}

/* A hit needs no worker, says so, and is an operation that has ended. */
static void
executed_out_of_the_cache(void **state)
{
	ReapiExecuteRequest *request = request_of(&action);
	struct rpc_call *call = update("", result_new(0, "cached"));

	call_free(call);
	call = execute(&action);
	assert_true(call->ended);
	assert_int_equal(call->sent_count, 1);
	assert_true(response_of(call)->cached_result);
	assert_int_equal(response_of(call)->result->stdout_digest->size_bytes, 6);
	expect_nothing();
	call_free(call);
	request->skip_cache_lookup = 1;
	call = host_call(&method_execute, &request->base);
	assert_true(expect(MSG_submit).submit.skip_cache_lookup);
	call_free(call);
}

/* A result whose blobs are gone is no result. */
static void
a_blob_of_it_is_gone(void **state)
{
	ReapiActionResult *result = result_new(0, "soon gone, of this test alone");
	struct digest digest;
	struct rpc_call *call = update("", result);

	call_free(call);
	expect_cached("", RPC_OK);
	assert_int_equal(reapi_digest_get(result->stdout_digest, &digest), 0);
	cas_drop(host.gateway.cas, &digest);
	expect_cached("", RPC_NOT_FOUND);
	call = execute(&action);
	(void)expect(MSG_submit);
	call_free(call);
}

static ReapiActionResult *
result_with_file(const char *path, const ReapiDigest *digest)
{
	ReapiActionResult *result = REAPI_NEW(host.arena, action_result);
	ReapiOutputFile *file = REAPI_NEW(host.arena, output_file);

	file->path = arena_strdup(host.arena, path);
	file->digest = (ReapiDigest *)(uintptr_t)digest;
	result->output_files = arena_alloc(host.arena, sizeof(void *));
	result->output_files[0] = file;
	result->n_output_files = 1;
	return result;
}

static void
results_that_are_refused(void **state)
{
	static const char *const paths[] = {
	    "", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", "."};
	ReapiDigest *empty = reapi_digest_new(host.arena, &digest_empty),
		    *broken = reapi_digest_new(host.arena, &digest_empty);
	ReapiActionResult *result;
	struct rpc_call *call = update("", NULL);

	assert_int_equal(call->code, RPC_INVALID_ARGUMENT);
	call_free(call);
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		call = update("", result_with_file(paths[i], empty));
		if (call->code != RPC_INVALID_ARGUMENT)
			fail_msg("'%s' was taken", paths[i]);
		call_free(call);
	}
	broken->size_bytes = -1;
	call = update("", result_with_file("a", broken));
	assert_int_equal(call->code, RPC_INVALID_ARGUMENT);
	call_free(call);
	call = update("", result_with_file("a", NULL));
	assert_int_equal(call->code, RPC_INVALID_ARGUMENT);
	call_free(call);
	result = REAPI_NEW(host.arena, action_result);
	result->stderr_digest = broken;
	call = update("", result);
	assert_int_equal(call->code, RPC_INVALID_ARGUMENT);
	call_free(call);
	expect_cached("", RPC_NOT_FOUND);
	call = update("a//b", result_new(0, ""));
	assert_int_equal(call->code, RPC_INVALID_ARGUMENT);
	call_free(call);
}

/* Bytes that a client put into its result are a blob like others, if they are the right ones. */
static void
results_with_bytes_in_them(void **state)
{
	static uint8_t bytes[] = "bytes that only this result has";
	enum { LEN = sizeof(bytes) - 1 };
	ReapiActionResult *result = REAPI_NEW(host.arena, action_result);
	const ReapiActionResult *stored;
	struct digest digest, wrong;
	struct rpc_call *call;

	assert_int_equal(hash_bytes(bytes, LEN, &digest), 0);
	wrong = digest;
	wrong.hash[0] ^= 1;
	result->stderr_raw = (ProtobufCBinaryData){LEN, bytes};
	result->stderr_digest = reapi_digest_new(host.arena, &wrong);
	call = update("", result);
	assert_int_equal(call->code, RPC_INVALID_ARGUMENT);
	call_free(call);
	expect_cached("", RPC_NOT_FOUND);
	assert_int_equal(cas_has(host.gateway.cas, &digest), 0);
	for (int named = 0; named < 2; named++) { /* with its digest, and without */
		result->stderr_raw = (ProtobufCBinaryData){LEN, bytes};
		result->stderr_digest = named ? reapi_digest_new(host.arena, &digest) : NULL;
		call = update("", result);
		assert_int_equal(call->code, RPC_OK);
		stored = host_answer(call, 0, REAPI_TYPE(action_result));
		assert_int_equal(stored->stderr_digest->size_bytes, LEN);
		assert_int_equal(stored->stderr_raw.len, 0);
		call_free(call);
		assert_int_equal(cas_has(host.gateway.cas, &digest), 1);
		expect_cached("", RPC_OK);
		cas_drop(host.gateway.cas, &digest);
		expect_cached("", RPC_NOT_FOUND);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, other_action, host_renew)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(from_queue_to_end),
	    TEST(a_slow_reader),
	    TEST(cut_and_waited_for_again),
	    TEST(each_end_has_its_code),
	    TEST(every_missing_blob_by_name),
	    TEST(a_result_in_the_store),
	    TEST(contents_in_place_of_digests),
	    TEST(the_same_action_is_joined),
	    TEST(some_are_not_joined),
	    TEST(what_the_supervisor_is_told),
	    TEST(broken_metadata),
	    TEST(a_draining_host),
	    TEST(what_is_not_executed),
	    TEST(a_result_of_each_instance),
	    TEST(executed_out_of_the_cache),
	    TEST(a_blob_of_it_is_gone),
	    TEST(results_that_are_refused),
	    TEST(results_with_bytes_in_them),
	};

	return cmocka_run_group_tests(tests, host_open, host_close);
}
