/*
 * The command line of rametd: every setting of config.h as a long option, and a few of its own.
 *
 * Once, at start.  OPTIONS_DONE: --help or --version was answered, exit 0.  Errors: -EINVAL, words
 * in err (exit 2).
 */
#ifndef SUPERVISOR_OPTIONS_H
#define SUPERVISOR_OPTIONS_H

#include "supervisor/config.h"

enum { OPTIONS_GO = 0, OPTIONS_DONE = 1 };

int options_parse(struct settings *settings, int argc, char **argv, struct error_text *err);

#endif
