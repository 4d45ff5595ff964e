/*
 * What the tests of staging run as an action.
 *
 *   helper_action walk UP    the input root (UP leads to it from the working directory) as records
 *                            on stdout: action_walk.h
 *   helper_action spoil UP   tries to change everything below it, in every way there is
 */
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/xattr.h>

#include <limits.h>
#include <stdbool.h>

#include "tests/unit/workers/action_walk.h"

static const char evil[] = "evil";

/* By whatever descriptor can be had; true: it could.  (No open waits: there may be a fifo.) */
static bool
write_by(int fd)
{
	if (fd < 0)
		return false;
	bool could = write(fd, evil, sizeof(evil)) > 0;
	(void)!pwrite(fd, evil, sizeof(evil), 0);
	void *map = mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map != MAP_FAILED) {
		*(volatile char *)map = 'X';
		munmap(map, 1);
	}
	(void)!ftruncate(fd, 3);
	close(fd);
	return could;
}

/* A descriptor for reading is a start. */
static void
by_descriptor(int fd, mode_t mode)
{
	char path[64];

	if (fd < 0)
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	(void)!fchmod(fd, mode);
	(void)!fchown(fd, geteuid(), getegid());
	(void)!fsetxattr(fd, "user.evil", evil, sizeof(evil), 0);
	(void)!ftruncate(fd, 1);
	(void)!futimens(fd, (const struct timespec[]){{.tv_sec = 1}, {.tv_sec = 1}});
	(void)!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096);
	(void)!linkat(AT_FDCWD, path, AT_FDCWD, "evil.by-descriptor", AT_SYMLINK_FOLLOW);
	write_by(open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC));
	write_by(open(path, O_RDWR | O_TRUNC | O_NONBLOCK | O_CLOEXEC));
	close(fd);
}

/* Nothing is followed: what lies outside its sandbox is nobody's to harm, whoever runs the tests.
 */
static void
spoil_file(int dirfd, const char *name)
{
	const struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 2}};
	struct stat st;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
		return;
	bool could = write_by(
	    openat(dirfd, name, O_WRONLY | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
	could |= write_by(openat(dirfd, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
	(void)!fchmodat(dirfd, name, 06777, 0);
	(void)!fchownat(dirfd, name, geteuid(), getegid(), AT_SYMLINK_NOFOLLOW);
	(void)!utimensat(dirfd, name, times, AT_SYMLINK_NOFOLLOW);
	if (could) /* nothing worse can be done to it */
		return;
	write_by(openat(dirfd, name, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
	write_by(openat(dirfd, name, O_RDWR | O_TRUNC | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
	by_descriptor(openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), 0777);
	by_descriptor(openat(dirfd, name, O_PATH | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), 0777);
}

static void
spoil_mount(int dirfd, const char *name)
{
	char path[64];
	int fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	(void)!mount(NULL, path, NULL, MS_REMOUNT | MS_BIND, NULL);
	(void)!mount("evil", path, "tmpfs", 0, NULL);
	(void)!umount2(path, MNT_DETACH);
	close(fd);
}

/* Under other names, and others under its name. */
static void
spoil_name(int dirfd, const char *name, bool is_directory)
{
	char linked[NAME_MAX + 1], moved[NAME_MAX + 1];

	snprintf(linked, sizeof(linked), "%.200s.linked", name);
	snprintf(moved, sizeof(moved), "%.200s.moved", name);
	if (!is_directory) {
		if (linkat(dirfd, name, dirfd, linked, 0) == 0)
			spoil_file(dirfd, linked);
		if (linkat(dirfd, name, AT_FDCWD, "evil.linked", 0) == 0)
			spoil_file(AT_FDCWD, "evil.linked");
		unlinkat(AT_FDCWD, "evil.linked", 0);
	}
	if (renameat(dirfd, name, dirfd, moved) == 0) {
		write_by(openat(
		    dirfd, name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666));
		unlinkat(dirfd, name, 0);
		(void)!symlinkat("/etc/passwd", dirfd, name);
		(void)!renameat(dirfd, moved, AT_FDCWD, "evil.moved");
	}
	(void)!unlinkat(dirfd, name, is_directory ? AT_REMOVEDIR : 0);
	(void)!mkdirat(dirfd, name, 0777);
}

static void
spoil_directory(int dirfd)
{
	(void)!fchmod(dirfd, 06777);
	(void)!fchown(dirfd, geteuid(), getegid());
	(void)!fsetxattr(dirfd, "user.evil", evil, sizeof(evil), 0);
	(void)!futimens(dirfd, (const struct timespec[]){{.tv_sec = 1}, {.tv_sec = 1}});
	write_by(
	    openat(dirfd, "evil", O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666));
	(void)!mkdirat(dirfd, "evil.d", 0777);
	(void)!symlinkat("..", dirfd, "evil.l");
	(void)!mkfifoat(dirfd, "evil.p", 0666);
}

/* What each can do to bytes and modes before anything is moved or gone. */
static void
spoil(int dirfd, int depth)
{
	size_t count;
	char **names = action_list(dirfd, &count);

	for (int pass = 0; names != NULL && pass < 2; pass++) {
		for (size_t i = 0; i < count; i++) {
			struct stat st;
			if ((depth == 0 && strcmp(names[i], ACTION_PROGRAM) == 0) ||
			    fstatat(dirfd, names[i], &st, AT_SYMLINK_NOFOLLOW) != 0)
				continue;
			int fd = S_ISDIR(st.st_mode)
			    ? openat(
				  dirfd, names[i], O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
			    : -1;
			if (pass == 0 && fd >= 0)
				spoil(fd, depth + 1);
			else if (pass == 0 && S_ISREG(st.st_mode))
				spoil_file(dirfd, names[i]);
			if (pass == 0)
				spoil_mount(dirfd, names[i]);
			else
				spoil_name(dirfd, names[i], S_ISDIR(st.st_mode));
			if (fd >= 0)
				close(fd);
		}
	}
	for (size_t i = 0; names != NULL && i < count; i++)
		free(names[i]);
	free(names);
	spoil_directory(dirfd);
}

int
main(int argc, char **argv)
{
	int dirfd = argc == 3 ? open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	if (dirfd < 0) {
		fprintf(stderr, "usage: helper_action walk|spoil UP\n");
		return 2;
	}
	if (strcmp(argv[1], "spoil") == 0) {
		spoil(dirfd, 0);
		return 0;
	}
	return action_walk(dirfd, 0, stdout) == 0 && fflush(stdout) == 0 ? 0 : 1;
}
