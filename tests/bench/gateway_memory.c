/*
 * bench_gateway_memory --state DIR --rametd PROGRAM [--list | ROW...]
 *
 *   memory/gateway         private memory of the gateway at rest, in KiB
 *   memory/gateway/read    its maximum while STREAMS readers of 64 MiB each take a message now and
 *     then
 *   memory/gateway/write   ... while as many streams of 64 MiB each are written
 *   memory/gateway/after   ... a while after that
 *
 * Limit: 64 MiB, one blob: no gateway that holds blobs whole stays below it.
 */
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
#include "shm/slot.h"
#include "tests/bench/daemon.h"
#include "tests/bench/gateway_client.h"
#include "tests/bench/series.h"

enum {
	WORKERS = 1,
	STREAMS = 64,
	BLOB_BYTES = 64 << 20,
	WRITE_BYTES = 64 << 10,
	HEAD_MAX = 400,
	SAMPLE_MS = 50,
	READ_EACH_MS = 20, /* a slow reader's next message */
	READ_MS = 4000,
	AFTER_S = 3,
	LIMIT_KIB = BLOB_BYTES >> 10,
};

static const char *const rows[] = {
    "memory/gateway", "memory/gateway/read", "memory/gateway/write", "memory/gateway/after"};

struct stream {
	char name[HEAD_MAX];
	size_t at;
	struct gateway_call *call; /* NULL: ended */
};

static struct bench {
	struct gateway_client *client;
	pid_t gateway;
	uint8_t *payload;
	struct digest digest;
	struct stream streams[STREAMS];
	struct series memory;
	uint64_t sampled_ns, came;
	bool cancelled;
} bench;

/* Private_Clean and Private_Dirty, in KiB. */
static long
private_kib(pid_t pid)
{
	char path[64], line[128];
	long total = 0, value;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	file = fopen(path, "re");
	if (file == NULL)
		return -1;
	while (fgets(line, sizeof(line), file) != NULL)
		if (sscanf(line, "Private_Clean: %ld", &value) == 1 ||
		    sscanf(line, "Private_Dirty: %ld", &value) == 1)
			total += value;
	fclose(file);
	return total;
}

static void
sample(void)
{
	series_add(&bench.memory, (double)private_kib(bench.gateway));
	bench.sampled_ns = bench_now_ns();
}

static void
sample_now_and_then(void)
{
	if (bench_now_ns() - bench.sampled_ns >= SAMPLE_MS * 1000000ull)
		sample();
}

/* The largest of the samples. */
static void
row_of_maximum(const char *name)
{
	struct series maximum = {0};

	series_add(&maximum, series_quantile(&bench.memory, 1));
	row_print(name, "KiB", &maximum, "one blob", NULL, LIMIT_KIB);
	series_clear(&maximum);
	series_clear(&bench.memory);
}

static size_t
write_head(const struct stream *stream, uint8_t *head, bool first)
{
	ByteStreamWriteRequest request = GOOGLE__BYTESTREAM__WRITE_REQUEST__INIT;
	size_t n;

	if (first)
		request.resource_name = (char *)(uintptr_t)stream->name;
	request.write_offset = (int64_t)stream->at;
	request.finish_write = stream->at + WRITE_BYTES == BLOB_BYTES;
	n = google__bytestream__write_request__pack(&request, head);
	head[n++] = 10 << 3 | 2;
	return n + wire_put_varint(WRITE_BYTES, head + n);
}

static void
on_sent(void *arg, struct gateway_call *call)
{
	struct stream *stream = arg;
	uint8_t head[HEAD_MAX];

	if (stream->at == BLOB_BYTES)
		return;
	gateway_call_send(call, head, write_head(stream, head, false), bench.payload + stream->at,
	    WRITE_BYTES, stream->at + WRITE_BYTES == BLOB_BYTES);
	stream->at += WRITE_BYTES;
}

static void
on_write_end(void *arg, int code, const char *text)
{
	gateway_must_be_fine("Write", code, text);
}

/* All of the same blob, each its own upload: the first to end does not end the others. */
static void
write_all(void)
{
	static const struct gateway_call_ops ops = {
	    .one_answer = true, .on_sent = on_sent, .on_end = on_write_end};
	static uint8_t first[HEAD_MAX + WRITE_BYTES];
	char text[DIGEST_TEXT_SIZE];
	size_t n;

	digest_to_text(&bench.digest, '/', text);
	for (unsigned i = 0; i < STREAMS; i++) {
		struct stream *stream = &bench.streams[i];

		snprintf(stream->name, sizeof(stream->name), "uploads/%u/blobs/%s", i, text);
		n = write_head(stream, first, true);
		memcpy(first + n, bench.payload, WRITE_BYTES);
		stream->at = WRITE_BYTES;
		gateway_call_start(
		    bench.client, WRITE_METHOD, &ops, stream, first, n + WRITE_BYTES, false);
	}
	while (gateway_step(bench.client, SAMPLE_MS))
		sample_now_and_then();
}

static void
on_read_message(void *arg, const uint8_t *data, size_t len)
{
	bench.came += len;
}

static void
on_read_end(void *arg, int code, const char *text)
{
	struct stream *stream = arg;

	stream->call = NULL;
	if (!bench.cancelled)
		gateway_must_be_fine("Read", code, text);
}

static void
readers_start(void)
{
	static const struct gateway_call_ops ops = {.slow = true,
	    .lengths_only = true,
	    .on_message = on_read_message,
	    .on_end = on_read_end};
	ByteStreamReadRequest request = GOOGLE__BYTESTREAM__READ_REQUEST__INIT;
	char text[DIGEST_TEXT_SIZE], name[HEAD_MAX];
	uint8_t data[HEAD_MAX];
	size_t len;

	digest_to_text(&bench.digest, '/', text);
	snprintf(name, sizeof(name), "blobs/%s", text);
	request.resource_name = name;
	len = google__bytestream__read_request__pack(&request, data);
	for (unsigned i = 0; i < STREAMS; i++)
		bench.streams[i].call = gateway_call_start(
		    bench.client, READ_METHOD, &ops, &bench.streams[i], data, len, true);
}

static void
read_slowly(void)
{
	uint64_t start = bench_now_ns(), next = start;

	readers_start();
	while (bench_now_ns() - start < READ_MS * 1000000ull) {
		if (bench_now_ns() >= next) {
			next += READ_EACH_MS * 1000000ull;
			for (unsigned i = 0; i < STREAMS; i++)
				if (bench.streams[i].call != NULL)
					gateway_call_read(bench.streams[i].call);
		}
		gateway_step(bench.client, 1);
		sample_now_and_then();
	}
	CHECK(bench.came > 0);
	bench.cancelled = true;
	for (unsigned i = 0; i < STREAMS; i++)
		if (bench.streams[i].call != NULL)
			gateway_call_cancel(bench.streams[i].call);
	gateway_run(bench.client);
}

static pid_t
gateway_pid(int state_fd)
{
	struct slot_info info;
	struct region *region;
	struct error_text words;

	if (region_attach(state_fd, &region, &words) < 0)
		errx(1, "%s", words.text);
	slot_read(region, SLOT_GATEWAY, &info);
	region_close(region);
	return info.pid;
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
payload_make(void)
{
	bench.payload = malloc(BLOB_BYTES);
	CHECK(bench.payload != NULL);
	arc4random_buf(bench.payload, BLOB_BYTES);
	CHECK(hash_bytes(bench.payload, BLOB_BYTES, &bench.digest) == 0);
}

static struct cas *
store_open(int state_fd)
{
	struct error_text words;
	struct cas *cas;

	if (cas_open(state_fd, true, &cas, &words) < 0)
		errx(1, "%s", words.text);
	return cas;
}

static void
blob_put(int state_fd)
{
	struct cas *cas = store_open(state_fd);
	struct digest digest;

	CHECK(cas_put_bytes(cas, bench.payload, BLOB_BYTES, &digest) == 0);
	cas_close(cas);
}

/* Nothing is uploaded that is there. */
static void
blob_drop(int state_fd)
{
	struct cas *cas = store_open(state_fd);

	cas_drop(cas, &bench.digest);
	cas_close(cas);
}

static void
measure(const char *rametd, const char *state_dir, char **names)
{
	int state_fd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char target[DAEMON_TARGET_SIZE];
	struct daemon *daemon;

	if (state_fd < 0)
		err(1, "%s", state_dir);
	payload_make();
	daemon = daemon_start_gateway(rametd, state_dir, WORKERS, target);
	bench.gateway = gateway_pid(state_fd);
	if (private_kib(bench.gateway) < 0) {
		warnx("memory/gateway: left out: no smaps_rollup");
		daemon_stop(daemon);
		return;
	}
	bench.client = gateway_connect(target);
	sleep(1);
	sample();
	row_of_maximum(rows[0]);
	if (named(names, rows[1])) {
		blob_put(state_fd);
		read_slowly();
		row_of_maximum(rows[1]);
		blob_drop(state_fd);
	}
	if (named(names, rows[2]) || named(names, rows[3])) {
		write_all();
		row_of_maximum(rows[2]);
		sleep(AFTER_S);
		sample();
		row_of_maximum(rows[3]);
	}
	gateway_disconnect(bench.client);
	daemon_stop(daemon);
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
			return printf("%s\n%s\n%s\n%s\n", rows[0], rows[1], rows[2], rows[3]) < 0;
		else
			return 2;
	}
	if (state_dir == NULL || rametd == NULL)
		errx(2,
		    "usage: bench_gateway_memory --state DIR --rametd PROGRAM [--list | ROW...]");
	measure(rametd, state_dir, argv + optind);
	return 0;
}
