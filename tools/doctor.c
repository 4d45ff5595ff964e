/* ramet doctor: what rametd found when it tried, and what to do about each no. */
#include <sys/wait.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/self.h"
#include "tools/host.h"

enum { DOCTOR_JSON = OPTION_FIRST };
static const struct option doctor_options[] = {
    {"json", no_argument, NULL, DOCTOR_JSON},
    TOOL_OPTIONS,
};

struct report {
	bool json;
	bool runs; /* some isolation works */
	bool places; /* some way of placing works */
	unsigned items;
	char isolation[32]; /* the best that works */
};

static pid_t
probe_start(const char *program, const char *state, FILE **ret_out)
{
	char *argv[] = {(char *)program, (char *)"--probe", (char *)"--state", (char *)state, NULL};
	posix_spawn_file_actions_t actions;
	int ends[2], rc;
	pid_t pid;

	if (pipe(ends) != 0)
		die("pipe: %s", strerror(errno));
	fcntl(ends[0], F_SETFD, FD_CLOEXEC);
	fcntl(ends[1], F_SETFD, FD_CLOEXEC);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
	rc = posix_spawnp(&pid, program, &actions, NULL, argv, self_environ());
	posix_spawn_file_actions_destroy(&actions);
	close(ends[1]);
	if (rc != 0)
		die("cannot start %s: %s (is rametd installed beside ramet?)", program,
		    strerror(rc));
	*ret_out = fdopen(ends[0], "r");
	if (*ret_out == NULL)
		die("%s", strerror(errno));
	return pid;
}

static const char *
text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text != NULL ? text : "";
}

static const char *
mark_of(const json_t *object)
{
	if (!json_is_true(json_object_get(object, "works")))
		return json_is_true(json_object_get(object, "unneeded")) ? "-" : "no";
	return json_object_get(object, "value") != NULL ? "" : "yes";
}

static void
print_item(const json_t *object, const char *item)
{
	bool works = json_is_true(json_object_get(object, "works"));
	double us = json_number_value(json_object_get(object, "us"));
	const char *value = json_string_value(json_object_get(object, "value"));
	const char *remedy = text_of(object, "remedy");

	printf(
	    "%-4s %-18s %s", mark_of(object), item, value != NULL ? value : text_of(object, "why"));
	if (works && us > 0)
		printf(" (%.1f us)", us);
	putchar('\n');
	if (remedy[0] != '\0')
		printf("%-4s %-18s -> %s\n", "", "", remedy);
}

static void
take_line(struct report *report, const char *line)
{
	json_t *object = json_loads(line, 0, NULL);
	const char *item = text_of(object, "item");
	bool works = json_is_true(json_object_get(object, "works"));

	if (object == NULL || item[0] == '\0')
		die("rametd --probe said what is no item: %s", line);
	report->items++;
	if (strncmp(item, "isolation.", 10) == 0 && strcmp(item, "isolation.auto") != 0)
		report->runs = report->runs || works;
	if (strcmp(item, "isolation") == 0)
		strlcpy(report->isolation, text_of(object, "value"), sizeof(report->isolation));
	if (strncmp(item, "way.", 4) == 0)
		report->places = report->places || works;
	if (report->json)
		fputs(line, stdout);
	else
		print_item(object, item);
	json_decref(object);
}

int
command_doctor(struct tool *tool, int argc, char **argv)
{
	struct report report = {.json = false};
	char program[PATH_MAX];
	char *line = NULL;
	size_t size = 0;
	int option, status;
	FILE *out;
	pid_t pid;

	while ((option = getopt_long(argc, argv, "", doctor_options, NULL)) != -1) {
		if (option == DOCTOR_JSON)
			report.json = true;
		else
			tool_option(tool, option, optarg);
	}
	if (optind != argc)
		usage_error(tool, "%s: no arguments are taken", argv[optind]);
	tool_state(tool, true);
	host_program(program, sizeof(program));
	if (!report.json)
		printf("tried in %s ('-': no, and nothing is lost by it):\n", tool->state);
	fflush(stdout);
	pid = probe_start(program, tool->state, &out);
	while (getline(&line, &size, out) > 0)
		take_line(&report, line);
	free(line);
	fclose(out);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			die("%s: %s", program, strerror(errno));
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || report.items == 0)
		die("%s --probe did not finish (see above)", program);
	if (!report.runs || !report.places) {
		warnx("no action can run here: see what to do about each no");
		return 1;
	}
	if (!report.json)
		printf("actions can run here, with isolation %s\n", report.isolation);
	return 0;
}
