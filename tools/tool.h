/*
 * What all commands of `ramet` share: the command table, errors, the state directory, options.
 *
 * One process, one thread, one command.  A command returns its exit status; what it cannot go on
 * from ends in die(), which prints "ramet: ..." and exits with fail_status (1; 125 for `ramet
 * run`, whose other statuses are the action's).  Bad usage exits with 2.  A command that has
 * something half done on disk takes it back before it calls die().
 */
#ifndef TOOLS_TOOL_H
#define TOOLS_TOOL_H

#include <sys/types.h>

#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error_text.h"
#include "cas/store.h"
#include "shm/region.h"

struct tool {
	const struct command *command;
	const char *state_option; /* --state, NULL when not given */
	char state[PATH_MAX]; /* after tool_state: absolute */
	int state_fd; /* after tool_state */
	uint32_t started_s; /* CLOCK_REALTIME: blobs that we put or found were used then or later */
};

struct command {
	const char *name;
	int (*run)(struct tool *tool, int argc, char **argv);
	const char *synopsis; /* without the name */
	const char *summary;
	const char *details;
};
extern const struct command command_table[]; /* ends with a NULL name */

extern int fail_status;
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void usage_error(struct tool *tool, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void command_help(const struct command *command);

/*
 * Options: every command's table ends with TOOL_OPTIONS.  tool_option answers --help, --state and
 * what getopt_long did not know (it has said so; exit 2).
 */
enum { OPTION_STATE = 0x1000, OPTION_HELP, OPTION_FIRST };
#define TOOL_OPTIONS                                                                               \
	{"state", required_argument, NULL, OPTION_STATE},                                          \
	    {"help", no_argument, NULL, OPTION_HELP},                                              \
	{                                                                                          \
		NULL, 0, NULL, 0                                                                   \
	}
void tool_option(struct tool *tool, int option, const char *argument);
unsigned long tool_number(
    struct tool *tool, const char *what, const char *text, long long min, long long max);

/* Finds and opens the state directory; `make`: makes it where there is none, else that fails. */
void tool_state(struct tool *tool, bool make);
void tool_make_path(const char *path, mode_t mode); /* mkdir -p */
struct cas *tool_cas(struct tool *tool, bool writable);
struct region *tool_region(struct tool *tool);

/*
 * Is a host at work there?  Its pid, or 0.  Reads the pid file and looks whether its lock is held;
 * neither connects nor writes.
 */
pid_t tool_host_pid(const struct tool *tool);
/* On stderr, for commands that work without a host, where there is none; what: "these are ...". */
void tool_say_no_host(const struct tool *tool, const char *what);

void *xcalloc(size_t count, size_t size);
void *xrealloc(void *at, size_t count, size_t size);
char *xstrdup(const char *text);
char *xprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A list of strings that ends with NULL. */
struct strings {
	char **items;
	size_t count;
};
void strings_add(struct strings *strings, const char *text);
void strings_free(struct strings *strings);

int command_run(struct tool *tool, int argc, char **argv);
int command_batch(struct tool *tool, int argc, char **argv);
int command_stat(struct tool *tool, int argc, char **argv);
int command_index(struct tool *tool, int argc, char **argv);
int command_ps(struct tool *tool, int argc, char **argv);
int command_explain(struct tool *tool, int argc, char **argv);
int command_doctor(struct tool *tool, int argc, char **argv);
int command_cas(struct tool *tool, int argc, char **argv);
int command_stop(struct tool *tool, int argc, char **argv);
int command_workers(struct tool *tool, int argc, char **argv);

#endif
