/* Encoder and decoder, driven from messages.def: what goes in comes out, and nothing else does. */
#include <errno.h>
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/messages.h"
#include "ipc/walk.h"
#include "tests/cmocka_wrap.h"

enum test_kind { T_U64, T_I64, T_BOOL, T_DIGEST, T_TEXT, T_BYTES, T_U64S };

struct test_field {
	int message, key;
	enum test_kind kind;
	uint32_t max;
	bool required;
	size_t offset, has_offset, size;
};

#define TEST_FIELD(message, key, kind, max, field, required, help)                                 \
	{MSG_##message, key, T_##kind, max, required, offsetof(struct msg_##message, field),       \
	    offsetof(struct msg_##message, has_##field),                                           \
	    sizeof(((struct msg_##message *)0)->field)},
static const struct test_field fields[] = {
#define MESSAGE(name, number, sender, help)
#define FIELD(...) TEST_FIELD(__VA_ARGS__)
#define END(name)
#include "ipc/messages.def"
#undef MESSAGE
#undef FIELD
#undef END
};
enum { FIELD_COUNT = sizeof(fields) / sizeof(fields[0]) };

static const int types[] = {
#define MESSAGE(name, number, sender, help) MSG_##name,
#define FIELD(...)
#define END(name)
#include "ipc/messages.def"
#undef MESSAGE
#undef FIELD
#undef END
};
enum { TYPE_COUNT = sizeof(types) / sizeof(types[0]) };

static char filler[65536];
static uint8_t frame[IPC_FRAME_MAX + 4];

static void *
field_at(struct message *message, const struct test_field *field)
{
	return (uint8_t *)&message->hello + field->offset;
}

static bool *
has_at(struct message *message, const struct test_field *field)
{
	return (bool *)((uint8_t *)&message->hello + field->has_offset);
}

static void
field_fill(struct message *message, const struct test_field *field, uint32_t text_len)
{
	void *at = field_at(message, field);
	struct msg_u64s *list = at;

	*has_at(message, field) = true;
	switch (field->kind) {
	case T_U64:
		*(uint64_t *)at = UINT64_MAX - (uint64_t)field->key;
		break;
	case T_I64:
		*(int64_t *)at = INT64_MIN + field->key;
		break;
	case T_BOOL:
		*(bool *)at = true;
		break;
	case T_DIGEST:
		memset(at, 0xa0 + field->key, DIGEST_HASH_BYTES);
		((struct digest *)at)->size_bytes = INT64_MAX - field->key;
		break;
	case T_TEXT:
	case T_BYTES:
		*(struct msg_text *)at = (struct msg_text){filler, text_len};
		break;
	case T_U64S:
		list->count = field->max;
		for (uint32_t i = 0; i < list->count; i++)
			list->values[i] = UINT64_MAX - i;
		break;
	}
}

static void
message_fill(struct message *message, int type, bool optional, bool at_cap)
{
	memset(message, 0, sizeof(*message));
	message->type = (enum msg_type)type;
	message->seq = UINT32_MAX - (uint32_t)type;
	for (int i = 0; i < FIELD_COUNT; i++)
		if (fields[i].message == type && (optional || fields[i].required))
			field_fill(message, &fields[i], at_cap ? fields[i].max : 7);
}

static void
field_assert_equal(struct message *a, struct message *b, const struct test_field *field)
{
	struct msg_text *text_a = field_at(a, field), *text_b = field_at(b, field);

	assert_int_equal(*has_at(a, field), *has_at(b, field));
	if (field->kind != T_TEXT && field->kind != T_BYTES) {
		assert_memory_equal(text_a, text_b, field->size);
		return;
	}
	assert_int_equal(text_a->len, text_b->len);
	if (text_a->len > 0)
		assert_memory_equal(text_a->data, text_b->data, text_a->len);
}

static void
round_trip(int type, bool optional, bool at_cap)
{
	struct message in, out;
	size_t len;

	message_fill(&in, type, optional, at_cap);
	assert_int_equal(message_encode(&in, frame, &len), 0);
	assert_int_equal(
	    (size_t)frame[0] << 24 | frame[1] << 16 | frame[2] << 8 | frame[3], len - 4);
	memset(&out, 0xee, sizeof(out));
	assert_int_equal(message_decode(frame + 4, len - 4, &out), 0);
	assert_int_equal(out.type, in.type);
	assert_int_equal(out.seq, in.seq);
	for (int i = 0; i < FIELD_COUNT; i++)
		if (fields[i].message == type)
			field_assert_equal(&in, &out, &fields[i]);
}

static void
test_round_trip(void **state)
{
	for (int i = 0; i < TYPE_COUNT; i++) {
		round_trip(types[i], false, false);
		round_trip(types[i], true, false);
		round_trip(types[i], true, true);
	}
}

static void
test_optional_by_value(void **state)
{
	struct message in = {.type = MSG_submit}, out;
	size_t len;

	in.submit.job = 1;
	in.submit.action = digest_empty;
	in.submit.label = msg_text("link");
	in.submit.priority = -3;
	assert_int_equal(message_encode(&in, frame, &len), 0);
	assert_int_equal(message_decode(frame + 4, len - 4, &out), 0);
	assert_true(out.submit.has_label && out.submit.has_priority);
	assert_false(out.submit.has_guard_off);
	assert_int_equal(out.submit.priority, -3);
	assert_int_equal(out.submit.label.len, 4);
}

/* The body is copied to its own allocation, so that a read past its end is caught under asan. */
static int
decode_exactly(const uint8_t *body, size_t len, struct message *ret_message)
{
	uint8_t *copy = malloc(len + (len == 0));
	int rc;

	assert_non_null(copy);
	memcpy(copy, body, len);
	rc = message_decode(copy, len, ret_message);
	free(copy);
	return rc;
}

static void
test_truncation(void **state)
{
	for (int i = 0; i < TYPE_COUNT; i++) {
		struct message in, out;
		size_t len;

		message_fill(&in, types[i], true, false);
		assert_int_equal(message_encode(&in, frame, &len), 0);
		for (size_t cut = 0; cut < len - 4; cut++)
			assert_int_equal(decode_exactly(frame + 4, cut, &out), -EPROTO);
		frame[len] = 0xc0;
		assert_int_equal(decode_exactly(frame + 4, len - 3, &out), -EPROTO);
	}
}

static void
test_caps_on_encode(void **state)
{
	for (int i = 0; i < FIELD_COUNT; i++) {
		struct message in;
		size_t len = 12345;

		if (fields[i].max == 0 || fields[i].kind == T_U64S)
			continue;
		message_fill(&in, fields[i].message, true, false);
		((struct msg_text *)field_at(&in, &fields[i]))->len = fields[i].max + 1;
		assert_int_equal(message_encode(&in, frame, &len), -E2BIG);
		assert_int_equal(len, 12345);
	}
}

static void
test_bad_values_on_encode(void **state)
{
	struct message in = {.type = MSG_done};
	size_t len;

	in.done.metrics.count = IPC_U64S_MAX + 1;
	assert_int_equal(message_encode(&in, frame, &len), -E2BIG);
	in.done.metrics.count = 0;
	in.done.message = (struct msg_text){"a\0b", 3};
	assert_int_equal(message_encode(&in, frame, &len), -EINVAL);
	in.done.message = msg_text("ab");
	assert_int_equal(message_encode(&in, frame, &len), 0);
	in.done.missing.hash[0] = 1;
	in.done.missing.size_bytes = -1;
	assert_int_equal(message_encode(&in, frame, &len), -EINVAL);
	in.type = (enum msg_type)9999;
	assert_int_equal(message_encode(&in, frame, &len), -ENOMSG);
}

/* Bodies written by hand. */
static msgpack_sbuffer buffer;
static msgpack_packer packer;

static void
hand_start(int version, uint64_t type, uint64_t seq, size_t pairs)
{
	msgpack_sbuffer_clear(&buffer);
	msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
	msgpack_pack_array(&packer, 4);
	msgpack_pack_int(&packer, version);
	msgpack_pack_uint64(&packer, type);
	msgpack_pack_uint64(&packer, seq);
	msgpack_pack_map(&packer, pairs);
}

static int
hand_decode(struct message *ret_message)
{
	return decode_exactly((const uint8_t *)buffer.data, buffer.size, ret_message);
}

static void
pack_good(const struct test_field *field)
{
	static const char wire[DIGEST_HASH_BYTES + 8];

	switch (field->kind) {
	case T_U64:
	case T_I64:
		msgpack_pack_int(&packer, 5);
		return;
	case T_BOOL:
		msgpack_pack_true(&packer);
		return;
	case T_DIGEST:
		msgpack_pack_bin(&packer, sizeof(wire));
		msgpack_pack_bin_body(&packer, wire, sizeof(wire));
		return;
	case T_TEXT:
		msgpack_pack_str(&packer, 2);
		msgpack_pack_str_body(&packer, "ok", 2);
		return;
	case T_BYTES:
		msgpack_pack_bin(&packer, 2);
		msgpack_pack_bin_body(&packer, "\0\1", 2);
		return;
	case T_U64S:
		msgpack_pack_array(&packer, 1);
		msgpack_pack_int(&packer, 5);
		return;
	}
}

enum bad {
	BAD_NIL,
	BAD_MAP,
	BAD_FLOAT,
	BAD_NEGATIVE,
	BAD_BIN,
	BAD_STR,
	BAD_NUL,
	BAD_NESTED,
	BAD_COUNT
};

/* Is this value wrong for a field of this kind?  If so it has been packed. */
static bool
pack_bad(enum test_kind kind, enum bad bad)
{
	switch (bad) {
	case BAD_NIL:
		msgpack_pack_nil(&packer);
		return true;
	case BAD_MAP:
		msgpack_pack_map(&packer, 0);
		return true;
	case BAD_FLOAT:
		msgpack_pack_double(&packer, 1.0);
		return true;
	case BAD_NEGATIVE:
		msgpack_pack_int(&packer, -1);
		return kind != T_I64;
	case BAD_BIN:
		msgpack_pack_bin(&packer, 3);
		msgpack_pack_bin_body(&packer, "abc", 3);
		return kind != T_BYTES;
	case BAD_STR:
		msgpack_pack_str(&packer, 3);
		msgpack_pack_str_body(&packer, "abc", 3);
		return kind != T_TEXT;
	case BAD_NUL:
		msgpack_pack_str(&packer, 3);
		msgpack_pack_str_body(&packer, "a\0c", 3);
		return true;
	case BAD_NESTED:
		msgpack_pack_array(&packer, 1);
		msgpack_pack_array(&packer, 0);
		return true;
	case BAD_COUNT:
		break;
	}
	return false;
}

static void
hand_message(const struct test_field *odd, enum bad bad, bool *ret_is_bad)
{
	size_t pairs = 0;

	for (int i = 0; i < FIELD_COUNT; i++)
		pairs += fields[i].message == odd->message;
	hand_start(IPC_VERSION, (uint64_t)odd->message, 1, pairs);
	for (int i = 0; i < FIELD_COUNT; i++) {
		if (fields[i].message != odd->message)
			continue;
		msgpack_pack_int(&packer, fields[i].key);
		if (&fields[i] == odd && bad != BAD_COUNT)
			*ret_is_bad = pack_bad(odd->kind, bad);
		else
			pack_good(&fields[i]);
	}
}

static void
test_wrong_types(void **state)
{
	struct message out;

	for (int i = 0; i < FIELD_COUNT; i++) {
		bool is_bad = true;

		hand_message(&fields[i], BAD_COUNT, &is_bad);
		assert_int_equal(hand_decode(&out), 0);
		for (int bad = 0; bad < BAD_COUNT; bad++) {
			hand_message(&fields[i], (enum bad)bad, &is_bad);
			assert_int_equal(hand_decode(&out), is_bad ? -EPROTO : 0);
		}
	}
}

static void
test_required_missing(void **state)
{
	for (int i = 0; i < FIELD_COUNT; i++) {
		struct message out;
		size_t pairs = 0;

		for (int j = 0; j < FIELD_COUNT; j++)
			pairs += fields[j].message == fields[i].message && j != i;
		hand_start(IPC_VERSION, (uint64_t)fields[i].message, 1, pairs);
		for (int j = 0; j < FIELD_COUNT; j++) {
			if (fields[j].message != fields[i].message || j == i)
				continue;
			msgpack_pack_int(&packer, fields[j].key);
			pack_good(&fields[j]);
		}
		assert_int_equal(hand_decode(&out), fields[i].required ? -EPROTO : 0);
	}
}

static void
test_caps_on_decode(void **state)
{
	for (int i = 0; i < FIELD_COUNT; i++) {
		struct message out;
		uint32_t over = fields[i].max + 1;

		if (fields[i].max == 0)
			continue;
		hand_start(IPC_VERSION, (uint64_t)fields[i].message, 1, 1);
		msgpack_pack_int(&packer, fields[i].key);
		if (fields[i].kind == T_TEXT) {
			msgpack_pack_str(&packer, over);
			msgpack_pack_str_body(&packer, filler, over);
		} else if (fields[i].kind == T_BYTES) {
			msgpack_pack_bin(&packer, over);
			msgpack_pack_bin_body(&packer, filler, over);
		} else {
			msgpack_pack_array(&packer, over);
			for (uint32_t n = 0; n < over; n++)
				msgpack_pack_int(&packer, 1);
		}
		assert_int_equal(hand_decode(&out), -E2BIG);
	}
}

static void
test_unknown_keys_skipped(void **state)
{
	struct message out;

	hand_start(IPC_VERSION, MSG_cancel, 3, 4);
	msgpack_pack_int(&packer, 200);
	msgpack_pack_str(&packer, 3);
	msgpack_pack_str_body(&packer, "new", 3);
	msgpack_pack_int(&packer, 1);
	msgpack_pack_int(&packer, 42);
	msgpack_pack_uint64(&packer, UINT64_MAX);
	msgpack_pack_array(&packer, 2);
	msgpack_pack_array(&packer, 0);
	msgpack_pack_nil(&packer);
	msgpack_pack_int(&packer, 0);
	msgpack_pack_double(&packer, 0.5);
	assert_int_equal(hand_decode(&out), 0);
	assert_int_equal(out.type, MSG_cancel);
	assert_int_equal(out.cancel.job, 42);
}

static void
test_bad_envelopes(void **state)
{
	struct message out = {.seq = 77};

	hand_start(IPC_VERSION + 1, MSG_disk_full, 1, 0);
	assert_int_equal(hand_decode(&out), -EPROTO);
	hand_start(-1, MSG_disk_full, 1, 0);
	assert_int_equal(hand_decode(&out), -EPROTO);
	hand_start(IPC_VERSION, 9999, 1, 0);
	assert_int_equal(hand_decode(&out), -ENOMSG);
	hand_start(IPC_VERSION, (1ull << 32) + MSG_disk_full, 1, 0);
	assert_int_equal(hand_decode(&out), -EPROTO);
	hand_start(IPC_VERSION, MSG_disk_full, 1ull << 32, 0);
	assert_int_equal(hand_decode(&out), -EPROTO);
	hand_start(IPC_VERSION, MSG_cancel, 1, 2); /* a key twice */
	for (int i = 0; i < 2; i++) {
		msgpack_pack_int(&packer, 1);
		msgpack_pack_int(&packer, 1);
	}
	assert_int_equal(hand_decode(&out), -EPROTO);
	hand_start(IPC_VERSION, MSG_cancel, 1, 1); /* a key that is a text */
	msgpack_pack_str(&packer, 3);
	msgpack_pack_str_body(&packer, "job", 3);
	msgpack_pack_int(&packer, 1);
	assert_int_equal(hand_decode(&out), -EPROTO);
	assert_int_equal(out.seq, 77);
	hand_start(IPC_VERSION, MSG_disk_full, 1, 0);
	assert_int_equal(hand_decode(&out), 0);
}

static void
test_walk(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		int rc;
	} cases[] = {
	    {"", 0, -EPROTO},
	    {"\xc0", 1, 0},
	    {"\xc0\xc0", 2, -EPROTO},
	    {"\xc1", 1, -EPROTO},
	    {"\xdd\xff\xff\xff\xff", 5, -EPROTO}, /* an array of 4 G values */
	    {"\xdf\xff\xff\xff\xff", 5, -EPROTO},
	    {"\xdf\x80\x00\x00\x00", 5, -EPROTO},
	    {"\xc6\xff\xff\xff\xff", 5, -EPROTO},
	    {"\xdb\x00\x00\x00\x01", 5, -EPROTO},
	    {"\xdb\x00\x00\x00\x01x", 6, 0},
	    {"\xc7\x00\x01", 3, -EPROTO}, /* extension types */
	    {"\xd4\x01\x00", 3, -EPROTO},
	    {"\x91\x91\x91\x91\xc0", 5, 0},
	    {"\x91\x91\x91\x91\x90", 5, -EPROTO}, /* five deep */
	    {"\x92\x90\xc0", 3, 0},
	    {"\x82\x01\x02\x03", 4, -EPROTO},
	    {"\x82\x01\x02\x03\x80", 5, 0},
	    {"\xcf\x00\x00\x00\x00\x00\x00\x00", 8, -EPROTO},
	    {"\xcb\x00\x00\x00\x00\x00\x00\x00\x00", 9, 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(
		    walk_check((const uint8_t *)cases[i].bytes, cases[i].len), cases[i].rc);
}

/* Every single byte of a good body replaced by every value, then noise: an answer, never a crash.
 */
static void
test_garbage(void **state)
{
	struct message in, out;
	unsigned accepted = 0, refused = 0;
	size_t len;
	uint32_t random = 1;

	message_fill(&in, MSG_done, true, false);
	assert_int_equal(message_encode(&in, frame, &len), 0);
	for (size_t at = 4; at < len; at++) {
		uint8_t kept = frame[at];

		for (int value = 0; value < 256; value++) {
			int rc;

			frame[at] = (uint8_t)value;
			rc = decode_exactly(frame + 4, len - 4, &out);
			assert_true(rc == 0 || rc == -EPROTO || rc == -E2BIG || rc == -ENOMSG);
			*(rc == 0 ? &accepted : &refused) += 1;
		}
		frame[at] = kept;
	}
	assert_true(accepted > 0 && refused > 0);
	for (int i = 0; i < 20000; i++) {
		uint8_t noise[64];

		for (size_t j = 0; j < sizeof(noise); j++) {
			random = random * 1664525 + 1013904223;
			noise[j] = (uint8_t)(random >> 24);
		}
		noise[0] = 0x94;
		assert_int_not_equal(decode_exactly(noise, sizeof(noise), &out), 0);
	}
	memset(filler, 0, sizeof(filler));
	assert_int_equal(message_decode((uint8_t *)filler, sizeof(filler), &out), -EPROTO);
	memset(filler, 'x', sizeof(filler));
}

static void
test_names(void **state)
{
	char text[4];

	assert_string_equal(message_name(MSG_submit), "submit");
	assert_string_equal(message_name((enum msg_type)9999), "unknown");
	for (int i = 0; i < JOB_STATUS_COUNT; i++)
		assert_non_null(job_status_names[i]);
	for (int i = 0; i < METRIC_COUNT; i++)
		assert_non_null(job_metric_names[i]);
	assert_string_equal(job_metric_names[METRIC_MAX_RSS], "max_rss");
	assert_string_equal(job_metric_names[METRIC_WAY_FILES], "bind_files");
	assert_string_equal(job_metric_names[METRIC_WAY_SUBTREES], "bind_subtrees");
	assert_string_equal(job_metric_names[METRIC_COUNT - 1], "recycle_subtrees");
	assert_string_equal(msg_text_copy(msg_text("label"), text, sizeof(text)), "lab");
	assert_string_equal(msg_text_copy(msg_text(NULL), text, sizeof(text)), "");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_round_trip),
	    cmocka_unit_test(test_optional_by_value),
	    cmocka_unit_test(test_truncation),
	    cmocka_unit_test(test_caps_on_encode),
	    cmocka_unit_test(test_bad_values_on_encode),
	    cmocka_unit_test(test_wrong_types),
	    cmocka_unit_test(test_required_missing),
	    cmocka_unit_test(test_caps_on_decode),
	    cmocka_unit_test(test_unknown_keys_skipped),
	    cmocka_unit_test(test_bad_envelopes),
	    cmocka_unit_test(test_walk),
	    cmocka_unit_test(test_garbage),
	    cmocka_unit_test(test_names),
	};
	int failed;

	memset(filler, 'x', sizeof(filler));
	msgpack_sbuffer_init(&buffer);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	msgpack_sbuffer_destroy(&buffer);
	return failed;
}
