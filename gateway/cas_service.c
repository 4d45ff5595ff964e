/* ContentAddressableStorage: what is missing, and small blobs by the dozen. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cas/digest_map.h"
#include "gateway/methods.h"
#include "gateway/service.h"
#include "gateway/zstd.h"

enum {
	PACK_BYTES_MIN = 1024, /* smaller blobs are not worth packing */
	BATCH_COUNT_MAX = 20000,
	RESERVED_MAX = 16384, /* whoever says more has to send them first */
};

/* Each has an answer of its own, many times as long as the least that asks for it. */
static bool
count_fits(struct rpc_call *call, size_t count)
{
	if (count <= BATCH_COUNT_MAX)
		return true;
	rpc_finish(call, RPC_INVALID_ARGUMENT, "more than %d blobs in one batch", BATCH_COUNT_MAX);
	return false;
}

/* Each missing one once, however often it was asked for. */
static int
find_missing(struct rpc_call *call, struct cas *cas, const ReapiFindMissingBlobsRequest *request,
    ReapiFindMissingBlobsResponse *response)
{
	struct digest_map seen = {0};
	int rc = 0;

	digest_map_reserve(
	    &seen, request->n_blob_digests < RESERVED_MAX ? request->n_blob_digests : RESERVED_MAX);
	for (size_t i = 0; rc == 0 && i < request->n_blob_digests; i++) {
		struct digest digest;
		bool is_new;

		if (!service_digest(call, request->blob_digests[i], "blob_digests", &digest)) {
			rc = -EINVAL;
			break;
		}
		digest_map_add(&seen, &digest, &is_new);
		if (!is_new)
			continue;
		rc = cas_has(cas, &digest);
		if (rc == 0)
			response->missing_blob_digests[response->n_missing_blob_digests++] =
			    request->blob_digests[i];
		rc = rc < 0 ? rc : 0;
	}
	digest_map_fini(&seen);
	return rc;
}

static void
on_find_missing(struct rpc_call *call, void *state, const uint8_t *data, size_t len)
{
	struct arena *arena = arena_new();
	const ReapiFindMissingBlobsRequest *request =
	    service_decode(call, arena, REAPI_TYPE(find_missing_blobs_request), data, len);
	ReapiFindMissingBlobsResponse *response = REAPI_NEW(arena, find_missing_blobs_response);
	struct cas *cas;
	int rc;

	if (request == NULL || !service_instance(call, request->instance_name) ||
	    !service_digest_function(call, (int)request->digest_function) ||
	    (cas = service_cas(call)) == NULL)
		goto out;
	response->missing_blob_digests =
	    arena_alloc(arena, (request->n_blob_digests + 1) * sizeof(ReapiDigest *));
	rc = find_missing(call, cas, request, response);
	if (rc == 0) {
		COUNTER_ADD(service_gateway(call)->slot, blobs_asked, request->n_blob_digests);
		service_reply(call, arena, &response->base);
	} else if (!rpc_is_finished(call)) {
		service_fail(call, rc, "the store");
	}
out:
	arena_free(arena);
}

/*
 * More than a batch may have in all is the client's mistake, not this or that blob's.  The digests
 * tell, for a frame of a hundred bytes may become megabytes.
 */
static bool
batch_fits(struct rpc_call *call, uint64_t *total, const ReapiDigest *digest)
{
	if (digest != NULL && digest->size_bytes > 0)
		*total += (uint64_t)digest->size_bytes < BATCH_BYTES_MAX + 1
		    ? (uint64_t)digest->size_bytes
		    : BATCH_BYTES_MAX + 1;
	if (*total <= BATCH_BYTES_MAX)
		return true;
	rpc_finish(call, RPC_INVALID_ARGUMENT, "more than %d bytes in one batch: use ByteStream",
	    BATCH_BYTES_MAX);
	return false;
}

static int
blob_unpack(struct arena *arena, const ReapiBatchUpdateRequest *blob, const struct digest *digest,
    const uint8_t **ret_data, struct error_text *err)
{
	uint8_t *unpacked;

	switch ((int)blob->compressor) {
	case COMPRESSOR(IDENTITY):
		*ret_data = blob->data.data;
		if (blob->data.len != (size_t)digest->size_bytes)
			return error_set(err, -EBADMSG, "%zu bytes came, the digest says %lld",
			    blob->data.len, (long long)digest->size_bytes);
		return 0;
	case COMPRESSOR(ZSTD):
		if (zstd_unpack(arena, blob->data.data, blob->data.len, (size_t)digest->size_bytes,
			&unpacked) != 0)
			return error_set(err, -EBADMSG, "no zstd frame of %lld bytes",
			    (long long)digest->size_bytes);
		*ret_data = unpacked;
		return 0;
	default:
		return error_set(
		    err, -EINVAL, "compressor %d: this host has zstd only", (int)blob->compressor);
	}
}

static int
blob_update(struct gateway *gateway, struct cas *cas, struct arena *arena,
    const ReapiBatchUpdateRequest *blob, struct error_text *err)
{
	struct digest digest;
	const uint8_t *data;
	int rc;

	if (reapi_digest_get(blob->digest, &digest) != 0)
		return error_set(err, -EINVAL, "no digest, or a broken one");
	if ((uint64_t)digest.size_bytes > gateway->limits.blob_max)
		return error_set(err, -EFBIG, "larger than this host takes (--blob-max)");
	rc = blob_unpack(arena, blob, &digest, &data, err);
	if (rc != 0)
		return rc;
	if (!service_has_room(gateway, digest.size_bytes, err))
		return -ENOSPC;
	rc = cas_put_expected(cas, data, (size_t)digest.size_bytes, &digest);
	service_note_failure(gateway, rc);
	if (rc == -EBADMSG)
		return error_set(err, rc, "its bytes do not match its digest");
	if (rc != 0)
		return error_errno(err, rc, "cannot be stored");
	COUNTER_ADD(gateway->slot, blobs_received, 1);
	COUNTER_ADD(gateway->slot, bytes_received, (uint64_t)digest.size_bytes);
	return 0;
}

static bool
update_fits(struct rpc_call *call, const ReapiBatchUpdateBlobsRequest *request)
{
	uint64_t total = 0;

	if (!count_fits(call, request->n_requests))
		return false;
	for (size_t i = 0; i < request->n_requests; i++)
		if (!batch_fits(call, &total, request->requests[i]->digest))
			return false;
	return true;
}

static void
on_batch_update(struct rpc_call *call, void *state, const uint8_t *data, size_t len)
{
	struct gateway *gateway = service_gateway(call);
	struct arena *arena = arena_new();
	const ReapiBatchUpdateBlobsRequest *request =
	    service_decode(call, arena, REAPI_TYPE(batch_update_blobs_request), data, len);
	ReapiBatchUpdateBlobsResponse *response = REAPI_NEW(arena, batch_update_blobs_response);
	struct cas *cas;

	if (request == NULL || !service_instance(call, request->instance_name) ||
	    !service_digest_function(call, (int)request->digest_function) ||
	    !update_fits(call, request) || (cas = service_cas(call)) == NULL)
		goto out;
	response->responses =
	    arena_alloc(arena, (request->n_requests + 1) * sizeof(ReapiBatchUpdateResponse *));
	for (size_t i = 0; i < request->n_requests; i++) {
		ReapiBatchUpdateResponse *one =
		    REAPI_NEW(arena, batch_update_blobs_response__response);
		struct error_text err = {""};
		int rc = blob_update(gateway, cas, arena, request->requests[i], &err);

		one->digest = request->requests[i]->digest;
		one->status = service_status(
		    arena, rc == 0 ? RPC_OK : service_code(rc), rc == 0 ? "" : err.text);
		response->responses[response->n_responses++] = one;
	}
	service_reply(call, arena, &response->base);
out:
	arena_free(arena);
}

static bool
accepts_zstd(const ReapiBatchReadBlobsRequest *request)
{
	for (size_t i = 0; i < request->n_acceptable_compressors; i++)
		if (request->acceptable_compressors[i] == COMPRESSOR(ZSTD))
			return true;
	return false;
}

/* *room: what the answer may still grow by. */
static int
blob_read(struct cas *cas, struct arena *arena, bool zstd, ReapiBatchReadBlob *one, size_t *room,
    struct error_text *err)
{
	struct digest digest;
	uint8_t *data, *packed = NULL;
	size_t len, packed_len = 0;
	int rc;

	if (reapi_digest_get(one->digest, &digest) != 0)
		return error_set(err, -EINVAL, "no digest, or a broken one");
	if ((uint64_t)digest.size_bytes > *room)
		return error_set(
		    err, -EFBIG, "too much for one answer; ask again, or use ByteStream");
	rc = cas_read(cas, &digest, *room, &data, &len);
	if (rc != 0)
		return error_errno(err, rc == -EBADMSG ? -ENOENT : rc, "the blob");
	if (zstd && len >= PACK_BYTES_MIN)
		packed = zstd_pack(arena, data, len, &packed_len);
	if (packed != NULL) {
		one->data = (ProtobufCBinaryData){packed_len, packed};
		one->compressor = COMPRESSOR(ZSTD);
	} else {
		one->data = (ProtobufCBinaryData){len, arena_alloc(arena, len + 1)};
		memcpy(one->data.data, data, len);
	}
	free(data);
	*room -= one->data.len;
	return 0;
}

static void
batch_read(struct rpc_call *call, struct cas *cas, struct arena *arena,
    const ReapiBatchReadBlobsRequest *request)
{
	ReapiBatchReadBlobsResponse *response = REAPI_NEW(arena, batch_read_blobs_response);
	size_t room = ANSWER_BYTES_MAX;
	bool zstd = accepts_zstd(request);

	response->responses =
	    arena_alloc(arena, (request->n_digests + 1) * sizeof(ReapiBatchReadBlob *));
	for (size_t i = 0; i < request->n_digests; i++) {
		ReapiBatchReadBlob *one = REAPI_NEW(arena, batch_read_blobs_response__response);
		struct error_text err = {""};
		size_t around;
		int rc;

		one->digest = request->digests[i];
		/* its own fields around the bytes: digest, status, tags */
		around = 32 + protobuf_c_message_get_packed_size(&one->base);
		room -= around < room ? around : room;
		rc = blob_read(cas, arena, zstd, one, &room, &err);
		one->status = service_status(
		    arena, rc == 0 ? RPC_OK : service_code(rc), rc == 0 ? "" : err.text);
		response->responses[response->n_responses++] = one;
		if (rc == 0)
			COUNTER_ADD(service_gateway(call)->slot, bytes_sent, one->data.len);
	}
	service_reply(call, arena, &response->base);
}

static bool
read_fits(struct rpc_call *call, const ReapiBatchReadBlobsRequest *request)
{
	uint64_t total = 0;

	if (!count_fits(call, request->n_digests))
		return false;
	for (size_t i = 0; i < request->n_digests; i++)
		if (!batch_fits(call, &total, request->digests[i]))
			return false;
	return true;
}

static void
on_batch_read(struct rpc_call *call, void *state, const uint8_t *data, size_t len)
{
	struct arena *arena = arena_new();
	const ReapiBatchReadBlobsRequest *request =
	    service_decode(call, arena, REAPI_TYPE(batch_read_blobs_request), data, len);
	struct cas *cas;

	if (request != NULL && service_instance(call, request->instance_name) &&
	    service_digest_function(call, (int)request->digest_function) &&
	    read_fits(call, request) && (cas = service_cas(call)) != NULL)
		batch_read(call, cas, arena, request);
	arena_free(arena);
}

const struct rpc_method method_find_missing_blobs = {
    .path = REAPI_METHOD("ContentAddressableStorage", "FindMissingBlobs"),
    .on_message = on_find_missing};
const struct rpc_method method_batch_update_blobs = {
    .path = REAPI_METHOD("ContentAddressableStorage", "BatchUpdateBlobs"),
    .on_message = on_batch_update};
const struct rpc_method method_batch_read_blobs = {
    .path = REAPI_METHOD("ContentAddressableStorage", "BatchReadBlobs"),
    .on_message = on_batch_read};
