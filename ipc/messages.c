#include "ipc/messages.h"

#include <errno.h>
#include <msgpack.h>
#include <stddef.h>
#include <string.h>

#include "base/check.h"
#include "ipc/walk.h"

enum kind { KIND_U64, KIND_I64, KIND_BOOL, KIND_DIGEST, KIND_TEXT, KIND_BYTES, KIND_U64S };

enum { DIGEST_WIRE_BYTES = DIGEST_HASH_BYTES + 8 };

struct field_info {
	uint8_t key; /* 0 ends the list */
	enum kind kind;
	bool required;
	uint32_t max;
	size_t offset, has_offset;
};

struct message_info {
	enum msg_type type;
	const char *name;
	const struct field_info *fields;
};

#define FIELD_INFO(message, key, kind, max, field, required, help)                                 \
	{key, KIND_##kind, required, max, offsetof(struct msg_##message, field),                   \
	    offsetof(struct msg_##message, has_##field)},
#define MESSAGE(name, number, sender, help) static const struct field_info fields_##name[] = {
#define FIELD(...) FIELD_INFO(__VA_ARGS__)
#define END(name)                                                                                  \
	{                                                                                          \
		0                                                                                  \
	}                                                                                          \
	}                                                                                          \
	;
#include "ipc/messages.def"
#undef MESSAGE
#undef FIELD
#undef END

static const struct message_info message_table[] = {
#define MESSAGE(name, number, sender, help) {MSG_##name, #name, fields_##name},
#define FIELD(...)
#define END(name)
#include "ipc/messages.def"
#undef MESSAGE
#undef FIELD
#undef END
};

/* All members of the union start where the union does. */
static const size_t body_offset = offsetof(struct message, hello);

const char *const job_status_names[JOB_STATUS_COUNT] = {"ok", "timeout", "missing", "invalid",
    "failed", "worker_lost", "cancelled", "unmet", "disk_full"};

const char *const job_metric_names[METRIC_COUNT] = {"files_placed", "bytes_placed",
    "subtrees_placed", "directories_made", "subtrees_built", "queue_us", "load_us", "stage_us",
    "exec_us", "collect_us", "total_us", "max_rss", "user_us", "system_us", "output_files",
    "output_bytes", "fallbacks", "bind_files", "overlay_files", "image_files", "clonefile_files",
    "reflink_files", "hardlink_files", "copy_files", "recycle_files", "bind_subtrees",
    "overlay_subtrees", "image_subtrees", "clonefile_subtrees", "reflink_subtrees",
    "hardlink_subtrees", "copy_subtrees", "recycle_subtrees"};

static const struct message_info *
message_info(uint64_t type)
{
	for (size_t i = 0; i < sizeof(message_table) / sizeof(message_table[0]); i++)
		if ((uint64_t)message_table[i].type == type)
			return &message_table[i];
	return NULL;
}

const char *
message_name(enum msg_type type)
{
	const struct message_info *info = message_info((uint64_t)type);

	return info != NULL ? info->name : "unknown";
}

struct msg_text
msg_text(const char *text)
{
	return (struct msg_text){text, text != NULL ? (uint32_t)strlen(text) : 0};
}

char *
msg_text_copy(struct msg_text text, char *buffer, size_t size)
{
	size_t len = text.len < size ? text.len : size - 1;

	CHECK(size > 0);
	if (len > 0)
		memcpy(buffer, text.data, len);
	buffer[len] = '\0';
	return buffer;
}

/* Encoding. */

struct frame_writer {
	uint8_t *data;
	size_t len;
};

static int
frame_write(void *arg, const char *data, size_t len)
{
	struct frame_writer *writer = arg;

	if (len > (size_t)IPC_FRAME_MAX + 4 - writer->len)
		return -1;
	memcpy(writer->data + writer->len, data, len);
	writer->len += len;
	return 0;
}

static void
put_be(uint8_t *to, uint64_t value, int bytes)
{
	for (int i = 0; i < bytes; i++)
		to[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
}

static bool
field_wanted(const struct field_info *field, const uint8_t *body)
{
	const uint8_t *at = body + field->offset;
	bool has;

	memcpy(&has, body + field->has_offset, sizeof(has));
	if (field->required || has)
		return true;
	switch (field->kind) {
	case KIND_U64:
		return *(const uint64_t *)(const void *)at != 0;
	case KIND_I64:
		return *(const int64_t *)(const void *)at != 0;
	case KIND_BOOL:
		return *(const bool *)(const void *)at;
	case KIND_TEXT:
	case KIND_BYTES:
		return ((const struct msg_text *)(const void *)at)->data != NULL;
	case KIND_U64S:
		return ((const struct msg_u64s *)(const void *)at)->count != 0;
	case KIND_DIGEST: /* no digest is all zeroes, but a field never set is */
		return *(const uint64_t *)(const void *)at != 0;
	}
	return false;
}

static int
encode_text(msgpack_packer *packer, const struct field_info *field, const struct msg_text *text)
{
	size_t len = text->len;

	if (len > field->max)
		return -E2BIG;
	if (len > 0 && text->data == NULL)
		return -EINVAL;
	if (field->kind == KIND_BYTES)
		return msgpack_pack_bin(packer, len) |
		    msgpack_pack_bin_body(packer, text->data, len);
	if (len > 0 && memchr(text->data, '\0', len) != NULL)
		return -EINVAL;
	return msgpack_pack_str(packer, len) | msgpack_pack_str_body(packer, text->data, len);
}

static int
encode_digest(msgpack_packer *packer, const struct digest *digest)
{
	uint8_t wire[DIGEST_WIRE_BYTES];

	if (digest->size_bytes < 0)
		return -EINVAL;
	memcpy(wire, digest->hash, DIGEST_HASH_BYTES);
	put_be(wire + DIGEST_HASH_BYTES, (uint64_t)digest->size_bytes, 8);
	return msgpack_pack_bin(packer, sizeof(wire)) |
	    msgpack_pack_bin_body(packer, wire, sizeof(wire));
}

static int
encode_u64s(msgpack_packer *packer, const struct field_info *field, const struct msg_u64s *list)
{
	int rc;

	if (list->count > field->max || list->count > IPC_U64S_MAX)
		return -E2BIG;
	rc = msgpack_pack_array(packer, list->count);
	for (uint32_t i = 0; i < list->count; i++)
		rc |= msgpack_pack_uint64(packer, list->values[i]);
	return rc;
}

static int
encode_field(msgpack_packer *packer, const struct field_info *field, const void *at)
{
	int rc = msgpack_pack_uint8(packer, field->key);

	if (rc != 0)
		return rc;
	switch (field->kind) {
	case KIND_U64:
		return msgpack_pack_uint64(packer, *(const uint64_t *)at);
	case KIND_I64:
		return msgpack_pack_int64(packer, *(const int64_t *)at);
	case KIND_BOOL:
		return *(const bool *)at ? msgpack_pack_true(packer) : msgpack_pack_false(packer);
	case KIND_DIGEST:
		return encode_digest(packer, at);
	case KIND_TEXT:
	case KIND_BYTES:
		return encode_text(packer, field, at);
	case KIND_U64S:
		return encode_u64s(packer, field, at);
	}
	return -EINVAL;
}

int
message_encode(const struct message *message, uint8_t *frame, size_t *ret_len)
{
	const struct message_info *info = message_info((uint64_t)message->type);
	const uint8_t *body = (const uint8_t *)message + body_offset;
	struct frame_writer writer = {frame, 4};
	msgpack_packer packer;
	size_t count = 0;
	int rc;

	if (info == NULL)
		return -ENOMSG;
	for (const struct field_info *field = info->fields; field->key != 0; field++)
		count += field_wanted(field, body);
	msgpack_packer_init(&packer, &writer, frame_write);
	rc = msgpack_pack_array(&packer, 4) | msgpack_pack_uint8(&packer, IPC_VERSION) |
	    msgpack_pack_uint32(&packer, (uint32_t)info->type) |
	    msgpack_pack_uint32(&packer, message->seq) | msgpack_pack_map(&packer, count);
	for (const struct field_info *field = info->fields; rc == 0 && field->key != 0; field++)
		if (field_wanted(field, body))
			rc = encode_field(&packer, field, body + field->offset);
	if (rc == -1) /* the packer's own: the frame is full */
		return -E2BIG;
	if (rc != 0)
		return rc;
	put_be(frame, writer.len - 4, 4);
	*ret_len = writer.len;
	return 0;
}

/* Decoding. */

static int
decode_u64(const msgpack_object *object, uint64_t max, uint64_t *ret_value)
{
	if (object->type != MSGPACK_OBJECT_POSITIVE_INTEGER || object->via.u64 > max)
		return -EPROTO;
	*ret_value = object->via.u64;
	return 0;
}

static int
decode_i64(const msgpack_object *object, int64_t *ret_value)
{
	uint64_t value;

	if (object->type == MSGPACK_OBJECT_NEGATIVE_INTEGER) {
		*ret_value = object->via.i64;
		return 0;
	}
	if (decode_u64(object, INT64_MAX, &value) != 0)
		return -EPROTO;
	*ret_value = (int64_t)value;
	return 0;
}

static int
decode_digest(const msgpack_object *object, struct digest *ret_digest)
{
	const uint8_t *wire;
	uint64_t size = 0;

	if (object->type != MSGPACK_OBJECT_BIN || object->via.bin.size != DIGEST_WIRE_BYTES)
		return -EPROTO;
	wire = (const uint8_t *)object->via.bin.ptr;
	for (int i = DIGEST_HASH_BYTES; i < DIGEST_WIRE_BYTES; i++)
		size = size << 8 | wire[i];
	if (size > INT64_MAX)
		return -EPROTO;
	memcpy(ret_digest->hash, wire, DIGEST_HASH_BYTES);
	ret_digest->size_bytes = (int64_t)size;
	return 0;
}

static int
decode_text(const struct field_info *field, const msgpack_object *object, struct msg_text *ret_text)
{
	bool bytes = field->kind == KIND_BYTES;

	/* str and bin have one layout in msgpack-c's object. */
	if (object->type != (bytes ? MSGPACK_OBJECT_BIN : MSGPACK_OBJECT_STR))
		return -EPROTO;
	ret_text->data = bytes ? object->via.bin.ptr : object->via.str.ptr;
	ret_text->len = bytes ? object->via.bin.size : object->via.str.size;
	if (ret_text->len > field->max)
		return -E2BIG;
	if (ret_text->len == 0)
		ret_text->data = "";
	else if (!bytes && memchr(ret_text->data, '\0', ret_text->len) != NULL)
		return -EPROTO;
	return 0;
}

static int
decode_u64s(const struct field_info *field, const msgpack_object *object, struct msg_u64s *ret_list)
{
	if (object->type != MSGPACK_OBJECT_ARRAY)
		return -EPROTO;
	if (object->via.array.size > field->max || object->via.array.size > IPC_U64S_MAX)
		return -E2BIG;
	ret_list->count = object->via.array.size;
	for (uint32_t i = 0; i < ret_list->count; i++)
		if (decode_u64(&object->via.array.ptr[i], UINT64_MAX, &ret_list->values[i]) != 0)
			return -EPROTO;
	return 0;
}

static int
decode_field(const struct field_info *field, const msgpack_object *object, void *at)
{
	switch (field->kind) {
	case KIND_U64:
		return decode_u64(object, UINT64_MAX, at);
	case KIND_I64:
		return decode_i64(object, at);
	case KIND_BOOL:
		if (object->type != MSGPACK_OBJECT_BOOLEAN)
			return -EPROTO;
		*(bool *)at = object->via.boolean;
		return 0;
	case KIND_DIGEST:
		return decode_digest(object, at);
	case KIND_TEXT:
	case KIND_BYTES:
		return decode_text(field, object, at);
	case KIND_U64S:
		return decode_u64s(field, object, at);
	}
	return -EPROTO;
}

static const struct field_info *
field_find(const struct message_info *info, uint64_t key)
{
	const struct field_info *field = info->fields;

	while (field->key != 0 && field->key != key)
		field++;
	return field->key != 0 ? field : NULL;
}

static int
decode_map(const struct message_info *info, const msgpack_object_map *map, uint8_t *body)
{
	for (uint32_t i = 0; i < map->size; i++) {
		const struct field_info *field;
		uint64_t key;
		bool *has;
		int rc;

		if (decode_u64(&map->ptr[i].key, UINT64_MAX, &key) != 0)
			return -EPROTO;
		field = field_find(info, key);
		if (field == NULL)
			continue;
		has = (bool *)(body + field->has_offset);
		if (*has)
			return -EPROTO;
		rc = decode_field(field, &map->ptr[i].val, body + field->offset);
		if (rc != 0)
			return rc;
		*has = true;
	}
	for (const struct field_info *field = info->fields; field->key != 0; field++)
		if (field->required && !*(bool *)(body + field->has_offset))
			return -EPROTO;
	return 0;
}

static int
decode_object(const msgpack_object *object, struct message *message)
{
	const msgpack_object *items = object->via.array.ptr;
	const struct message_info *info;
	uint64_t version, type, seq;

	if (object->type != MSGPACK_OBJECT_ARRAY || object->via.array.size != 4 ||
	    decode_u64(&items[0], UINT64_MAX, &version) != 0 || version != IPC_VERSION ||
	    decode_u64(&items[1], UINT32_MAX, &type) != 0 ||
	    decode_u64(&items[2], UINT32_MAX, &seq) != 0 || items[3].type != MSGPACK_OBJECT_MAP)
		return -EPROTO;
	info = message_info(type);
	if (info == NULL)
		return -ENOMSG;
	message->type = info->type;
	message->seq = (uint32_t)seq;
	return decode_map(info, &items[3].via.map, (uint8_t *)message + body_offset);
}

int
message_decode(const uint8_t *body, size_t len, struct message *ret_message)
{
	struct message message;
	msgpack_unpacked unpacked;
	size_t offset = 0;
	int rc;

	if (len > IPC_FRAME_MAX || walk_check(body, len) != 0)
		return -EPROTO;
	memset(&message, 0, sizeof(message));
	msgpack_unpacked_init(&unpacked);
	if (msgpack_unpack_next(&unpacked, (const char *)body, len, &offset) ==
	    MSGPACK_UNPACK_SUCCESS)
		rc = offset == len ? decode_object(&unpacked.data, &message) : -EPROTO;
	else
		rc = -EPROTO;
	msgpack_unpacked_destroy(&unpacked);
	if (rc == 0)
		*ret_message = message;
	return rc;
}
