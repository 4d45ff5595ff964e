#include <sys/socket.h>
#include <sys/sysctl.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libproc.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "workers/run_internal.h"
#include "workers/seal.h"

/*
 * No namespaces: an action is kept by a Seatbelt profile, its process group, and descent.  There is
 * no subreaper either, so the init notes the descendants it sees while it waits; one that leaves
 * its group and its parents between two looks is found by its working directory below the sandbox.
 */
enum {
	LOOK_EVERY_MS = 50,
	SEEN_MAX = 4096,
	PASSES_MAX = 200,
	PROFILE_SIZE = 8 * PATH_MAX + SEAL_RULES_SIZE
};

const unsigned run_os_maxrss_unit = 1;

/* A process is its id and when it started: ids come round again. */
struct seen {
	pid_t pid;
	uint64_t started_us;
};
static struct seen seen[SEEN_MAX];
static size_t seen_count;

int
run_os_setup(struct runner *runner, struct error_text *err)
{
	if (runner->isolation != ISOLATION_NONE)
		return error_set(err, -ENOTSUP, "this system has no namespaces (--isolation=none)");
	return 0;
}

static int
cloexec_set(const int *fds)
{
	for (int i = 0; i < 2; i++)
		if (fcntl(fds[i], F_SETFD, FD_CLOEXEC) != 0)
			return -errno;
	return 0;
}

int
run_os_pipe(int *ret_fds)
{
	return pipe(ret_fds) == 0 ? cloexec_set(ret_fds) : -errno;
}

int
run_os_control_pair(int *ret_fds)
{
	return socketpair(AF_UNIX, SOCK_STREAM, 0, ret_fds) == 0 ? cloexec_set(ret_fds) : -errno;
}

pid_t
run_os_fork_init(const struct runner *runner)
{
	(void)runner;
	return fork();
}

/* Out of the worker's process group: a signal to that must not end the init before the action. */
int
run_os_become_init(struct run_init *init)
{
	(void)init;
	seen_count = 0;
	return setpgid(0, 0) == 0 ? 0 : -errno;
}

/* Only those that are open: the limit may be in the millions. */
int
run_os_close_from(int fd)
{
	static struct proc_fdinfo open_fds[4096];
	int n = proc_pidinfo(getpid(), PROC_PIDLISTFDS, 0, open_fds, sizeof(open_fds));

	if (n <= 0 || n == (int)sizeof(open_fds))
		return -EMFILE;
	for (int i = 0; i < n / (int)sizeof(open_fds[0]); i++)
		if (open_fds[i].proc_fd >= fd)
			close(open_fds[i].proc_fd);
	return 0;
}

int
run_os_isolate(struct run_init *init)
{
	(void)init;
	return 0;
}

int
run_os_furnish(struct run_init *init)
{
	(void)init;
	return 0;
}

void
run_os_default_signals(void)
{
}

pid_t
run_os_spawn_first(struct run_init *init)
{
	pid_t pid = fork();

	if (pid == 0)
		init_exec_first(init);
	return pid > 0 ? pid : -errno;
}

int
run_os_own_inputs(struct runner *runner)
{
	return -ENOTSUP;
}

int
run_os_drop_rights(const struct run_init *init)
{
	const struct runner *runner = init->runner;
	gid_t gid = (gid_t)runner->action_uid;

	if (!runner->drop_uid)
		return 0;
	if (setgroups(1, &gid) != 0 || setgid(gid) != 0 || setuid(runner->action_uid) != 0)
		return -errno;
	return 0;
}

/* The host can be read and not written to; the state directory but for the sandbox is out of sight.
 */
static int
profile_make(const struct run_init *init, char *profile, size_t size)
{
	char state[2 * PATH_MAX], root[2 * PATH_MAX];
	int len, rc = seal_quote(state, sizeof(state), init->runner->config->state_dir);

	if (rc == 0)
		rc = seal_quote(root, sizeof(root), init->root_path);
	if (rc != 0)
		return rc;
	len = snprintf(profile, size,
	    "(version 1)(allow default)"
	    "(deny file-write* (subpath \"/\"))"
	    "(allow file-write* (subpath \"/private/tmp\") (subpath \"/private/var/folders\")"
	    " (subpath \"/dev\"))"
	    "(deny file-read* file-write* network-outbound (subpath \"%s\"))"
	    "(allow file-read* file-write* (subpath \"%s\"))"
	    "(allow file-read-metadata (subpath \"%s\"))%s",
	    state, root, state,
	    init->runner->config->network_host
		? ""
		: "(deny network* (remote ip \"*:*\"))(allow network* (remote ip \"localhost:*\"))");
	if (len < 0 || (size_t)len >= size)
		return -E2BIG;
	if (init->request->seal == NULL)
		return 0;
	/* Last: of two rules for one path the later one holds. */
	return seal_rules(init->request->seal, init->root_path, profile + len, size - (size_t)len);
}

/* Through sandbox-exec, when the program is there: what is missing must fail as missing. */
int
run_os_exec(struct run_init *init, const char *path)
{
	static char profile[PROFILE_SIZE];
	char *const *argv = init->request->argv;
	size_t argc = 0;
	char **wrapped;
	int rc;

	if (access(path, X_OK) != 0)
		return -errno;
	while (argv[argc] != NULL)
		argc++;
	wrapped = calloc(argc + 4, sizeof(*wrapped));
	if (wrapped == NULL)
		return -ENOMEM;
	rc = profile_make(init, profile, sizeof(profile));
	if (rc != 0)
		return rc;
	wrapped[0] = strdup("sandbox-exec");
	wrapped[1] = strdup("-p");
	wrapped[2] = profile;
	wrapped[3] = strdup(path);
	memcpy(wrapped + 4, argv + 1, (argc > 0 ? argc - 1 : 0) * sizeof(*wrapped));
	execve("/usr/bin/sandbox-exec", wrapped, init->request->env);
	if (init->request->seal != NULL)
		return -errno;
	execve(path, argv, init->request->env);
	return -errno;
}

static uint64_t
started_us(pid_t pid)
{
	struct proc_bsdinfo info;

	if (proc_pidinfo(pid, PROC_PIDTBSDINFO, 0, &info, sizeof(info)) != (int)sizeof(info))
		return 0;
	return info.pbi_start_tvsec * 1000000 + info.pbi_start_tvusec;
}

static bool
seen_has(pid_t pid)
{
	for (size_t i = 0; i < seen_count; i++)
		if (seen[i].pid == pid)
			return true;
	return false;
}

static void
seen_add(pid_t pid)
{
	uint64_t started = started_us(pid);

	if (started != 0 && seen_count < SEEN_MAX && !seen_has(pid))
		seen[seen_count++] = (struct seen){pid, started};
}

static void
children_note(pid_t parent)
{
	pid_t children[256];
	int n = proc_listchildpids(parent, children, sizeof(children));

	for (int i = 0; i < n && i < 256; i++)
		if (children[i] > 1)
			seen_add(children[i]);
}

/* The list grows while we walk it: children of children are met too. */
static void
descent_note(const struct run_init *init)
{
	seen_add(init->first);
	for (size_t i = 0; i < seen_count; i++)
		if (started_us(seen[i].pid) == seen[i].started_us)
			children_note(seen[i].pid);
}

/* Whoever works in the sandbox is of the action, however it got away. */
static void
sandbox_note(const struct run_init *init)
{
	static pid_t all[16384];
	size_t root_len = strlen(init->root_path);
	int n = proc_listallpids(all, sizeof(all));

	for (int i = 0; i < n && i < 16384; i++) {
		struct proc_vnodepathinfo paths;

		if (all[i] <= 1 || all[i] == getpid() ||
		    proc_pidinfo(all[i], PROC_PIDVNODEPATHINFO, 0, &paths, sizeof(paths)) !=
			(int)sizeof(paths))
			continue;
		if (strncmp(paths.pvi_cdir.vip_path, init->root_path, root_len) == 0)
			seen_add(all[i]);
	}
}

static unsigned
seen_signal(int signal_number)
{
	unsigned alive = 0;

	for (size_t i = 0; i < seen_count; i++)
		if (started_us(seen[i].pid) == seen[i].started_us &&
		    kill(seen[i].pid, signal_number) == 0)
			alive++;
	return alive;
}

void
run_os_signal_all(struct run_init *init, int signal_number)
{
	descent_note(init);
	kill(-init->first, signal_number);
	seen_signal(signal_number);
}

void
run_os_end_others(struct run_init *init)
{
	const struct timespec wait = {0, 5000000};

	for (int pass = 0; pass < PASSES_MAX; pass++) {
		descent_note(init);
		sandbox_note(init);
		kill(-init->first, SIGKILL);
		if (seen_signal(SIGKILL) == 0)
			return;
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		nanosleep(&wait, NULL);
	}
}

void
run_os_end_orphans(const struct runner *runner)
{
	(void)runner; /* they are launchd's by now; the supervisor kills the process group */
}

int
run_os_tick_ms(const struct run_init *init)
{
	(void)init;
	return LOOK_EVERY_MS;
}

void
run_os_tick(struct run_init *init)
{
	descent_note(init);
}
