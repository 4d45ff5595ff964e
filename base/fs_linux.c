#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fs.h"
#include "base/fs_os.h"

int
fs_copy_kernel(int in_fd, int out_fd)
{
	bool any = false;

	for (;;) {
		ssize_t copied = copy_file_range(in_fd, NULL, out_fd, NULL, (size_t)1 << 30, 0);

		if (copied < 0 && errno == EINTR)
			continue;
		if (copied < 0 && !any &&
		    (errno == EXDEV || errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP))
			return -EOPNOTSUPP;
		if (copied < 0)
			return -errno;
		if (copied ==
		    0) /* also a source whose size the kernel does not know, as in /proc */
			return any ? 0 : -EOPNOTSUPP;
		any = true;
	}
}

int
fs_reflink(int in_fd, int out_fd)
{
	return FAULTY(reflink, ioctl(out_fd, FICLONE, in_fd)) == 0 ? 0 : -errno;
}

int
fs_rename_noreplace(int src_dirfd, const char *src, int dst_dirfd, const char *dst)
{
	if (FAULTY(renameat, renameat2(src_dirfd, src, dst_dirfd, dst, RENAME_NOREPLACE)) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	/* A file system without it: a link does not replace either, but works for files only. */
	if (linkat(src_dirfd, src, dst_dirfd, dst, 0) != 0)
		return -errno;
	unlinkat(src_dirfd, src, 0);
	return 0;
}

int
fs_has_xattrs(int fd)
{
	char names[1024];
	ssize_t len = flistxattr(fd, names, sizeof(names));

	if (len < 0)
		return errno == ERANGE ? 1 : errno == ENOTSUP ? 0 : -errno;
	for (const char *name = names; name < names + len; name += strlen(name) + 1)
		if (strcmp(name, "security.selinux") != 0)
			return 1;
	return 0;
}

ssize_t
fs_get_xattr(int fd, const char *name, void *value, size_t size)
{
	ssize_t len = fgetxattr(fd, name, value, size);

	return len < 0 ? -errno : len;
}

/*
 * A lease for reading is granted where nobody writes.  Should somebody open the file in between we
 * are told by a signal that nobody heeds, not by SIGIO, which kills.
 */
int
fs_has_writers(int fd)
{
	if (fcntl(fd, F_SETSIG, SIGURG) != 0)
		return -errno;
	if (fcntl(fd, F_SETLEASE, F_RDLCK) != 0)
		return errno == EAGAIN ? 1 : -errno;
	return fcntl(fd, F_SETLEASE, F_UNLCK) != 0 ? -errno : 0;
}

/* clonefile(2)'s stand-in: a file. */
static int
clone_file(int src_dirfd, const char *src, int dst_dirfd, const char *dst, const struct stat *st)
{
	int in_fd, out_fd, rc;

	in_fd = openat(src_dirfd, src, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (in_fd < 0)
		return -errno;
	out_fd = openat(dst_dirfd, dst, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (out_fd < 0) {
		rc = -errno;
		close(in_fd);
		return rc;
	}
	rc = fs_reflink(in_fd, out_fd);
	if (rc == -EOPNOTSUPP || rc == -EINVAL || rc == -ENOTTY)
		rc = fs_copy(in_fd, out_fd);
	if (rc == 0 && fchmod(out_fd, st->st_mode & 01777) != 0)
		rc = -errno;
	const struct timespec times[2] = {st->st_atim, st->st_mtim};

	if (rc == 0 && futimens(out_fd, times) != 0)
		rc = -errno;
	close(in_fd);
	close(out_fd);
	if (rc != 0)
		unlinkat(dst_dirfd, dst, 0);
	return rc;
}

static int clone_entry(int src_dirfd, const char *src, int dst_dirfd, const char *dst);

static int
clone_entries(int src_fd, int dst_fd)
{
	struct dirent *entry;
	DIR *dir;
	int fd, rc = 0;

	fd = fcntl(src_fd, F_DUPFD_CLOEXEC, 0);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (dir == NULL) {
		rc = -errno;
		if (fd >= 0)
			close(fd);
		return rc;
	}
	while (rc == 0 && (entry = readdir(dir)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			rc = clone_entry(src_fd, entry->d_name, dst_fd, entry->d_name);
	closedir(dir);
	return rc;
}

static int
clone_directory(
    int src_dirfd, const char *src, int dst_dirfd, const char *dst, const struct stat *st)
{
	int src_fd, dst_fd, rc;

	if (mkdirat(dst_dirfd, dst, 0700) != 0)
		return -errno;
	src_fd = openat(src_dirfd, src, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	dst_fd = openat(dst_dirfd, dst, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (src_fd < 0 || dst_fd < 0)
		rc = -errno;
	else
		rc = clone_entries(src_fd, dst_fd);
	if (rc == 0 && fchmod(dst_fd, st->st_mode & 01777) != 0)
		rc = -errno;
	if (src_fd >= 0)
		close(src_fd);
	if (dst_fd >= 0)
		close(dst_fd);
	if (rc != 0)
		fs_remove_tree(dst_dirfd, dst);
	return rc;
}

static int
clone_entry(int src_dirfd, const char *src, int dst_dirfd, const char *dst)
{
	char target[4096];
	struct stat st;
	ssize_t len;

	if (fstatat(src_dirfd, src, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return clone_directory(src_dirfd, src, dst_dirfd, dst, &st);
	if (S_ISREG(st.st_mode))
		return clone_file(src_dirfd, src, dst_dirfd, dst, &st);
	if (!S_ISLNK(st.st_mode))
		return -ENOTSUP;
	len = readlinkat(src_dirfd, src, target, sizeof(target) - 1);
	if (len < 0)
		return -errno;
	target[len] = '\0';
	return symlinkat(target, dst_dirfd, dst) == 0 ? 0 : -errno;
}

/*
 * Stands in for clonefile(2), for tests of the way that macOS uses: the same contract (destination
 * must not exist, modes and times kept, setuid and setgid cleared, EXDEV across volumes), by
 * FICLONE where the volume can and by copies elsewhere.
 */
int
fs_clone(int src_dirfd, const char *src, int dst_dirfd, const char *dst)
{
	struct stat from, to;

	if (FAULTY(reflink, fstatat(src_dirfd, src, &from, AT_SYMLINK_NOFOLLOW)) != 0)
		return -errno;
	if (fstat(dst_dirfd, &to) != 0)
		return -errno;
	if (from.st_dev != to.st_dev)
		return -EXDEV;
	return clone_entry(src_dirfd, src, dst_dirfd, dst);
}
