/* One action from digest to report, all layers real, no supervisor: workers/job.h. */
#include <sys/stat.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "cas/action_cache.h"
#include "cas/directory.h"
#include "shm/counters.h"
#include "tests/cmocka_wrap.h"
#include "workers/job.h"

enum { SLOT = SLOT_WORKER_FIRST, UID_BASE = 64300 };

static struct host_config config;
static struct probe probe;
static struct region *region;
static struct job_worker worker;
static struct arena *arena;

/* What a client would put into the store. */
struct client {
	ReapiCommand *command;
	ReapiAction *action;
	ReapiDirectory *root;
	struct digest digest; /* of the Action */
	struct job_outcome outcome;
};

static struct digest
put(const ProtobufCMessage *message)
{
	struct digest digest;
	size_t len;
	uint8_t *data = reapi_encode(arena, message, &len);

	assert_int_equal(cas_put_bytes(worker.cas, data, len, &digest), 0);
	return digest;
}

static struct client
client_new(const char *script)
{
	struct client client = {.command = REAPI_NEW(arena, command),
	    .action = REAPI_NEW(arena, action),
	    .root = REAPI_NEW(arena, directory)};
	char **argv = arena_alloc(arena, 3 * sizeof(*argv));
	ReapiEnvironmentVariable **env = arena_alloc(arena, sizeof(void *));

	argv[0] = arena_strdup(arena, "/bin/sh");
	argv[1] = arena_strdup(arena, "-c");
	argv[2] = arena_strdup(arena, script);
	client.command->arguments = argv;
	client.command->n_arguments = 3;
	env[0] = REAPI_NEW(arena, command__environment_variable);
	env[0]->name = arena_strdup(arena, "PATH");
	env[0]->value = arena_strdup(arena, "/usr/bin:/bin");
	client.command->environment_variables = env;
	client.command->n_environment_variables = 1;
	return client;
}

static void
client_outputs(struct client *client, const char *path)
{
	client->command->output_paths = arena_alloc(arena, sizeof(char *));
	client->command->output_paths[0] = arena_strdup(arena, path);
	client->command->n_output_paths = 1;
}

static void
client_file(struct client *client, const char *name, const char *text)
{
	ReapiFileNode *node = REAPI_NEW(arena, file_node);
	struct digest digest;

	assert_int_equal(cas_put_bytes(worker.cas, text, strlen(text), &digest), 0);
	node->name = arena_strdup(arena, name);
	node->digest = reapi_digest_new(arena, &digest);
	client->root->files = arena_alloc(arena, sizeof(void *));
	client->root->files[0] = node;
	client->root->n_files = 1;
}

static void
client_put(struct client *client)
{
	struct digest root = put(&client->root->base), command = put(&client->command->base);

	client->action->command_digest = reapi_digest_new(arena, &command);
	client->action->input_root_digest = reapi_digest_new(arena, &root);
	client->digest = put(&client->action->base);
}

static const struct msg_done *
client_run(struct client *client)
{
	struct msg_run run = {.job = 7, .action = client->digest, .attempt = 1};

	job_run(&worker, &run, &client->outcome);
	assert_int_equal(client->outcome.done.type, MSG_done);
	assert_int_equal(client->outcome.done.done.job, 7);
	return &client->outcome.done.done;
}

static void
client_end(struct client *client)
{
	job_release(&worker, &client->outcome);
}

static uint64_t
counted(enum counter counter)
{
	uint64_t values[COUNTER_COUNT];

	counters_read(region, values);
	return values[counter];
}

static ReapiActionResult *
result_of(const struct msg_done *done)
{
	ReapiActionResult *result;

	assert_true(done->has_result);
	result = REAPI_DECODE(
	    arena, action_result, (const uint8_t *)done->result.data, done->result.len);
	assert_non_null(result);
	return result;
}

static const char *
message_of(const struct msg_done *done)
{
	static char text[1025];

	return msg_text_copy(done->message, text, sizeof(text));
}

static void
test_success_is_cached(void **state)
{
	struct client client =
	    client_new("cat in; mkdir -p out; cat in >out/file; echo more >>out/file");
	uint64_t stored = counted(COUNTER_cache_stored);
	const struct msg_done *done;
	ReapiActionResult *result;

	client_file(&client, "in", "input\n");
	client_outputs(&client, "out/file");
	client_put(&client);
	done = client_run(&client);
	assert_int_equal(done->status, JOB_OK);
	assert_int_equal(done->exit_code, 0);
	assert_false(done->has_cached && done->cached);
	result = result_of(done);
	assert_int_equal(result->n_output_files, 1);
	assert_int_equal(result->output_files[0]->digest->size_bytes, 11);
	assert_memory_equal(result->stdout_raw.data, "input\n", 6);
	assert_non_null(result->execution_metadata->worker_start_timestamp);
	assert_non_null(result->execution_metadata->worker_completed_timestamp);
	assert_non_null(result->execution_metadata->input_fetch_completed_timestamp);
	assert_non_null(result->execution_metadata->execution_completed_timestamp);
	assert_non_null(result->execution_metadata->output_upload_completed_timestamp);
	assert_int_equal(done->metrics.count, METRIC_COUNT);
	assert_true(done->metrics.values[METRIC_EXEC_US] > 0);
	assert_int_equal(done->metrics.values[METRIC_FILES_PLACED], 1);
	assert_int_equal(done->metrics.values[METRIC_OUTPUT_FILES], 1);
	assert_int_equal(counted(COUNTER_cache_stored), stored + 1);
	client_end(&client);
	done = client_run(&client);
	assert_true(done->has_cached && done->cached);
	assert_int_equal(result_of(done)->output_files[0]->digest->size_bytes, 11);
	client_end(&client);
}

/* Of each instance its own: what is stored under one key is found under that key alone. */
static void
test_cached_under_another_key(void **state)
{
	struct client client = client_new("echo keyed");
	struct msg_run run = {.job = 7, .attempt = 1};
	struct digest keys[2] = {{.hash = {1}, .size_bytes = 3}, {.hash = {2}, .size_bytes = 3}};
	ReapiActionResult *result;

	client_put(&client);
	run.action = client.digest;
	run.has_cache_key = true;
	for (int round = 0; round < 4; round++) {
		run.cache_key = keys[round % 2];
		job_run(&worker, &run, &client.outcome);
		assert_int_equal(client.outcome.done.done.status, JOB_OK);
		assert_int_equal(client.outcome.done.done.cached, round >= 2);
		client_end(&client);
	}
	assert_int_equal(action_cache_get(worker.cas, arena, &keys[0], &result), 0);
	assert_int_equal(action_cache_get(worker.cas, arena, &client.digest, &result), -ENOENT);
	run.has_cache_key = false;
	job_run(&worker, &run, &client.outcome);
	assert_false(client.outcome.done.done.cached);
	client_end(&client);
}

static void
test_unknown_node_property(void **state)
{
	struct client client = client_new("true");
	static char mtime[] = "mtime", other[] = "colour";
	char *wished[] = {mtime, other};

	client.command->output_node_properties = wished;
	client.command->n_output_node_properties = 2;
	client_put(&client);
	assert_int_equal(client_run(&client)->status, JOB_INVALID);
	assert_non_null(strstr(message_of(&client.outcome.done.done), "colour"));
	client_end(&client);
	client.command->n_output_node_properties = 1;
	client_put(&client);
	assert_int_equal(client_run(&client)->status, JOB_OK);
	client_end(&client);
}

/* A directory where a file was asked for: the action went well, its client did not get its wish. */
static void
test_output_of_another_kind(void **state)
{
	struct client client = client_new("mkdir out");
	static char out[] = "out";
	char *files[] = {out};

	client.command->output_files = files;
	client.command->n_output_files = 1;
	client_put(&client);
	for (int i = 0; i < 2; i++) { /* and nothing of it is cached */
		assert_int_equal(client_run(&client)->status, JOB_UNMET);
		assert_non_null(
		    strstr(message_of(&client.outcome.done.done), "out is a directory"));
		client_end(&client);
	}
}

static void
test_failure_is_not_cached(void **state)
{
	struct client client = client_new("echo why >&2; exit 3");
	const struct msg_done *done;

	client_put(&client);
	for (int i = 0; i < 2; i++) {
		done = client_run(&client);
		assert_int_equal(done->status, JOB_OK);
		assert_int_equal(done->exit_code, 3);
		assert_false(done->has_cached);
		assert_memory_equal(result_of(done)->stderr_raw.data, "why\n", 4);
		client_end(&client);
	}
}

static void
test_do_not_cache(void **state)
{
	struct client client = client_new("echo uncached");

	client.action->do_not_cache = true;
	client_put(&client);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(client_run(&client)->status, JOB_OK);
		assert_false(client.outcome.done.done.has_cached);
		client_end(&client);
	}
}

static void
test_missing_blobs_are_all_listed(void **state)
{
	struct client client = client_new("true");
	struct digest gone = {.size_bytes = 5, .hash = {1}}, other = {.size_bytes = 6, .hash = {2}};
	struct digest absent = {.size_bytes = 7, .hash = {3}};
	const struct msg_done *done;
	ReapiDirectoryNode *node = REAPI_NEW(arena, directory_node);
	char line[DIGEST_TEXT_SIZE];
	uint8_t *data;
	size_t len;

	client_file(&client, "in", "x");
	client.root->files[0]->digest = reapi_digest_new(arena, &gone);
	node->name = arena_strdup(arena, "sub");
	node->digest = reapi_digest_new(arena, &other);
	client.root->directories = &node;
	client.root->n_directories = 1;
	client_put(&client);
	done = client_run(&client);
	assert_int_equal(done->status, JOB_MISSING);
	assert_true(done->has_missing);
	assert_int_equal(cas_read(worker.cas, &done->missing, 1000, &data, &len), 0);
	assert_int_equal(len, strlen(digest_to_text(&gone, '/', line)) * 2 + 2);
	data = realloc(data, len + 1);
	data[len] = '\0';
	assert_non_null(strstr((char *)data, line));
	assert_non_null(strstr((char *)data, digest_to_text(&other, '/', line)));
	free(data);
	client_end(&client);

	/* The Command and what is below the root are missing: both are told. */
	client.action->command_digest = reapi_digest_new(arena, &absent);
	client.digest = put(&client.action->base);
	done = client_run(&client);
	assert_int_equal(done->status, JOB_MISSING);
	assert_int_equal(done->missing.size_bytes, 3 * (int64_t)strlen(line) + 3);
	client_end(&client);

	client.digest.hash[0] ^= 1;
	done = client_run(&client);
	assert_int_equal(done->status, JOB_MISSING);
	assert_true(done->has_missing);
	client_end(&client);
}

static void
test_cancelled_before_it_began(void **state)
{
	struct client client = client_new("true");
	struct msg_run run = {.job = 9, .attempt = 1};

	client_put(&client);
	run.action = client.digest;
	job_cancel(&worker, &run, &client.outcome);
	assert_int_equal(client.outcome.done.done.status, JOB_CANCELLED);
	client_end(&client);
}

static void
test_bad_tree_is_refused(void **state)
{
	struct client client = client_new("true");

	client_file(&client, "../escape", "x");
	client_put(&client);
	assert_int_equal(client_run(&client)->status, JOB_INVALID);
	assert_non_null(strstr(message_of(&client.outcome.done.done), "escape"));
	client_end(&client);
}

static void
test_output_that_is_a_fifo(void **state)
{
	struct client client = client_new("mkfifo out");
	uint64_t refused = counted(COUNTER_outputs_refused);

	client_outputs(&client, "out");
	client_put(&client);
	assert_int_equal(client_run(&client)->status, JOB_INVALID);
	assert_non_null(strstr(message_of(&client.outcome.done.done), "out is a fifo"));
	assert_int_equal(counted(COUNTER_outputs_refused), refused + 1);
	client_end(&client);
}

static void
timeout_set(struct client *client, int64_t seconds, int32_t nanos)
{
	client->action->timeout = reapi_new(arena, &google__protobuf__duration__descriptor);
	client->action->timeout->seconds = seconds;
	client->action->timeout->nanos = nanos;
}

static void
test_timeout(void **state)
{
	struct client client = client_new("echo kept; sleep 1000");
	const struct msg_done *done;

	timeout_set(&client, 0, 200000000);
	client_put(&client);
	done = client_run(&client);
	assert_int_equal(done->status, JOB_TIMEOUT);
	assert_int_equal(done->term_signal, 15);
	assert_memory_equal(result_of(done)->stdout_raw.data, "kept\n", 5);
	assert_non_null(strstr(message_of(done), "timeout"));
	client_end(&client);
	timeout_set(&client, config.timeout_max_s + 1, 0);
	client_put(&client);
	assert_int_equal(client_run(&client)->status, JOB_INVALID);
	client_end(&client);
}

static void
test_guard_off_property(void **state)
{
	struct client client = client_new("echo more >> in && cat in");
	ReapiPlatformProperty *property = REAPI_NEW(arena, platform__property);
	const struct msg_done *done;

	client_file(&client, "in", "input\n");
	client_put(&client);
	done = client_run(&client);
	assert_int_equal(done->status, JOB_OK);
	assert_int_not_equal(done->exit_code, 0);
	client_end(&client);
	property->name = arena_strdup(arena, "ramet-guard");
	property->value = arena_strdup(arena, "off");
	client.action->platform = REAPI_NEW(arena, platform);
	client.action->platform->properties = &property;
	client.action->platform->n_properties = 1;
	client_put(&client);
	done = client_run(&client);
	assert_int_equal(done->exit_code, 0);
	assert_memory_equal(result_of(done)->stdout_raw.data, "input\nmore\n", 11);
	client_end(&client);
}

static struct digest
dir_put(ReapiDirectory *dir)
{
	directory_sort(dir);
	return put(&dir->base);
}

/*
 * A tree to be changed.  No two files have the same bytes: they would be one file to mv(1) and
 * cp(1), which refuse to put it in its own place.
 */
static ReapiDirectory *
tree_make(unsigned levels, unsigned *serial)
{
	ReapiDirectory *dir = REAPI_NEW(arena, directory);

	dir->files = arena_alloc(arena, 6 * sizeof(void *));
	for (; dir->n_files < 6; dir->n_files++) {
		ReapiFileNode *node = dir->files[dir->n_files] = REAPI_NEW(arena, file_node);
		const char *text = arena_printf(arena, "bytes %u", ++*serial);
		struct digest digest;

		assert_int_equal(cas_put_bytes(worker.cas, text, strlen(text), &digest), 0);
		node->name = arena_printf(arena, "f%zu", dir->n_files);
		node->digest = reapi_digest_new(arena, &digest);
		node->is_executable = dir->n_files == 3;
	}
	dir->symlinks = arena_alloc(arena, sizeof(void *));
	dir->symlinks[0] = REAPI_NEW(arena, symlink_node);
	dir->symlinks[0]->name = arena_strdup(arena, "l0");
	dir->symlinks[0]->target = arena_strdup(arena, "f0");
	dir->n_symlinks = 1;
	dir->directories = arena_alloc(arena, 3 * sizeof(void *));
	while (levels > 0 && dir->n_directories < 3) {
		ReapiDirectoryNode *node = REAPI_NEW(arena, directory_node);
		struct digest below = dir_put(tree_make(levels - 1, serial));

		node->name = arena_printf(arena, "d%zu", dir->n_directories);
		node->digest = reapi_digest_new(arena, &below);
		dir->directories[dir->n_directories++] = node;
	}
	return dir;
}

static uint32_t
dice(uint64_t *seed, uint32_t sides)
{
	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*seed >> 33) % sides;
}

static char *
random_path(uint64_t *seed)
{
	char *path = arena_strdup(arena, "out");

	for (uint32_t depth = dice(seed, 3); depth > 0; depth--)
		path = arena_printf(arena, "%s/d%u", path, dice(seed, 4));
	char kind = "ffdl"[dice(seed, 4)];
	return arena_printf(arena, "%s/%c%u", path, kind, dice(seed, 7));
}

/* Things that an action may do to its inputs; which fail does not matter. */
static char *
random_script(uint64_t *seed)
{
	char *script = arena_strdup(arena, "exec 2>/dev/null");

	for (int i = 0; i < 40; i++) {
		const char *a = random_path(seed), *b = random_path(seed);
		static const char *const steps[] = {"rm -rf %s", "echo %s >>%s", "mv %s %s",
		    "mkdir %s", "ln -s x %s", "rmdir %s", "rm %s && mkdir %s", "cp -P %s %s",
		    "chmod +x %s", "rm -r %s && echo y >%s", "ln -L %s %s", "touch %s",
		    "rm -r %s && mkdir %s"};
		uint32_t step = dice(seed, sizeof(steps) / sizeof(steps[0]));
		/* One or two names: of those that ask for the same one twice, the same. */
		bool same = step == 1 || step == 6 || step == 9 || step == 12;
		char *line = arena_printf(arena, "%s", steps[step]);
		char *at = strstr(line, "%s");

		*at = '\0';
		char *second = strstr(at + 2, "%s");
		if (second != NULL)
			*second = '\0';
		script = arena_printf(arena, "%s; %s%s%s%s%s", script, line, a, at + 2,
		    second == NULL ? ""
			: same     ? a
				   : b,
		    second == NULL ? "" : second + 2);
	}
	return arena_printf(arena, "%s; exit 0", script);
}

static struct stager *
stager_make(enum engine engine)
{
	struct stager_config stager = {.host = &config,
	    .probe = &probe,
	    .isolation = worker.isolation,
	    .action_uid = worker.action_uid,
	    .uid_differs = worker.action_uid != geteuid()};
	struct stager *made;
	struct error_text err;

	config.engine = engine;
	assert_int_equal(stager_new(&stager, region, worker.slot, worker.cas, &made, &err), 0);
	config.engine = ENGINE_AUTO;
	return made;
}

/* Whatever is done to inputs, the outputs are the same by overlay and on private copies. */
static void
test_outputs_above_an_overlay(void **state)
{
	struct stager *before = worker.stager;
	struct stager *stagers[] = {stager_make(ENGINE_AUTO), stager_make(ENGINE_COPY)};

	if (!probe.ways[PLACE_OVERLAY].works || worker.isolation == ISOLATION_NONE) {
		print_message("overlay: %s: skipped\n", probe.ways[PLACE_OVERLAY].why);
		stager_free(stagers[0]);
		stager_free(stagers[1]);
		return;
	}
	for (uint64_t seed = 1; seed <= 12; seed++) {
		uint64_t rest = seed;
		char *script = random_script(&rest);
		struct digest trees[2];

		for (int way = 0; way < 2; way++) {
			struct client client = client_new(script);
			struct msg_run run = {.job = 7,
			    .attempt = 1,
			    .guard_off = true,
			    .has_guard_off = true,
			    .skip_cache_lookup = true,
			    .has_skip_cache_lookup = true};
			const struct msg_done *done;

			worker.stager = stagers[way];
			unsigned serial = 0;
			struct digest below = dir_put(tree_make(2, &serial));
			client.root->directories = arena_alloc(arena, sizeof(void *));
			client.root->directories[0] = REAPI_NEW(arena, directory_node);
			client.root->directories[0]->name = arena_strdup(arena, "out");
			client.root->directories[0]->digest = reapi_digest_new(arena, &below);
			client.root->n_directories = 1;
			client_outputs(&client, "out");
			client_put(&client);
			run.action = client.digest;
			job_run(&worker, &run, &client.outcome);
			done = &client.outcome.done.done;
			if (done->status != JOB_OK)
				fail_msg("%s", message_of(done));
			assert_int_equal(
			    done->metrics.values[METRIC_WAY_SUBTREES + PLACE_OVERLAY], way == 0);
			assert_int_equal(result_of(done)->n_output_directories, 1);
			reapi_digest_get(
			    result_of(done)->output_directories[0]->tree_digest, &trees[way]);
			client_end(&client);
		}
		if (!digest_equal(&trees[0], &trees[1]))
			fail_msg("seed %llu: other outputs: %s", (unsigned long long)seed, script);
	}
	worker.stager = before;
	stager_free(stagers[0]);
	stager_free(stagers[1]);
}

/*
 * The cached tree was taken away behind the index's back, and there is no janitor to hear of it:
 * each action makes the detour, and overlays are not given up for it.
 */
static void
test_a_lower_layer_that_somebody_took(void **state)
{
	struct client client = client_new("echo more >>in && cat in");
	uint64_t fallbacks = counted(COUNTER_stage_overlay_fallbacks);
	struct msg_run run = {.job = 7,
	    .attempt = 1,
	    .guard_off = true,
	    .has_guard_off = true,
	    .skip_cache_lookup = true,
	    .has_skip_cache_lookup = true};

	if (!probe.ways[PLACE_OVERLAY].works || worker.isolation == ISOLATION_NONE)
		return;
	client_file(&client, "in", "to be refused\n");
	client_put(&client);
	run.action = client.digest;
	for (int i = 0; i < 6; i++) {
		const struct msg_done *done;

		job_run(&worker, &run, &client.outcome);
		done = &client.outcome.done.done;
		if (done->status != JOB_OK)
			fail_msg("%s", message_of(done));
		assert_int_equal(done->exit_code, 0);
		assert_memory_equal(result_of(done)->stdout_raw.data, "to be refused\nmore\n", 19);
		assert_int_equal(counted(COUNTER_stage_overlay_fallbacks), fallbacks + (uint64_t)i);
		assert_int_equal(done->metrics.values[METRIC_FALLBACKS], i > 0);
		assert_int_equal(done->metrics.values[METRIC_WAY_SUBTREES + PLACE_OVERLAY], i == 0);
		client_end(&client);
		if (i == 0)
			assert_int_equal(
			    renameat(config.state_fd, "trees", config.state_fd, "trash/trees"), 0);
	}
	assert_int_equal(renameat(config.state_fd, "trash/trees", config.state_fd, "trees"), 0);
	stager_free(worker.stager);
	worker.stager = stager_make(ENGINE_AUTO);
}

/* Runs it under guard, and tells the exit code; which is named by `label`. */
static int
run_kind(struct client *client, const char *label)
{
	struct msg_run run = {.job = 7,
	    .attempt = 1,
	    .action = client->digest,
	    .label = msg_text(label),
	    .has_label = true};
	const struct msg_done *done;

	job_run(&worker, &run, &client->outcome);
	done = &client->outcome.done.done;
	if (done->status != JOB_OK)
		fail_msg("%s", message_of(done));
	client_end(client);
	return (int)done->exit_code;
}

static enum action_kind_state
kind_state(const char *name)
{
	struct action_kind kind;

	(void)action_kind_get(config.state_fd, name, &kind);
	return kind.state;
}

static void
test_kinds_are_learnt(void **state)
{
	struct client writer = client_new("echo more >> in"), reader = client_new("cat in");
	struct client failing = client_new("cat in; exit 3");
	uint64_t tried = counted(COUNTER_kinds_tried), runs = counted(COUNTER_kinds_writer_runs);

	if (!probe.ways[PLACE_OVERLAY].works || worker.isolation == ISOLATION_NONE)
		return;
	config.guard_learning = true;
	client_file(&writer, "in", "for kinds\n");
	client_file(&reader, "in", "for kinds\n");
	client_file(&failing, "in", "for kinds\n");
	writer.action->do_not_cache = reader.action->do_not_cache = true;
	client_put(&writer);
	client_put(&reader);
	client_put(&failing);
	/* It fails under guard, is run again, and is known from then on. */
	assert_int_equal(run_kind(&writer, "W"), 0);
	assert_int_equal(counted(COUNTER_kinds_tried), tried + 1);
	assert_int_equal(kind_state("/bin/sh W"), ACTION_KIND_WRITER);
	assert_int_equal(run_kind(&writer, "W"), 0);
	assert_int_equal(counted(COUNTER_kinds_tried), tried + 1);
	assert_int_equal(counted(COUNTER_kinds_writer_runs), runs + 1);
	/* A writer's failure is its own; so is that of a kind that succeeded under guard. */
	assert_int_equal(run_kind(&failing, "W"), 3);
	assert_int_equal(run_kind(&reader, "R"), 0);
	assert_int_equal(kind_state("/bin/sh R"), ACTION_KIND_GUARDED);
	assert_int_equal(run_kind(&failing, "R"), 3);
	assert_int_not_equal(run_kind(&writer, "R"), 0);
	assert_int_equal(counted(COUNTER_kinds_tried), tried + 1);
	/* What fails both ways is tried three times. */
	for (unsigned i = 1; i <= 5; i++) {
		assert_int_equal(run_kind(&failing, "F"), 3);
		assert_int_equal(counted(COUNTER_kinds_tried), tried + 1 + (i < 3 ? i : 3));
	}
	assert_int_equal(kind_state("/bin/sh F"), ACTION_KIND_GUARDED);
	/* Forgotten, it is learnt anew, whatever this worker had kept. */
	assert_int_equal(action_kinds_forget(config.state_fd, "/bin/sh W"), 0);
	assert_int_equal(run_kind(&writer, "W"), 0);
	assert_int_equal(counted(COUNTER_kinds_tried), tried + 5);
	/* Not where it is not wished for, nor where the client has its way. */
	assert_int_equal(action_kinds_forget(config.state_fd, NULL), 0);
	config.guard_learning = false;
	assert_int_not_equal(run_kind(&writer, "W"), 0);
	assert_int_equal(kind_state("/bin/sh W"), ACTION_KIND_UNPROVED);
}

static void
test_large_result_is_a_blob(void **state)
{
	struct client client =
	    client_new("i=0; while [ $i -lt 800 ]; do : > out$i; i=$((i+1)); done");
	const struct msg_done *done;

	client.command->n_output_paths = 800;
	client.command->output_paths = arena_alloc(arena, 800 * sizeof(char *));
	for (int i = 0; i < 800; i++)
		client.command->output_paths[i] = arena_printf(arena, "out%d", i);
	client_put(&client);
	done = client_run(&client);
	assert_int_equal(done->status, JOB_OK);
	assert_false(done->has_result);
	assert_true(done->has_result_digest);
	assert_int_equal(cas_has(worker.cas, &done->result_digest), 1);
	client_end(&client);
}

static void
test_nothing_is_left(void **state)
{
	struct client client = client_new("true");
	struct slot_info info;

	client_put(&client);
	client_run(&client);
	client_end(&client);
	slot_read(region, SLOT, &info);
	assert_int_equal(info.phase, SLOT_IDLE);
	assert_int_equal(info.sandbox, 0);
	assert_int_equal(info.action_pid, 0);
	assert_int_equal(info.pins + info.permits + info.builds, 0);
	assert_int_equal(unlinkat(config.state_fd, "sandboxes", AT_REMOVEDIR), 0); /* it is empty */
	assert_int_equal(mkdirat(config.state_fd, "sandboxes", 0755), 0);
}

static int
world_make(enum isolation isolation)
{
	static const struct region_config region_config = {.entry_count = 1024, .link_cap = 64};
	struct stager_config stager = {.host = &config, .probe = &probe, .isolation = isolation};
	enum region_origin origin;
	struct error_text err;

	if (region_open(config.state_fd, &region_config, &origin, &region, &err) != 0)
		return -1;
	slot_assign(region, SLOT);
	slot_activate(region, SLOT, getpid());
	worker = (struct job_worker){.config = &config,
	    .slot = slot_at(region, SLOT),
	    .slot_number = SLOT,
	    .isolation = isolation,
	    .action_uid =
		geteuid() == 0 && isolation != ISOLATION_USER ? UID_BASE + SLOT : geteuid(),
	    .name = "test",
	    .cancel_fd = -1,
	    .arena = arena_new()};
	job_kinds_init(&worker.kinds, config.state_fd, worker.slot);
	stager.action_uid = worker.action_uid;
	stager.uid_differs = worker.action_uid != geteuid();
	if (runner_new(&config, isolation, worker.action_uid, worker.slot, &worker.runner, &err) !=
		0 ||
	    cas_open(config.state_fd, true, &worker.cas, &err) != 0 ||
	    stager_new(&stager, region, worker.slot, worker.cas, &worker.stager, &err) != 0) {
		print_message("%s\n", err.text);
		return -1;
	}
	arena = arena_new();
	return 0;
}

static void
world_end(void)
{
	stager_free(worker.stager);
	cas_close(worker.cas);
	runner_free(worker.runner);
	arena_free(worker.arena);
	arena_free(arena);
	slot_retire(region, SLOT);
	region_close(region);
}

static int
run_all(enum isolation isolation)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_success_is_cached),
	    cmocka_unit_test(test_cached_under_another_key),
	    cmocka_unit_test(test_unknown_node_property),
	    cmocka_unit_test(test_output_of_another_kind),
	    cmocka_unit_test(test_failure_is_not_cached),
	    cmocka_unit_test(test_do_not_cache),
	    cmocka_unit_test(test_missing_blobs_are_all_listed),
	    cmocka_unit_test(test_cancelled_before_it_began),
	    cmocka_unit_test(test_bad_tree_is_refused),
	    cmocka_unit_test(test_output_that_is_a_fifo),
	    cmocka_unit_test(test_timeout),
	    cmocka_unit_test(test_guard_off_property),
	    cmocka_unit_test(test_outputs_above_an_overlay),
	    cmocka_unit_test(test_a_lower_layer_that_somebody_took),
	    cmocka_unit_test(test_kinds_are_learnt),
	    cmocka_unit_test(test_large_result_is_a_blob),
	    cmocka_unit_test(test_nothing_is_left),
	};
	int rc;

	if (world_make(isolation) != 0)
		return 1;
	rc = cmocka_run_group_tests_name(isolation_names[isolation], tests, NULL, NULL);
	world_end();
	return rc;
}

/* Namespaces, once entered, are not left: each isolation has a process and a state of its own. */
static int
run_apart(enum isolation isolation)
{
	char template[] = "/tmp/ramet-test-job.XXXXXX";
	int status = 1;
	pid_t pid;

	if (mkdtemp(template) == NULL || chmod(template, 0711) != 0)
		return 1;
	snprintf(config.state_dir, sizeof(config.state_dir), "%s", template);
	config.state_fd = open(template, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fs_mkdir(config.state_fd, "trash", 0755) != 0 ||
	    fs_mkdir(config.state_fd, "trees", 0755) != 0)
		return 1;
	probe_run(&config, &probe);
	if (!probe.isolation[isolation].works) {
		print_message("isolation %s: %s: skipped\n", isolation_names[isolation],
		    probe.isolation[isolation].why);
		status = 0;
	} else if ((pid = fork()) == 0) {
		exit(run_all(isolation) == 0 ? 0 : 1);
	} else if (waitpid(pid, &status, 0) != pid) {
		status = 1;
	}
	close(config.state_fd);
	return fs_remove_tree(AT_FDCWD, template) == 0 ? status : 1;
}

int
main(void)
{
	int rc = 0;

	config.engine = ENGINE_AUTO;
	config.action_uid_base = UID_BASE;
	config.kill_grace_ms = 300;
	config.timeout_max_s = 100;
	config.log_cap_bytes = 1 << 20;
	config.link_cap = 64;
	rc |= run_apart(ISOLATION_ROOT);
	rc |= run_apart(ISOLATION_USER);
	rc |= run_apart(ISOLATION_NONE);
	return rc == 0 ? 0 : 1;
}
