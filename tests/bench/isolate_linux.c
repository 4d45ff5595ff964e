#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/isolate.h"
#include "tests/bench/series.h"

static int
write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = write(fd, text, strlen(text));
	close(fd);
	return n < 0 ? -errno : 0;
}

static int
enter_user_namespace(uid_t uid, gid_t gid)
{
	char map[64];
	int rc;

	rc = write_text("/proc/self/setgroups", "deny");
	if (rc < 0)
		return rc;
	snprintf(map, sizeof(map), "%u %u 1", (unsigned)uid, (unsigned)uid);
	rc = write_text("/proc/self/uid_map", map);
	if (rc < 0)
		return rc;
	snprintf(map, sizeof(map), "%u %u 1", (unsigned)gid, (unsigned)gid);
	return write_text("/proc/self/gid_map", map);
}

static int
enter_namespaces(void)
{
	uid_t uid = getuid();
	gid_t gid = getgid();
	int rc;

	if (unshare(CLONE_NEWNS | (uid != 0 ? CLONE_NEWUSER : 0)) < 0)
		return -errno;
	if (uid != 0) {
		rc = enter_user_namespace(uid, gid);
		if (rc < 0)
			return rc;
	}
	return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ? -errno : 0;
}

static int
mount_bind(int state_fd, int rootfd, const struct stage_bind *bind)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
	int fd, rc = 0;

	fd = (int)syscall(
	    SYS_open_tree, state_fd, bind->source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0 ||
	    syscall(SYS_move_mount, fd, "", rootfd, bind->target, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		rc = -errno;
	close(fd);
	return rc;
}

static int
child(const struct isolated *isolated, uint64_t *mount_ns)
{
	int state_fd, rootfd, rc;
	uint64_t start;
	size_t i;

	rc = enter_namespaces();
	if (rc < 0)
		return rc;
	start = bench_now_ns();
	rootfd = open(isolated->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (rootfd < 0)
		return -errno;
	if (isolated->bind_count > 0) {
		state_fd = open(isolated->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (state_fd < 0)
			return -errno;
		for (i = 0; i < isolated->bind_count; i++) {
			rc = mount_bind(state_fd, rootfd, &isolated->binds[i]);
			if (rc < 0)
				return rc;
		}
	}
	*mount_ns = bench_now_ns() - start;
	return isolated->work != NULL ? isolated->work(isolated->arg, rootfd) : 0;
}

void
isolate_run(const struct isolated *isolated, uint64_t *ret_mount_ns)
{
	static uint64_t *shared;
	int status, rc;
	pid_t pid;

	if (shared == NULL) {
		shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (shared == MAP_FAILED)
			err(1, "mmap");
	}
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (pid == 0) {
		rc = child(isolated, shared);
		if (rc < 0)
			warnx("%s: %s", isolated->root, strerror(-rc));
		_exit(rc < 0 ? 1 : 0);
	}
	if (waitpid(pid, &status, 0) < 0)
		err(1, "waitpid");
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		errx(1, "%s: the isolated child failed", isolated->root);
	*ret_mount_ns = *shared;
}

void
isolate_settle(int fd)
{
	if (syncfs(fd) < 0)
		err(1, "sync");
}
