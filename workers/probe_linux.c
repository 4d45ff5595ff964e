#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "workers/probe_os.h"

/* What the child of a mount try found, by step. */
struct tried {
	int bind_error;
	const char *bind_step; /* a literal: the same address in parent and child */
	uint64_t bind_us;
};

static const struct {
	long type;
	const char *name;
} volumes[] = {
    {0xEF53, "ext4"},
    {0x58465342, "xfs"},
    {0x9123683E, "btrfs"},
    {0x01021994, "tmpfs"},
    {0x794c7630, "overlay"},
    {0xF2F52010, "f2fs"},
    {0x2FC12FC1, "zfs"},
    {0x6969, "nfs"},
    {0x01021997, "9p"},
    {0x65735546, "fuse"},
    {0xCA451A4E, "bcachefs"},
};

void
probe_volume(int fd, char *name, size_t size)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) != 0) {
		strlcpy(name, "unknown", size);
		return;
	}
	for (size_t i = 0; i < sizeof volumes / sizeof volumes[0]; i++) {
		if ((unsigned long)fs.f_type == (unsigned long)volumes[i].type) {
			strlcpy(name, volumes[i].name, size);
			return;
		}
	}
	snprintf(name, size, "type %#lx", (unsigned long)fs.f_type);
}

int
probe_enter_namespaces(void)
{
	bool is_root = geteuid() == 0;
	uid_t uid = geteuid();
	char map[64];

	if (unshare(is_root ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) != 0)
		return -errno;
	if (!is_root) {
		int fd = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);
		int len = snprintf(map, sizeof map, "0 %u 1", (unsigned)uid);
		if (fd < 0 || write(fd, map, (size_t)len) != len)
			return -errno;
		close(fd);
	}
	return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ? -errno : 0;
}

/* tree, read-only, on target: then a write there must be refused. */
static int
try_bind(int dirfd, struct tried *tried)
{
	struct mount_attr attr = {
	    .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV};
	uint64_t start = clock_monotonic_us();

	tried->bind_step = "open_tree";
	int fd = (int)syscall(
	    SYS_open_tree, dirfd, "tree", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_NO_AUTOMOUNT);
	if (fd < 0)
		return -errno;
	tried->bind_step = "mount_setattr";
	if (syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &attr, sizeof attr) != 0)
		return -errno;
	tried->bind_step = "move_mount";
	if (syscall(SYS_move_mount, fd, "", dirfd, "target", MOVE_MOUNT_F_EMPTY_PATH) != 0)
		return -errno;
	tried->bind_us = clock_monotonic_us() - start;
	close(fd);
	tried->bind_step = "a write into the bound tree was not refused";
	fd = openat(dirfd, "target/new", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd >= 0)
		return -ENOTSUP;
	return errno == EROFS ? 0 : -errno;
}

/* `path` is opened anew: a descriptor from before belongs to the other namespace's mounts. */
static int
try_in_child(const char *path, struct tried *tried)
{
	int rc = probe_enter_namespaces();

	if (rc != 0) {
		tried->bind_step = "unshare";
		tried->bind_error = -rc;
		return 0;
	}
	int dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0) {
		tried->bind_step = "open the trial's directory";
		tried->bind_error = errno;
		return 0;
	}
	tried->bind_error = -try_bind(dirfd, tried);
	close(dirfd);
	return 0;
}

static int
run_child(const char *path, struct tried *ret_tried)
{
	struct tried tried = {0};
	int fds[2], status;

	if (pipe2(fds, O_CLOEXEC) != 0)
		return -errno;
	pid_t pid = fork();
	if (pid == 0) {
		try_in_child(path, &tried);
		_exit(write(fds[1], &tried, sizeof tried) == (ssize_t)sizeof tried ? 0 : 1);
	}
	close(fds[1]);
	int rc = pid < 0 ? -errno : 0;
	if (rc == 0 && read(fds[0], &tried, sizeof tried) != (ssize_t)sizeof tried)
		rc = -EIO;
	close(fds[0]);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (rc == 0)
		*ret_tried = tried;
	return rc;
}

/* The remedy for a user namespace that was refused. */
static const char *
namespace_remedy(void)
{
	char text[8] = "";
	int fd = open("/proc/sys/kernel/unprivileged_userns_clone", O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		ssize_t len = read(fd, text, sizeof text - 1);
		close(fd);
		if (len > 0 && text[0] == '0')
			return "user namespaces are off: sysctl -w "
			       "kernel.unprivileged_userns_clone=1, or run rametd as root";
	}
	if (access("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", F_OK) == 0)
		return "AppArmor may forbid it: sysctl -w "
		       "kernel.apparmor_restrict_unprivileged_userns=0, or run rametd as root";
	return "allow user namespaces (sysctl user.max_user_namespaces; in a container, "
	       "its seccomp profile), or run rametd as root";
}

static bool
kernel_has(const char *filesystem)
{
	char *text = NULL, *line, *rest;
	bool found = false;
	FILE *file = fopen("/proc/filesystems", "re");
	size_t room = 0;

	while (file != NULL && !found && getline(&text, &room, file) > 0) {
		line = strrchr(text, '\t');
		rest = line == NULL ? NULL : strchr(line, '\n');
		if (rest != NULL)
			*rest = '\0';
		found = line != NULL && strcmp(line + 1, filesystem) == 0;
	}
	free(text);
	if (file != NULL)
		fclose(file);
	return found;
}

static void
explain_mounts(const struct tried *tried, struct probe *probe)
{
	struct probe_way *bind = &probe->ways[PLACE_BIND];

	bind->works = tried->bind_error == 0;
	bind->error = tried->bind_error;
	bind->us = (double)tried->bind_us;
	if (bind->works) {
		strlcpy(bind->why, "bound a directory read-only in a mount namespace of its own",
		    sizeof bind->why);
	} else {
		snprintf(
		    bind->why, sizeof bind->why, "%s: %s", tried->bind_step, strerror(bind->error));
		strlcpy(bind->remedy,
		    bind->error == ENOSYS ? "Linux 5.12 or later has it" : namespace_remedy(),
		    sizeof bind->remedy);
	}
}

void
probe_mounts(int dirfd, const char *path, struct probe *probe)
{
	struct tried tried = {0};
	int rc = fs_mkdir(dirfd, "target", 0755);

	if (rc == 0)
		rc = run_child(path, &tried);
	if (rc != 0) {
		tried.bind_error = -rc;
		tried.bind_step = "trying a mount";
	}
	explain_mounts(&tried, probe);
}

void
probe_explain_isolation(enum isolation isolation, int error, struct probe_way *way)
{
	if (isolation != ISOLATION_NONE)
		strlcpy(way->remedy, namespace_remedy(), sizeof way->remedy);
}

void
probe_explain_overlay(const char *volume, struct probe_way *way)
{
	if (!kernel_has("overlay"))
		strlcpy(way->remedy, "load the kernel's overlay module (modprobe overlay)",
		    sizeof way->remedy);
	else
		snprintf(way->remedy, sizeof way->remedy,
		    "keep the state directory on ext4, XFS, btrfs or tmpfs (it is on %s), with "
		    "Linux 5.19 or later",
		    volume);
}

void
probe_explain_image(const char *volume, struct probe_way *way)
{
	if (!kernel_has("erofs"))
		strlcpy(way->remedy, "load the kernel's EROFS module (modprobe erofs)",
		    sizeof way->remedy);
	else
		snprintf(way->remedy, sizeof way->remedy,
		    "keep the state directory on ext4, XFS or btrfs (it is on %s), with Linux 6.12 "
		    "or later",
		    volume);
}

void
probe_explain_reflink(const char *volume, struct probe_way *way)
{
	snprintf(way->remedy, sizeof way->remedy,
	    "%s copies bytes instead; XFS (reflink=1) and btrfs share them", volume);
}

/* Where there are no namespaces and one uid nothing else would hold. */
bool
probe_seal(int dirfd, const char *path)
{
	(void)dirfd;
	(void)path;
	return false;
}

bool
probe_clone_is_native(void)
{
	return false;
}
