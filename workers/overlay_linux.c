#include "workers/overlay_linux.h"

#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fs.h"
#include "workers/mounts_linux.h"

enum { FDS_HIGH = 64 };

/* What the mount is made of. */
struct layers {
	int outer_fd; /* the sandbox, writable, as a mount of its own */
	int lower_fd, upper_fd, work_fd;
	int mount_fd;
};
#define LAYERS_NONE ((struct layers){-1, -1, -1, -1, -1})

static void
layers_close(struct layers *layers)
{
	int fds[] = {layers->outer_fd, layers->lower_fd, layers->upper_fd, layers->work_fd,
	    layers->mount_fd};

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

/* Covers what is at SANDBOX_PATH: older kernels take no layer from a mount that is nowhere. */
static int
pile(int mount_fd)
{
	if (FAULTY(overlay,
		move_mount(mount_fd, "", AT_FDCWD, SANDBOX_PATH, MOVE_MOUNT_F_EMPTY_PATH)) != 0)
		return -errno;
	return 0;
}

static int
upper_open(const struct run_init *init, struct layers *layers)
{
	struct mount_attr writable = {.attr_clr = MOUNT_ATTR_RDONLY};
	char path[96];
	int rc;

	snprintf(path, sizeof(path), "sandboxes/%s", init->sandbox->name);
	layers->outer_fd = mounts_clone(init->state_fd, path, &writable);
	if (layers->outer_fd < 0)
		return layers->outer_fd;
	rc = pile(layers->outer_fd);
	if (rc != 0)
		return rc;
	layers->upper_fd = mounts_open_beneath(layers->outer_fd, "root");
	layers->work_fd = mounts_open_beneath(layers->outer_fd, "work");
	return layers->upper_fd < 0 ? layers->upper_fd : layers->work_fd < 0 ? layers->work_fd : 0;
}

/* A cached tree; where its files shall be the action's own and are not, mapped to its uid. */
static int
lower_open(const struct run_init *init, struct layers *layers)
{
	const struct stage_overlay *overlay = init->request->overlay;
	struct mount_attr mapped = {
	    .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)init->map_fd};

	if (!overlay->is_owned || init->map_fd < 0) {
		layers->lower_fd = mounts_open_beneath(init->state_fd, overlay->lower);
		return layers->lower_fd < 0 ? layers->lower_fd : 0;
	}
	layers->lower_fd = mounts_clone(init->state_fd, overlay->lower, &mapped);
	return layers->lower_fd < 0 ? layers->lower_fd : pile(layers->lower_fd);
}

/*
 * Nothing in the upper layer may need more than itself and the lower one to be read: no renamed
 * directories that point elsewhere, no files without their data.  is_volatile: no sync of the whole
 * volume at unmount (Linux 5.10).
 */
static int
options_set(int fs_fd, const struct layers *layers, bool in_user_namespace, bool is_volatile)
{
	static const char *const strings[][2] = {
	    {"redirect_dir", "nofollow"}, {"metacopy", "off"}, {"index", "off"}};
	int rc = mounts_set_fd(fs_fd, "lowerdir", layers->lower_fd);

	if (rc == 0)
		rc = mounts_set_fd(fs_fd, "upperdir", layers->upper_fd);
	if (rc == 0)
		rc = mounts_set_fd(fs_fd, "workdir", layers->work_fd);
	for (size_t i = 0; rc == 0 && i < sizeof(strings) / sizeof(strings[0]); i++)
		if (fsconfig(fs_fd, FSCONFIG_SET_STRING, strings[i][0], strings[i][1], 0) != 0)
			rc = -errno;
	if (rc == 0 && in_user_namespace &&
	    fsconfig(fs_fd, FSCONFIG_SET_FLAG, "userxattr", NULL, 0) != 0)
		rc = -errno;
	if (rc == 0 && is_volatile && fsconfig(fs_fd, FSCONFIG_SET_FLAG, "volatile", NULL, 0) != 0)
		rc = -errno;
	return rc;
}

static int
overlay_make(struct layers *layers, bool in_user_namespace, bool is_volatile)
{
	int fs_fd = FAULTY(overlay, fsopen("overlay", FSOPEN_CLOEXEC));
	int rc;

	if (fs_fd < 0)
		return -errno;
	rc = options_set(fs_fd, layers, in_user_namespace, is_volatile);
	if (rc == 0 && FAULTY(overlay, fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0)) != 0)
		rc = -errno;
	if (rc == 0) {
		layers->mount_fd =
		    fsmount(fs_fd, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
		rc = layers->mount_fd < 0 ? -errno : 0;
	}
	close(fs_fd);
	return rc;
}

int
overlay_attach(struct run_init *init)
{
	bool in_user_namespace = init->runner->isolation == ISOLATION_USER;
	struct layers layers = LAYERS_NONE;
	int rc = upper_open(init, &layers);

	if (rc == 0)
		rc = lower_open(init, &layers);
	if (rc == 0) {
		rc = overlay_make(&layers, in_user_namespace, true);
		if (rc == -EINVAL)
			rc = overlay_make(&layers, in_user_namespace, false);
	}
	if (rc == 0)
		rc = pile(layers.mount_fd);
	layers_close(&layers);
	return rc;
}

static int
map_write(pid_t pid, const char *file, unsigned inside, unsigned outside)
{
	char path[64], line[64];
	int fd, rc;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	snprintf(line, sizeof(line), "%u %u 1", inside, outside);
	rc = fs_write_all(fd, line, strlen(line));
	close(fd);
	return rc;
}

/* Out of the way of the numbers that an init arranges its descriptors at. */
static int
namespace_open(pid_t pid, int *ret_fd)
{
	char path[64];
	int fd, high;

	snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	high = fcntl(fd, F_DUPFD_CLOEXEC, FDS_HIGH);
	close(fd);
	if (high < 0)
		return -errno;
	*ret_fd = high;
	return 0;
}

/* One user and one group; its maker's process ends at once, the descriptor keeps it. */
static int
namespace_make(uid_t inside_uid, gid_t inside_gid, uid_t outside, int *ret_fd)
{
	struct clone_args args = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
	int hold[2], rc;
	pid_t pid;
	char c;

	rc = run_os_pipe(hold);
	if (rc != 0)
		return rc;
	pid = (pid_t)FAULTY(overlay, syscall(SYS_clone3, &args, sizeof(args)));
	if (pid == 0) {
		close(hold[1]);
		(void)!read(hold[0], &c, 1);
		_exit(0);
	}
	rc = pid < 0 ? -errno : 0;
	close(hold[0]);
	if (rc == 0)
		rc = map_write(pid, "uid_map", inside_uid, outside);
	if (rc == 0)
		rc = map_write(pid, "gid_map", inside_gid, outside);
	if (rc == 0)
		rc = namespace_open(pid, ret_fd);
	close(hold[1]);
	if (pid > 0)
		run_child_reap(pid);
	return rc;
}

int
overlay_namespaces(struct runner *runner)
{
	uid_t uid = runner->action_uid;
	int map_fd, rc;

	if (runner->isolation == ISOLATION_USER || runner->map_fd >= 0)
		return 0;
	if (!runner->drop_uid) /* root itself: there is no lesser right over its own files */
		return -EPERM;
	rc = namespace_make(geteuid(), getegid(), uid, &map_fd);
	if (rc != 0)
		return rc;
	rc = namespace_make(uid, (gid_t)uid, uid, &runner->own_fd);
	if (rc != 0) {
		close(map_fd);
		return rc;
	}
	runner->map_fd = map_fd;
	run_ready_drop(runner); /* it does not have them */
	return 0;
}
