/*
 * Removing a whole tree whatever its depth: down to DEPTH_RECURSED by recursion; a directory deeper
 * than that is renamed up into the top one under a name of its own, and met again there.
 */
#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"

enum { DEPTH_RECURSED = 64 };

static int remove_entry(int top_fd, int dirfd, const char *name, unsigned depth);

/* A directory we may not read, write or search is still ours to delete. */
static int
open_for_removal(int dirfd, const char *name)
{
	struct stat st;
	int fd;

	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == EACCES && fchmodat(dirfd, name, 0700, 0) == 0)
		fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0 && fstat(fd, &st) == 0 && (st.st_mode & 0700) != 0700)
		fchmod(fd, 0700);
	return fd;
}

static int
empty_directory(int top_fd, int fd, unsigned depth)
{
	struct dirent *entry;
	DIR *dir;
	int rc = 0, result;

	dir = fdopendir(fd);
	if (dir == NULL) {
		rc = -errno;
		close(fd);
		return rc;
	}
	while ((entry = readdir(dir)) != NULL) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		result = remove_entry(top_fd, dirfd(dir), entry->d_name, depth);
		if (result != 0 && rc == 0)
			rc = result;
	}
	closedir(dir);
	return rc;
}

static int
remove_directory(int top_fd, int dirfd, const char *name, unsigned depth)
{
	char moved[64];
	int fd, rc;

	if (depth >= DEPTH_RECURSED) {
		fs_temp_name(".deep", moved, sizeof(moved));
		if (renameat(dirfd, name, top_fd, moved) == 0)
			return 0; /* the top's own loop meets it again */
	}
	fd = open_for_removal(dirfd, name);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	rc = empty_directory(top_fd, fd, depth + 1);
	if (unlinkat(dirfd, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return 0;
	return rc != 0 ? rc : -errno;
}

static int
remove_entry(int top_fd, int dirfd, const char *name, unsigned depth)
{
	if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	if (unlinkat(dirfd, name, AT_REMOVEDIR) == 0) /* many are empty: mount points, say */
		return 0;
	return remove_directory(top_fd, dirfd, name, depth);
}

int
fs_remove_tree(int dirfd, const char *name)
{
	int fd, rc, rounds = 0;

	if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	do {
		fd = open_for_removal(dirfd, name);
		if (fd < 0)
			return errno == ENOENT ? 0 : -errno;
		int top_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);

		if (top_fd < 0) {
			rc = -errno;
			close(fd);
			return rc;
		}
		rc = empty_directory(top_fd, fd, 1);
		close(top_fd);
		if (unlinkat(dirfd, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
			return 0;
		if (rc == 0)
			rc = -errno;
	} while ((rc == -ENOTEMPTY || rc == -EEXIST) && ++rounds < 100000);
	return rc;
}
