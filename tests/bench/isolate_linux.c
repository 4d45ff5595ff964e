#include <sys/mount.h>
#include <sys/stat.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "tests/bench/isolate_child.h"
#include "tests/bench/series.h"
#include "workers/mounts_linux.h"
#include "workers/overlay_linux.h"

static int map_fd = -1, own_fd = -1; /* of overlay_namespaces */

static int
write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int rc;

	if (fd < 0)
		return -errno;
	rc = fs_write_all(fd, text, strlen(text));
	close(fd);
	return rc;
}

static int
map_ids(uid_t uid, gid_t gid)
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

/* An empty /tmp, with SANDBOX_PATH; a state directory that lies there stays. */
static void
cover_tmp(const char *state_dir)
{
	char real[PATH_MAX];
	int fd = -1, tmp_fd, rc;

	if (realpath(state_dir, real) == NULL)
		err(1, "%s", state_dir);
	if (strncmp(real, "/tmp/", 5) == 0) {
		fd = open_tree(AT_FDCWD, real, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
		if (fd < 0)
			err(1, "%s", real);
	}
	if (mount("ramet", "/tmp", "tmpfs", 0, "mode=1777") < 0 || mkdir(SANDBOX_PATH, 0555) < 0)
		err(1, "%s", SANDBOX_PATH);
	if (fd < 0)
		return;
	tmp_fd = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rc = tmp_fd < 0 ? -errno : fs_mkdir_path(tmp_fd, real + 5, 0755);
	if (rc < 0 || move_mount(fd, "", AT_FDCWD, real, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		errx(1, "%s: cannot be kept below a /tmp of our own", real);
	close(tmp_fd);
	close(fd);
}

void
isolate_open(const char *state_dir)
{
	uid_t uid = getuid();
	gid_t gid = getgid();

	if (unshare(CLONE_NEWNS | (uid != 0 ? CLONE_NEWUSER : 0)) < 0)
		err(1, "namespaces");
	if (uid != 0 && map_ids(uid, gid) < 0)
		errx(1, "cannot map uid %u in a user namespace", (unsigned)uid);
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		err(1, "private mounts");
	cover_tmp(state_dir);
}

static struct runner
runner_of(const struct bench_host *host)
{
	bool is_root = host->isolation == ISOLATION_ROOT;

	return (struct runner){
	    .config = &host->config,
	    .isolation = host->isolation,
	    .action_uid = is_root ? host->config.action_uid_base + host->slot_number : getuid(),
	    .drop_uid = is_root,
	    .map_fd = map_fd,
	    .own_fd = own_fd,
	    .ready = RUN_CHILD_NONE,
	};
}

int
isolate_prepare(const struct isolated *isolated)
{
	const struct bench_placed *placed = isolated->placed;
	struct runner runner;
	int rc;

	if (placed == NULL || !placed->report.has_overlay || !placed->report.overlay.is_owned ||
	    map_fd >= 0)
		return 0;
	runner = runner_of(isolated->host);
	rc = overlay_namespaces(&runner);
	map_fd = runner.map_fd;
	own_fd = runner.own_fd;
	return rc;
}

/* What mounts_prepare does to the host; in place the mounts are only made private. */
static int
freeze(bool is_read_only)
{
	struct mount_attr attr = {
	    .attr_set = is_read_only ? MOUNT_ATTR_RDONLY : 0, .propagation = MS_PRIVATE};

	return mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &attr, sizeof(attr)) < 0 ? -errno : 0;
}

static int
furnish(const struct isolated *isolated)
{
	const struct stage_report *report = &isolated->placed->report;
	struct runner runner = runner_of(isolated->host);
	struct run_request request = {.binds = report->binds,
	    .bind_count = report->bind_count,
	    .image = report->image,
	    .overlay = report->has_overlay ? &report->overlay : NULL};
	struct run_init init = {.runner = &runner,
	    .sandbox = &isolated->placed->sandbox,
	    .request = &request,
	    .map_fd = map_fd,
	    .own_fd = own_fd,
	    .state_fd = open(isolated->host->config.state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC)};

	return init.state_fd < 0 ? -errno : mounts_finish(&init);
}

int
isolate_enter(const struct isolated *isolated, uint64_t *ret_mount_ns)
{
	bool in_place = isolated->placed == NULL;
	uint64_t start;
	int fd, rc = unshare(CLONE_NEWNS) < 0 ? -errno : freeze(!in_place);

	if (rc < 0)
		return rc;
	start = bench_now_ns();
	rc = in_place ? 0 : furnish(isolated);
	if (rc < 0)
		return rc;
	fd = open(in_place ? isolated->tree : SANDBOX_PATH, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*ret_mount_ns = bench_now_ns() - start;
	return fd;
}

void
isolate_settle(int fd)
{
	if (syncfs(fd) < 0)
		err(1, "sync");
}
