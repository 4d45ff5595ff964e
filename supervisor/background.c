#include "supervisor/background.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Noreturn void
wait_for_child(int fd)
{
	char line[1200];
	size_t len = 0;
	ssize_t n;

	while (len < sizeof(line) - 1) {
		n = read(fd, line + len, sizeof(line) - 1 - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	line[len] = '\0';
	line[strcspn(line, "\n")] = '\0';
	if (strcmp(line, "ok") == 0)
		_exit(0);
	warnx("%s", line[0] != '\0' ? line : "it died while starting: see ramet.log");
	_exit(1);
}

static int
redirect(int log_fd)
{
	int null_fd;

	null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null_fd < 0)
		return -errno;
	if (dup2(null_fd, STDIN_FILENO) < 0 || dup2(null_fd, STDOUT_FILENO) < 0 ||
	    dup2(log_fd, STDERR_FILENO) < 0)
		return -errno;
	if (null_fd > STDERR_FILENO)
		close(null_fd);
	return 0;
}

int
background_enter(int state_fd, int *ret_ready_fd, int *ret_log_fd, struct error_text *err)
{
	int fds[2], log_fd, rc;
	pid_t pid;

	log_fd = openat(state_fd, "ramet.log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (log_fd < 0)
		return error_errno(err, -errno, "ramet.log");
	if (pipe(fds) != 0 || fcntl(fds[1], F_SETFD, FD_CLOEXEC) != 0)
		return error_errno(err, -errno, "pipe");
	pid = fork();
	if (pid < 0)
		return error_errno(err, -errno, "fork");
	if (pid > 0) {
		close(fds[1]);
		wait_for_child(fds[0]);
	}
	close(fds[0]);
	setsid();
	rc = redirect(log_fd);
	if (rc != 0)
		return error_errno(err, rc, "/dev/null");
	*ret_ready_fd = fds[1];
	*ret_log_fd = log_fd;
	return 0;
}
