#include "cas/wire.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/utf8.h"

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

struct cursor {
	const uint8_t *at, *end;
};

struct look {
	bool strict; /* strings are UTF-8 */
	const char *field; /* the bad one */
};

static bool
take_varint(struct cursor *cursor, uint64_t *ret_value)
{
	uint64_t value = 0;

	for (unsigned shift = 0; shift < 70 && cursor->at < cursor->end; shift += 7) {
		uint8_t byte = *cursor->at++;

		if (shift < 64)
			value |= (uint64_t)(byte & 0x7f) << shift;
		if ((byte & 0x80) == 0) {
			*ret_value = value;
			return true;
		}
	}
	return false;
}

static bool
take_bytes(struct cursor *cursor, uint64_t count, struct cursor *ret_bytes)
{
	if (count > (uint64_t)(cursor->end - cursor->at))
		return false;
	ret_bytes->at = cursor->at;
	ret_bytes->end = cursor->at += count;
	return true;
}

static int check_message(const ProtobufCMessageDescriptor *type, struct cursor cursor,
    unsigned depth, struct look *look);

static int
check_bytes(
    const ProtobufCFieldDescriptor *field, struct cursor bytes, unsigned depth, struct look *look)
{
	size_t len = (size_t)(bytes.end - bytes.at);

	if (field == NULL)
		return 0;
	if (field->type == PROTOBUF_C_TYPE_MESSAGE)
		return check_message(field->descriptor, bytes, depth + 1, look);
	if (field->type != PROTOBUF_C_TYPE_STRING || bytes.at == bytes.end)
		return 0;
	if (memchr(bytes.at, '\0', len) == NULL && (!look->strict || utf8_are_valid(bytes.at, len)))
		return 0;
	look->field = field->name;
	return -EINVAL;
}

static int
check_message(
    const ProtobufCMessageDescriptor *type, struct cursor cursor, unsigned depth, struct look *look)
{
	while (cursor.at < cursor.end) {
		struct cursor bytes;
		uint64_t tag, count;
		bool ok;
		int rc;

		if (depth > WIRE_DEPTH_MAX || !take_varint(&cursor, &tag) || tag > UINT32_MAX ||
		    tag >> 3 == 0)
			return -EINVAL;
		switch (tag & 7) {
		case WIRE_VARINT:
			ok = take_varint(&cursor, &count);
			break;
		case WIRE_FIXED64:
			ok = take_bytes(&cursor, 8, &bytes);
			break;
		case WIRE_FIXED32:
			ok = take_bytes(&cursor, 4, &bytes);
			break;
		case WIRE_BYTES:
			ok = take_varint(&cursor, &count) && take_bytes(&cursor, count, &bytes);
			break;
		default:
			ok = false;
		}
		if (!ok)
			return -EINVAL;
		if ((tag & 7) != WIRE_BYTES)
			continue;
		rc =
		    check_bytes(protobuf_c_message_descriptor_get_field(type, (unsigned)(tag >> 3)),
			bytes, depth, look);
		if (rc != 0)
			return rc;
	}
	return 0;
}

static int
check(const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t len, bool strict,
    const char **ret_field)
{
	struct look look = {.strict = strict};
	int rc;

	if (len == 0)
		return 0;
	rc = check_message(type, (struct cursor){data, data + len}, 0, &look);
	if (ret_field != NULL && rc != 0)
		*ret_field = look.field;
	return rc;
}

int
wire_check(
    const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t len, const char **ret_field)
{
	return check(type, data, len, false, ret_field);
}

int
wire_check_strict(
    const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t len, const char **ret_field)
{
	return check(type, data, len, true, ret_field);
}

size_t
wire_put_varint(uint64_t value, uint8_t *out)
{
	size_t len = 0;

	do {
		uint8_t byte = value & 0x7f;

		value >>= 7;
		if (out != NULL)
			out[len] = (uint8_t)(byte | (value != 0 ? 0x80 : 0));
		len++;
	} while (value != 0);
	return len;
}
