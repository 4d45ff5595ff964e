#include "base/fs.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fs_os.h"

int
fs_name_check(const char *name, size_t len)
{
	if (len == 0 || memchr(name, '/', len) != NULL || memchr(name, '\0', len) != NULL)
		return -EINVAL;
	if (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')))
		return -EINVAL;
	return len > NAME_MAX ? -ENAMETOOLONG : 0;
}

int
fs_path_check(const char *path, int flags)
{
	int rc;

	if (*path == '\0')
		return flags & FS_PATH_EMPTY_OK ? 0 : -EINVAL;
	if (strlen(path) >= PATH_MAX)
		return -ENAMETOOLONG;
	for (;;) {
		size_t len = strcspn(path, "/");

		rc = fs_name_check(path, len);
		if (rc != 0)
			return rc;
		if (path[len] == '\0')
			return 0;
		path += len + 1;
	}
}

int
fs_mkdir(int dirfd, const char *name, mode_t mode)
{
	struct stat st;

	if (FAULTY(mkdirat, mkdirat(dirfd, name, mode)) == 0)
		return 0;
	if (errno != EEXIST || fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

/* Calls for each leading part of the path; opens as it goes, so that no symlink is followed. */
static int
path_descend(int dirfd, const char *path, bool make, mode_t mode, int *ret_fd)
{
	char name[NAME_MAX + 1];
	int fd, next, rc = 0;

	fd = fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	while (*path != '\0') {
		size_t len = strcspn(path, "/");

		rc = fs_name_check(path, len);
		if (rc != 0)
			break;
		memcpy(name, path, len);
		name[len] = '\0';
		if (make && (rc = fs_mkdir(fd, name, mode)) != 0)
			break;
		next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (next < 0) {
			rc = -errno;
			break;
		}
		close(fd);
		fd = next;
		path += len + (path[len] == '/');
	}
	if (rc != 0) {
		close(fd);
		return rc;
	}
	*ret_fd = fd;
	return 0;
}

int
fs_mkdir_path(int dirfd, const char *path, mode_t mode)
{
	int fd, rc;

	rc = path_descend(dirfd, path, true, mode, &fd);
	if (rc == 0)
		close(fd);
	return rc;
}

int
fs_open_beneath(int dirfd, const char *path, int *ret_fd)
{
	return path_descend(dirfd, path, false, 0, ret_fd);
}

int
fs_read_fd(int fd, size_t max, uint8_t **ret_data, size_t *ret_len)
{
	struct stat st;
	uint8_t *data;
	size_t len = 0, size;

	if (fstat(fd, &st) != 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if ((uint64_t)st.st_size > max)
		return -EFBIG;
	size = (size_t)st.st_size;
	data = malloc(size + 1);
	if (data == NULL)
		return -ENOMEM;
	while (len < size) {
		ssize_t got = pread(fd, data + len, size - len, (off_t)len);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			int rc = -errno;

			free(data);
			return rc;
		}
		if (got == 0)
			break;
		len += (size_t)got;
	}
	data[len] = '\0';
	*ret_data = data;
	*ret_len = len;
	return 0;
}

int
fs_read_file(int dirfd, const char *name, size_t max, uint8_t **ret_data, size_t *ret_len)
{
	int fd, rc;

	fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	rc = fs_read_fd(fd, max, ret_data, ret_len);
	close(fd);
	return rc;
}

int
fs_write_all(int fd, const void *data, size_t len)
{
	const uint8_t *at = data;

	while (len > 0) {
		ssize_t wrote = FAULTY(write, write(fd, at, len));

		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote < 0)
			return -errno;
		at += wrote;
		len -= (size_t)wrote;
	}
	return 0;
}

int
fs_write_atomic(int dirfd, const char *name, const void *data, size_t len, mode_t mode)
{
	char temp[64];
	int fd, rc;

	fs_temp_name(".tmp", temp, sizeof(temp));
	fd = openat(dirfd, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	rc = fs_write_all(fd, data, len);
	if (rc == 0 && fchmod(fd, mode) != 0)
		rc = -errno;
	if (close(fd) != 0 && rc == 0)
		rc = -errno;
	if (rc == 0 && FAULTY(renameat, renameat(dirfd, temp, dirfd, name)) != 0)
		rc = -errno;
	if (rc != 0)
		unlinkat(dirfd, temp, 0);
	return rc;
}

static int
copy_by_hand(int in_fd, int out_fd)
{
	enum { CHUNK = 128 << 10 };
	uint8_t *chunk = malloc(CHUNK);
	int rc = 0;

	if (chunk == NULL)
		return -ENOMEM;
	for (;;) {
		ssize_t got = read(in_fd, chunk, CHUNK);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			rc = -errno;
		if (got <= 0)
			break;
		rc = fs_write_all(out_fd, chunk, (size_t)got);
		if (rc != 0)
			break;
	}
	free(chunk);
	return rc;
}

int
fs_copy(int in_fd, int out_fd)
{
	int rc;

	if (FAULTY(copy, 0) != 0)
		return -errno;
	if (lseek(in_fd, 0, SEEK_SET) < 0)
		return -errno;
	rc = fs_copy_kernel(in_fd, out_fd);
	return rc == -EOPNOTSUPP ? copy_by_hand(in_fd, out_fd) : rc;
}

char *
fs_temp_name(const char *prefix, char *name, size_t size)
{
	static _Atomic unsigned counter;

	snprintf(name, size, "%s.%ld.%u", prefix, (long)getpid(), ++counter);
	return name;
}
