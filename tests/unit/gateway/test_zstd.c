#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "cas/reapi.h"
#include "gateway/zstd.h"
#include "tests/cmocka_wrap.h"

static void
there_and_back(void **state)
{
	static uint8_t data[100000];
	struct arena *arena = arena_new();
	uint8_t *packed, *unpacked;
	size_t len;

	for (size_t size = 100; size <= sizeof(data); size *= 10) {
		for (size_t i = 0; i < size; i++)
			data[i] = (uint8_t)(i / 7);
		packed = zstd_pack(arena, data, size, &len);
		assert_non_null(packed);
		assert_true(len < size);
		assert_int_equal(zstd_unpack(arena, packed, len, size, &unpacked), 0);
		assert_memory_equal(unpacked, data, size);
	}
	arena_free(arena);
}

/* What grows by it is not packed. */
static void
bytes_that_do_not_pack(void **state)
{
	struct arena *arena = arena_new();
	uint8_t data[4096];
	size_t len;

	arc4random_buf(data, sizeof(data));
	assert_null(zstd_pack(arena, data, sizeof(data), &len));
	assert_null(zstd_pack(arena, data, 0, &len));
	arena_free(arena);
}

static void
what_is_no_frame_of_that_size(void **state)
{
	struct arena *arena = arena_new();
	uint8_t data[1000] = {0}, frame[2000], *unpacked;
	size_t len = ZSTD_compress(frame, sizeof(frame), data, sizeof(data), 1);

	assert_int_equal(zstd_unpack(arena, frame, len, 1000, &unpacked), 0);
	assert_int_equal(zstd_unpack(arena, frame, len, 999, &unpacked), -EBADMSG);
	assert_int_equal(zstd_unpack(arena, frame, len, 1001, &unpacked), -EBADMSG);
	assert_int_equal(zstd_unpack(arena, frame, len, 0, &unpacked), -EBADMSG);
	for (size_t cut = 1; cut < len; cut++)
		assert_int_equal(zstd_unpack(arena, frame, cut, 1000, &unpacked), -EBADMSG);
	memset(frame + len, 'x', 5);
	assert_int_equal(zstd_unpack(arena, frame, len + 5, 1000, &unpacked), -EBADMSG);
	assert_int_equal(zstd_unpack(arena, data, sizeof(data), 1000, &unpacked), -EBADMSG);
	/* two frames, and none, are what they become together */
	len += ZSTD_compress(frame + len, sizeof(frame) - len, data, 5, 1);
	assert_int_equal(zstd_unpack(arena, frame, len, 1005, &unpacked), 0);
	assert_int_equal(zstd_unpack(arena, frame, 0, 0, &unpacked), 0);
	arena_free(arena);
}

/* Megabytes out of some bytes: the room is the blob's, and nothing more is made. */
static void
a_bomb(void **state)
{
	struct arena *arena = arena_new();
	size_t size = 16 << 20, len;
	uint8_t *zeros = calloc(1, size), *frame = malloc(ZSTD_compressBound(size)), *unpacked;

	len = ZSTD_compress(frame, ZSTD_compressBound(size), zeros, size, 1);
	assert_true(len < 4096);
	assert_int_equal(zstd_unpack(arena, frame, len, 1000, &unpacked), -EBADMSG);
	free(zeros);
	free(frame);
	arena_free(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(there_and_back),
	    cmocka_unit_test(bytes_that_do_not_pack),
	    cmocka_unit_test(what_is_no_frame_of_that_size),
	    cmocka_unit_test(a_bomb),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
