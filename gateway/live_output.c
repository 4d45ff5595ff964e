#include "gateway/live_output.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "gateway/execution_answer.h"
#include "gateway/operations.h"
#include "gateway/wire_messages.h"

struct live_output {
	struct gateway *gateway;
	struct operation *operation;
	const char *name; /* "stdout" or "stderr" */
	int64_t offset;
	int fd; /* of the file that is being written, or of the blob it became; -1 */
	bool ended; /* the operation has: what is read now is its result */
	bool lost; /* which has no such thing: the worker was lost, say */
	uint64_t attempt, sandbox; /* whose output was read; 0: none yet */
	uint8_t *raw; /* the result's, where it is not a blob */
	size_t raw_len;
};

struct live_output *
live_output_open(struct gateway *gateway, struct rpc_call *call, const struct resource_name *name,
    int64_t offset)
{
	struct operation *operation =
	    operations_follow(gateway->operations, name->instance, name->id, call);
	struct live_output *live;

	if (operation == NULL)
		return NULL;
	live = calloc(1, sizeof(*live));
	CHECK(live != NULL);
	live->gateway = gateway;
	live->operation = operation;
	live->name = name->is_stderr ? "stderr" : "stdout";
	live->offset = offset;
	live->fd = -1;
	return live;
}

void
live_output_close(struct live_output *live, struct rpc_call *call)
{
	if (live->fd >= 0)
		close(live->fd);
	operation_leave(live->gateway->operations, live->operation, call, false);
	free(live->raw);
	free(live);
}

/* Where it runs now, 0 while that cannot be told. */
static uint64_t
sandbox_of(const struct live_output *live, const struct operation_view *view)
{
	if (view->worker >= SLOT_WORKERS_MAX)
		return 0;
	return slot_sandbox_of_job(
	    live->gateway->region, SLOT_WORKER_FIRST + view->worker, view->number);
}

/* The sandbox's file, once the worker has written its first byte. */
static void
running_open(struct live_output *live, const struct operation_view *view)
{
	uint32_t slot = SLOT_WORKER_FIRST + view->worker;
	uint64_t sandbox = sandbox_of(live, view);
	char path[96];

	if (sandbox == 0)
		return;
	snprintf(
	    path, sizeof(path), "sandboxes/%" PRIu32 ".%" PRIu64 "/%s", slot, sandbox, live->name);
	live->fd = openat(live->gateway->state_fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (live->fd >= 0) {
		live->attempt = view->attempt;
		live->sandbox = sandbox;
	}
}

/* What was read is not the beginning of what comes: it began anew, elsewhere. */
static bool
began_anew(const struct live_output *live, const struct operation_view *view)
{
	uint64_t sandbox;

	if (live->attempt == 0 || live->ended)
		return false;
	sandbox = view->is_done ? view->done->sandbox : sandbox_of(live, view);
	return view->attempt != live->attempt || (sandbox != 0 && sandbox != live->sandbox);
}

static void
raw_keep(struct live_output *live, const ProtobufCBinaryData *raw)
{
	live->raw = malloc(raw->len + 1);
	CHECK(live->raw != NULL);
	if (raw->len > 0)
		memcpy(live->raw, raw->data, raw->len);
	live->raw_len = raw->len;
}

/* What the action's result has of it. */
static void
result_open(struct live_output *live, struct cas *cas, const struct msg_done *done)
{
	const ReapiActionResult *result;
	const ReapiDigest *named;
	struct arena *arena = arena_new();
	struct digest digest;

	if (live->fd >= 0)
		close(live->fd);
	live->fd = -1;
	result = execution_result(cas, arena, done);
	if (result != NULL) {
		bool out = strcmp(live->name, "stdout") == 0;

		raw_keep(live, out ? &result->stdout_raw : &result->stderr_raw);
		named = out ? result->stdout_digest : result->stderr_digest;
		live->lost = live->raw_len == 0 && reapi_digest_get(named, &digest) == 0 &&
		    cas_open_blob(cas, &digest, &live->fd) != 0;
	} else {
		live->lost = true;
	}
	if (live->lost)
		live->fd = -1;
	arena_free(arena);
}

static ssize_t
raw_read(struct live_output *live, uint8_t *data, size_t size)
{
	size_t left =
	    (uint64_t)live->offset < live->raw_len ? live->raw_len - (size_t)live->offset : 0;
	size_t len = left < size ? left : size;

	if (len > 0)
		memcpy(data, live->raw + live->offset, len);
	live->offset += (int64_t)len;
	return (ssize_t)len;
}

static ssize_t
file_read(struct live_output *live, uint8_t *data, size_t size)
{
	ssize_t n;

	do
		n = pread(live->fd, data, size, (off_t)live->offset);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	live->offset += n;
	return n;
}

ssize_t
live_output_read(struct live_output *live, struct cas *cas, uint8_t *data, size_t size)
{
	struct operation_view view;
	ssize_t n;

	if (cas == NULL)
		return -EIO;
	operation_look(live->gateway->operations, live->operation, &view);
	if (began_anew(live, &view))
		return -ESTALE;
	if (view.is_done && !live->ended) {
		live->ended = true;
		result_open(live, cas, view.done);
	}
	if (!live->ended && live->fd < 0 && view.is_started)
		running_open(live, &view);
	if (live->lost)
		return -ENODATA;
	if (live->raw_len > 0)
		return raw_read(live, data, size);
	n = live->fd < 0 ? 0 : file_read(live, data, size);
	return n == 0 && !live->ended ? -EAGAIN : n;
}
