/* rametd: parse the flags, take the state directory, go into the background, supervise. */
#include <sys/param.h>
#include <sys/stat.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <libutil.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/state_path.h"
#include "supervisor/background.h"
#include "supervisor/options.h"
#include "supervisor/state_dir.h"
#include "supervisor/supervisor.h"
#include "workers/explain.h"
#include "workers/probe.h"

static int
find_state_dir(struct settings *settings, struct error_text *err)
{
	char path[sizeof(settings->state)];
	int rc;

	rc = state_path_choose(settings->state, path, sizeof(path));
	if (rc != 0)
		return error_errno(err, rc, "no state directory: give one with --state");
	return state_dir_open(path, &settings->host, err);
}

static int
print_probe(const struct settings *settings)
{
	struct probe probe;

	probe_run(&settings->host, &probe);
	if (probe_print_json(&probe, stdout) != 0 || fflush(stdout) != 0)
		err(1, "standard output");
	return 0;
}

static int
print_explanation(const struct settings *settings)
{
	struct error_text err = {""};
	int rc = explain_print(
	    &settings->host, &settings->explain, settings->explain_writer, stdout, &err);

	if (fflush(stdout) != 0)
		errx(1, "standard output");
	if (rc != 0)
		warnx("%s", err.text);
	return rc == 0 ? 0 : 1;
}

static int
serve(struct settings *settings)
{
	struct error_text err = {""};
	struct pidfh *pidfile;
	uint32_t last_start_s;
	int ready_fd = -1, log_fd = STDERR_FILENO, code;

	if (state_dir_lock(&settings->host, &pidfile, &last_start_s, &err) != 0)
		errx(1, "%s", err.text);
	if (!settings->foreground &&
	    background_enter(settings->host.state_fd, &ready_fd, &log_fd, &err) != 0)
		errx(1, "%s", err.text);
	log_open(log_fd, settings->log_level);
	log_name("supervisor");
	setproctitle("supervisor");
	if (pidfile_write(pidfile) != 0 || fchdir(settings->host.state_fd) != 0)
		fatal("%s/ramet.pid", settings->host.state_dir);
	code = supervisor_run(settings, pidfile, last_start_s, ready_fd);
	state_dir_unlock(&settings->host, pidfile);
	return code;
}

int
main(int argc, char **argv, char **envp)
{
	static struct settings settings;
	struct error_text err = {""};
	int rc;

	setproctitle_init(argc, argv, envp);
	umask(022);
	config_defaults(&settings);
	rc = options_parse(&settings, argc, argv, &err);
	if (rc == OPTIONS_DONE)
		return 0;
	if (rc != 0)
		errx(2, "%s", err.text);
	if (find_state_dir(&settings, &err) != 0)
		errx(1, "%s", err.text);
	if (settings.probe)
		return print_probe(&settings);
	return settings.explains ? print_explanation(&settings) : serve(&settings);
}
