/*
 * bench_gateway_blobs --state DIR --rametd PROGRAM [--list | ROW...]
 *
 *   bytestream/read/SIZE, bytestream/write/SIZE   one call after the other on one connection, each
 *     for one blob of that size; a written one was never seen.  Time of a call.  Limit: the same
 *     bytes through a loopback TCP socket between two processes, asked for or answered by a byte.
 *   bytestream/write/SIZE/hashed   the same calls; limit: as above, and SHA-256 of the bytes at
 *     the other end
 *   find_missing/10000   one FindMissingBlobs of as many digests, half of them of blobs that are
 *     there.  Limit: fstatat of the same files.
 *
 * The payload is the client's memory; each message of a Write has WRITE_BYTES of it.
 */
#include <sys/stat.h>

#include <err.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "cas/hash.h"
#include "cas/store.h"
#include "cas/wire.h"
#include "gateway/wire_messages.h"
#include "tests/bench/copy_server.h"
#include "tests/bench/daemon.h"
#include "tests/bench/gateway_client.h"
#include "tests/bench/series.h"

enum {
	WORKERS = 1,
	WRITE_BYTES = 64 << 10,
	SMALL_CALLS = 100, /* in a sample of the smallest size */
	DIGESTS = 10000,
	HEAD_MAX = 400,
};

static const struct size {
	const char *name;
	size_t bytes;
	unsigned calls, least, most;
} sizes[] = {
    {"1KiB", 1 << 10, SMALL_CALLS, 5, 50},
    {"1MiB", 1 << 20, 5, 5, 50},
    {"256MiB", 256 << 20, 1, 2, 4},
};

struct bench {
	struct cas *cas;
	struct gateway_client *client;
	const struct size *size;
	uint8_t *payload; /* size->bytes */
	struct digest blobs[SMALL_CALLS];
	bool hashed; /* the limit of a Write */
	/* the call under way */
	char name[HEAD_MAX];
	size_t at, total; /* of the payload: where a Write is, what a Read brought */
	int64_t committed;

	uint8_t *request; /* FindMissingBlobs */
	size_t request_len;
	char (*files)[CAS_NAME_SIZE];
	size_t missing;
};

static struct bench bench;

/* As many blobs as a sample has, each of bytes of its own; their digests. */
static void
payload_renew(unsigned i)
{
	static uint64_t serial;

	serial++;
	memcpy(bench.payload, &serial, sizeof(serial));
	CHECK(hash_bytes(bench.payload, bench.size->bytes, &bench.blobs[i]) == 0);
}

static void
on_call_end(void *arg, int code, const char *text)
{
	gateway_must_be_fine(bench.name, code, text);
}

/* The bytes of a ReadResponse, of which nothing but the frame is known. */
static void
on_read_message(void *arg, const uint8_t *data, size_t len)
{
	uint8_t varint[10];
	size_t payload = len - 2;

	while (payload > 0 && 1 + wire_put_varint(payload, varint) + payload > len)
		payload--;
	bench.total += payload;
}

static void
read_blob(const struct digest *digest)
{
	static const struct gateway_call_ops ops = {
	    .lengths_only = true, .on_message = on_read_message, .on_end = on_call_end};
	ByteStreamReadRequest request = GOOGLE__BYTESTREAM__READ_REQUEST__INIT;
	char text[DIGEST_TEXT_SIZE];
	uint8_t data[HEAD_MAX];

	digest_to_text(digest, '/', text);
	snprintf(bench.name, sizeof(bench.name), "blobs/%s", text);
	request.resource_name = bench.name;
	bench.total = 0;
	gateway_call_start(bench.client, READ_METHOD, &ops, NULL, data,
	    google__bytestream__read_request__pack(&request, data), true);
	gateway_run(bench.client);
	if (bench.total != bench.size->bytes)
		errx(1, "%s: %zu bytes came", bench.name, bench.total);
}

/* The WriteRequest without its data's bytes. */
static size_t
write_head(uint8_t *head, bool first, size_t len)
{
	ByteStreamWriteRequest request = GOOGLE__BYTESTREAM__WRITE_REQUEST__INIT;
	size_t n;

	if (first)
		request.resource_name = bench.name;
	request.write_offset = (int64_t)bench.at;
	request.finish_write = bench.at + len == bench.size->bytes;
	n = google__bytestream__write_request__pack(&request, head);
	head[n++] = 10 << 3 | 2;
	return n + wire_put_varint(len, head + n);
}

static size_t
write_len(void)
{
	size_t left = bench.size->bytes - bench.at;

	return left < WRITE_BYTES ? left : WRITE_BYTES;
}

static void
on_write_sent(void *arg, struct gateway_call *call)
{
	size_t len = write_len();
	uint8_t head[HEAD_MAX];

	if (len == 0)
		return;
	gateway_call_send(call, head, write_head(head, false, len), bench.payload + bench.at, len,
	    bench.at + len == bench.size->bytes);
	bench.at += len;
}

static void
on_write_answer(void *arg, const uint8_t *data, size_t len)
{
	ByteStreamWriteResponse *response =
	    google__bytestream__write_response__unpack(NULL, len, data);

	if (response != NULL)
		bench.committed = response->committed_size;
	google__bytestream__write_response__free_unpacked(response, NULL);
}

static void
write_blob(const struct digest *digest)
{
	static const struct gateway_call_ops ops = {.one_answer = true,
	    .on_message = on_write_answer,
	    .on_sent = on_write_sent,
	    .on_end = on_call_end};
	static uint8_t first[HEAD_MAX + WRITE_BYTES];
	static uint64_t serial;
	char text[DIGEST_TEXT_SIZE];
	size_t n, len;

	digest_to_text(digest, '/', text);
	snprintf(bench.name, sizeof(bench.name), "uploads/%08" PRIx64 "/blobs/%s", ++serial, text);
	bench.at = 0;
	bench.committed = -1;
	len = write_len();
	n = write_head(first, true, len);
	memcpy(first + n, bench.payload, len);
	bench.at = len;
	gateway_call_start(
	    bench.client, WRITE_METHOD, &ops, NULL, first, n + len, bench.at == bench.size->bytes);
	gateway_run(bench.client);
	if (bench.committed != (int64_t)bench.size->bytes)
		errx(1, "%s: %" PRId64 " bytes are committed", bench.name, bench.committed);
}

static uint64_t
gateway_reads(void *arg)
{
	uint64_t start = bench_now_ns();

	for (unsigned i = 0; i < bench.size->calls; i++)
		read_blob(&bench.blobs[i]);
	return (bench_now_ns() - start) / bench.size->calls;
}

static uint64_t
copy_reads(void *arg)
{
	uint64_t start = bench_now_ns();

	for (unsigned i = 0; i < bench.size->calls; i++)
		copy_read(bench.payload, bench.size->bytes);
	return (bench_now_ns() - start) / bench.size->calls;
}

/* The clock stands still while the client hashes. */
static uint64_t
gateway_writes(void *arg)
{
	unsigned calls = bench.size->calls;
	uint64_t start, took = 0;

	CHECK(calls > 0);
	for (unsigned i = 0; i < calls; i++) {
		payload_renew(i);
		start = bench_now_ns();
		write_blob(&bench.blobs[i]);
		took += bench_now_ns() - start;
		cas_drop(bench.cas, &bench.blobs[i]);
	}
	return took / calls;
}

static uint64_t
copy_writes(void *arg)
{
	unsigned calls = bench.size->calls;
	uint64_t start, took = 0;

	CHECK(calls > 0);
	for (unsigned i = 0; i < calls; i++) {
		payload_renew(i);
		start = bench_now_ns();
		if (bench.hashed)
			copy_write_hashed(bench.payload, bench.size->bytes);
		else
			copy_write(bench.payload, bench.size->bytes);
		took += bench_now_ns() - start;
	}
	return took / calls;
}

static bool
named(char **names, const char *name)
{
	for (; *names != NULL; names++)
		if (strcmp(*names, name) == 0)
			return true;
	return false;
}

static void
measure_pair(const char *name, series_measure thing, const char *limit_name, series_measure limit)
{
	const struct series_bounds bounds = {
	    .budget_ms = 4000, .least = bench.size->least, .most = bench.size->most};
	struct series series = {0}, limit_series = {0};

	thing(NULL);
	limit(NULL);
	series_alternate(&bounds, 1000, thing, limit, NULL, &series, &limit_series);
	row_print(name, "us", &series, limit_name, &limit_series, 0);
	series_clear(&series);
	series_clear(&limit_series);
}

static void
blobs_put(void)
{
	struct digest digest;

	for (unsigned i = 0; i < bench.size->calls; i++) {
		payload_renew(i);
		CHECK(cas_put_bytes(bench.cas, bench.payload, bench.size->bytes, &digest) == 0);
	}
}

static void
blobs_drop(void)
{
	for (unsigned i = 0; i < bench.size->calls; i++)
		cas_drop(bench.cas, &bench.blobs[i]);
}

static void
measure_bytes(const struct size *size, char **names)
{
	char read_name[48], write_name[48], hashed_name[48];

	snprintf(read_name, sizeof(read_name), "bytestream/read/%s", size->name);
	snprintf(write_name, sizeof(write_name), "bytestream/write/%s", size->name);
	snprintf(hashed_name, sizeof(hashed_name), "bytestream/write/%s/hashed", size->name);
	bench.size = size;
	bench.payload = malloc(size->bytes);
	CHECK(bench.payload != NULL);
	memset(bench.payload, 'x', size->bytes);
	if (named(names, read_name)) {
		blobs_put();
		measure_pair(read_name, gateway_reads, "socket", copy_reads);
		blobs_drop();
	}
	bench.hashed = false;
	if (named(names, write_name))
		measure_pair(write_name, gateway_writes, "socket", copy_writes);
	bench.hashed = true;
	if (named(names, hashed_name))
		measure_pair(hashed_name, gateway_writes, "socket+sha256", copy_writes);
	free(bench.payload);
}

/* Half of them are there. */
static void
digests_make(void)
{
	struct arena *arena = arena_new();
	ReapiFindMissingBlobsRequest *request = REAPI_NEW(arena, find_missing_blobs_request);
	const uint8_t *data;
	struct digest digest;
	char text[32];
	int len;

	request->blob_digests = arena_alloc(arena, DIGESTS * sizeof(ReapiDigest *));
	bench.files = calloc(DIGESTS, sizeof(*bench.files));
	CHECK(bench.files != NULL);
	for (unsigned i = 0; i < DIGESTS; i++) {
		len = snprintf(text, sizeof(text), "blob number %u", i);
		if (i % 2 == 0)
			CHECK(cas_put_bytes(bench.cas, text, (size_t)len, &digest) == 0);
		else
			CHECK(hash_bytes(text, (size_t)len, &digest) == 0);
		request->blob_digests[request->n_blob_digests++] = reapi_digest_new(arena, &digest);
		cas_blob_name(&digest, false, bench.files[i]);
	}
	data = reapi_encode(arena, &request->base, &bench.request_len);
	bench.request = malloc(bench.request_len);
	CHECK(bench.request != NULL);
	memcpy(bench.request, data, bench.request_len);
	arena_free(arena);
}

static void
on_missing(void *arg, const uint8_t *data, size_t len)
{
	struct arena *arena = arena_new();
	const ReapiFindMissingBlobsResponse *response =
	    REAPI_DECODE(arena, find_missing_blobs_response, data, len);

	bench.missing = response != NULL ? response->n_missing_blob_digests : 0;
	arena_free(arena);
}

static uint64_t
find_missing(void *arg)
{
	static const struct gateway_call_ops ops = {
	    .one_answer = true, .on_message = on_missing, .on_end = on_call_end};
	uint64_t start = bench_now_ns(), took;

	gateway_call_start(
	    bench.client, FIND_MISSING_METHOD, &ops, NULL, bench.request, bench.request_len, true);
	gateway_run(bench.client);
	took = bench_now_ns() - start;
	if (bench.missing != DIGESTS / 2)
		errx(1, "FindMissingBlobs: %zu of %d are missing", bench.missing, DIGESTS);
	return took;
}

static uint64_t
find_files(void *arg)
{
	uint64_t start = bench_now_ns();
	unsigned found = 0;
	struct stat st;

	for (unsigned i = 0; i < DIGESTS; i++)
		found += fstatat(cas_dirfd(bench.cas), bench.files[i], &st, 0) == 0;
	CHECK(found == DIGESTS / 2);
	return bench_now_ns() - start;
}

static void
measure_find_missing(char **names)
{
	const struct series_bounds bounds = {.budget_ms = 4000, .least = 5, .most = 100};
	struct series series = {0}, limit = {0};

	if (!named(names, "find_missing/10000"))
		return;
	strlcpy(bench.name, "FindMissingBlobs", sizeof(bench.name));
	digests_make();
	find_missing(NULL);
	series_alternate(&bounds, 1000, find_missing, find_files, NULL, &series, &limit);
	row_print("find_missing/10000", "us", &series, "fstatat loop", &limit, 0);
	series_clear(&series);
	series_clear(&limit);
	free(bench.request);
	free(bench.files);
}

static int
list_rows(void)
{
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		printf("bytestream/read/%s\nbytestream/write/%s\nbytestream/write/%s/hashed\n",
		    sizes[i].name, sizes[i].name, sizes[i].name);
	return puts("find_missing/10000") < 0;
}

static void
measure(const char *rametd, const char *state_dir, char **names)
{
	int state_fd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char target[DAEMON_TARGET_SIZE];
	struct error_text words;
	struct daemon *daemon;

	if (state_fd < 0)
		err(1, "%s", state_dir);
	if (cas_open(state_fd, true, &bench.cas, &words) < 0)
		errx(1, "%s", words.text);
	copy_server_start();
	daemon = daemon_start_gateway(rametd, state_dir, WORKERS, target);
	bench.client = gateway_connect(target);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		measure_bytes(&sizes[i], names);
	measure_find_missing(names);
	gateway_disconnect(bench.client);
	daemon_stop(daemon);
	cas_close(bench.cas);
	close(state_fd);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {{"state", required_argument, NULL, 's'},
	    {"rametd", required_argument, NULL, 'r'}, {"list", no_argument, NULL, 'l'}, {0}};
	const char *state_dir = NULL, *rametd = NULL;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 's')
			state_dir = optarg;
		else if (option == 'r')
			rametd = optarg;
		else if (option == 'l')
			return list_rows();
		else
			return 2;
	}
	if (state_dir == NULL || rametd == NULL)
		errx(
		    2, "usage: bench_gateway_blobs --state DIR --rametd PROGRAM [--list | ROW...]");
	measure(rametd, state_dir, argv + optind);
	return 0;
}
