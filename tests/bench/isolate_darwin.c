#include <sys/wait.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/isolate.h"

/* There is no mount namespace here, and so no bind: the child is a plain one. */
void
isolate_run(const struct isolated *isolated, uint64_t *ret_mount_ns)
{
	int rootfd, status, rc = 0;
	pid_t pid;

	if (isolated->bind_count > 0)
		errx(1, "binds need a mount namespace");
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (pid == 0) {
		rootfd = open(isolated->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (rootfd < 0)
			rc = -errno;
		else if (isolated->work != NULL)
			rc = isolated->work(isolated->arg, rootfd);
		if (rc < 0)
			warnx("%s: %s", isolated->root, strerror(-rc));
		_exit(rc < 0 ? 1 : 0);
	}
	if (waitpid(pid, &status, 0) < 0)
		err(1, "waitpid");
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		errx(1, "%s: the isolated child failed", isolated->root);
	*ret_mount_ns = 0;
}

void
isolate_settle(int fd)
{
	if (fsync(fd) < 0)
		err(1, "sync");
}
