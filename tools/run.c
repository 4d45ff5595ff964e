/* ramet run: one action on the host. */
#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "cas/ingest.h"
#include "tools/host.h"
#include "tools/job.h"
#include "tools/outputs.h"

enum { STATUS_TIMEOUT = 124, STATUS_ERROR = 125, CANCEL_WAIT_MS = 1000 };

struct run {
	struct action_spec spec;
	const char *metrics;
	struct cas *cas;
	struct channel *channel;
	int into_fd;
};

enum {
	RUN_INPUT = OPTION_FIRST,
	RUN_INPUT_DIGEST,
	RUN_OUTPUT,
	RUN_ENV,
	RUN_CWD,
	RUN_TIMEOUT,
	RUN_NO_CACHE,
	RUN_INTO,
	RUN_EXCLUDE,
	RUN_METRICS,
	RUN_GUARD,
	RUN_NAME,
	RUN_SHOW_WRITES,
};
static const struct option run_options[] = {
    {"input", required_argument, NULL, RUN_INPUT},
    {"input-digest", required_argument, NULL, RUN_INPUT_DIGEST},
    {"output", required_argument, NULL, RUN_OUTPUT},
    {"env", required_argument, NULL, RUN_ENV},
    {"cwd", required_argument, NULL, RUN_CWD},
    {"timeout", required_argument, NULL, RUN_TIMEOUT},
    {"no-cache", no_argument, NULL, RUN_NO_CACHE},
    {"into", required_argument, NULL, RUN_INTO},
    {"exclude", required_argument, NULL, RUN_EXCLUDE},
    {"metrics", required_argument, NULL, RUN_METRICS},
    {"guard", required_argument, NULL, RUN_GUARD},
    {"name", required_argument, NULL, RUN_NAME},
    {"show-writes", no_argument, NULL, RUN_SHOW_WRITES},
    TOOL_OPTIONS,
};

static double
seconds(struct tool *tool, const char *text)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end != '\0' || !(value > 0 && value <= 1e9))
		usage_error(tool, "--timeout: %s is not a number of seconds above 0", text);
	return value;
}

static bool
guard_off(struct tool *tool, const char *text)
{
	if (strcmp(text, "on") != 0 && strcmp(text, "off") != 0)
		usage_error(tool, "--guard: %s is neither on nor off", text);
	return strcmp(text, "off") == 0;
}

/* "out/" means out. */
static void
add_output(struct strings *outputs, const char *path)
{
	size_t len = strlen(path);
	char *trimmed = xstrdup(path);

	while (len > 1 && trimmed[len - 1] == '/')
		trimmed[--len] = '\0';
	strings_add(outputs, trimmed);
	free(trimmed);
}

static void
run_option(struct tool *tool, struct run *run, int option, const char *argument)
{
	struct action_spec *spec = &run->spec;

	switch (option) {
	case RUN_INPUT:
		spec->input = argument;
		return;
	case RUN_INPUT_DIGEST:
		if (digest_from_text(argument, &spec->root) != 0)
			usage_error(tool,
			    "--input-digest: %s is not a digest (64 hex digits, '/', the size)",
			    argument);
		spec->has_root = true;
		return;
	case RUN_OUTPUT:
		add_output(&spec->outputs, argument);
		return;
	case RUN_ENV:
		strings_add(&spec->env, argument);
		return;
	case RUN_CWD:
		spec->cwd = strcmp(argument, ".") == 0 ? "" : argument;
		return;
	case RUN_TIMEOUT:
		spec->timeout_s = seconds(tool, argument);
		return;
	case RUN_NO_CACHE:
		spec->no_cache = true;
		return;
	case RUN_INTO:
		spec->into = argument;
		return;
	case RUN_EXCLUDE:
		strings_add(&spec->excludes, argument);
		return;
	case RUN_METRICS:
		run->metrics = argument;
		return;
	case RUN_GUARD:
		spec->guard_off = guard_off(tool, argument);
		return;
	case RUN_SHOW_WRITES:
		spec->show_writes = true;
		return;
	case RUN_NAME:
		spec->name = argument;
		return;
	default:
		tool_option(tool, option, argument);
	}
}

static void
run_parse(struct tool *tool, struct run *run, int argc, char **argv)
{
	struct error_text err;
	int option;

	while ((option = getopt_long(argc, argv, "+", run_options, NULL)) != -1)
		run_option(tool, run, option, optarg);
	if (optind == argc)
		usage_error(tool, "what shall run? give -- and its arguments");
	for (int i = optind; i < argc; i++)
		strings_add(&run->spec.argv, argv[i]);
	if (action_check_spec(&run->spec, &err) != 0)
		usage_error(tool, "%s", err.text);
}

static struct digest
ingest_input(struct run *run)
{
	struct ingest_options options = {.excludes = (const char *const *)run->spec.excludes.items};
	struct ingest_stats stats;
	struct error_text err = {""};
	struct digest root = run->spec.has_root ? run->spec.root : digest_empty;
	int rc;

	if (run->spec.input == NULL)
		return root;
	rc = ingest_tree(run->cas, run->spec.input, &options, &root, &stats, &err);
	if (rc != 0)
		die("--input %s: %s", run->spec.input,
		    err.text[0] != '\0' ? err.text : strerror(-rc));
	return root;
}

static _Noreturn void
cancel_and_exit(struct run *run)
{
	struct message message = {.type = MSG_cancel};

	message.cancel.job = 1;
	(void)channel_send_wait(run->channel, &message, CANCEL_WAIT_MS);
	exit(128 + host_interrupted());
}

/* Waits for the end of job 1. */
static void
wait_done(struct tool *tool, struct run *run, struct message *ret_message)
{
	for (;;) {
		int rc = host_wait(run->channel, ret_message, -1);

		if (rc == -EINTR)
			cancel_and_exit(run);
		if (rc == -ECONNRESET)
			die("%s: the host went away before the action had ended", tool->state);
		if (rc != 0)
			die("%s: %s", tool->state, strerror(-rc));
		if (ret_message->type == MSG_refused)
			die("refused: %.*s", (int)ret_message->refused.message.len,
			    ret_message->refused.message.data);
		if (ret_message->type == MSG_done && ret_message->done.job == 1)
			return;
	}
}

static void
write_metrics(const struct run *run, const struct job_result *result)
{
	json_t *object = job_metrics_json(result, run->spec.name);
	char *text = json_dumps(object, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	FILE *out = fopen(run->metrics, "we");

	if (out == NULL)
		die("--metrics %s: %s", run->metrics, strerror(errno));
	if (text == NULL || fprintf(out, "%s\n", text) < 0 || fclose(out) != 0)
		die("--metrics %s: cannot write it: %s", run->metrics, strerror(errno));
	free(text);
	json_decref(object);
}

static void
print_missing(const char *missing)
{
	while (*missing != '\0') {
		int len = (int)strcspn(missing, "\n");

		warnx("missing blob: %.*s", len, missing);
		missing += len + (missing[len] == '\n');
	}
}

/* What it did beside its outputs. */
static void
print_writes(const struct job_result *result)
{
	const char *line = result->writes;

	if (line == NULL) {
		warnx("--show-writes: the host cannot tell: no overlay (see ramet doctor)");
		return;
	}
	if (*line == '\0')
		warnx("wrote nothing but its outputs");
	while (*line != '\0') {
		int len = (int)strcspn(line, "\n");

		warnx("%.*s", len, line);
		line += len + (line[len] == '\n');
	}
}

static int
exit_status(const struct job_result *result)
{
	if (result->status == JOB_OK)
		return result->exit_code & 255;
	if (result->missing != NULL)
		print_missing(result->missing);
	if (result->status == JOB_TIMEOUT) {
		warnx("%s", result->message[0] != '\0' ? result->message : "the action timed out");
		return STATUS_TIMEOUT;
	}
	warnx("%s: %s", job_status_names[result->status],
	    result->message[0] != '\0' ? result->message : "the host gave no reason");
	return STATUS_ERROR;
}

static int
deliver(struct run *run, struct job_result *result)
{
	struct error_text err = {""};
	int rc;

	if (run->metrics != NULL)
		write_metrics(run, result);
	rc = job_write_stdout(run->cas, result, STDOUT_FILENO);
	if (rc != 0)
		die("stdout of the action: %s", strerror(-rc));
	rc = job_write_stderr(run->cas, result, STDERR_FILENO);
	if (rc != 0)
		die("stderr of the action: %s", strerror(-rc));
	if (run->spec.show_writes && result->result != NULL)
		print_writes(result);
	if (result->result != NULL && run->into_fd >= 0) {
		rc = outputs_write(run->cas, result->arena, result->result, run->into_fd, &err);
		if (rc != 0)
			die("output %s", err.text[0] != '\0' ? err.text : strerror(-rc));
	}
	return exit_status(result);
}

static void
run_once(struct tool *tool, struct run *run, struct job_result *result)
{
	struct error_text err = {""};
	struct message message;
	struct digest action, root = ingest_input(run);
	int rc;

	if (action_build(run->cas, &run->spec, &root, &action, &err) != 0)
		die("%s", err.text);
	host_catch_signals();
	job_submit(&message, 1, &action, &run->spec, tool->started_s);
	rc = channel_send_wait(run->channel, &message, -1);
	if (rc != 0)
		die("%s: cannot reach the host: %s", tool->state, strerror(-rc));
	wait_done(tool, run, &message);
	if (job_result_read(run->cas, &message.done, result, &err) != 0)
		die("%s", err.text);
}

/* Blobs that went between our putting them and the action are put once more. */
static void
run_to_end(struct tool *tool, struct run *run, struct job_result *result)
{
	size_t missing;

	run_once(tool, run, result);
	missing = job_to_put_again(result, &run->spec);
	if (missing == 0)
		return;
	warnx("%zu of its blobs had gone before it ran: they are put once more", missing);
	job_result_free(result);
	run_once(tool, run, result);
}

int
command_run(struct tool *tool, int argc, char **argv)
{
	struct run run = {.into_fd = -1};
	struct job_result result;
	int status;

	fail_status = STATUS_ERROR;
	run_parse(tool, &run, argc, argv);
	tool_state(tool, true);
	if (run.spec.outputs.count > 0)
		run.into_fd = outputs_open_into(run.spec.into);
	run.channel = host_connect(tool, true, NULL);
	run.cas = tool_cas(tool, true);
	run_to_end(tool, &run, &result);
	status = deliver(&run, &result);
	job_result_free(&result);
	cas_close(run.cas);
	channel_free(run.channel);
	if (run.into_fd >= 0)
		close(run.into_fd);
	action_spec_free(&run.spec);
	return status;
}
