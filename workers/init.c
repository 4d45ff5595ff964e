#include <sys/resource.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "workers/run_internal.h"

static void
on_child(int signal_number)
{
	(void)signal_number; /* pselect returns: that is all */
}

static void
signals_block(void)
{
	struct sigaction action = {.sa_handler = on_child, .sa_flags = SA_NOCLDSTOP};
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	sigaction(SIGCHLD, &action, NULL);
}

static int
descriptor_keep(int *fd, int number)
{
	if (dup2(*fd, number) < 0 || fcntl(number, F_SETFD, FD_CLOEXEC) != 0)
		return -1;
	*fd = number;
	return 0;
}

/* What init_main works with from here on; the rest of the worker's descriptors is closed. */
static int
descriptors_arrange(struct run_init *init)
{
	if (dup2(init->runner->null_fd, STDIN_FILENO) < 0 ||
	    dup2(init->stdout_fd, STDOUT_FILENO) < 0 || dup2(init->stderr_fd, STDERR_FILENO) < 0)
		return -errno;
	if (init->control_fd != RUN_CONTROL_FD) {
		if (dup2(init->control_fd, RUN_CONTROL_FD) < 0)
			return -errno;
		init->control_fd = RUN_CONTROL_FD;
	}
	if (fcntl(RUN_CONTROL_FD, F_SETFD, FD_CLOEXEC) != 0)
		return -errno;
	if (init->map_fd < 0)
		return run_os_close_from(RUN_CONTROL_FD + 1);
	if (descriptor_keep(&init->map_fd, RUN_MAP_FD) != 0 ||
	    descriptor_keep(&init->own_fd, RUN_OWN_FD) != 0)
		return -errno;
	return run_os_close_from(RUN_OWN_FD + 1);
}

static void
report_send(struct run_init *init, enum run_report_kind kind)
{
	const char *bytes = (const char *)&init->report;
	size_t left = sizeof(init->report);

	init->report.kind = kind;
	while (left > 0) {
		ssize_t n = write(init->control_fd, bytes, left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return; /* the worker is dead: so shall we be */
		bytes += n;
		left -= (size_t)n;
	}
}

_Noreturn static void
init_fail(struct run_init *init, int error)
{
	init->report.error = error;
	report_send(init, RUN_FAILED);
	_exit(1);
}

static uint64_t
timeval_us(const struct timeval *time)
{
	return (uint64_t)time->tv_sec * 1000000 + (uint64_t)time->tv_usec;
}

static void
report_usage(struct run_report *report)
{
	struct rusage usage;

	getrusage(RUSAGE_CHILDREN, &usage);
	report->user_us = timeval_us(&usage.ru_utime);
	report->system_us = timeval_us(&usage.ru_stime);
	report->max_rss_bytes = (uint64_t)usage.ru_maxrss * run_os_maxrss_unit;
}

/* Reaps whatever has ended; true when the action's first process has. */
static bool
children_reap(struct run_init *init)
{
	bool ended = false;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (pid == init->first) {
			init->report.status = status;
			ended = true;
		}
	init->report.alone = pid < 0 && errno == ECHILD;
	return ended;
}

/* What the worker wants; its death wants everything gone. */
static void
control_read(struct run_init *init)
{
	char what;
	ssize_t n = read(init->control_fd, &what, 1);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		run_os_signal_all(init, SIGKILL);
		run_os_end_others(init);
		_exit(1);
	}
	if (what == RUN_ASK_TERM) {
		run_os_signal_all(init, SIGTERM);
		run_os_signal_all(init, SIGCONT);
	} else if (what == RUN_ASK_KILL) {
		run_os_signal_all(init, SIGKILL);
	}
}

static void
first_wait(struct run_init *init)
{
	sigset_t but_child;

	sigfillset(&but_child);
	sigdelset(&but_child, SIGCHLD);
	while (!children_reap(init)) {
		int tick_ms = run_os_tick_ms(init);
		struct timespec tick = {tick_ms / 1000, tick_ms % 1000 * 1000000L};
		fd_set readable;
		int n;

		FD_ZERO(&readable);
		FD_SET(init->control_fd, &readable);
		n = pselect(init->control_fd + 1, &readable, NULL, NULL, tick_ms < 0 ? NULL : &tick,
		    &but_child);
		if (n > 0)
			control_read(init);
		else if (n == 0)
			run_os_tick(init);
	}
}

static int
directory_enter(struct run_init *init)
{
	int root_fd, fd, rc;

	init->report.step = RUN_STEP_CHDIR;
	root_fd = open(init->root_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0)
		return -errno;
	rc = fs_open_beneath(root_fd, init->request->working_directory, &fd);
	if (rc == 0) {
		rc = fchdir(fd) == 0 ? 0 : -errno;
		close(fd);
	}
	close(root_fd);
	return rc;
}

void
init_main(struct run_init *init)
{
	static const struct rlimit no_core = {0, 0};
	int rc;

	signals_block();
	init->report.ordered = init->order == NULL;
	init->report.step = RUN_STEP_DESCRIPTORS;
	rc = run_os_become_init(init);
	if (rc == 0)
		rc = descriptors_arrange(init);
	if (rc == 0)
		rc = run_os_isolate(init);
	if (rc != 0)
		init_fail(init, rc);
	umask(022);
	setrlimit(RLIMIT_CORE, &no_core);
	if (init->order != NULL)
		run_ready_await(init);
	rc = run_os_furnish(init);
	if (rc == 0)
		rc = directory_enter(init);
	if (rc != 0)
		init_fail(init, rc);
	init->report.step = RUN_STEP_SPAWN;
	init->first = run_os_spawn_first(init);
	if (init->first < 0)
		init_fail(init, (int)init->first);
	init->report.exec_us = clock_monotonic_us();
	init->report.process_group = (int32_t)init->first;
	report_send(init, RUN_STARTED);
	first_wait(init);
	run_os_end_others(init);
	report_usage(&init->report);
	report_send(init, RUN_ENDED);
	_exit(0);
}

/*
 * From here on: the first process, before it becomes the action's program.  It may share memory
 * with the init, so nothing here allocates or changes what the init reads.
 */
static void
signals_restore(const sigset_t *ignored)
{
	struct sigaction standard = {.sa_handler = SIG_DFL};
	sigset_t none;

	for (int signal_number = 1; signal_number < NSIG; signal_number++)
		if (sigismember(ignored, signal_number) == 1)
			sigaction(signal_number, &standard, NULL);
	run_os_default_signals();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static const char *
env_find(char *const *env, const char *name)
{
	size_t len = strlen(name);

	for (; *env != NULL; env++)
		if (strncmp(*env, name, len) == 0 && (*env)[len] == '=')
			return *env + len + 1;
	return NULL;
}

_Noreturn static void
exec_fail(const char *program, int error, const char *where)
{
	char line[PATH_MAX + 512];
	int len =
	    snprintf(line, sizeof(line), "ramet: %s: %s%s\n", program, strerror(error), where);

	if (len > 0)
		(void)!write(STDERR_FILENO, line,
		    (size_t)len < sizeof(line) ? (size_t)len : sizeof(line) - 1);
	_exit(error == ENOENT || error == ENOTDIR ? 127 : 126);
}

/* argv[0] with a slash: from the working directory, else from the input root. */
_Noreturn static void
exec_path(struct run_init *init, const char *program)
{
	char path[PATH_MAX];
	int error = -run_os_exec(init, program);

	if (program[0] != '/' && (error == ENOENT || error == ENOTDIR) &&
	    (size_t)snprintf(path, sizeof(path), "%s/%s", init->root_path, program) <
		sizeof(path)) {
		int second = -run_os_exec(init, path);

		if (second != ENOENT && second != ENOTDIR)
			error = second;
	}
	exec_fail(program, error, "");
}

/* A bare name: along the Command's PATH; an empty element is the working directory. */
_Noreturn static void
exec_search(struct run_init *init, const char *program)
{
	const char *search = env_find(init->request->env, "PATH");
	int error = ENOENT;
	char path[PATH_MAX];

	if (search == NULL)
		exec_fail(program, ENOENT, " (the Command sets no PATH to look it up in)");
	for (;;) {
		int len = (int)strcspn(search, ":");
		int one = ENOENT;

		if (snprintf(path, sizeof(path), "%.*s%s%s", len, search, len > 0 ? "/" : "./",
			program) < (int)sizeof(path))
			one = -run_os_exec(init, path);
		if (one != ENOENT && one != ENOTDIR)
			error = one;
		if (search[len] == '\0')
			break;
		search += len + 1;
	}
	exec_fail(program, error, " (looked up in the Command's PATH)");
}

void
init_exec_first(struct run_init *init)
{
	const char *program = init->request->argv[0];
	int rc;

	setsid();
	signals_restore(&init->runner->ignored);
	rc = run_os_drop_rights(init);
	if (rc != 0)
		exec_fail("cannot give up rights", -rc, "");
	if (strchr(program, '/') != NULL)
		exec_path(init, program);
	exec_search(init, program);
}
