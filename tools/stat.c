/* ramet stat: the counters, from the mapping alone. */
#include <err.h>
#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shm/counters.h"
#include "tools/host.h"

struct stat_options {
	bool json, all, watch;
	unsigned long watch_s;
	const char *pattern;
};

enum { STAT_JSON = OPTION_FIRST, STAT_WATCH, STAT_ALL };
static const struct option stat_options[] = {
    {"json", no_argument, NULL, STAT_JSON},
    {"watch", optional_argument, NULL, STAT_WATCH},
    {"all", no_argument, NULL, STAT_ALL},
    TOOL_OPTIONS,
};

/* A shell pattern; a plain word is looked for anywhere in the name. */
static bool
wanted(const struct stat_options *options, const char *name)
{
	if (options->pattern == NULL)
		return true;
	if (strpbrk(options->pattern, "*?[") == NULL)
		return strstr(name, options->pattern) != NULL;
	return fnmatch(options->pattern, name, 0) == 0;
}

static void
print_json(const struct stat_options *options, const uint64_t *values)
{
	json_t *object = json_object();

	for (int i = 0; i < COUNTER_COUNT; i++)
		if (wanted(options, counter_table[i].name))
			json_object_set_new(object, counter_table[i].name,
			    json_integer(
				values[i] > INT64_MAX ? INT64_MAX : (json_int_t)values[i]));
	json_dumpf(object, stdout, JSON_PRESERVE_ORDER | (options->watch ? 0 : JSON_INDENT(2)));
	putchar('\n');
	json_decref(object);
}

static bool
shown(const struct stat_options *options, const uint64_t *values, int i)
{
	return wanted(options, counter_table[i].name) && (options->all || values[i] != 0);
}

static void
print_plain(const struct stat_options *options, const uint64_t *values)
{
	int name_width = 1, value_width = 1, count = 0;

	for (int i = 0; i < COUNTER_COUNT; i++) {
		int width;

		if (!shown(options, values, i))
			continue;
		width = (int)strlen(counter_table[i].name);
		name_width = width > name_width ? width : name_width;
		width = snprintf(NULL, 0, "%" PRIu64, values[i]);
		value_width = width > value_width ? width : value_width;
		count++;
	}
	for (int i = 0; i < COUNTER_COUNT; i++)
		if (shown(options, values, i))
			printf("%-*s  %*" PRIu64 "  %s\n", name_width, counter_table[i].name,
			    value_width, values[i], counter_table[i].help);
	if (count == 0)
		printf("nothing but zeroes (--all shows them)\n");
}

/* Attached anew each time: a host that was started meanwhile may have made another index. */
static void
print_once(struct tool *tool, const struct stat_options *options)
{
	struct region *region = tool_region(tool);
	uint64_t values[COUNTER_COUNT] = {0};

	counters_read(region, values);
	region_close(region);
	if (options->json)
		print_json(options, values);
	else
		print_plain(options, values);
	if (fflush(stdout) != 0)
		die("cannot write to stdout: %s", strerror(errno));
}

static void
stat_parse(struct tool *tool, struct stat_options *options, int argc, char **argv)
{
	bool known = false;
	int option;

	while ((option = getopt_long(argc, argv, "a", stat_options, NULL)) != -1) {
		if (option == STAT_JSON) {
			options->json = true;
		} else if (option == STAT_ALL || option == 'a') {
			options->all = true;
		} else if (option == STAT_WATCH) {
			options->watch = true;
			if (optarg != NULL)
				options->watch_s = tool_number(tool, "--watch", optarg, 1, 86400);
		} else {
			tool_option(tool, option, optarg);
		}
	}
	if (argc - optind > 1)
		usage_error(tool, "%s: one pattern only", argv[optind + 1]);
	options->pattern = argv[optind];
	for (int i = 0; i < COUNTER_COUNT; i++)
		known = known || wanted(options, counter_table[i].name);
	if (!known)
		usage_error(tool, "%s: no counter's name is like that", options->pattern);
}

int
command_stat(struct tool *tool, int argc, char **argv)
{
	struct stat_options options = {.watch_s = 1};

	stat_parse(tool, &options, argc, argv);
	tool_state(tool, false);
	tool_say_no_host(tool, "these are its last counters");
	if (!options.watch) {
		print_once(tool, &options);
		return 0;
	}
	for (;;) {
		if (!options.json && isatty(STDOUT_FILENO))
			printf("\033[H\033[2J");
		print_once(tool, &options);
		sleep((unsigned)options.watch_s);
	}
}
