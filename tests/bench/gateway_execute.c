/*
 * bench_gateway_execute --state DIR --rametd PROGRAM [--list | ROW...]
 *
 *   execute/true/N   N client streams on one connection each Execute /bin/true with an empty input
 *     root, again and again; no action was ever seen, and their results are stored: one action's
 *     time, from the call to its status.  Limit: the same by the host's own socket.
 *   execute/rate/N   the same: time divided by actions, in batches
 *   execute/tree/X, execute/fetch/X   an action with 1,978 files in 150 directories: the whole
 *     call, and input_fetch_completed - input_fetch_start of its result.  X: the same root again,
 *     one file changed, all names new.  Limits: the same action with an empty input root; mkdirat,
 *     openat and linkat of the same tree.
 */
#include <sys/stat.h>

#include <err.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/fs.h"
#include "gateway/wire_messages.h"
#include "tests/bench/daemon.h"
#include "tests/bench/gateway_client.h"
#include "tests/bench/series.h"
#include "tests/bench/shape.h"

enum { WORKERS = 2, BATCH = 128, BATCHES = 20, TREE_PAIRS = 40, STREAMS_MAX = 64 };

static const unsigned stream_counts[] = {1, 8, 64};
static const char tree_shape[] = "p95_dirs";

struct bench {
	struct cas *cas;
	int state_fd;
	struct daemon *daemon;
	struct gateway_client *client;
	struct digest true_command, touch_command;

	unsigned streams, submitted, finished;
	struct digest actions[BATCH];
	struct series latency, socket_latency; /* of single actions, us */

	struct filled_shape tree;
	void (*tree_next)(struct cas *cas, struct filled_shape *tree);
	struct series fetch, links; /* us */
};

struct stream {
	uint64_t begun_ns, took_ns;
	uint8_t last[64 << 10]; /* the last Operation that came */
	size_t len;
};

static struct bench bench;
static struct stream streams[STREAMS_MAX];

static void
put_message(const ProtobufCMessage *message, struct digest *ret_digest)
{
	struct arena *arena = arena_new();
	size_t len;
	uint8_t *bytes = reapi_encode(arena, message, &len);
	int rc = cas_put_bytes(bench.cas, bytes, len, ret_digest);

	if (rc < 0)
		errx(1, "cannot store a message: %s", strerror(-rc));
	arena_free(arena);
}

static void
put_command(const char *program, const char *argument, struct digest *ret_digest)
{
	struct arena *arena = arena_new();
	ReapiCommand *command = REAPI_NEW(arena, command);
	char *arguments[] = {arena_strdup(arena, program), NULL};

	command->arguments = arguments;
	command->n_arguments = 1;
	if (argument != NULL) {
		arguments[command->n_arguments++] = arena_strdup(arena, argument);
		command->output_paths = &arguments[1];
		command->n_output_paths = 1;
	}
	put_message(&command->base, ret_digest);
	arena_free(arena);
}

/* One that was never seen. */
static void
put_action(const struct digest *command, const struct digest *root, struct digest *ret_digest)
{
	static uint64_t salt;
	struct arena *arena = arena_new();
	ReapiAction *action = REAPI_NEW(arena, action);

	salt++;
	action->command_digest = reapi_digest_new(arena, command);
	action->input_root_digest = reapi_digest_new(arena, root);
	action->salt = (ProtobufCBinaryData){.len = sizeof(salt), .data = (uint8_t *)&salt};
	put_message(&action->base, ret_digest);
	arena_free(arena);
}

static void
put_actions(void)
{
	for (unsigned i = 0; i < BATCH; i++)
		put_action(&bench.true_command, &digest_empty, &bench.actions[i]);
}

static void
on_operation(void *arg, const uint8_t *data, size_t len)
{
	struct stream *stream = arg;

	if (data == NULL || len > sizeof(stream->last))
		errx(1, "an Operation of %zu bytes", len);
	memcpy(stream->last, data, len);
	stream->len = len;
}

static void on_executed(void *arg, int code, const char *text);
static const struct gateway_call_ops execute_ops = {
    .on_message = on_operation, .on_end = on_executed};

static void
execute_start(struct stream *stream, const struct digest *digest)
{
	struct arena *arena = arena_new();
	ReapiExecuteRequest *request = REAPI_NEW(arena, execute_request);
	const uint8_t *data;
	size_t len;

	request->action_digest = reapi_digest_new(arena, digest);
	data = reapi_encode(arena, &request->base, &len);
	stream->begun_ns = bench_now_ns();
	gateway_call_start(bench.client, EXECUTE_METHOD, &execute_ops, stream, data, len, true);
	arena_free(arena);
}

static void
stream_go_on(struct stream *stream)
{
	if (bench.submitted < BATCH)
		execute_start(stream, &bench.actions[bench.submitted++]);
}

static void
on_executed(void *arg, int code, const char *text)
{
	struct stream *stream = arg;

	gateway_must_be_fine("Execute", code, text);
	stream->took_ns = bench_now_ns() - stream->begun_ns;
	series_add(&bench.latency, (double)stream->took_ns / 1000);
	bench.finished++;
	stream_go_on(stream);
}

/* The result in a stream's last Operation; exits if the action did not run well. */
static const ReapiExecuteResponse *
response_of(struct arena *arena, const struct stream *stream)
{
	const Operation *operation = reapi_decode(
	    arena, &google__longrunning__operation__descriptor, stream->last, stream->len);
	const ReapiExecuteResponse *response = NULL;

	if (operation != NULL && operation->done &&
	    operation->result_case == GOOGLE__LONGRUNNING__OPERATION__RESULT_RESPONSE)
		response = REAPI_DECODE(arena, execute_response, operation->response->value.data,
		    operation->response->value.len);
	if (response == NULL)
		errx(1, "Execute ended without a response");
	if (response->status != NULL && response->status->code != 0)
		errx(1, "Execute: %d: %s", response->status->code, response->status->message);
	if (response->result == NULL || response->result->exit_code != 0 || response->cached_result)
		errx(1, "an action failed, or did not run: %s", response->message);
	return response;
}

static uint64_t
gateway_batch(void *arg)
{
	struct arena *arena = arena_new();
	uint64_t start, took;

	put_actions();
	bench.submitted = bench.finished = 0;
	start = bench_now_ns();
	for (unsigned i = 0; i < bench.streams; i++)
		stream_go_on(&streams[i]);
	gateway_run(bench.client);
	took = (bench_now_ns() - start) / BATCH;
	CHECK(bench.finished == BATCH);
	for (unsigned i = 0; i < bench.streams; i++)
		response_of(arena, &streams[i]);
	arena_free(arena);
	return took;
}

static uint64_t
socket_batch(void *arg)
{
	uint64_t start, submitted_ns[BATCH], job;
	unsigned submitted = 0;

	put_actions();
	start = bench_now_ns();
	for (unsigned finished = 0; finished < BATCH; finished++) {
		while (submitted < BATCH && submitted - finished < bench.streams) {
			submitted_ns[submitted] = bench_now_ns();
			daemon_submit(bench.daemon, submitted, &bench.actions[submitted]);
			submitted++;
		}
		job = daemon_finish(bench.daemon);
		if (job >= BATCH)
			errx(1, "rametd answered a job that was never submitted");
		series_add(
		    &bench.socket_latency, (double)(bench_now_ns() - submitted_ns[job]) / 1000);
	}
	return (bench_now_ns() - start) / BATCH;
}

static void
series_all_clear(void)
{
	series_clear(&bench.latency);
	series_clear(&bench.socket_latency);
	series_clear(&bench.fetch);
	series_clear(&bench.links);
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
measure_true(unsigned count, char **names)
{
	const struct series_bounds bounds = {.budget_ms = 6000, .least = 3, .most = BATCHES};
	struct series rate = {0}, socket_rate = {0};
	char latency_name[32], rate_name[32];

	snprintf(latency_name, sizeof(latency_name), "execute/true/%u", count);
	snprintf(rate_name, sizeof(rate_name), "execute/rate/%u", count);
	if (!named(names, latency_name) && !named(names, rate_name))
		return;
	bench.streams = count;
	gateway_batch(NULL);
	socket_batch(NULL);
	series_all_clear();
	series_alternate(&bounds, 1000, gateway_batch, socket_batch, NULL, &rate, &socket_rate);
	row_print(latency_name, "us", &bench.latency, "ramet.sock", &bench.socket_latency, 0);
	row_print(rate_name, "us", &rate, "ramet.sock", &socket_rate, 0);
	series_clear(&rate);
	series_clear(&socket_rate);
	series_all_clear();
}

static uint64_t
execute_one(const struct digest *root, double *ret_fetch_us)
{
	struct arena *arena = arena_new();
	const ReapiExecutedActionMetadata *metadata;
	const Google__Protobuf__Timestamp *from, *to;
	struct digest action;

	put_action(&bench.touch_command, root, &action);
	bench.submitted = BATCH; /* no other behind it */
	execute_start(&streams[0], &action);
	gateway_run(bench.client);
	metadata = response_of(arena, &streams[0])->result->execution_metadata;
	if (metadata == NULL || metadata->input_fetch_start_timestamp == NULL ||
	    metadata->input_fetch_completed_timestamp == NULL)
		errx(1, "a result without the times of its input fetch");
	from = metadata->input_fetch_start_timestamp;
	to = metadata->input_fetch_completed_timestamp;
	*ret_fetch_us =
	    (double)(to->seconds - from->seconds) * 1e6 + (double)(to->nanos - from->nanos) / 1e3;
	arena_free(arena);
	return streams[0].took_ns;
}

static uint64_t
tree_execute(void *arg)
{
	uint64_t took;
	double fetch_us;

	if (bench.tree_next != NULL)
		bench.tree_next(bench.cas, &bench.tree);
	took = execute_one(&bench.tree.root, &fetch_us);
	series_add(&bench.fetch, fetch_us);
	return took;
}

static void
tree_link(void)
{
	uint64_t start;
	int fd;

	if (mkdirat(bench.state_fd, "bench-links", 0755) != 0)
		err(1, "bench-links");
	fd = openat(bench.state_fd, "bench-links", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		err(1, "bench-links");
	start = bench_now_ns();
	shape_link(&bench.tree, cas_dirfd(bench.cas), fd);
	series_add(&bench.links, (double)(bench_now_ns() - start) / 1000);
	close(fd);
	if (fs_remove_tree(bench.state_fd, "bench-links") != 0)
		errx(1, "bench-links cannot be removed");
}

static uint64_t
empty_execute(void *arg)
{
	double fetch_us;

	tree_link();
	/* what the kernel does behind the removal of the links falls on this one */
	execute_one(&digest_empty, &fetch_us);
	return execute_one(&digest_empty, &fetch_us);
}

static void
change_one(struct cas *cas, struct filled_shape *tree)
{
	shape_change(cas, tree, 1);
}

static const struct {
	const char *name;
	void (*next)(struct cas *cas, struct filled_shape *tree);
} trees[] = {{"same", NULL}, {"changed", change_one}, {"renamed", shape_variant}};

static void
measure_tree(size_t i, char **names)
{
	const struct series_bounds bounds = {.budget_ms = 6000, .least = 3, .most = TREE_PAIRS};
	struct series wall = {0}, empty = {0};
	char wall_name[32], fetch_name[32];

	snprintf(wall_name, sizeof(wall_name), "execute/tree/%s", trees[i].name);
	snprintf(fetch_name, sizeof(fetch_name), "execute/fetch/%s", trees[i].name);
	if (!named(names, wall_name) && !named(names, fetch_name))
		return;
	if (bench.tree.shape == NULL) {
		for (size_t n = 0; n < shapes_count; n++)
			if (strcmp(shapes[n].name, tree_shape) == 0)
				shape_fill(bench.cas, &shapes[n], &bench.tree);
		shape_variant(bench.cas, &bench.tree);
	}
	bench.tree_next = NULL;
	tree_execute(NULL);
	bench.tree_next = trees[i].next;
	series_all_clear();
	series_alternate(&bounds, 1000, tree_execute, empty_execute, NULL, &wall, &empty);
	row_print(wall_name, "us", &wall, "empty root", &empty, 0);
	row_print(fetch_name, "us", &bench.fetch, "linkat loop", &bench.links, 0);
	series_clear(&wall);
	series_clear(&empty);
	series_all_clear();
}

static int
list_rows(void)
{
	for (size_t i = 0; i < sizeof(stream_counts) / sizeof(stream_counts[0]); i++)
		printf("execute/true/%u\nexecute/rate/%u\n", stream_counts[i], stream_counts[i]);
	for (size_t i = 0; i < sizeof(trees) / sizeof(trees[0]); i++)
		printf("execute/tree/%s\nexecute/fetch/%s\n", trees[i].name, trees[i].name);
	return 0;
}

static void
measure(const char *rametd, const char *state_dir, char **names)
{
	char target[DAEMON_TARGET_SIZE];
	struct error_text words;

	bench.state_fd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (bench.state_fd < 0)
		err(1, "%s", state_dir);
	if (cas_open(bench.state_fd, true, &bench.cas, &words) < 0)
		errx(1, "%s", words.text);
	put_command("/bin/true", NULL, &bench.true_command);
	put_command("/bin/touch", SHAPE_OUTPUT, &bench.touch_command);
	bench.daemon = daemon_start_gateway(rametd, state_dir, WORKERS, target);
	bench.client = gateway_connect(target);
	for (size_t i = 0; i < sizeof(stream_counts) / sizeof(stream_counts[0]); i++)
		measure_true(stream_counts[i], names);
	for (size_t i = 0; i < sizeof(trees) / sizeof(trees[0]); i++)
		measure_tree(i, names);
	gateway_disconnect(bench.client);
	daemon_stop(bench.daemon);
	shape_free(&bench.tree);
	cas_close(bench.cas);
	close(bench.state_fd);
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
		errx(2,
		    "usage: bench_gateway_execute --state DIR --rametd PROGRAM [--list | ROW...]");
	measure(rametd, state_dir, argv + optind);
	return 0;
}
