#include <dirent.h>
#include <pthread.h>
#include <zstd.h>

#include "tests/cmocka_wrap.h"
#include "tests/unit/gateway/gateway_host.h"

enum { SIZE = 300000 };

static uint8_t blob[SIZE];

/* The name of an upload of the first `len` bytes of `blob`. */
static struct resource_name
name_of(const char *id, size_t len, bool zstd)
{
	struct resource_name name = {.kind = RESOURCE_BLOB, .zstd = zstd};

	strlcpy(name.id, id, sizeof(name.id));
	assert_int_equal(hash_bytes(blob, len, &name.digest), 0);
	return name;
}

/* Bytes that no test before has stored: neither alike everywhere nor without pattern. */
static int
other_blob(void **state)
{
	static uint8_t test;

	test++;
	for (size_t i = 0; i < SIZE; i++)
		blob[i] = (uint8_t)(i * i / 977 + i / 4096 + test);
	return 0;
}

static struct upload *
take(const struct resource_name *name, uint64_t *ret_turn)
{
	struct upload *upload;

	assert_int_equal(upload_take(host.gateway.uploads, name, &upload, ret_turn), 0);
	return upload;
}

static void
leave(struct upload *upload, uint64_t turn)
{
	upload_leave(host.gateway.uploads, upload, turn);
}

static int64_t
stored(const struct resource_name *name)
{
	int64_t bytes = -1;
	int rc = uploads_find(host.gateway.uploads, name, &bytes);

	return rc == 0 ? bytes : rc;
}

static void
expect_stored(const struct digest *digest)
{
	uint8_t *data;
	size_t len;

	assert_int_equal(cas_read(host.gateway.cas, digest, SIZE, &data, &len), 0);
	assert_int_equal(len, digest->size_bytes);
	assert_memory_equal(data, blob, len);
	free(data);
}

static unsigned
temporaries(void)
{
	int fd = openat(host.gateway.state_fd, "cas/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fdopendir(fd);
	unsigned count = 0;

	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count - 2;
}

static void
a_blob_in_pieces(void **state)
{
	struct resource_name name = name_of("u", SIZE, false);
	uint64_t turn;
	struct upload *upload = take(&name, &turn);

	for (size_t at = 0; at < SIZE; at += 100000) {
		assert_int_equal(upload_committed(upload), at);
		assert_int_equal(upload_write(upload, turn, (int64_t)at, blob + at, 100000), 0);
	}
	assert_int_equal(cas_has(host.gateway.cas, &name.digest), 0);
	assert_int_equal(upload_commit(upload, turn), 0);
	leave(upload, turn);
	expect_stored(&name.digest);
	assert_int_equal(stored(&name), -ENOENT);
	assert_int_equal(temporaries(), 0);
}

/* Only at the byte where it stands; a wrong offset harms nothing. */
static void
resumed_where_it_stopped(void **state)
{
	struct resource_name name = name_of("u", SIZE, false);
	uint64_t turn;
	struct upload *upload = take(&name, &turn);

	assert_int_equal(upload_write(upload, turn, 0, blob, 1000), 0);
	assert_int_equal(upload_write(upload, turn, 999, blob, 10), -ESPIPE);
	assert_int_equal(upload_write(upload, turn, 1001, blob, 10), -ESPIPE);
	leave(upload, turn);
	assert_int_equal(stored(&name), 1000);
	upload = take(&name, &turn);
	assert_int_equal(upload_committed(upload), 1000);
	assert_int_equal(upload_write(upload, turn, 1000, blob + 1000, SIZE - 1000), 0);
	assert_int_equal(upload_commit(upload, turn), 0);
	leave(upload, turn);
	expect_stored(&name.digest);
}

/* Another id, instance, digest or compressor is another upload. */
static void
names_keep_uploads_apart(void **state)
{
	struct resource_name name = name_of("u", SIZE, false), others[4];
	uint64_t turn;
	struct upload *upload = take(&name, &turn);

	others[0] = name_of("v", SIZE, false);
	others[1] = name_of("u", SIZE - 1, false);
	others[2] = name_of("u", SIZE, true);
	others[3] = name;
	strlcpy(others[3].instance, "other", sizeof(others[3].instance));
	assert_int_equal(upload_write(upload, turn, 0, blob, 1000), 0);
	leave(upload, turn);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(stored(&others[i]), -ENOENT);
	assert_int_equal(stored(&name), 1000);
}

static void
a_later_call_takes_it_over(void **state)
{
	struct resource_name name = name_of("u", SIZE, false);
	uint64_t first, second;
	struct upload *a = take(&name, &first), *b;

	assert_int_equal(upload_write(a, first, 0, blob, 1000), 0);
	b = take(&name, &second);
	assert_int_equal(upload_write(a, first, 1000, blob + 1000, 10), -ECANCELED);
	assert_int_equal(upload_restart(a, first), -ECANCELED);
	assert_int_equal(upload_commit(a, first), -ECANCELED);
	assert_int_equal(upload_write(b, second, 1000, blob + 1000, SIZE - 1000), 0);
	leave(a, first);
	assert_int_equal(upload_commit(b, second), 0);
	leave(b, second);
	expect_stored(&name.digest);
	assert_int_equal(temporaries(), 0);
}

static void
from_the_start_again(void **state)
{
	struct resource_name name = name_of("u", SIZE, false);
	uint64_t turn;
	struct upload *upload = take(&name, &turn);

	assert_int_equal(upload_write(upload, turn, 0, "rubbish", 7), 0);
	assert_int_equal(upload_restart(upload, turn), 0);
	assert_int_equal(upload_committed(upload), 0);
	assert_int_equal(upload_write(upload, turn, 0, blob, SIZE), 0);
	assert_int_equal(upload_commit(upload, turn), 0);
	leave(upload, turn);
	expect_stored(&name.digest);
}

/* Other bytes, fewer, more: nothing is stored and nothing is left. */
static void
what_is_not_the_blob(void **state)
{
	struct resource_name name = name_of("u", SIZE, false);
	uint64_t turn;
	struct upload *upload = take(&name, &turn);

	assert_int_equal(upload_write(upload, turn, 0, blob, SIZE), 0);
	assert_int_equal(upload_write(upload, turn, SIZE, blob, 1), -EBADMSG);
	assert_int_equal(upload_committed(upload), 0);
	assert_int_equal(upload_write(upload, turn, 0, blob, SIZE - 1), 0);
	assert_int_equal(upload_commit(upload, turn), -EBADMSG);
	leave(upload, turn);
	upload = take(&name, &turn);
	blob[7]++;
	assert_int_equal(upload_write(upload, turn, 0, blob, SIZE), 0);
	assert_int_equal(upload_commit(upload, turn), -EBADMSG);
	leave(upload, turn);
	upload = take(&name, &turn);
	assert_int_equal(upload_commit(upload, turn), -EBADMSG); /* not begun */
	leave(upload, turn);
	assert_int_equal(cas_has(host.gateway.cas, &name.digest), 0);
	assert_int_equal(stored(&name), -ENOENT);
	assert_int_equal(temporaries(), 0);
}

/* A frame of blob[from..to), at level 1 and in pieces that end blocks. */
static size_t
pack(size_t from, size_t to, uint8_t *out, size_t size)
{
	size_t len = ZSTD_compress(out, size, blob + from, to - from, 1);

	assert_false(ZSTD_isError(len));
	return len;
}

static void
zstd_byte_by_byte(void **state)
{
	struct resource_name name = name_of("z", 20000, true);
	static uint8_t frame[65536];
	size_t len = pack(0, 20000, frame, sizeof(frame));
	uint64_t turn;
	struct upload *upload = take(&name, &turn);

	for (size_t i = 0; i < len; i++)
		assert_int_equal(upload_write(upload, turn, (int64_t)i, frame + i, 1), 0);
	assert_int_equal(upload_committed(upload), len);
	assert_int_equal(upload_commit(upload, turn), 0);
	leave(upload, turn);
	expect_stored(&name.digest);
}

/* Several frames, one of them empty, one that is skipped, are one stream. */
static void
zstd_frames_one_after_the_other(void **state)
{
	static const uint8_t skipped[] = {0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 'a', 'b', 'c'};
	struct resource_name name = name_of("z", SIZE, true);
	static uint8_t stream[2 * SIZE];
	size_t len = pack(0, 0, stream, sizeof(stream));
	uint64_t turn;
	struct upload *upload = take(&name, &turn);

	len += pack(0, 100, stream + len, sizeof(stream) - len);
	memcpy(stream + len, skipped, sizeof(skipped));
	len += sizeof(skipped);
	len += pack(100, SIZE, stream + len, sizeof(stream) - len);
	assert_int_equal(upload_write(upload, turn, 0, stream, len), 0);
	assert_int_equal(upload_commit(upload, turn), 0);
	leave(upload, turn);
	expect_stored(&name.digest);
}

/* A call begins at a byte of the blob, with a stream of its own. */
static void
zstd_resumed_at_a_byte_of_the_blob(void **state)
{
	struct resource_name name = name_of("z", SIZE, true);
	static uint8_t frame[2 * SIZE];
	size_t len = pack(0, SIZE, frame, sizeof(frame));
	int64_t at;
	uint64_t turn;
	struct upload *upload = take(&name, &turn);

	assert_int_equal(upload_write(upload, turn, 0, frame, len / 2), 0);
	assert_int_equal(upload_committed(upload), len / 2);
	leave(upload, turn);
	at = stored(&name);
	assert_in_range(at, 1, SIZE - 1);
	len = pack((size_t)at, SIZE, frame, sizeof(frame));
	upload = take(&name, &turn);
	assert_int_equal(upload_committed(upload), at);
	assert_int_equal(upload_write(upload, turn, at, frame, len - 5), 0);
	assert_int_equal(upload_write(upload, turn, at + (int64_t)len - 5, frame + len - 5, 5), 0);
	assert_int_equal(upload_commit(upload, turn), 0);
	leave(upload, turn);
	expect_stored(&name.digest);
}

static void
zstd_that_is_none(void **state)
{
	struct resource_name name = name_of("z", SIZE, true);
	static uint8_t frame[2 * SIZE];
	size_t len = pack(0, SIZE, frame, sizeof(frame));
	uint64_t turn;
	struct upload *upload = take(&name, &turn);

	assert_int_equal(upload_write(upload, turn, 0, "no frame at all", 15), -EBADMSG);
	assert_int_equal(upload_write(upload, turn, 0, frame, len - 1), 0); /* cut */
	assert_int_equal(upload_commit(upload, turn), -EBADMSG);
	leave(upload, turn);
	upload = take(&name, &turn);
	frame[len / 2] ^= 0x55;
	if (upload_write(upload, turn, 0, frame, len) == 0)
		assert_int_equal(upload_commit(upload, turn), -EBADMSG);
	leave(upload, turn);
	assert_int_equal(cas_has(host.gateway.cas, &name.digest), 0);
	assert_int_equal(temporaries(), 0);
}

/* All of the blob has come, but the frame has not ended: cut, for all anybody knows. */
static void
zstd_that_has_not_ended(void **state)
{
	struct resource_name name = name_of("z", 1000, true);
	ZSTD_CCtx *packer = ZSTD_createCCtx();
	ZSTD_inBuffer in = {blob, 1000, 0};
	uint8_t frame[4096];
	ZSTD_outBuffer out = {frame, sizeof(frame), 0};
	uint64_t turn;
	struct upload *upload = take(&name, &turn);

	assert_int_equal(ZSTD_compressStream2(packer, &out, &in, ZSTD_e_flush), 0);
	assert_int_equal(upload_write(upload, turn, 0, frame, out.pos), 0);
	assert_int_equal(upload_commit(upload, turn), -EBADMSG);
	leave(upload, turn);
	assert_int_equal(cas_has(host.gateway.cas, &name.digest), 0);
	upload = take(&name, &turn);
	assert_int_equal(ZSTD_compressStream2(packer, &out, &in, ZSTD_e_end), 0);
	assert_int_equal(upload_write(upload, turn, 0, frame, out.pos), 0);
	assert_int_equal(upload_commit(upload, turn), 0);
	leave(upload, turn);
	ZSTD_freeCCtx(packer);
	expect_stored(&name.digest);
}

/* A frame that becomes a thousand times what its name says ends where the name says so. */
static void
zstd_bomb(void **state)
{
	struct resource_name name = name_of("z", 1000, true);
	size_t size = 64 << 20, len;
	uint8_t *zeros = calloc(1, size), *frame = malloc(ZSTD_compressBound(size));
	uint64_t turn;
	struct upload *upload = take(&name, &turn);

	assert_true(zeros != NULL && frame != NULL);
	len = ZSTD_compress(frame, ZSTD_compressBound(size), zeros, size, 1);
	assert_int_equal(upload_write(upload, turn, 0, frame, len), -EBADMSG);
	leave(upload, turn);
	assert_int_equal(stored(&name), -ENOENT);
	assert_int_equal(temporaries(), 0);
	free(zeros);
	free(frame);
}

static void
begun(const char *id)
{
	struct resource_name name = name_of(id, SIZE, false);
	uint64_t turn;
	struct upload *upload = take(&name, &turn);

	assert_int_equal(upload_write(upload, turn, 0, blob, 1), 0);
	leave(upload, turn);
}

static void
idle_ones_expire(void **state)
{
	struct resource_name taken = name_of("taken", SIZE, false);
	uint64_t turn;
	struct upload *upload = take(&taken, &turn);

	assert_int_equal(upload_write(upload, turn, 0, blob, 1), 0);
	begun("idle");
	uploads_expire(host.gateway.uploads, 3600);
	assert_int_equal(temporaries(), 2);
	uploads_expire(host.gateway.uploads, 0);
	assert_int_equal(temporaries(), 1); /* not the one that a call has */
	assert_int_equal(stored(&taken), 1);
	leave(upload, turn);
	uploads_expire(host.gateway.uploads, 0);
	assert_int_equal(temporaries(), 0);
}

static void
idle_ones_are_bounded(void **state)
{
	struct resource_name name;
	char id[16];

	for (int i = 0; i < UPLOADS_IDLE_MAX + 3; i++) {
		snprintf(id, sizeof(id), "u%d", i);
		begun(id);
	}
	assert_int_equal(temporaries(), UPLOADS_IDLE_MAX);
	name = name_of("u2", SIZE, false); /* the first three went */
	assert_int_equal(stored(&name), -ENOENT);
	name = name_of("u3", SIZE, false);
	assert_int_equal(stored(&name), 1);
}

/* Nothing begun is nothing to be kept. */
static void
an_empty_one_does_not_stay(void **state)
{
	struct resource_name name = name_of("u", SIZE, false);
	uint64_t turn;
	struct upload *upload = take(&name, &turn);

	leave(upload, turn);
	assert_int_equal(stored(&name), -ENOENT);
}

struct racer {
	pthread_t thread;
	unsigned number;
	unsigned done;
};

/* Each has blobs of its own, and all fight for one more upload. */
static void *
race(void *arg)
{
	struct racer *racer = arg;
	struct resource_name shared = name_of("shared", 70000, false);

	for (unsigned i = 0; i < 20; i++) {
		size_t len = 5000 + 100 * racer->number + i;
		struct resource_name own = name_of("own", len, false);
		uint64_t turn;
		struct upload *upload = take(&shared, &turn);
		int64_t at;

		if (upload_restart(upload, turn) == 0 &&
		    upload_write(upload, turn, 0, blob, 30000) == 0 &&
		    upload_write(upload, turn, 30000, blob + 30000, 40000) == 0 &&
		    upload_commit(upload, turn) == 0)
			racer->done++;
		leave(upload, turn);
		(void)uploads_find(host.gateway.uploads, &shared, &at);
		upload = take(&own, &turn);
		assert_int_equal(upload_write(upload, turn, 0, blob, len), 0);
		assert_int_equal(upload_commit(upload, turn), 0);
		leave(upload, turn);
		uploads_expire(host.gateway.uploads, 3600);
	}
	return NULL;
}

static void
threads(void **state)
{
	struct racer racers[4] = {0};
	struct resource_name name = name_of("shared", 70000, false);
	unsigned done = 0;

	for (unsigned i = 0; i < 4; i++) {
		racers[i].number = i;
		assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		struct resource_name own = name_of("own", 5000 + 100 * i + 19, false);

		assert_int_equal(pthread_join(racers[i].thread, NULL), 0);
		expect_stored(&own.digest);
		done += racers[i].done;
	}
	assert_true(done > 0);
	expect_stored(&name.digest);
	uploads_expire(host.gateway.uploads, 0);
	assert_int_equal(temporaries(), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, other_blob, host_renew)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_blob_in_pieces),
	    TEST(resumed_where_it_stopped),
	    TEST(names_keep_uploads_apart),
	    TEST(a_later_call_takes_it_over),
	    TEST(from_the_start_again),
	    TEST(what_is_not_the_blob),
	    TEST(zstd_byte_by_byte),
	    TEST(zstd_frames_one_after_the_other),
	    TEST(zstd_resumed_at_a_byte_of_the_blob),
	    TEST(zstd_that_is_none),
	    TEST(zstd_that_has_not_ended),
	    TEST(zstd_bomb),
	    TEST(idle_ones_expire),
	    TEST(idle_ones_are_bounded),
	    TEST(an_empty_one_does_not_stay),
	    TEST(threads),
	};

	return cmocka_run_group_tests(tests, host_open, host_close);
}
