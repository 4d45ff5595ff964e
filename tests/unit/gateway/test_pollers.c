/*
 * The services as the pollers run them: several threads, each with calls of its own, on one store,
 * one table of uploads and one of operations, while the main thread brings the supervisor's news.
 */
#include <pthread.h>

#include "cas/action_cache.h"
#include "gateway/health.h"
#include "tests/cmocka_wrap.h"
#include "tests/unit/gateway/gateway_host.h"

enum { POLLERS = 4, ROUNDS = 25, ACTIONS = 5, BLOB = 40000 };

static struct digest actions[ACTIONS];
static atomic_uint at_work;
static atomic_uint ended_well;

struct poller {
	pthread_t thread;
	unsigned number;
	struct arena *arena;
	uint8_t blob[BLOB];
	struct digest digest;
};

static struct rpc_call *
ask(struct poller *poller, const struct rpc_method *method, const ProtobufCMessage *request)
{
	struct rpc_call *call = call_new(&host.gateway, method);
	size_t len;
	const uint8_t *data = reapi_encode(poller->arena, request, &len);

	call_message(call, data, len);
	return call;
}

static char *
name_of(struct poller *poller, const char *before)
{
	char hex[DIGEST_HEX_SIZE];

	return arena_printf(
	    poller->arena, "%s/%s/%d", before, digest_to_hex(&poller->digest, hex), BLOB);
}

/* In two messages, with a call that is cut between them every other time. */
static void
write_blob(struct poller *poller, unsigned round)
{
	struct rpc_call *call = call_new(&host.gateway, &method_write);
	const char *name = name_of(poller, "uploads/of all/blobs");

	for (size_t at = 0; at < BLOB; at += BLOB / 2) {
		ByteStreamWriteRequest *request =
		    reapi_new(poller->arena, &google__bytestream__write_request__descriptor);
		const uint8_t *data;
		size_t len;

		request->resource_name = arena_strdup(poller->arena, name);
		request->write_offset = (int64_t)at;
		request->data = (ProtobufCBinaryData){BLOB / 2, poller->blob + at};
		request->finish_write = at > 0;
		data = reapi_encode(poller->arena, &request->base, &len);
		call_message(call, data, len);
		if (at == 0 && round % 2 == 0) {
			call_free(call);
			call = call_new(&host.gateway, &method_write);
		}
	}
	assert_int_equal(call->code, RPC_OK);
	assert_true(call->ended);
	call_free(call);
}

static void
read_blob(struct poller *poller)
{
	ByteStreamReadRequest *request =
	    reapi_new(poller->arena, &google__bytestream__read_request__descriptor);
	ReapiFindMissingBlobsRequest *find = REAPI_NEW(poller->arena, find_missing_blobs_request);
	ReapiDigest *digest = reapi_digest_new(poller->arena, &poller->digest);
	struct rpc_call *call;

	request->resource_name = name_of(poller, "compressed-blobs/zstd");
	call = ask(poller, &method_read, &request->base);
	assert_int_equal(call->code, RPC_OK);
	assert_true(call->sent_count > 0);
	call_free(call);
	find->blob_digests = &digest;
	find->n_blob_digests = 1;
	call = ask(poller, &method_find_missing_blobs, &find->base);
	assert_int_equal(call->sent[0].len, 0); /* nothing is missing */
	call_free(call);
}

/* To its end, or not: some leave before. */
static void
execute(struct poller *poller, unsigned round)
{
	ReapiExecuteRequest *request = REAPI_NEW(poller->arena, execute_request);
	const struct digest *action = &actions[(round + poller->number) % ACTIONS];
	struct rpc_call *call;
	Operation *last;

	request->action_digest = reapi_digest_new(poller->arena, action);
	request->skip_cache_lookup = round % 3 == 0;
	call = ask(poller, &method_execute, &request->base);
	if (round % 5 == 4) {
		call_free(call);
		return;
	}
	for (int i = 0; i < 20000 && !call_has_ended(call); i++)
		usleep(500);
	assert_true(call_has_ended(call));
	assert_int_equal(call->code, RPC_OK);
	last = reapi_decode(poller->arena, &google__longrunning__operation__descriptor,
	    call->sent[call->sent_count - 1].data, call->sent[call->sent_count - 1].len);
	assert_true(last != NULL && last->done);
	atomic_fetch_add(&ended_well, 1);
	call_free(call);
}

static void *
poll_calls(void *arg)
{
	struct poller *poller = arg;
	struct rpc_call *watch;

	poller->arena = arena_new();
	watch = ask(poller, &method_health_watch,
	    reapi_new(poller->arena, &grpc__health__v1__health_check_request__descriptor));
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (size_t i = 0; i < BLOB; i++)
			poller->blob[i] = (uint8_t)(i / 100 + round + 50 * poller->number);
		assert_int_equal(hash_bytes(poller->blob, BLOB, &poller->digest), 0);
		write_blob(poller, round);
		read_blob(poller);
		execute(poller, round);
		arena_reset(poller->arena);
	}
	call_free(watch);
	arena_free(poller->arena);
	atomic_fetch_sub(&at_work, 1);
	return NULL;
}

/* The main thread: each job begins, and ends a little later. */
static void
supervise(void)
{
	struct message message;
	unsigned n = 0;

	while (atomic_load(&at_work) > 0) {
		while (link_next(&message)) {
			struct msg_started started = {.attempt = 1};
			struct message done = {.type = MSG_done};

			if (message.type != MSG_submit)
				continue;
			started.job = done.done.job = message.submit.job;
			done.done.status = JOB_FAILED;
			operations_on_started(host.gateway.operations, &started);
			usleep(200);
			assert_int_equal(operations_on_done(host.gateway.operations, &done), 0);
		}
		(void)operations_tick(host.gateway.operations);
		uploads_expire(host.gateway.uploads, UPLOAD_IDLE_S);
		if (++n % 16 == 0)
			health_changed();
		usleep(500);
	}
}

static void
many_threads(void **state)
{
	static struct poller pollers[POLLERS];

	for (unsigned i = 0; i < ACTIONS; i++) {
		ReapiAction *action = REAPI_NEW(host.arena, action);
		uint8_t salt = (uint8_t)i;

		action->salt = (ProtobufCBinaryData){1, &salt};
		action->do_not_cache = i == 0;
		actions[i] = host_put_message(&action->base);
	}
	atomic_store(&at_work, POLLERS);
	for (unsigned i = 0; i < POLLERS; i++) {
		pollers[i].number = i;
		assert_int_equal(
		    pthread_create(&pollers[i].thread, NULL, poll_calls, &pollers[i]), 0);
	}
	supervise();
	for (unsigned i = 0; i < POLLERS; i++)
		assert_int_equal(pthread_join(pollers[i].thread, NULL), 0);
	assert_int_equal(ended_well, POLLERS * (ROUNDS - ROUNDS / 5));
	assert_int_equal(host_counter(COUNTER_executions), POLLERS * ROUNDS);
	assert_int_equal(host_counter(COUNTER_blobs_received), POLLERS * ROUNDS);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(many_threads),
	};

	return cmocka_run_group_tests(tests, host_open, host_close);
}
