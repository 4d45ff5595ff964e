/*
 * Everything a user can set, once, for the flags and for the file of -c.
 *
 * Supervisor, before it forks and again on SIGHUP.  Calling sequence: config_defaults(), then
 * config_read_file() where -c is given, then config_set() for each flag, so that flags win.
 *
 * The file: one setting a line, "name value" or "name = value", '#' starts a comment, blank lines
 * are skipped.  Names are those of the flags without "--".  Sizes take K, M, G, T (powers of
 * 1,024). Errors: -EINVAL with file, line, name and what would be right; others from reading the
 * file.
 */
#ifndef SUPERVISOR_CONFIG_H
#define SUPERVISOR_CONFIG_H

#include <stdbool.h>

#include "base/digest.h"
#include "base/error_text.h"
#include "base/host_config.h"
#include "base/log.h"
#include "supervisor/config_gateway.h"

struct settings {
	struct host_config host;
	struct gateway_settings gateway;
	char state[4096]; /* --state as given, "" if not */
	char config_file[4096]; /* -c, absolute, "" if not */
	unsigned log_level; /* enum log_level */
	bool foreground, probe;
	bool explains, explain_writer; /* say how this would be staged, and exit */
	struct digest explain;
};

void config_defaults(struct settings *settings);
int config_set(
    struct settings *settings, const char *name, const char *value, struct error_text *err);
int config_read_file(struct settings *settings, const char *path, struct error_text *err);

/* What cannot be said of one setting alone. */
int config_check(const struct settings *settings, struct error_text *err);

/* The i-th setting's name, argument and help; NULL after the last. */
struct config_help {
	const char *name, *argument, *help;
};
const struct config_help *config_help_at(unsigned i);

/* 0 or -EINVAL.  "64", "16M", "2g". */
int config_parse_size(const char *text, uint64_t *ret_bytes);

#endif
