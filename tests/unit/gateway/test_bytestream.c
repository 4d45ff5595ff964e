/* ByteStream: blobs in and out by streams, and an action's output while it is written. */
#include <sys/stat.h>

#include <zstd.h>

#include "tests/cmocka_wrap.h"
#include "tests/unit/gateway/gateway_host.h"

enum { SIZE = 300000 };

static uint8_t blob[SIZE];
static struct digest digest;

/* Bytes that no test before has stored. */
static int
other_blob(void **state)
{
	static uint8_t test;

	test++;
	for (size_t i = 0; i < SIZE; i++)
		blob[i] = (uint8_t)(i * i / 977 + i / 4096 + test);
	return hash_bytes(blob, SIZE, &digest);
}

static char *
name_of(const char *before)
{
	char hex[DIGEST_HEX_SIZE];

	return arena_printf(host.arena, "%s/%s/%lld", before, digest_to_hex(&digest, hex),
	    (long long)digest.size_bytes);
}

static void
expect_code(struct rpc_call *call, enum rpc_code code)
{
	assert_true(call->ended);
	if (call->code != code)
		fail_msg("code %d (%s), expected %d", call->code, call->text, code);
}

static void
say(struct rpc_call *call, const char *name, int64_t offset, const void *data, size_t len,
    bool last)
{
	ByteStreamWriteRequest *request =
	    reapi_new(host.arena, &google__bytestream__write_request__descriptor);
	const uint8_t *bytes;
	size_t bytes_len;

	request->resource_name = arena_strdup(host.arena, name);
	request->write_offset = offset;
	request->data.data = arena_alloc(host.arena, len + 1);
	memcpy(request->data.data, data, len);
	request->data.len = len;
	request->finish_write = last;
	bytes = reapi_encode(host.arena, &request->base, &bytes_len);
	call_message(call, bytes, bytes_len);
}

static struct rpc_call *
write_new(void)
{
	return call_new(&host.gateway, &method_write);
}

static int64_t
committed(const struct rpc_call *call)
{
	const Google__Bytestream__WriteResponse *response =
	    host_answer(call, 0, &google__bytestream__write_response__descriptor);

	assert_int_equal(call->sent_count, 1);
	return response->committed_size;
}

static const QueryWriteStatusResponse *
query(const char *name, enum rpc_code code)
{
	QueryWriteStatusRequest *request =
	    reapi_new(host.arena, &google__bytestream__query_write_status_request__descriptor);
	const QueryWriteStatusResponse *response = NULL;
	struct rpc_call *call;

	request->resource_name = arena_strdup(host.arena, name);
	call = host_call(&method_query_write_status, &request->base);
	expect_code(call, code);
	if (code == RPC_OK)
		response = host_answer(
		    call, 0, &google__bytestream__query_write_status_response__descriptor);
	call_free(call);
	return response;
}

static void
a_blob_comes_in(void **state)
{
	const char *name = name_of("x/uploads/u1/blobs");
	uint64_t received = host_counter(COUNTER_bytes_received);
	struct rpc_call *call = write_new();

	assert_int_equal(query(name, RPC_OK)->committed_size, 0);
	say(call, name, 0, blob, 100000, false);
	say(call, "", 100000, blob + 100000, 100000, false);
	assert_int_equal(query(name, RPC_OK)->committed_size, 200000);
	assert_false(query(name, RPC_OK)->complete);
	say(call, name, 200000, blob + 200000, 100000, true);
	expect_code(call, RPC_OK);
	assert_int_equal(committed(call), SIZE);
	call_free(call);
	assert_int_equal(cas_has(host.gateway.cas, &digest), 1);
	assert_int_equal(host_counter(COUNTER_bytes_received), received + SIZE);
	assert_true(query(name, RPC_OK)->complete);
	assert_int_equal(query(name, RPC_OK)->committed_size, SIZE);
	/* once more: it is there, whatever would follow */
	call = write_new();
	say(call, name, 0, "x", 1, false);
	expect_code(call, RPC_OK);
	assert_int_equal(committed(call), SIZE);
	call_free(call);
}

static void
gone_on_with_after_a_cut(void **state)
{
	const char *name = name_of("uploads/u2/blobs");
	struct rpc_call *call = write_new();

	say(call, name, 0, blob, 100000, false);
	call_leave(call);
	call_free(call);
	assert_int_equal(query(name, RPC_OK)->committed_size, 100000);
	call = write_new();
	say(call, name, 99999, blob + 99999, 1000, false);
	expect_code(call, RPC_INVALID_ARGUMENT);
	call_free(call);
	call = write_new();
	say(call, name, 100000, blob + 100000, 50000, false);
	call_half_close(call); /* without finish_write: to be gone on with */
	expect_code(call, RPC_OK);
	assert_int_equal(committed(call), 150000);
	call_free(call);
	assert_int_equal(cas_has(host.gateway.cas, &digest), 0);
	call = write_new();
	say(call, name, 150000, blob + 150000, 150000, false);
	say(call, "", SIZE, "", 0, true); /* finish_write alone */
	expect_code(call, RPC_OK);
	call_free(call);
	assert_int_equal(cas_has(host.gateway.cas, &digest), 1);
}

/* From its first byte again, as a client does that knows nothing of its earlier call. */
static void
begun_again(void **state)
{
	const char *name = name_of("uploads/u3/blobs");
	struct rpc_call *first = write_new(), *second = write_new();

	say(first, name, 0, blob, 100000, false);
	say(second, name, 0, blob, 150000, false);
	say(first, name, 100000, blob + 100000, 1000, false); /* another has it */
	expect_code(first, RPC_ABORTED);
	say(second, name, 150000, blob + 150000, 150000, true);
	expect_code(second, RPC_OK);
	call_free(first);
	call_free(second);
}

static void
a_packed_blob_comes_in(void **state)
{
	const char *name = name_of("uploads/u4/compressed-blobs/zstd");
	static uint8_t frame[2 * SIZE];
	size_t len = ZSTD_compress(frame, sizeof(frame), blob, SIZE, 1);
	struct rpc_call *call = write_new();
	int64_t at;

	say(call, name, 0, frame, len / 2, false);
	call_leave(call);
	call_free(call);
	at = query(name, RPC_OK)->committed_size; /* of the blob, not of the frame */
	assert_in_range(at, 1, SIZE - 1);
	len = ZSTD_compress(frame, sizeof(frame), blob + at, (size_t)(SIZE - at), 1);
	call = write_new();
	say(call, name, at, frame, 10, false);
	say(call, "", at + 10, frame + 10, len - 10, true);
	expect_code(call, RPC_OK);
	assert_int_equal(committed(call), at + (int64_t)len);
	call_free(call);
	assert_int_equal(cas_has(host.gateway.cas, &digest), 1);
	assert_int_equal(query(name, RPC_OK)->committed_size, -1);
	call = write_new();
	say(call, name, 0, frame, 1, false);
	assert_int_equal(committed(call), -1);
	call_free(call);
}

static void
what_is_not_taken(void **state)
{
	static const char *const names[] = {"", "x", "uploads/u/blobs/abc/5", "blobs/x/5"};
	const char *name = name_of("uploads/u5/blobs");
	struct rpc_call *call;
	char *long_name;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		call = write_new();
		say(call, names[i], 0, blob, 10, false);
		expect_code(call, RPC_INVALID_ARGUMENT);
		call_free(call);
		(void)query(names[i], RPC_INVALID_ARGUMENT);
	}
	long_name = arena_printf(host.arena, "%s/%01000d", name, 0);
	call = write_new();
	say(call, long_name, 0, blob, 10, false);
	expect_code(call, RPC_INVALID_ARGUMENT);
	call_free(call);
	call = write_new(); /* no message at all */
	call_half_close(call);
	expect_code(call, RPC_INVALID_ARGUMENT);
	call_free(call);
	call = write_new();
	say(call, name, 0, blob, 10, false);
	say(call, name_of("uploads/other/blobs"), 10, blob + 10, 10, false);
	expect_code(call, RPC_INVALID_ARGUMENT);
	call_free(call);
	call = write_new(); /* no message of ours */
	call_message(call, "\xff\xff", 2);
	expect_code(call, RPC_INVALID_ARGUMENT);
	call_free(call);
	for (int64_t offset = -1; offset < 2; offset += 2) {
		call = write_new();
		say(call, name_of("uploads/u6/blobs"), offset, blob, 10, false);
		expect_code(call, RPC_INVALID_ARGUMENT);
		call_free(call);
	}
	call = write_new(); /* too much, and other bytes */
	say(call, name, 0, blob, SIZE, false);
	say(call, name, SIZE, blob, 1, true);
	expect_code(call, RPC_INVALID_ARGUMENT);
	call_free(call);
	call = write_new();
	blob[5]++;
	say(call, name, 0, blob, SIZE, true);
	expect_code(call, RPC_INVALID_ARGUMENT);
	call_free(call);
	assert_int_equal(cas_has(host.gateway.cas, &digest), 0);
}

static void
limits(void **state)
{
	struct rpc_call *call = write_new();
	struct message message;

	host.gateway.limits.cas_size = 1000;
	digest.size_bytes = 100 << 20; /* far more than the store may hold */
	say(call, name_of("uploads/u7/blobs"), 0, blob, 10, false);
	expect_code(call, RPC_RESOURCE_EXHAUSTED);
	call_free(call);
	assert_true(link_next(&message));
	assert_int_equal(message.type, MSG_sweep);
	digest.size_bytes = (1 << 30) + 1;
	call = write_new();
	say(call, name_of("uploads/u8/blobs"), 0, blob, 10, false);
	expect_code(call, RPC_RESOURCE_EXHAUSTED);
	call_free(call);
	digest.size_bytes = INT64_MAX;
	call = write_new();
	say(call, name_of("uploads/u9/blobs"), 0, blob, 10, false);
	expect_code(call, RPC_RESOURCE_EXHAUSTED);
	call_free(call);
}

static struct rpc_call *
read_call(const char *name, int64_t offset, int64_t limit)
{
	ByteStreamReadRequest *request =
	    reapi_new(host.arena, &google__bytestream__read_request__descriptor);

	request->resource_name = arena_strdup(host.arena, name);
	request->read_offset = offset;
	request->read_limit = limit;
	return host_call(&method_read, &request->base);
}

/* All that was sent, in one; frees the call. */
static uint8_t *
contents(struct rpc_call *call, size_t *ret_len)
{
	uint8_t *all = arena_alloc(host.arena, 2 * SIZE);

	*ret_len = 0;
	for (size_t i = 0; i < call->sent_count; i++) {
		const Google__Bytestream__ReadResponse *response =
		    host_answer(call, i, &google__bytestream__read_response__descriptor);

		assert_non_null(response);
		assert_true(response->data.len > 0);
		assert_true(*ret_len + response->data.len <= 2 * SIZE);
		memcpy(all + *ret_len, response->data.data, response->data.len);
		*ret_len += response->data.len;
	}
	call_free(call);
	return all;
}

static void
expect_read(const char *name, int64_t offset, int64_t limit, size_t expected)
{
	struct rpc_call *call = read_call(name, offset, limit);
	const uint8_t *data;
	size_t len;

	expect_code(call, RPC_OK);
	data = contents(call, &len);
	assert_int_equal(len, expected);
	assert_memory_equal(data, blob + offset, len);
}

static void
a_blob_goes_out(void **state)
{
	const char *name = name_of("x/y/blobs");

	host_put(blob, SIZE);
	expect_read(name, 0, 0, SIZE);
	expect_read(name, 0, 1, 1);
	expect_read(name, 1, SIZE, SIZE - 1);
	expect_read(name, 1000, 131072, 131072);
	expect_read(name, SIZE - 1, 0, 1);
	expect_read(name, SIZE, 0, 0);
	expect_read(name, 5, INT64_MAX, SIZE - 5);
}

static void
a_packed_blob_goes_out(void **state)
{
	const char *name = name_of("compressed-blobs/zstd");
	static uint8_t unpacked[SIZE];

	host_put(blob, SIZE);
	for (int64_t offset = 0; offset <= SIZE; offset += SIZE / 3) {
		struct rpc_call *call = read_call(name, offset, 0);
		const uint8_t *data;
		size_t len;

		expect_code(call, RPC_OK);
		data = contents(call, &len);
		assert_int_equal(ZSTD_decompress(unpacked, SIZE, data, len), SIZE - (size_t)offset);
		assert_memory_equal(unpacked, blob + offset, (size_t)(SIZE - offset));
	}
}

static void
what_cannot_be_read(void **state)
{
	struct rpc_call *call = read_call(name_of("blobs"), 0, 0);

	expect_code(call, RPC_NOT_FOUND);
	call_free(call);
	host_put(blob, SIZE);
	for (int packed = 0; packed < 2; packed++) {
		const char *name = name_of(packed ? "compressed-blobs/zstd" : "blobs");

		call = read_call(name, SIZE + 1, 0);
		expect_code(call, RPC_OUT_OF_RANGE);
		call_free(call);
		call = read_call(name, -1, 0);
		expect_code(call, RPC_OUT_OF_RANGE);
		call_free(call);
		call = read_call(name, 0, -1);
		expect_code(call, RPC_INVALID_ARGUMENT);
		call_free(call);
	}
	call = read_call(name_of("compressed-blobs/zstd"), 0, 1);
	expect_code(call, RPC_INVALID_ARGUMENT);
	call_free(call);
	digest.size_bytes--;
	call = read_call(name_of("blobs"), 0, 0);
	expect_code(call, RPC_NOT_FOUND);
	call_free(call);
	call = read_call("logstreams/nothing/stdout", 0, 0);
	expect_code(call, RPC_NOT_FOUND);
	call_free(call);
	call = read_call(name_of("uploads/u/blobs"), 0, 0);
	expect_code(call, RPC_INVALID_ARGUMENT);
	call_free(call);
}

/* A client that has gone in the middle of it costs nothing more. */
static void
read_by_one_who_leaves(void **state)
{
	for (int packed = 0; packed < 2; packed++) {
		ByteStreamReadRequest *request =
		    reapi_new(host.arena, &google__bytestream__read_request__descriptor);
		struct rpc_call *call = call_new(&host.gateway, &method_read);
		const uint8_t *data;
		size_t len;

		host_put(blob, SIZE);
		request->resource_name = name_of(packed ? "compressed-blobs/zstd" : "blobs");
		data = reapi_encode(host.arena, &request->base, &len);
		call->stalled = true;
		call_message(call, data, len);
		assert_int_equal(call->sent_count, 1); /* one at a time */
		call_free(call);
	}
}

/* An action that runs in slot 3, whose stdout is a file that grows. */
static struct {
	struct rpc_call *watcher;
	struct operation *operation;
	uint64_t job;
	int fd;
} action;

static void
start_action(void)
{
	struct operation_wish wish = {.instance = "", .label = "", .action = digest};
	struct msg_started started = {.worker = 0, .attempt = 1, .number = 42};
	struct slot *slot = slot_at(host.gateway.region, SLOT_WORKER_FIRST);
	struct message message;
	bool merged;

	action.watcher = call_new(&host.gateway, &method_health_watch);
	action.operation =
	    operations_join_or_start(host.gateway.operations, &wish, action.watcher, &merged);
	assert_true(link_next(&message));
	action.job = started.job = message.submit.job;
	slot_assign(host.gateway.region, SLOT_WORKER_FIRST);
	slot_activate(host.gateway.region, SLOT_WORKER_FIRST, getpid());
	slot_set_job(slot, 42);
	slot_set_sandbox(slot, 7);
	assert_int_equal(fs_mkdir_path(host.gateway.state_fd, "sandboxes/3.7", 0755), 0);
	action.fd = openat(host.gateway.state_fd, "sandboxes/3.7/stdout",
	    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(action.fd >= 0);
	operations_on_started(host.gateway.operations, &started);
}

static void
write_output(const char *text)
{
	assert_int_equal(fs_write_all(action.fd, text, strlen(text)), 0);
	operations_tick(host.gateway.operations);
}

static void
end_action(const char *raw)
{
	ReapiActionResult *result = REAPI_NEW(host.arena, action_result);
	struct message done = {.type = MSG_done};
	uint8_t *bytes;
	size_t len;

	result->stdout_raw =
	    (ProtobufCBinaryData){strlen(raw), (uint8_t *)arena_strdup(host.arena, raw)};
	bytes = reapi_encode(host.arena, &result->base, &len);
	done.done.job = action.job;
	done.done.result = (struct msg_text){(const char *)bytes, (uint32_t)len};
	done.done.has_result = true;
	done.done.attempt = 1;
	slot_set_sandbox(slot_at(host.gateway.region, SLOT_WORKER_FIRST), 0);
	assert_int_equal(operations_on_done(host.gateway.operations, &done), 0);
}

static void
leave_action(void)
{
	operation_leave(host.gateway.operations, action.operation, action.watcher, true);
	call_free(action.watcher);
	close(action.fd);
	slot_retire(host.gateway.region, SLOT_WORKER_FIRST);
}

static char *
log_name(const char *stream)
{
	return arena_printf(host.arena, "logstreams/%s/%s", operation_id(action.operation), stream);
}

static void
expect_output(struct rpc_call *call, const char *expected)
{
	const uint8_t *data;
	size_t len;

	data = contents(call, &len);
	assert_int_equal(len, strlen(expected));
	assert_memory_equal(data, expected, len);
}

static void
output_while_it_is_written(void **state)
{
	struct rpc_call *call, *from, *some, *err;

	start_action();
	write_output("one ");
	call = read_call(log_name("stdout"), 0, 0);
	from = read_call(log_name("stdout"), 6, 0);
	some = read_call(log_name("stdout"), 1, 6);
	err = read_call(log_name("stderr"), 0, 0);
	assert_int_equal(call->sent_count, 1);
	assert_int_equal(from->sent_count, 0);
	assert_false(call->ended);
	write_output("two ");
	assert_int_equal(call->sent_count, 2);
	assert_true(some->ended); /* it has its six bytes */
	write_output("three");
	end_action("one two three");
	expect_code(call, RPC_OK);
	expect_code(some, RPC_OK);
	expect_code(err, RPC_OK);
	expect_output(call, "one two three");
	expect_output(from, "o three");
	expect_output(some, "ne two");
	expect_output(err, "");
	/* and afterwards, from the result */
	call = read_call(log_name("stdout"), 4, 0);
	expect_code(call, RPC_OK);
	expect_output(call, "two three");
	leave_action();
}

/* The worker died and the action was begun again: what was read is not the beginning of that. */
static void
output_of_an_action_begun_again(void **state)
{
	struct msg_started again = {.worker = 0, .attempt = 2, .number = 42};
	struct rpc_call *call;

	start_action();
	write_output("first try");
	call = read_call(log_name("stdout"), 0, 0);
	again.job = action.job;
	operations_on_started(host.gateway.operations, &again);
	expect_code(call, RPC_ABORTED);
	call_free(call);
	call = read_call(log_name("stdout"), 0, 0);
	assert_false(call->ended);
	call_free(call); /* its reader leaves */
	end_action("");
	leave_action();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, other_blob, host_renew)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_blob_comes_in),
	    TEST(gone_on_with_after_a_cut),
	    TEST(begun_again),
	    TEST(a_packed_blob_comes_in),
	    TEST(what_is_not_taken),
	    TEST(limits),
	    TEST(a_blob_goes_out),
	    TEST(a_packed_blob_goes_out),
	    TEST(what_cannot_be_read),
	    TEST(read_by_one_who_leaves),
	    TEST(output_while_it_is_written),
	    TEST(output_of_an_action_begun_again),
	};

	return cmocka_run_group_tests(tests, host_open, host_close);
}
