#include "supervisor/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPTIONS_MAX = 48, OPT_SETTING = 1000 };

static void
print_help(void)
{
	const struct config_help *help;
	char left[40];
	unsigned i;

	printf("usage: rametd [options]\n\nRuns a host that executes build actions.\n\n");
	for (i = 0; (help = config_help_at(i)) != NULL; i++) {
		snprintf(left, sizeof(left), "--%s %s", help->name, help->argument);
		printf("  %-26s %s\n", left, help->help);
	}
	printf("  %-26s %s\n", "-c FILE", "read settings from FILE, one \"name value\" a line");
	printf("  %-26s %s\n", "--foreground", "stay in the foreground and log to stderr");
	printf(
	    "  %-26s %s\n", "--probe", "try what this volume and system allow, print it, and exit");
	printf("  %-26s %s\n", "--explain DIGEST",
	    "say how an action or input root would be staged, and why, and exit");
	printf("  %-26s %s\n", "--explain-writer DIGEST",
	    "the same, as if it were to write into its inputs");
	printf("  %-26s %s\n", "--help, --version", "print this text, or the version");
}

static unsigned
fill_options(struct option *options)
{
	static const struct option own[] = {
	    {"foreground", no_argument, NULL, 'f'},
	    {"probe", no_argument, NULL, 'p'},
	    {"explain", required_argument, NULL, 'e'},
	    {"explain-writer", required_argument, NULL, 'w'},
	    {"config", required_argument, NULL, 'c'},
	    {"help", no_argument, NULL, 'h'},
	    {"version", no_argument, NULL, 'V'},
	};
	const struct config_help *help;
	unsigned i, n;

	for (n = 0; (help = config_help_at(n)) != NULL; n++)
		options[n] =
		    (struct option){help->name, required_argument, NULL, OPT_SETTING + (int)n};
	for (i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		options[n++] = own[i];
	options[n] = (struct option){NULL, 0, NULL, 0};
	return n;
}

static int
set_config_file(struct settings *settings, const char *path, struct error_text *err)
{
	char *full;
	int rc;

	full = realpath(path, NULL);
	if (full == NULL)
		return error_errno(err, -errno, "%s", path);
	rc = strlcpy(settings->config_file, full, sizeof(settings->config_file)) >=
		sizeof(settings->config_file)
	    ? -ENAMETOOLONG
	    : 0;
	free(full);
	return rc == 0 ? 0 : error_errno(err, rc, "%s", path);
}

static int
set_explain(struct settings *settings, const char *text, bool writer, struct error_text *err)
{
	settings->explains = true;
	settings->explain_writer = writer;
	if (digest_from_text(text, &settings->explain) == 0)
		return 0;
	return error_set(err, -EINVAL, "%s: not a digest (64 hex digits, '/', the size)", text);
}

static int
bad_option(int c, char **argv, struct error_text *err)
{
	const char *word = optind > 0 && argv[optind - 1] != NULL ? argv[optind - 1] : "";

	return error_set(err, -EINVAL, "%s: %s (see rametd --help)", word,
	    c == ':' ? "needs a value" : "no such option");
}

/* The file is read in the first pass and flags are applied in the second, so that flags win. */
static int
scan(struct settings *settings, int argc, char **argv, const struct option *options, bool apply,
    struct error_text *err)
{
	int c, rc = 0;

	optind = 1;
	while (rc == 0 && (c = getopt_long(argc, argv, "+:c:h", options, NULL)) != -1) {
		if (c >= OPT_SETTING)
			rc = apply
			    ? config_set(settings, options[c - OPT_SETTING].name, optarg, err)
			    : 0;
		else if (c == 'f')
			settings->foreground = true;
		else if (c == 'p')
			settings->probe = true;
		else if (c == 'e' || c == 'w')
			rc = set_explain(settings, optarg, c == 'w', err);
		else if (c == 'c')
			rc = apply ? 0 : set_config_file(settings, optarg, err);
		else if (c == 'h' || c == 'V')
			rc = c;
		else
			rc = bad_option(c, argv, err);
	}
	if (rc == 0 && optind < argc)
		rc = error_set(err, -EINVAL, "%s: unexpected (see rametd --help)", argv[optind]);
	return rc;
}

int
options_parse(struct settings *settings, int argc, char **argv, struct error_text *err)
{
	struct option options[OPTIONS_MAX];
	int rc;

	fill_options(options);
	opterr = 0;
	rc = scan(settings, argc, argv, options, false, err);
	if (rc == 'h') {
		print_help();
		return OPTIONS_DONE;
	}
	if (rc == 'V') {
		printf("rametd %s\n", RAMET_VERSION);
		return OPTIONS_DONE;
	}
	if (rc == 0 && settings->config_file[0] != '\0')
		rc = config_read_file(settings, settings->config_file, err);
	if (rc == 0)
		rc = scan(settings, argc, argv, options, true, err);
	if (rc == 0)
		rc = config_check(settings, err);
	return rc;
}
