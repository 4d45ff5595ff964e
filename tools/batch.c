/* ramet batch: many actions, as many at once as the host can use. */
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cas/ingest.h"
#include "tools/batch_file.h"
#include "tools/batch_summary.h"
#include "tools/host.h"
#include "tools/outputs.h"

enum { WINDOW_LEAST = 64, WINDOW_PER_WORKER = 4, WAIT_MS = 250, CANCEL_WAIT_MS = 1000 };

struct run_batch {
	struct tool *tool;
	struct batch batch;
	struct cas *cas;
	struct channel *channel;
	struct progress progress;
	struct batch_summary summary;
	json_t *inputs; /* directory and excludes -> digest */
	FILE *metrics;
	size_t *queue; /* items whose needs are met: queue_start..queue_end */
	size_t queue_start, queue_end, window, in_flight;
	bool quiet;
};

enum { BATCH_JOBS = OPTION_FIRST, BATCH_QUIET, BATCH_METRICS };
static const struct option batch_options[] = {
    {"jobs", required_argument, NULL, BATCH_JOBS},
    {"quiet", no_argument, NULL, BATCH_QUIET},
    {"metrics", required_argument, NULL, BATCH_METRICS},
    TOOL_OPTIONS,
};

static char *
input_key(const struct action_spec *spec)
{
	char *key = xstrdup(spec->input);

	for (size_t i = 0; i < spec->excludes.count; i++) {
		char *longer = xprintf("%s\n%s", key, spec->excludes.items[i]);

		free(key);
		key = longer;
	}
	return key;
}

/* Ingested once for each distinct directory and list of excludes. */
static int
input_root(struct run_batch *run, const struct action_spec *spec, struct digest *ret_root,
    struct error_text *err)
{
	struct ingest_options options = {.excludes = (const char *const *)spec->excludes.items};
	struct ingest_stats stats;
	char text[DIGEST_TEXT_SIZE];
	const json_t *known;
	char *key;
	int rc = 0;

	*ret_root = spec->has_root ? spec->root : digest_empty;
	if (spec->input == NULL)
		return 0;
	key = input_key(spec);
	known = json_object_get(run->inputs, key);
	if (known != NULL) {
		rc = digest_from_text(json_string_value(known), ret_root);
	} else {
		rc = ingest_tree(run->cas, spec->input, &options, ret_root, &stats, err);
		if (rc == 0)
			json_object_set_new_nocheck(
			    run->inputs, key, json_string(digest_to_text(ret_root, '/', text)));
	}
	free(key);
	return rc;
}

/* The item's input root: its directory, and over it the outputs of what it needs. */
static int
item_root(struct run_batch *run, const struct batch_item *item, struct digest *ret_root,
    struct error_text *err)
{
	struct tree_graft *grafts;
	struct digest base;
	size_t count = 0;
	int rc = input_root(run, &item->spec, &base, err);

	if (rc != 0 || item->need_count == 0) {
		*ret_root = base;
		return rc;
	}
	for (size_t i = 0; i < item->need_count; i++)
		count += run->batch.items[item->needs[i]].graft_count;
	grafts = xcalloc(count, sizeof(*grafts));
	count = 0;
	for (size_t i = 0; i < item->need_count; i++) {
		const struct batch_item *need = &run->batch.items[item->needs[i]];

		if (need->graft_count > 0)
			memcpy(grafts + count, need->grafts, need->graft_count * sizeof(*grafts));
		count += need->graft_count;
	}
	rc = tree_graft(run->cas, &base, grafts, count, ret_root, err);
	free(grafts);
	return rc;
}

/* Everything below it can no longer be done. */
static void
skip_dependents(struct run_batch *run, const struct batch_item *item)
{
	for (size_t i = 0; i < item->dependent_count; i++) {
		struct batch_item *dependent = &run->batch.items[item->dependents[i]];

		if (dependent->state != ITEM_WAITING)
			continue;
		dependent->state = ITEM_SKIPPED;
		run->progress.skipped++;
		run->progress.finished++;
		skip_dependents(run, dependent);
	}
}

static void
item_failed(struct run_batch *run, struct batch_item *item)
{
	item->state = ITEM_FAILED;
	run->progress.failed++;
	run->progress.finished++;
	skip_dependents(run, item);
}

static void
item_ok(struct run_batch *run, struct batch_item *item)
{
	item->state = ITEM_OK;
	run->progress.finished++;
	for (size_t i = 0; i < item->dependent_count; i++) {
		struct batch_item *dependent = &run->batch.items[item->dependents[i]];

		if (--dependent->needs_left == 0 && dependent->state == ITEM_WAITING)
			run->queue[run->queue_end++] = item->dependents[i];
	}
}

static void
say(struct run_batch *run, const struct batch_item *item, const char *text)
{
	progress_clear(&run->progress);
	warnx("%s: %s", item->called, text);
}

static void
item_submit(struct run_batch *run, size_t number)
{
	struct batch_item *item = &run->batch.items[number];
	struct error_text err = {""};
	struct digest root, action;
	struct message message;
	int rc;

	if (item->state != ITEM_WAITING)
		return;
	rc = item_root(run, item, &root, &err);
	if (rc == 0)
		rc = action_build(run->cas, &item->spec, &root, &action, &err);
	if (rc != 0) {
		say(run, item, err.text[0] != '\0' ? err.text : strerror(-rc));
		item_failed(run, item);
		return;
	}
	job_submit(&message, number + 1, &action, &item->spec, run->tool->started_s);
	rc = channel_send(run->channel, &message);
	if (rc == -ENOBUFS)
		rc = channel_send_wait(run->channel, &message, -1);
	if (rc != 0)
		die("%s: cannot reach the host: %s", run->tool->state, strerror(-rc));
	item->state = ITEM_SENT;
	run->in_flight++;
}

static void
show_failure(struct run_batch *run, const struct batch_item *item, const struct job_result *result)
{
	char text[64];

	if (result->status == JOB_OK && result->term_signal != 0)
		snprintf(text, sizeof(text), "ended by signal %d", result->term_signal);
	else if (result->status == JOB_OK)
		snprintf(text, sizeof(text), "exit status %d", result->exit_code);
	else
		strlcpy(text, job_status_names[result->status], sizeof(text));
	progress_clear(&run->progress);
	warnx("%s: %s%s%s", item->called, text, result->message[0] != '\0' ? ": " : "",
	    result->message);
	if (result->missing != NULL)
		fprintf(stderr, "missing blobs:\n%s", result->missing);
	fflush(stderr);
	if (job_write_stdout(run->cas, result, STDERR_FILENO) != 0 ||
	    job_write_stderr(run->cas, result, STDERR_FILENO) != 0)
		say(run, item, "what it printed cannot be read");
}

/* Outputs go to the user where he wants them, and to those who need them. */
static int
deliver(struct run_batch *run, struct batch_item *item, struct job_result *result,
    struct error_text *err)
{
	int rc = 0;

	if (result->result == NULL)
		return 0;
	if (item->spec.into != NULL && item->spec.outputs.count > 0) {
		int into_fd = outputs_open_into(item->spec.into);

		rc = outputs_write(run->cas, result->arena, result->result, into_fd, err);
		close(into_fd);
	}
	if (rc == 0 && item->dependent_count > 0) {
		item->arena = arena_new();
		rc = outputs_grafts(run->cas, item->arena, result->result, item->spec.cwd,
		    &item->grafts, &item->graft_count, err);
	}
	return rc;
}

static void
add_metrics(struct run_batch *run, const struct batch_item *item, const struct job_result *result)
{
	json_t *object;

	if (run->metrics == NULL)
		return;
	object = job_metrics_json(result, item->called);
	if (json_dumpf(object, run->metrics, JSON_COMPACT | JSON_PRESERVE_ORDER) != 0 ||
	    putc('\n', run->metrics) == EOF)
		die("--metrics: cannot write: %s", strerror(errno));
	json_decref(object);
}

static struct batch_item *
sent_item(struct run_batch *run, uint64_t job)
{
	if (job == 0 || job > run->batch.count || run->batch.items[job - 1].state != ITEM_SENT)
		return NULL;
	return &run->batch.items[job - 1];
}

static void
take_started(struct run_batch *run, const struct msg_started *started)
{
	struct batch_item *item = sent_item(run, started->job);

	if (item == NULL || item->started) /* a second try is no second action */
		return;
	item->started = true;
	run->progress.running++;
}

static void
item_back(struct run_batch *run, const struct batch_item *item)
{
	run->in_flight--;
	run->progress.running -= item->started;
}

/* Blobs went between our putting them and the action: once more, from the user's directory. */
static bool
put_again(struct run_batch *run, struct batch_item *item, const struct job_result *result)
{
	size_t missing = job_to_put_again(result, &item->spec);
	char text[128];

	if (missing == 0 || item->again)
		return false;
	snprintf(text, sizeof(text),
	    "%zu of its blobs had gone before it ran: they are put once more", missing);
	say(run, item, text);
	if (item->spec.input != NULL) {
		char *key = input_key(&item->spec);

		json_object_del(run->inputs, key);
		free(key);
	}
	item->again = true;
	item->started = false;
	item->state = ITEM_WAITING;
	item_submit(run, (size_t)(item - run->batch.items));
	return true;
}

static void
take_done(struct run_batch *run, const struct msg_done *done)
{
	struct batch_item *item = sent_item(run, done->job);
	struct error_text err = {""};
	struct job_result result;
	int rc;

	if (item == NULL)
		return;
	item_back(run, item);
	rc = job_result_read(run->cas, done, &result, &err);
	if (rc != 0) {
		say(run, item, err.text);
		item_failed(run, item);
		return;
	}
	if (put_again(run, item, &result)) {
		job_result_free(&result);
		return;
	}
	run->progress.cached += result.cached;
	batch_summary_add(&run->summary, &result, &item->spec);
	add_metrics(run, item, &result);
	if (!job_succeeded(&result)) {
		show_failure(run, item, &result);
		item_failed(run, item);
	} else if (deliver(run, item, &result, &err) != 0) {
		run->summary.ok--;
		say(run, item, err.text);
		item_failed(run, item);
	} else {
		item_ok(run, item);
	}
	job_result_free(&result);
}

static void
take_refused(struct run_batch *run, const struct msg_refused *refused)
{
	struct batch_item *item = sent_item(run, refused->job);
	char text[1025];

	msg_text_copy(refused->message, text, sizeof(text));
	if (item == NULL)
		die("the host refused: %s", text);
	item_back(run, item);
	say(run, item, text);
	item_failed(run, item);
}

static _Noreturn void
cancel_and_exit(struct run_batch *run)
{
	struct message message = {.type = MSG_cancel};

	for (size_t i = 0; i < run->batch.count; i++) {
		message.cancel.job = i + 1;
		if (run->batch.items[i].state == ITEM_SENT &&
		    channel_send_wait(run->channel, &message, CANCEL_WAIT_MS) != 0)
			break;
	}
	progress_clear(&run->progress);
	warnx("interrupted: %zu of %zu actions were done", run->progress.finished,
	    run->progress.total);
	exit(128 + host_interrupted());
}

static void
take_message(struct run_batch *run)
{
	struct message message;
	int rc = host_wait(run->channel, &message, WAIT_MS);

	if (rc == -EINTR)
		cancel_and_exit(run);
	if (rc == -ETIMEDOUT)
		return;
	if (rc != 0) {
		progress_clear(&run->progress);
		die("%s: the host went away with %zu of %zu actions done: %s", run->tool->state,
		    run->progress.finished, run->progress.total, strerror(-rc));
	}
	if (message.type == MSG_done)
		take_done(run, &message.done);
	else if (message.type == MSG_started)
		take_started(run, &message.started);
	else if (message.type == MSG_refused)
		take_refused(run, &message.refused);
}

static void
run_all(struct run_batch *run)
{
	for (size_t i = 0; i < run->batch.count; i++)
		if (run->batch.items[i].needs_left == 0)
			run->queue[run->queue_end++] = i;
	while (run->progress.finished < run->progress.total) {
		while (run->queue_start < run->queue_end && run->in_flight < run->window) {
			if (host_interrupted() != 0)
				cancel_and_exit(run);
			item_submit(run, run->queue[run->queue_start++]);
			progress_show(&run->progress);
		}
		if (run->in_flight > 0)
			take_message(run);
		progress_show(&run->progress);
	}
}

static size_t
window_default(struct tool *tool)
{
	struct region *region = tool_region(tool);
	uint64_t values[COUNTER_COUNT] = {0};
	size_t window;

	counters_read(region, values);
	region_close(region);
	window = (size_t)values[COUNTER_workers_configured] * WINDOW_PER_WORKER;
	return window > WINDOW_LEAST ? window : WINDOW_LEAST;
}

static void
batch_parse(struct run_batch *run, int argc, char **argv)
{
	const char *metrics = NULL;
	struct error_text err;
	int option;

	while ((option = getopt_long(argc, argv, "", batch_options, NULL)) != -1) {
		if (option == BATCH_JOBS)
			run->window = tool_number(run->tool, "--jobs", optarg, 1, 100000);
		else if (option == BATCH_QUIET)
			run->quiet = true;
		else if (option == BATCH_METRICS)
			metrics = optarg;
		else
			tool_option(run->tool, option, optarg);
	}
	if (argc - optind != 1)
		usage_error(run->tool, "give one file of actions ('-' for stdin)");
	if (batch_load(argv[optind], &run->batch, &err) != 0) {
		warnx("%s", err.text);
		exit(2);
	}
	run->metrics = metrics != NULL ? fopen(metrics, "we") : NULL;
	if (metrics != NULL && run->metrics == NULL)
		die("--metrics %s: %s", metrics, strerror(errno));
}

static void
batch_end(struct run_batch *run)
{
	if (run->metrics != NULL && fclose(run->metrics) != 0)
		die("--metrics: cannot write: %s", strerror(errno));
	batch_summary_free(&run->summary);
	batch_free(&run->batch);
	json_decref(run->inputs);
	free(run->queue);
	channel_free(run->channel);
	cas_close(run->cas);
}

int
command_batch(struct tool *tool, int argc, char **argv)
{
	struct run_batch run = {.tool = tool, .inputs = json_object()};
	size_t failed;

	batch_parse(&run, argc, argv);
	tool_state(tool, true);
	run.channel = host_connect(tool, true, NULL);
	run.cas = tool_cas(tool, true);
	if (run.window == 0)
		run.window = window_default(tool);
	run.queue = xcalloc(run.batch.count, sizeof(*run.queue));
	host_catch_signals();
	progress_start(&run.progress, run.batch.count, run.quiet);
	batch_summary_start(&run.summary, tool);
	run_all(&run);
	batch_summary_end(&run.summary, tool);
	progress_end(&run.progress);
	fflush(stderr);
	batch_summary_print(&run.summary, &run.progress, stdout);
	failed = run.progress.failed;
	batch_end(&run);
	return failed > 0 ? 1 : 0;
}
