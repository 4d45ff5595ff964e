/* ramet explain: how an input tree would be staged now, and why; rametd knows. */
#include <err.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/self.h"
#include "tools/host.h"

enum { EXPLAIN_GUARD = OPTION_FIRST };
static const struct option explain_options[] = {
    {"guard", required_argument, NULL, EXPLAIN_GUARD},
    TOOL_OPTIONS,
};

int
command_explain(struct tool *tool, int argc, char **argv)
{
	char program[PATH_MAX];
	struct digest digest;
	bool writer = false;
	int option;

	while ((option = getopt_long(argc, argv, "", explain_options, NULL)) != -1) {
		if (option != EXPLAIN_GUARD)
			tool_option(tool, option, optarg);
		else if (strcmp(optarg, "on") == 0 || strcmp(optarg, "off") == 0)
			writer = strcmp(optarg, "off") == 0;
		else
			usage_error(tool, "--guard=%s: on or off", optarg);
	}
	if (optind != argc - 1)
		usage_error(tool, "one DIGEST: an action's, or an input root's");
	if (digest_from_text(argv[optind], &digest) != 0)
		usage_error(tool, "%s: not a digest (64 hex digits, '/', the size)", argv[optind]);
	tool_state(tool, false);
	host_program(program, sizeof(program));
	char *const arguments[] = {program, (char *)"--state", tool->state,
	    (char *)(writer ? "--explain-writer" : "--explain"), argv[optind], NULL};
	fflush(stdout);
	execvp(program, arguments);
	die("cannot start %s: %s (is rametd installed beside ramet?)", program, strerror(errno));
}
