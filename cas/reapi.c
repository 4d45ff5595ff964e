#include "cas/reapi.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "cas/wire.h"

/* What a message may grow to when decoded: many empty submessages cost two bytes each on the wire.
 */
enum { DECODE_MEMORY_MAX = 1 << 30 };

struct decode_memory {
	struct arena *arena;
	size_t left;
};

static void *
decode_alloc(void *data, size_t size)
{
	struct decode_memory *memory = data;

	if (size > memory->left)
		return NULL;
	memory->left -= size;
	return arena_alloc(memory->arena, size);
}

static void
decode_free(void *data, void *pointer)
{
}

static void *
unpack(struct arena *arena, const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t len,
    size_t memory_max)
{
	struct decode_memory memory = {.arena = arena, .left = memory_max};
	ProtobufCAllocator allocator = {decode_alloc, decode_free, &memory};

	return protobuf_c_message_unpack(type, &allocator, len, data);
}

void *
reapi_decode_within(struct arena *arena, const ProtobufCMessageDescriptor *type,
    const uint8_t *data, size_t len, size_t memory_max)
{
	if (wire_check(type, data, len, NULL) != 0)
		return NULL;
	return unpack(arena, type, data, len, memory_max);
}

void *
reapi_decode_strict(struct arena *arena, const ProtobufCMessageDescriptor *type,
    const uint8_t *data, size_t len, size_t memory_max, const char **ret_field)
{
	if (wire_check_strict(type, data, len, ret_field) != 0)
		return NULL;
	return unpack(arena, type, data, len, memory_max);
}

void *
reapi_decode(
    struct arena *arena, const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t len)
{
	return reapi_decode_within(arena, type, data, len, DECODE_MEMORY_MAX);
}

void *
reapi_new(struct arena *arena, const ProtobufCMessageDescriptor *type)
{
	ProtobufCMessage *message = arena_alloc(arena, type->sizeof_message);

	protobuf_c_message_init(type, message);
	return message;
}

uint8_t *
reapi_encode(struct arena *arena, const ProtobufCMessage *message, size_t *ret_len)
{
	size_t len = protobuf_c_message_get_packed_size(message);
	uint8_t *data = arena_alloc(arena, len + 1);

	CHECK(protobuf_c_message_pack(message, data) == len);
	*ret_len = len;
	return data;
}

int
reapi_digest_get(const ReapiDigest *from, struct digest *ret_digest)
{
	struct digest digest;

	if (from == NULL || from->hash == NULL || from->size_bytes < 0 ||
	    from->size_bytes > DIGEST_SIZE_MAX)
		return -EINVAL;
	if (strlen(from->hash) != DIGEST_HEX_SIZE - 1)
		return -EINVAL;
	if (digest_hash_from_hex(from->hash, digest.hash) != 0)
		return -EINVAL;
	digest.size_bytes = from->size_bytes;
	*ret_digest = digest;
	return 0;
}

ReapiDigest *
reapi_digest_new(struct arena *arena, const struct digest *digest)
{
	ReapiDigest *message = REAPI_NEW(arena, digest);

	message->hash = arena_alloc(arena, DIGEST_HEX_SIZE);
	digest_to_hex(digest, message->hash);
	message->size_bytes = digest->size_bytes;
	return message;
}

Google__Protobuf__Timestamp *
reapi_timestamp_new(struct arena *arena, uint64_t us)
{
	Google__Protobuf__Timestamp *stamp =
	    reapi_new(arena, &google__protobuf__timestamp__descriptor);

	stamp->seconds = (int64_t)(us / 1000000);
	stamp->nanos = (int32_t)(us % 1000000 * 1000);
	return stamp;
}
