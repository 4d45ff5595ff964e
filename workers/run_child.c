#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "workers/run_internal.h"

static void
fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void
run_child_close(struct run_child *child)
{
	fd_close(&child->control_fd);
	fd_close(&child->pipe_fds[0]);
	fd_close(&child->pipe_fds[1]);
}

static int
log_pipe_open(const struct runner *runner, int *ret_read_fd, int *ret_write_fd)
{
	int fds[2];
	int rc = run_os_pipe(fds);

	if (rc != 0)
		return rc;
	*ret_read_fd = fds[0];
	*ret_write_fd = fds[1];
	/* /dev/stdout can then be opened by name, as with a file. */
	if (runner->drop_uid)
		(void)fchown(fds[1], runner->action_uid, (gid_t)runner->action_uid);
	return fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0 ? 0 : -errno;
}

int
run_child_start(const struct runner *runner, struct run_init *init, const char *name,
    struct run_child *ret_child, struct error_text *err)
{
	struct run_child child = RUN_CHILD_NONE;
	int control[2];
	int rc;

	init->runner = runner;
	init->stdout_fd = init->stderr_fd = init->control_fd = -1;
	init->map_fd = runner->map_fd;
	init->own_fd = runner->own_fd;
	rc = log_pipe_open(runner, &child.pipe_fds[0], &init->stdout_fd);
	if (rc == 0)
		rc = log_pipe_open(runner, &child.pipe_fds[1], &init->stderr_fd);
	if (rc == 0)
		rc = run_os_control_pair(control);
	if (rc != 0) {
		error_errno(err, rc, "%s: cannot make pipes for the action", name);
		goto out;
	}
	child.control_fd = control[0];
	init->control_fd = control[1];
	child.pid = FAULTY(clone, run_os_fork_init(runner));
	if (child.pid == 0)
		init_main(init);
	if (child.pid < 0) {
		rc = -errno;
		error_errno(err, rc, "%s: cannot start the action's init (see ramet doctor)", name);
		goto out;
	}
	*ret_child = child;
	child = RUN_CHILD_NONE;
out:
	fd_close(&init->stdout_fd);
	fd_close(&init->stderr_fd);
	fd_close(&init->control_fd);
	run_child_close(&child);
	return rc;
}

void
run_child_reap(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

void
run_child_leave(struct runner *runner, pid_t pid)
{
	run_children_reap(runner);
	if (runner->leaving_count == RUN_LEAVING_MAX) {
		run_child_reap(runner->leaving[0]);
		runner->leaving_count--;
		memmove(runner->leaving, runner->leaving + 1,
		    runner->leaving_count * sizeof(runner->leaving[0]));
	}
	runner->leaving[runner->leaving_count++] = pid;
}

void
run_children_reap(struct runner *runner)
{
	unsigned left = 0;

	for (unsigned i = 0; i < runner->leaving_count; i++)
		if (waitpid(runner->leaving[i], NULL, WNOHANG) == 0)
			runner->leaving[left++] = runner->leaving[i];
	runner->leaving_count = left;
}
