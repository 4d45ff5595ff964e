#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "ipc/channel.h"
#include "ipc/channel_os.h"

static int
close_on_exec(int fd)
{
	return fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 ? 0 : -errno;
}

int
channel_os_socket(int *ret_fd)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	int rc;

	if (fd < 0)
		return -errno;
	rc = close_on_exec(fd);
	if (rc != 0) {
		close(fd);
		return rc;
	}
	*ret_fd = fd;
	return 0;
}

int
channel_os_pair(int ret_fds[2])
{
	int fds[2];
	int rc;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0)
		return -errno;
	rc = close_on_exec(fds[0]);
	if (rc == 0)
		rc = close_on_exec(fds[1]);
	if (rc != 0) {
		close(fds[0]);
		close(fds[1]);
		return rc;
	}
	memcpy(ret_fds, fds, sizeof(fds));
	return 0;
}

int
channel_os_prepare(int fd)
{
	int on = 1;

	return setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof(on)) == 0 ? 0 : -errno;
}

ssize_t
channel_os_send(int fd, const void *data, size_t len)
{
	ssize_t n;

	do
		n = send(fd, data, len, 0);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* There is no name for a descriptor here: step into the directory, use the short name, step back.
 */
static int
call_below(
    int fd, int dirfd, const char *name, int (*call)(int, const struct sockaddr *, socklen_t))
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int here, rc;

	if (strlcpy(address.sun_path, name, sizeof(address.sun_path)) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (here < 0)
		return -errno;
	if (fchdir(dirfd) != 0) {
		rc = -errno;
		close(here);
		return rc;
	}
	rc = call(fd, (struct sockaddr *)&address, sizeof(address)) == 0 ? 0 : -errno;
	if (fchdir(here) != 0 && rc == 0)
		rc = -errno;
	close(here);
	return rc;
}

int
channel_os_bind(int fd, int dirfd, const char *name)
{
	return call_below(fd, dirfd, name, bind);
}

int
channel_os_connect(int fd, int dirfd, const char *name)
{
	return call_below(fd, dirfd, name, connect);
}

int
channel_accept(int listen_fd, int *ret_fd)
{
	int fd = accept(listen_fd, NULL, NULL);
	int rc;

	if (fd < 0)
		return -errno;
	rc = close_on_exec(fd);
	if (rc == 0 && fcntl(fd, F_SETFL, O_NONBLOCK) != 0)
		rc = -errno;
	if (rc != 0) {
		close(fd);
		return rc;
	}
	*ret_fd = fd;
	return 0;
}

int
channel_peer(int fd, uint32_t *ret_uid, int32_t *ret_pid)
{
	uid_t uid;
	gid_t gid;
	pid_t pid;
	socklen_t len = sizeof(pid);

	if (getpeereid(fd, &uid, &gid) != 0)
		return -errno;
	if (getsockopt(fd, SOL_LOCAL, LOCAL_PEERPID, &pid, &len) != 0)
		return -errno;
	*ret_uid = uid;
	*ret_pid = pid;
	return 0;
}
