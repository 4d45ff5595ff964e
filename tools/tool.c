#include "tools/tool.h"

#include <err.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int fail_status = 1;

void
die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vwarnx(format, args);
	va_end(args);
	exit(fail_status);
}

void
usage_error(struct tool *tool, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vwarnx(format, args);
	va_end(args);
	fprintf(stderr, "usage: ramet %s %s\n", tool->command->name, tool->command->synopsis);
	exit(2);
}

void
command_help(const struct command *command)
{
	printf("usage: ramet [--state DIR] %s %s\n\n%s.\n%s%s", command->name, command->synopsis,
	    command->summary, command->details[0] != '\0' ? "\n" : "", command->details);
}

void
tool_option(struct tool *tool, int option, const char *argument)
{
	switch (option) {
	case OPTION_STATE:
		tool->state_option = argument;
		return;
	case OPTION_HELP:
		command_help(tool->command);
		exit(fflush(stdout) == 0 ? 0 : 1);
	default:
		fprintf(
		    stderr, "usage: ramet %s %s\n", tool->command->name, tool->command->synopsis);
		exit(2);
	}
}

unsigned long
tool_number(struct tool *tool, const char *what, const char *text, long long min, long long max)
{
	const char *problem = NULL;
	long long value = strtonum(text, min, max, &problem);

	if (problem != NULL)
		usage_error(tool, "%s: %s is %s (%lld to %lld)", what, text, problem, min, max);
	return (unsigned long)value;
}

void *
xcalloc(size_t count, size_t size)
{
	void *at = calloc(count == 0 ? 1 : count, size);

	if (at == NULL)
		die("out of memory");
	return at;
}

void *
xrealloc(void *at, size_t count, size_t size)
{
	if (size != 0 && count > SIZE_MAX / size)
		die("out of memory");
	at = realloc(at, count == 0 ? 1 : count * size);
	if (at == NULL)
		die("out of memory");
	return at;
}

char *
xstrdup(const char *text)
{
	char *copy = strdup(text);

	if (copy == NULL)
		die("out of memory");
	return copy;
}

char *
xprintf(const char *format, ...)
{
	va_list args;
	char *text = NULL;
	int len;

	va_start(args, format);
	len = vasprintf(&text, format, args);
	va_end(args);
	if (len < 0)
		die("out of memory");
	return text;
}

void
strings_add(struct strings *strings, const char *text)
{
	strings->items = xrealloc(strings->items, strings->count + 2, sizeof(char *));
	strings->items[strings->count++] = xstrdup(text);
	strings->items[strings->count] = NULL;
}

void
strings_free(struct strings *strings)
{
	for (size_t i = 0; i < strings->count; i++)
		free(strings->items[i]);
	free(strings->items);
	strings->items = NULL;
	strings->count = 0;
}
