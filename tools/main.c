/* ramet: the command line of a host. */
#include <err.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tools/tool.h"

static void
print_help(FILE *out)
{
	fprintf(out,
	    "usage: ramet [--state DIR] COMMAND [ARGUMENT...]\n"
	    "       ramet help [COMMAND] | ramet --version\n\n");
	for (const struct command *command = command_table; command->name != NULL; command++)
		fprintf(out, "  %-8s %s\n", command->name, command->summary);
	fprintf(out,
	    "\nThe state directory is --state, else $RAMET_STATE, else ./var in a checkout of ramet,\n"
	    "else ramet in the user's cache directory.\n");
}

static const struct command *
command_find(const char *name)
{
	for (const struct command *command = command_table; command->name != NULL; command++)
		if (strcmp(command->name, name) == 0)
			return command;
	return NULL;
}

static int
flushed(void)
{
	if (fflush(stdout) != 0 || ferror(stdout)) {
		warn("cannot write to stdout");
		return 1;
	}
	return 0;
}

static int
help(int argc, char **argv)
{
	const struct command *command;

	if (argc < 2) {
		print_help(stdout);
		return flushed();
	}
	command = command_find(argv[1]);
	if (command == NULL) {
		warnx("%s: no such command (ramet help lists them)", argv[1]);
		return 2;
	}
	command_help(command);
	return flushed();
}

/* Options before the command.  Returns the index of the command. */
static int
global_options(struct tool *tool, int argc, char **argv)
{
	int i = 1;

	for (; i < argc && argv[i][0] == '-'; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			print_help(stdout);
			exit(flushed());
		} else if (strcmp(argv[i], "--version") == 0) {
			printf("ramet %s\n", RAMET_VERSION);
			exit(flushed());
		} else if (strncmp(argv[i], "--state=", 8) == 0) {
			tool->state_option = argv[i] + 8;
		} else if (strcmp(argv[i], "--state") == 0 && i + 1 < argc) {
			tool->state_option = argv[++i];
		} else {
			warnx("%s: %s", argv[i],
			    strcmp(argv[i], "--state") == 0 ? "needs a directory"
							    : "no such option");
			print_help(stderr);
			exit(2);
		}
	}
	return i;
}

int
main(int argc, char **argv)
{
	static char program[] = "ramet";
	struct tool tool = {.state_fd = -1, .started_s = clock_realtime_s()};
	int first, status;

	setlocale(LC_CTYPE, "");
	first = global_options(&tool, argc, argv);
	if (first == argc) {
		print_help(stderr);
		return 2;
	}
	if (strcmp(argv[first], "help") == 0)
		return help(argc - first, argv + first);
	tool.command = command_find(argv[first]);
	if (tool.command == NULL) {
		warnx("%s: no such command (ramet help lists them)", argv[first]);
		return 2;
	}
	argv[first] = program; /* getopt_long's messages begin with it */
	status = tool.command->run(&tool, argc - first, argv + first);
	if (flushed() != 0 && status == 0)
		status = fail_status;
	return status;
}
