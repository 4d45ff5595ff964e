/*
 * Calls of the Remote Execution API with requests from anywhere, on a store in TMPDIR: the first
 * byte says which method, the second what becomes of the call, the rest is the request.  Of a
 * client that streams each message has its length (two bytes, little endian) before it.
 *
 * Second byte: bit 0 the client goes before it has read, bit 1 it does not say that it has ended,
 * bit 2 the host drains, bit 3 what it started goes on to its end, bits 4 and 5 headers of its own.
 *
 * Whatever comes: no call is left without an end, and nothing of it without an owner.
 */
#include "shm/usage.h"
#include "tests/unit/gateway/gateway_host.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

enum { LEAVES = 1, NO_HALF_CLOSE = 2, DRAINING = 4, ENDS = 8, HEADER_SHIFT = 4 };

static void
close_all(void)
{
	host_close(NULL);
}

/* "hello" is a blob that requests of the corpus know, with a Directory that is empty of files. */
int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	CHECK(host_open(NULL) == 0);
	host.gateway.limits.blob_max = 1 << 20;
	host.gateway.limits.orphan_grace_ms = 0;
	(void)host_put("hello", 5);
	atexit(close_all);
	return 0;
}

static void
say_all(struct rpc_call *call, const uint8_t *data, size_t size)
{
	while (size >= 2 && call->wants_read && !call->ended) {
		size_t len = (size_t)data[0] | (size_t)data[1] << 8;

		data += 2;
		size -= 2;
		if (len > size)
			len = size;
		call_message(call, data, len);
		data += len;
		size -= len;
	}
}

/* The supervisor's side: each job that was submitted begins and ends. */
static void
supervise(bool ends)
{
	struct message message;

	while (link_next(&message)) {
		struct msg_started started = {.worker = 1, .attempt = 1, .number = 9};
		struct message done = {.type = MSG_done};

		if (message.type != MSG_submit || !ends)
			continue;
		started.job = done.done.job = message.submit.job;
		done.done.status = message.submit.job % JOB_STATUS_COUNT;
		operations_on_started(host.gateway.operations, &started);
		CHECK(operations_on_done(host.gateway.operations, &done) == 0);
	}
}

static const struct rpc_method *
method_of(uint8_t number)
{
	size_t count = 0;

	while (methods_all[count] != NULL)
		count++;
	CHECK(count > 0);
	return methods_all[number % count];
}

static void
clean(void)
{
	host_renew(NULL);
	if (usage_bytes(cas_usage(host.gateway.cas)) > 1 << 20)
		host.gateway.limits.cas_size = 1;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rpc_call *call;
	uint8_t how;

	if (size < 2)
		return 0;
	how = data[1];
	call = call_new(&host.gateway, method_of(data[0]));
	call->stalled = (how & LEAVES) != 0;
	atomic_store(&host.gateway.draining, (how & DRAINING) != 0);
	data += 2;
	size -= 2;
	call->header.len = (size_t)(how >> HEADER_SHIFT & 3) * 8;
	if (call->header.len > size)
		call->header.len = size;
	if (call->header.len > 0)
		call->header.data = (uint8_t *)(uintptr_t)data;
	data += call->header.len;
	size -= call->header.len;
	if (call->method->client_streams)
		say_all(call, data, size);
	else
		call_message(call, data, size);
	if (call->method->client_streams && (how & NO_HALF_CLOSE) == 0 && call->wants_read &&
	    !call->ended)
		call_half_close(call);
	supervise((how & ENDS) != 0);
	(void)operations_tick(host.gateway.operations);
	for (size_t i = 0; i < call->sent_count; i++)
		CHECK(call->sent[i].len < 4 << 20);
	call_free(call);
	(void)operations_tick(host.gateway.operations);
	clean();
	return 0;
}
