#include "workers/mounts_linux.h"

#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "workers/image_linux.h"
#include "workers/overlay_linux.h"

enum { MOUNT_LOCKED_DOWN = MS_NOSUID | MS_NODEV };

int
mounts_open_beneath(int dirfd, const char *path)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC,
	    .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
	int fd = (int)syscall(SYS_openat2, dirfd, path, &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

int
mounts_set_fd(int fs_fd, const char *key, int fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return fsconfig(fs_fd, FSCONFIG_SET_STRING, key, path, 0) == 0 ? 0 : -errno;
}

static int
tree_clone(int fd)
{
	return FAULTY(
	    mount, open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH));
}

int
mounts_clone(int dirfd, const char *path, const struct mount_attr *attr)
{
	int fd = mounts_open_beneath(dirfd, path);
	int tree_fd, rc = 0;

	if (fd < 0)
		return fd;
	tree_fd = rc = tree_clone(fd);
	if (tree_fd < 0 ||
	    mount_setattr(tree_fd, "", AT_EMPTY_PATH, (struct mount_attr *)attr, sizeof(*attr)) !=
		0)
		rc = -errno;
	if (rc < 0 && tree_fd >= 0)
		close(tree_fd);
	close(fd);
	return rc;
}

static int
tree_attach(int tree_fd, int target_fd)
{
	return FAULTY(mount,
	    move_mount(
		tree_fd, "", target_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH));
}

/* From here on every mount of this namespace is private and read-only; later ones say for
 * themselves. */
static int
host_freeze(void)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY, .propagation = MS_PRIVATE};

	if (FAULTY(mount, mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &attr, sizeof(attr))) != 0)
		return -errno;
	return 0;
}

/*
 * Covers a directory with an empty one: what SANDBOX_PATH is before the sandbox is mounted there.
 * By descriptor, since the state directory may lie below /tmp and have no name any more.
 */
static int
directory_hide(int target_fd)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
	int fd =
	    FAULTY(mount, open_tree(AT_FDCWD, SANDBOX_PATH, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
	int rc = 0;

	if (fd < 0)
		return -errno;
	if (mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) != 0 ||
	    tree_attach(fd, target_fd) != 0)
		rc = -errno;
	close(fd);
	return rc;
}

/*
 * The sockets of the host's daemons.  With the host's network its resolver's files in /run are
 * needed, and NixOS has its programs there: then those of the users' sessions alone are hidden.
 */
static int
run_hide(const struct host_config *config)
{
	bool needs_run = config->network_host || access("/run/current-system", F_OK) == 0;
	int fd = open(needs_run ? "/run/user" : "/run", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int rc;

	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	rc = directory_hide(fd);
	close(fd);
	return rc;
}

static int
bind_place(struct run_init *init, int root_fd, int image_fd, const struct stage_bind *bind)
{
	uint32_t *step = &init->report.step;
	int source_fd, target_fd = -1, tree_fd = -1, rc = 0;

	*step = RUN_STEP_SOURCE;
	source_fd = mounts_open_beneath(bind->in_image ? image_fd : init->state_fd, bind->source);
	if (source_fd < 0)
		return source_fd;
	tree_fd = tree_clone(source_fd); /* read-only as the host is by now */
	if (tree_fd < 0) {
		rc = -errno;
		goto out;
	}
	*step = RUN_STEP_TARGET;
	target_fd = mounts_open_beneath(root_fd, bind->target);
	if (target_fd < 0)
		rc = target_fd;
	else if (tree_attach(tree_fd, target_fd) != 0)
		rc = -errno;
out:
	if (target_fd >= 0)
		close(target_fd);
	if (tree_fd >= 0)
		close(tree_fd);
	close(source_fd);
	return rc;
}

static int
binds_place(struct run_init *init, int image_fd)
{
	const struct run_request *request = init->request;
	int root_fd, rc = 0;

	if (request->bind_count == 0)
		return 0;
	root_fd = open(SANDBOX_PATH, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (root_fd < 0)
		return -errno;
	for (size_t i = 0; i < request->bind_count && rc == 0; i++) {
		init->report.bind = (uint32_t)i;
		rc = bind_place(init, root_fd, image_fd, &request->binds[i]);
	}
	close(root_fd);
	return rc;
}

/* The sandbox's root, which alone can be written to: the clone is read-only as the host is. */
static int
sandbox_clone(struct run_init *init)
{
	struct mount_attr attr = {.attr_clr = MOUNT_ATTR_RDONLY};
	char path[128];

	snprintf(path, sizeof(path), "sandboxes/%s/root", init->sandbox->name);
	return mounts_clone(init->state_fd, path, &attr);
}

static int
tmp_mount(void)
{
	if (FAULTY(mount, mount("ramet", "/tmp", "tmpfs", MOUNT_LOCKED_DOWN, "mode=1777")) != 0)
		return -errno;
	return mkdir(SANDBOX_PATH, 0555) == 0 ? 0 : -errno;
}

/* A host without /dev/shm needs none. */
static int
shm_mount(void)
{
	if (FAULTY(mount, mount("ramet", "/dev/shm", "tmpfs", MOUNT_LOCKED_DOWN, "mode=1777")) ==
		0 ||
	    errno == ENOENT)
		return 0;
	return -errno;
}

/*
 * Terminals of its own, so that the host's have no name.  A host without them needs none, and one
 * that allows no more leaves its own.
 */
static int
pts_mount(void)
{
	int fd, rc = 0;

	if (FAULTY(mount,
		mount("ramet", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
		    "newinstance,ptmxmode=0666,mode=0620")) != 0)
		return errno == ENOENT || errno == EPERM || errno == EACCES || errno == ENODEV ||
			errno == ENOSPC
		    ? 0
		    : -errno;
	fd = open("/dev/ptmx", O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ELOOP ? 0 : -errno;
	struct stat st;

	/* A symlink leads to ours by itself. */
	if (fstat(fd, &st) == 0 && !S_ISLNK(st.st_mode) &&
	    mount("/dev/pts/ptmx", "/dev/ptmx", NULL, MS_BIND, NULL) != 0)
		rc = -errno;
	close(fd);
	return rc;
}

/* A container may refuse a /proc without the masks of its own: the host's stays, and is reported.
 */
static int
proc_mount(struct run_report *report)
{
	if (FAULTY(mount, mount("proc", "/proc", "proc", MOUNT_LOCKED_DOWN | MS_NOEXEC, NULL)) == 0)
		return 0;
	if (errno != EPERM && errno != EACCES)
		return -errno;
	report->host_proc = 1;
	return 0;
}

static int
sandbox_attach(int tree_fd)
{
	if (FAULTY(mount,
		move_mount(tree_fd, "", AT_FDCWD, SANDBOX_PATH, MOVE_MOUNT_F_EMPTY_PATH)) != 0)
		return -errno;
	return 0;
}

#define STEP(name, call)                                                                           \
	do {                                                                                       \
		init->report.step = RUN_STEP_##name;                                               \
		rc = (call);                                                                       \
		if (rc < 0)                                                                        \
			return rc;                                                                 \
	} while (0)

static int
state_open(struct run_init *init)
{
	init->state_fd = open(init->runner->config->state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return init->state_fd < 0 ? -errno : 0;
}

int
mounts_prepare(struct run_init *init)
{
	int rc;

	STEP(STATE, state_open(init));
	STEP(READ_ONLY, host_freeze());
	STEP(TMP, tmp_mount());
	STEP(HIDE, directory_hide(init->state_fd));
	STEP(RUN, run_hide(init->runner->config));
	STEP(SHM, shm_mount());
	STEP(PTS, pts_mount());
	STEP(PROC, proc_mount(&init->report));
	return 0;
}

int
mounts_finish(struct run_init *init)
{
	uint64_t began_us = clock_monotonic_us();
	int tree_fd, image_fd = -1, rc;

	if (init->request->image != NULL) {
		STEP(IMAGE, image_fd = image_attach(init));
		init->report.image_us = clock_monotonic_us() - began_us;
		began_us = clock_monotonic_us();
	}
	if (init->request->overlay != NULL) {
		STEP(OVERLAY, overlay_attach(init));
		init->report.overlay_us = clock_monotonic_us() - began_us;
	} else {
		STEP(ROOT, tree_fd = sandbox_clone(init));
		STEP(SANDBOX, sandbox_attach(tree_fd));
		close(tree_fd);
	}
	began_us = clock_monotonic_us();
	STEP(SOURCE, binds_place(init, image_fd));
	if (init->request->bind_count > 0)
		init->report.bind_us = clock_monotonic_us() - began_us;
	if (image_fd >= 0)
		close(image_fd);
	close(init->state_fd);
	init->state_fd = -1;
	return 0;
}
