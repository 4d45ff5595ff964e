/* ByteStream.Read: a blob, as it is or packed, or an action's output while it is written. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "cas/wire.h"
#include "gateway/live_output.h"
#include "gateway/methods.h"
#include "gateway/resource_name.h"
#include "gateway/service.h"
#include "gateway/zstd.h"

enum {
	CHUNK_BYTES = 128 << 10,
	TAG_DATA = 10 << 3 | 2,
	HEADER_MAX = 11,
};

struct read_state {
	int fd; /* the blob's */
	bool is_open;
	int64_t offset, end; /* in the blob: what is read next, and where to stop */
	ZSTD_CCtx *packer; /* compressed-blobs */
	uint8_t *unpacked; /* CHUNK_BYTES, for the packer */
	size_t unpacked_len, unpacked_at;
	bool packed_all;
	struct live_output *live; /* a log */
	int64_t limit; /* of a log: how many bytes may still be sent; -1: all */
};

/* In front of `len` bytes: where they go. */
static uint8_t *
chunk_begin(struct rpc_call *call, size_t len, size_t *ret_header)
{
	uint8_t *out = rpc_send_begin(call, HEADER_MAX + len);

	out[0] = TAG_DATA;
	*ret_header = 1 + wire_put_varint(len, out + 1);
	return out;
}

static int
pread_all(int fd, uint8_t *data, size_t len, int64_t offset)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, data + done, len - done, (off_t)(offset + (int64_t)done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		done += (size_t)n;
	}
	return 0;
}

static void
plain_send(struct rpc_call *call, struct read_state *read)
{
	int64_t left = read->end - read->offset;
	size_t len = left > CHUNK_BYTES ? CHUNK_BYTES : (size_t)left, header;
	uint8_t *out;
	int rc;

	if (left <= 0) {
		rpc_finish(call, RPC_OK, "%s", "");
		return;
	}
	out = chunk_begin(call, len, &header);
	rc = pread_all(read->fd, out + header, len, read->offset);
	if (rc != 0) {
		rpc_send_drop(call);
		rpc_finish(call, RPC_DATA_LOSS, "the blob cannot be read: %s", strerror(-rc));
		return;
	}
	read->offset += (int64_t)len;
	COUNTER_ADD(service_gateway(call)->slot, bytes_sent, len);
	if (read->offset < read->end)
		rpc_send_commit(call, header + len);
	else
		rpc_reply_commit(call, header + len);
}

/* More of the blob for the packer. */
static int
unpacked_fill(struct read_state *read)
{
	int64_t left = read->end - read->offset;
	size_t len = left > CHUNK_BYTES ? CHUNK_BYTES : (size_t)left;
	int rc = pread_all(read->fd, read->unpacked, len, read->offset);

	read->unpacked_len = rc == 0 ? len : 0;
	read->unpacked_at = 0;
	read->offset += (int64_t)read->unpacked_len;
	return rc;
}

/* One message's worth of the frame. */
static int
pack(struct read_state *read, void *data, size_t size, size_t *ret_len)
{
	ZSTD_outBuffer out = {data, size, 0};
	int rc = 0;

	while (rc == 0 && !read->packed_all && out.pos < out.size) {
		ZSTD_inBuffer in;
		bool last;
		size_t left;

		if (read->unpacked_at == read->unpacked_len && read->offset < read->end)
			rc = unpacked_fill(read);
		if (rc != 0)
			break;
		in = (ZSTD_inBuffer){read->unpacked, read->unpacked_len, read->unpacked_at};
		last = read->offset >= read->end;
		left = ZSTD_compressStream2(
		    read->packer, &out, &in, last ? ZSTD_e_end : ZSTD_e_continue);
		read->unpacked_at = in.pos;
		if (ZSTD_isError(left))
			rc = -EIO;
		else if (last && left == 0)
			read->packed_all = true;
	}
	*ret_len = out.pos;
	return rc;
}

static void
packed_send(struct rpc_call *call, struct read_state *read)
{
	uint8_t *data, *out;
	size_t len = 0, header;
	int rc;

	data = malloc(CHUNK_BYTES);
	rc = data == NULL ? -ENOMEM : pack(read, data, CHUNK_BYTES, &len);
	if (rc != 0) {
		free(data);
		rpc_finish(call, RPC_DATA_LOSS, "the blob cannot be read: %s", strerror(-rc));
		return;
	}
	out = chunk_begin(call, len, &header);
	memcpy(out + header, data, len);
	free(data);
	COUNTER_ADD(service_gateway(call)->slot, bytes_sent, len);
	if (read->packed_all)
		rpc_reply_commit(call, header + len);
	else
		rpc_send_commit(call, header + len);
}

/* What has been written since; nothing: the next tick or the action's end wakes us. */
static void
live_send(struct rpc_call *call, struct read_state *read)
{
	size_t room = CHUNK_BYTES, header;
	uint8_t *data, *out;
	ssize_t n;

	if (rpc_is_sending(call) || rpc_is_finished(call))
		return;
	if (read->limit >= 0 && (uint64_t)read->limit < room)
		room = (size_t)read->limit;
	data = malloc(CHUNK_BYTES);
	n = data == NULL ? -ENOMEM
	    : room == 0  ? 0
			 : live_output_read(read->live, service_cas(call), data, room);
	if (n > 0) {
		out = chunk_begin(call, (size_t)n, &header);
		memcpy(out + header, data, (size_t)n);
		if (read->limit >= 0)
			read->limit -= n;
		rpc_send_commit(call, header + (size_t)n);
	} else if (n == 0) {
		rpc_finish(call, RPC_OK, "%s", "");
	} else if (n == -ESTALE) {
		rpc_finish(call, RPC_ABORTED, "the action was started again: read from the start");
	} else if (n == -ENODATA) {
		rpc_finish(call, RPC_ABORTED, "the action ended without a result");
	} else if (n != -EAGAIN) {
		rpc_finish(call, RPC_INTERNAL, "the output cannot be read: %s", strerror((int)-n));
	}
	free(data);
}

static void
go_on(struct rpc_call *call, struct read_state *read)
{
	if (read->live != NULL)
		live_send(call, read);
	else if (read->packer != NULL)
		packed_send(call, read);
	else
		plain_send(call, read);
}

static void
blob_start(struct rpc_call *call, struct read_state *read, const struct resource_name *name,
    const ByteStreamReadRequest *request)
{
	int64_t size = name->digest.size_bytes;
	struct cas *cas = service_cas(call);
	int rc;

	if (cas == NULL)
		return;
	rc = cas_open_blob(cas, &name->digest, &read->fd);
	if (rc != 0) {
		if (rc == -ENOENT)
			rpc_finish(call, RPC_NOT_FOUND, "the blob is not in the store");
		else
			service_fail(call, rc, "the blob");
		return;
	}
	read->is_open = true;
	if (request->read_offset > size) {
		rpc_finish(call, RPC_OUT_OF_RANGE, "read_offset %" PRId64 " of %" PRId64 " bytes",
		    request->read_offset, size);
		return;
	}
	read->offset = request->read_offset;
	read->end = size;
	if (request->read_limit > 0 && request->read_limit < size - read->offset)
		read->end = read->offset + request->read_limit;
	if (name->zstd) {
		read->packer = ZSTD_createCCtx();
		read->unpacked = malloc(CHUNK_BYTES);
		if (read->packer == NULL || read->unpacked == NULL) {
			rpc_finish(call, RPC_RESOURCE_EXHAUSTED, "no memory");
			return;
		}
		ZSTD_CCtx_setParameter(read->packer, ZSTD_c_compressionLevel, ZSTD_LEVEL);
	}
	go_on(call, read);
}

static void
log_start(struct rpc_call *call, struct read_state *read, const struct resource_name *name,
    const ByteStreamReadRequest *request)
{
	read->live = live_output_open(service_gateway(call), call, name, request->read_offset);
	if (read->live == NULL) {
		rpc_finish(call, RPC_NOT_FOUND, "no action of this name is here");
		return;
	}
	read->limit = request->read_limit > 0 ? request->read_limit : -1;
	live_send(call, read);
}

static void
start(struct rpc_call *call, struct read_state *read, const ByteStreamReadRequest *request)
{
	struct resource_name name;
	struct error_text err = {""};

	if (resource_name_parse_read(request->resource_name, &name, &err) != 0)
		rpc_finish(call, RPC_INVALID_ARGUMENT, "%s", err.text);
	else if (request->read_offset < 0)
		rpc_finish(call, RPC_OUT_OF_RANGE, "read_offset %" PRId64, request->read_offset);
	else if (request->read_limit < 0 || (name.zstd && request->read_limit > 0))
		rpc_finish(call, RPC_INVALID_ARGUMENT, "read_limit %" PRId64 "%s",
		    request->read_limit, name.zstd ? " of a compressed blob" : "");
	else if (name.kind == RESOURCE_LOG)
		log_start(call, read, &name, request);
	else
		blob_start(call, read, &name, request);
}

static void
on_read(struct rpc_call *call, void *state, const uint8_t *data, size_t len)
{
	struct arena *arena = arena_new();
	const ByteStreamReadRequest *request =
	    service_decode(call, arena, &google__bytestream__read_request__descriptor, data, len);

	if (request != NULL)
		start(call, state, request);
	arena_free(arena);
}

static void
on_read_sent(struct rpc_call *call, void *state)
{
	go_on(call, state);
}

static void
on_read_woken(struct rpc_call *call, void *state)
{
	struct read_state *read = state;

	if (read->live != NULL)
		live_send(call, read);
}

static void
on_read_end(struct rpc_call *call, void *state)
{
	struct read_state *read = state;

	if (read->is_open)
		close(read->fd);
	ZSTD_freeCCtx(read->packer);
	free(read->unpacked);
	if (read->live != NULL)
		live_output_close(read->live, call);
	memset(read, 0, sizeof(*read));
}

const struct rpc_method method_read = {.path = "/google.bytestream.ByteStream/Read",
    .state_size = sizeof(struct read_state),
    .on_message = on_read,
    .on_sent = on_read_sent,
    .on_woken = on_read_woken,
    .on_end = on_read_end};
