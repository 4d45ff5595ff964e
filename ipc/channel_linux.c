#include <sys/socket.h>
#include <sys/un.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ipc/channel.h"
#include "ipc/channel_os.h"

int
channel_os_socket(int *ret_fd)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

int
channel_os_pair(int ret_fds[2])
{
	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ret_fds) == 0 ? 0 : -errno;
}

int
channel_os_prepare(int fd)
{
	(void)fd; /* MSG_NOSIGNAL does it, call by call */
	return 0;
}

ssize_t
channel_os_send(int fd, const void *data, size_t len)
{
	ssize_t n;

	do
		n = send(fd, data, len, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static int
address_below(int dirfd, const char *name, struct sockaddr_un *address)
{
	int n;

	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	n = snprintf(
	    address->sun_path, sizeof(address->sun_path), "/proc/self/fd/%d/%s", dirfd, name);
	return n < 0 || (size_t)n >= sizeof(address->sun_path) ? -ENAMETOOLONG : 0;
}

int
channel_os_bind(int fd, int dirfd, const char *name)
{
	struct sockaddr_un address;
	int rc = address_below(dirfd, name, &address);

	if (rc != 0)
		return rc;
	return bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 ? 0 : -errno;
}

int
channel_os_connect(int fd, int dirfd, const char *name)
{
	struct sockaddr_un address;
	int rc = address_below(dirfd, name, &address);

	if (rc != 0)
		return rc;
	return connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 ? 0 : -errno;
}

int
channel_accept(int listen_fd, int *ret_fd)
{
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

int
channel_peer(int fd, uint32_t *ret_uid, int32_t *ret_pid)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
		return -errno;
	*ret_uid = peer.uid;
	*ret_pid = peer.pid;
	return 0;
}
