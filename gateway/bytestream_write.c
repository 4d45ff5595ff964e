/* ByteStream.Write and QueryWriteStatus: a blob comes in, in as many calls as it takes. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "gateway/methods.h"
#include "gateway/service.h"
#include "gateway/upload.h"

#define BYTESTREAM_METHOD(method) "/google.bytestream.ByteStream/" method

/* What a client is told of a zstd upload whose blob is there: how long its stream is, nobody knows.
 */
enum { COMMITTED_ZSTD = -1 };

struct write_state {
	bool begun;
	struct resource_name name;
	struct upload *upload;
	uint64_t turn;
	char text[1024]; /* the resource name, as it came */
};

static int64_t
full_size(const struct resource_name *name)
{
	return name->zstd ? COMMITTED_ZSTD : name->digest.size_bytes;
}

static void
reply_committed(struct rpc_call *call, int64_t committed)
{
	struct arena *arena = arena_new();
	ByteStreamWriteResponse *response =
	    reapi_new(arena, &google__bytestream__write_response__descriptor);

	response->committed_size = committed;
	service_reply(call, arena, &response->base);
	arena_free(arena);
}

static void
write_failed(struct rpc_call *call, const struct write_state *write, int rc)
{
	if (rc == -ECANCELED)
		rpc_finish(call, RPC_ABORTED, "%.200s: another call goes on with this upload",
		    write->text);
	else if (rc == -EBADMSG)
		rpc_finish(call, RPC_INVALID_ARGUMENT,
		    "%.200s: what came is not the blob of this digest", write->text);
	else
		service_fail(call, rc, write->text);
}

/* False: the call is finished. */
static bool
name_take(struct rpc_call *call, struct write_state *write, const char *text)
{
	struct gateway *gateway = service_gateway(call);
	struct error_text err = {""};
	int rc = resource_name_parse_write(text, &write->name, &err);

	if (rc == 0 && strlcpy(write->text, text, sizeof(write->text)) >= sizeof(write->text))
		rc = error_set(&err, -EINVAL, "a resource name of %zu bytes", strlen(text));
	if (rc != 0) {
		rpc_finish(call, RPC_INVALID_ARGUMENT, "%s", err.text);
		return false;
	}
	if ((uint64_t)write->name.digest.size_bytes > gateway->limits.blob_max) {
		rpc_finish(call, RPC_RESOURCE_EXHAUSTED,
		    "%.200s: larger than this host takes (--blob-max)", text);
		return false;
	}
	return true;
}

/* The first message: whether the blob is here already, has room, and where its upload stands. */
static bool
write_begin(struct rpc_call *call, struct write_state *write, const ByteStreamWriteRequest *request)
{
	struct gateway *gateway = service_gateway(call);
	struct cas *cas = service_cas(call);
	struct error_text err = {""};
	int rc;

	if (cas == NULL || !name_take(call, write, request->resource_name))
		return false;
	write->begun = true;
	rc = cas_has(cas, &write->name.digest);
	if (rc == 1) {
		reply_committed(call, full_size(&write->name));
		return false;
	}
	if (rc == 0 && !service_has_room(gateway, write->name.digest.size_bytes, &err)) {
		rpc_finish(call, RPC_RESOURCE_EXHAUSTED, "%s", err.text);
		return false;
	}
	if (rc == 0)
		rc = upload_take(gateway->uploads, &write->name, &write->upload, &write->turn);
	/* from the start again, as a client does that knows nothing of its earlier call */
	if (rc == 0 && request->write_offset == 0)
		rc = upload_restart(write->upload, write->turn);
	if (rc != 0)
		write_failed(call, write, rc);
	return rc == 0;
}

static void
write_end(struct rpc_call *call, struct write_state *write)
{
	struct gateway *gateway = service_gateway(call);
	int64_t committed = upload_committed(write->upload);
	int rc = upload_commit(write->upload, write->turn);

	if (rc != 0) {
		write_failed(call, write, rc);
		return;
	}
	COUNTER_ADD(gateway->slot, blobs_received, 1);
	COUNTER_ADD(gateway->slot, bytes_received, (uint64_t)write->name.digest.size_bytes);
	reply_committed(call, committed);
}

static void
write_take(struct rpc_call *call, struct write_state *write, const ByteStreamWriteRequest *request)
{
	int rc;

	if (!write->begun && !write_begin(call, write, request))
		return;
	if (request->resource_name[0] != '\0' && strcmp(request->resource_name, write->text) != 0) {
		rpc_finish(call, RPC_INVALID_ARGUMENT, "another resource name in the same call");
		return;
	}
	rc = upload_write(write->upload, write->turn, request->write_offset, request->data.data,
	    request->data.len);
	/* the call before this one may have brought the last of it meanwhile */
	if (rc == -ESPIPE && cas_has(service_cas(call), &write->name.digest) == 1)
		reply_committed(call, full_size(&write->name));
	else if (rc == -ESPIPE)
		rpc_finish(call, RPC_INVALID_ARGUMENT,
		    "write_offset %" PRId64 ", but %" PRId64 " bytes are committed",
		    request->write_offset, upload_committed(write->upload));
	else if (rc != 0)
		write_failed(call, write, rc);
	else if (request->finish_write)
		write_end(call, write);
	else
		rpc_read(call);
}

static void
on_write_message(struct rpc_call *call, void *state, const uint8_t *data, size_t len)
{
	struct arena *arena = arena_new();
	const ByteStreamWriteRequest *request =
	    service_decode(call, arena, &google__bytestream__write_request__descriptor, data, len);

	if (request != NULL)
		write_take(call, state, request);
	arena_free(arena);
}

/* Without finish_write nothing is stored; what came can be gone on with. */
static void
on_write_half_close(struct rpc_call *call, void *state)
{
	struct write_state *write = state;

	if (write->upload == NULL)
		rpc_finish(call, RPC_INVALID_ARGUMENT, "no message came");
	else
		reply_committed(call, upload_committed(write->upload));
}

static void
on_write_end(struct rpc_call *call, void *state)
{
	struct write_state *write = state;

	if (write->upload != NULL)
		upload_leave(service_gateway(call)->uploads, write->upload, write->turn);
	write->upload = NULL;
}

static void
query(struct rpc_call *call, struct cas *cas, struct arena *arena, const char *text)
{
	QueryWriteStatusResponse *response =
	    reapi_new(arena, &google__bytestream__query_write_status_response__descriptor);
	struct resource_name name;
	struct error_text err = {""};
	int64_t committed = 0;
	int rc = resource_name_parse_write(text, &name, &err);

	if (rc != 0) {
		rpc_finish(call, RPC_INVALID_ARGUMENT, "%s", err.text);
		return;
	}
	rc = cas_has(cas, &name.digest);
	if (rc < 0) {
		service_fail(call, rc, "the store");
		return;
	}
	/* An upload that nobody has begun stands at its first byte. */
	if (rc == 1)
		committed = full_size(&name);
	else
		(void)uploads_find(service_gateway(call)->uploads, &name, &committed);
	response->complete = rc == 1;
	response->committed_size = committed;
	service_reply(call, arena, &response->base);
}

static void
on_query(struct rpc_call *call, void *state, const uint8_t *data, size_t len)
{
	struct arena *arena = arena_new();
	const QueryWriteStatusRequest *request = service_decode(
	    call, arena, &google__bytestream__query_write_status_request__descriptor, data, len);
	struct cas *cas;

	if (request != NULL && (cas = service_cas(call)) != NULL)
		query(call, cas, arena, request->resource_name);
	arena_free(arena);
}

const struct rpc_method method_write = {.path = BYTESTREAM_METHOD("Write"),
    .client_streams = true,
    .state_size = sizeof(struct write_state),
    .on_message = on_write_message,
    .on_half_close = on_write_half_close,
    .on_end = on_write_end};
const struct rpc_method method_query_write_status = {
    .path = BYTESTREAM_METHOD("QueryWriteStatus"), .on_message = on_query};
