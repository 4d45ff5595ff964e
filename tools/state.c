/* The state directory as the commands see it: found, opened, asked for its host. */
#include <sys/file.h>
#include <sys/stat.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/state_path.h"
#include "tools/tool.h"

void
tool_make_path(const char *path, mode_t mode)
{
	char part[PATH_MAX];
	char *slash = part;

	if (strlcpy(part, path, sizeof(part)) >= sizeof(part))
		die("%s: the path is too long", path);
	while ((slash = strchr(slash + 1, '/')) != NULL) {
		*slash = '\0';
		(void)mkdir(part, 0755); /* the last one tells */
		*slash = '/';
	}
	if (mkdir(part, mode) != 0 && errno != EEXIST)
		die("%s: cannot make the directory: %s", path, strerror(errno));
}

void
tool_state(struct tool *tool, bool make)
{
	char path[PATH_MAX];
	int rc = state_path_choose(tool->state_option, path, sizeof(path));

	if (rc != 0)
		die("cannot tell which state directory is meant: %s: give --state", strerror(-rc));
	if (make)
		tool_make_path(path, 0711);
	tool->state_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (tool->state_fd < 0 && errno == ENOENT)
		die("%s: no state directory there: start a host (rametd) or give --state", path);
	if (tool->state_fd < 0)
		die("%s: cannot open the state directory: %s", path, strerror(errno));
	if (realpath(path, tool->state) == NULL)
		die("%s: %s", path, strerror(errno));
}

struct cas *
tool_cas(struct tool *tool, bool writable)
{
	struct error_text err = {""};
	struct cas *cas = NULL;
	int rc = cas_open(tool->state_fd, writable, &cas, &err);

	if (rc != 0)
		die("%s: cannot open the store: %s", tool->state,
		    err.text[0] != '\0' ? err.text : strerror(-rc));
	return cas;
}

struct region *
tool_region(struct tool *tool)
{
	struct error_text err = {""};
	struct region *region = NULL;
	int rc = region_attach(tool->state_fd, &region, &err);

	if (rc == -ENOENT)
		die("%s: no index there yet: no host has run (start rametd)", tool->state);
	if (rc != 0)
		die("%s: cannot attach the index: %s", tool->state,
		    err.text[0] != '\0' ? err.text : strerror(-rc));
	return region;
}

static pid_t
read_pid(int fd)
{
	char text[32];
	const char *problem = NULL;
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return 0;
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	n = (ssize_t)strtonum(text, 1, INT_MAX, &problem);
	return problem == NULL ? (pid_t)n : 0;
}

/*
 * The lock is tried only while a process of that number lives, so that it is not in the way of a
 * host that is just starting.
 */
pid_t
tool_host_pid(const struct tool *tool)
{
	int fd = openat(tool->state_fd, "ramet.pid", O_RDONLY | O_CLOEXEC);
	pid_t pid;

	if (fd < 0)
		return 0;
	pid = read_pid(fd);
	if (pid != 0 && kill(pid, 0) != 0 && errno == ESRCH)
		pid = 0;
	if (pid != 0 && (flock(fd, LOCK_SH | LOCK_NB) == 0 || errno != EWOULDBLOCK))
		pid = 0;
	close(fd);
	return pid;
}

void
tool_say_no_host(const struct tool *tool, const char *what)
{
	if (tool_host_pid(tool) == 0)
		warnx("no host runs in %s: %s", tool->state, what);
}
