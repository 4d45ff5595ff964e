/*
 * What channel.c needs that systems do differently: channel_linux.c, channel_darwin.c.
 *
 * channel.c alone.  All return 0 or -errno.
 */
#ifndef IPC_CHANNEL_OS_H
#define IPC_CHANNEL_OS_H

#include <sys/types.h>

#include <stddef.h>

/* A stream socket, and a pair, close-on-exec from birth (where the system can). */
int channel_os_socket(int *ret_fd);
int channel_os_pair(int ret_fds[2]);

/* Once for each descriptor that will be written to: a closed peer must not raise SIGPIPE. */
int channel_os_prepare(int fd);

/* Bytes sent, or -errno; never SIGPIPE. */
ssize_t channel_os_send(int fd, const void *data, size_t len);

/*
 * bind or connect to `name` below dirfd, however long the directory's own path.  On macOS it
 * changes the working directory for a moment: call it while the process has one thread.
 */
int channel_os_bind(int fd, int dirfd, const char *name);
int channel_os_connect(int fd, int dirfd, const char *name);

#endif
