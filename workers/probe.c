#include "workers/probe.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "workers/cost.h"
#include "workers/probe_os.h"
#include "workers/recycle_scan.h"
#include "workers/run.h"

enum { LINKS_TRIED = 1000, FILE_BYTES = 4096 };

static void way_says(struct probe_way *way, int rc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void
way_says(struct probe_way *way, int rc, const char *format, ...)
{
	va_list args;

	way->works = rc == 0;
	way->error = -rc;
	va_start(args, format);
	int len = vsnprintf(way->why, sizeof way->why, format, args);
	va_end(args);
	if (rc != 0 && len >= 0 && (size_t)len < sizeof way->why)
		snprintf(way->why + len, sizeof way->why - (size_t)len, ": %s", strerror(-rc));
}

static int
make_source(int dirfd)
{
	static const char bytes[FILE_BYTES];

	return fs_write_atomic(dirfd, "source", bytes, sizeof bytes, 0444);
}

/* A thousand links of one inode: some volumes allow fewer. */
static void
try_hardlink(int dirfd, struct probe *probe)
{
	struct probe_way *way = &probe->ways[PLACE_HARDLINK];
	uint64_t start = clock_monotonic_us();
	char name[32];
	int rc = fs_mkdir(dirfd, "links", 0700), made = 0;

	while (rc == 0 && made < LINKS_TRIED) {
		snprintf(name, sizeof name, "links/%d", made);
		if (linkat(dirfd, "source", dirfd, name, 0) != 0)
			rc = -errno;
		else
			made++;
	}
	if (made > 0)
		way->us = (double)(clock_monotonic_us() - start) / made;
	if (rc == -EMLINK && made > 0) {
		probe->links_max = (unsigned long long)made + 1;
		way_says(way, 0, "%d links to one file, then no more", made);
		strlcpy(way->remedy, "a volume whose files may have more links (ext4, XFS, APFS)",
		    sizeof way->remedy);
		return;
	}
	way_says(way, rc, "linked a file %d times", made);
	if (rc != 0)
		strlcpy(way->remedy, "keep the state directory on a volume with hard links",
		    sizeof way->remedy);
}

static int
try_fill(int dirfd, const char *name, int (*fill)(int in_fd, int out_fd))
{
	int in = openat(dirfd, "source", O_RDONLY | O_CLOEXEC);
	int out = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int rc = in < 0 || out < 0 ? -errno : fill(in, out);

	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
	return rc;
}

static void
try_private(int dirfd, struct probe *probe)
{
	struct probe_way *reflink = &probe->ways[PLACE_REFLINK], *copy = &probe->ways[PLACE_COPY];
	uint64_t start = clock_monotonic_us();

	int rc = try_fill(dirfd, "reflink", fs_reflink);
	reflink->us = (double)(clock_monotonic_us() - start);
	way_says(reflink, rc, rc == 0 ? "cloned a file's extents" : "cloning a file's extents");
	if (rc != 0)
		probe_explain_reflink(probe->volume, reflink);
	start = clock_monotonic_us();
	rc = try_fill(dirfd, "copy", fs_copy);
	copy->us = (double)(clock_monotonic_us() - start);
	way_says(copy, rc, "%s a file of %d bytes", rc == 0 ? "copied" : "copying", FILE_BYTES);
	if (rc != 0)
		strlcpy(copy->remedy, "free some space, or choose another --state directory",
		    sizeof copy->remedy);
}

static void
try_clone(int dirfd, struct probe *probe)
{
	struct probe_way *way = &probe->ways[PLACE_CLONEFILE];
	uint64_t start = clock_monotonic_us();

	probe->clone_is_native = probe_clone_is_native();
	int rc = fs_mkdir(dirfd, "tree", 0755);
	if (rc == 0 && linkat(dirfd, "source", dirfd, "tree/file", 0) != 0)
		rc = try_fill(dirfd, "tree/file", fs_copy);
	if (rc == 0)
		rc = fs_clone(dirfd, "tree", dirfd, "tree.clone");
	way->us = (double)(clock_monotonic_us() - start);
	way_says(way, rc, "%s a directory %s", rc == 0 ? "cloned" : "cloning",
	    probe->clone_is_native ? "in one call" : "file by file (in one call: on macOS)");
	probe->clone_is_native = probe->clone_is_native && rc == 0;
}

static void
try_names(int dirfd, struct probe *probe)
{
	int fd = openat(dirfd, "case-a", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd >= 0)
		close(fd);
	probe->case_insensitive = faccessat(dirfd, "CASE-A", F_OK, 0) == 0;
}

static void
try_isolation(const struct host_config *config, enum isolation isolation, struct probe *probe)
{
	struct probe_way *way = &probe->isolation[isolation];
	struct error_text err = {""};

	if (isolation == ISOLATION_ROOT && !probe->is_root) {
		way->error = EPERM;
		strlcpy(way->why, "needs root", sizeof way->why);
		strlcpy(way->remedy, "run rametd as root", sizeof way->remedy);
		return;
	}
	if (isolation == ISOLATION_USER && probe->is_root) {
		way->error = EPERM;
		way->unneeded = true;
		strlcpy(way->why,
		    "for a plain user: root's action would be root itself; root has isolation root",
		    sizeof way->why);
		return;
	}
	int rc = run_try_isolation(config, isolation, &way->us, &err);
	if (isolation == ISOLATION_NONE)
		way_says(way, rc, "%s an action that sees the host's files",
		    rc == 0 ? "ran" : "running");
	else
		way_says(way, rc, "%s an action in namespaces of its own, %s",
		    rc == 0 ? "ran" : "running",
		    isolation == ISOLATION_ROOT ? "made by root" : "made by a plain user");
	if (rc == 0)
		return;
	if (err.text[0] != '\0')
		strlcpy(way->why, err.text, sizeof way->why);
	probe_explain_isolation(isolation, -rc, way);
}

/* Mounting it is not enough: an action must be able to write there, and the tree below stay. */
static void
try_overlay(const struct host_config *config, struct probe *probe)
{
	struct probe_way *way = &probe->ways[PLACE_OVERLAY];
	struct error_text err = {""};

	if (probe->best_isolation == ISOLATION_NONE) {
		if (way->why[0] == '\0')
			strlcpy(way->why, "needs a mount namespace", sizeof way->why);
		way->error = way->error != 0 ? way->error : ENOTSUP;
		return;
	}
	int rc = run_try_overlay(config, probe->best_isolation, &way->us, &err);
	way_says(way, rc, "%s an action that changes inputs which lie below an overlay",
	    rc == 0 ? "ran" : "running");
	if (rc == 0)
		return;
	if (err.text[0] != '\0')
		strlcpy(way->why, err.text, sizeof way->why);
	probe_explain_overlay(probe->volume, way);
}

static void
try_image(const struct host_config *config, struct probe *probe)
{
	struct probe_way *way = &probe->ways[PLACE_IMAGE];
	struct error_text err = {""};

	if (probe->best_isolation != ISOLATION_ROOT) {
		if (way->why[0] == '\0')
			strlcpy(way->why, "needs root: only root may mount EROFS", sizeof way->why);
		way->error = way->error != 0 ? way->error : EPERM;
		return;
	}
	int rc = run_try_image(config, &way->us, &err);
	way_says(way, rc, "%s an action whose inputs are in an EROFS image",
	    rc == 0 ? "ran" : "running");
	if (rc == 0)
		return;
	if (err.text[0] != '\0')
		strlcpy(way->why, err.text, sizeof way->why);
	probe_explain_image(probe->volume, way);
}

static void
choose_best(struct probe *probe)
{
	probe->best_isolation = ISOLATION_NONE;
	if (!probe->ways[PLACE_BIND].works)
		return;
	if (probe->isolation[ISOLATION_ROOT].works)
		probe->best_isolation = ISOLATION_ROOT;
	else if (probe->isolation[ISOLATION_USER].works)
		probe->best_isolation = ISOLATION_USER;
}

/* What a change of a finished sandbox's files is told by. */
static void
try_recycle(int dirfd, const char *path, struct probe *probe)
{
	probe->seals_inputs = probe_seal(dirfd, path);
	way_says(&probe->ways[PLACE_RECYCLE], 0, "%s%s; where nothing can be bound",
	    probe->seals_inputs ? "inputs are sealed; " : "",
	    scan_clock_is_fine(dirfd) ? "ctime tells any two changes apart"
				      : "ctime ticks: what was placed last is placed again");
}

/* Nobody need do anything about these: something as good works. */
static void
mark_unneeded(struct probe *probe)
{
	struct probe_way *isolation = probe->isolation, *ways = probe->ways;

	ways[PLACE_IMAGE].unneeded = !ways[PLACE_IMAGE].works && ways[PLACE_HARDLINK].works;
	ways[PLACE_OVERLAY].unneeded = !ways[PLACE_OVERLAY].works && ways[PLACE_COPY].works;
	ways[PLACE_REFLINK].unneeded =
	    !ways[PLACE_REFLINK].works && ways[PLACE_HARDLINK].works && ways[PLACE_COPY].works;
	if (probe->best_isolation == ISOLATION_USER && !isolation[ISOLATION_ROOT].works)
		isolation[ISOLATION_ROOT].unneeded = true;
	if (probe->best_isolation == ISOLATION_ROOT && !isolation[ISOLATION_USER].works)
		isolation[ISOLATION_USER].unneeded = true;
	for (int i = ISOLATION_ROOT; i < ISOLATION_COUNT; i++)
		if (isolation[i].unneeded)
			isolation[i].remedy[0] = '\0';
}

static void
read_limits(int state_fd, struct probe *probe)
{
	struct statvfs vfs;
	struct rlimit limit;
	struct utsname uts;

	if (fstatvfs(state_fd, &vfs) == 0) {
		probe->free_bytes = (unsigned long long)vfs.f_bavail * vfs.f_frsize;
		probe->free_inodes = vfs.f_favail;
	}
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
		probe->files_max = limit.rlim_cur;
	if (uname(&uts) == 0)
		snprintf(probe->kernel, sizeof probe->kernel, "%.32s %.64s %.24s", uts.sysname,
		    uts.release, uts.machine);
}

static void
measure_costs(const struct host_config *config, struct probe *probe)
{
	char name[64], path[sizeof config->state_dir + sizeof name];
	int dirfd = -1;

	cost_default(&probe->costs);
	fs_temp_name("probe", name, sizeof name);
	snprintf(path, sizeof path, "%s/%s", config->state_dir, name);
	if (fs_mkdir(config->state_fd, name, 0700) == 0 &&
	    fs_open_beneath(config->state_fd, name, &dirfd) == 0) {
		cost_measure(dirfd, path, probe->ways[PLACE_IMAGE].works, &probe->costs);
		close(dirfd);
	}
	fs_remove_tree(config->state_fd, name);
}

/* All tries below one directory, which goes away with what they left. */
static void
try_in_state(const struct host_config *config, struct probe *probe)
{
	char name[64], path[sizeof config->state_dir + sizeof name];
	int dirfd = -1;

	fs_temp_name("probe", name, sizeof name);
	int rc = fs_mkdir(config->state_fd, name, 0700);
	if (rc == 0)
		rc = fs_open_beneath(config->state_fd, name, &dirfd);
	if (rc == 0)
		rc = make_source(dirfd);
	if (rc == 0) {
		snprintf(path, sizeof path, "%s/%s", config->state_dir, name);
		try_hardlink(dirfd, probe);
		try_private(dirfd, probe);
		try_clone(dirfd, probe);
		try_names(dirfd, probe);
		try_recycle(dirfd, path, probe);
		probe_mounts(dirfd, path, probe);
	} else {
		for (int way = 0; way < PLACE_WAY_COUNT; way++) {
			way_says(&probe->ways[way], rc, "cannot write in the state directory");
			strlcpy(probe->ways[way].remedy, "choose another --state directory",
			    sizeof probe->ways[way].remedy);
		}
	}
	if (dirfd >= 0)
		close(dirfd);
	fs_remove_tree(config->state_fd, name);
}

void
probe_run(const struct host_config *config, struct probe *ret_probe)
{
	struct probe *probe = ret_probe;

	memset(probe, 0, sizeof *probe);
	probe->is_root = geteuid() == 0;
	probe_volume(config->state_fd, probe->volume, sizeof probe->volume);
	read_limits(config->state_fd, probe);
	try_in_state(config, probe);
	try_isolation(config, ISOLATION_ROOT, probe);
	try_isolation(config, ISOLATION_USER, probe);
	try_isolation(config, ISOLATION_NONE, probe);
	choose_best(probe);
	try_overlay(config, probe);
	try_image(config, probe);
	measure_costs(config, probe);
	mark_unneeded(probe);
}

static const enum place_way engine_way[ENGINE_COUNT] = {
    [ENGINE_AUTO] = PLACE_COPY,
    [ENGINE_BIND] = PLACE_BIND,
    [ENGINE_OVERLAY] = PLACE_OVERLAY,
    [ENGINE_IMAGE] = PLACE_IMAGE,
    [ENGINE_CLONEFILE] = PLACE_CLONEFILE,
    [ENGINE_REFLINK] = PLACE_REFLINK,
    [ENGINE_HARDLINK] = PLACE_HARDLINK,
    [ENGINE_COPY] = PLACE_COPY,
};

static int
refuse(const char *flag, const char *name, const struct probe_way *way, char *why, size_t size)
{
	snprintf(why, size, "%s %s: not possible here: %s%s%s", flag, name, way->why,
	    way->remedy[0] == '\0' ? "" : "; ", way->remedy);
	return -ENOTSUP;
}

int
probe_choose(const struct probe *probe, const struct host_config *config,
    enum isolation *ret_isolation, char *why, size_t why_size)
{
	enum isolation isolation = config->isolation;
	const struct probe_way *way = &probe->ways[engine_way[config->engine]];

	if (isolation == ISOLATION_AUTO)
		isolation = probe->best_isolation;
	if (!probe->isolation[isolation].works)
		return refuse("--isolation", isolation_names[isolation],
		    &probe->isolation[isolation], why, why_size);
	if (!way->works)
		return refuse("--engine", engine_names[config->engine], way, why, why_size);
	if ((config->engine == ENGINE_BIND || config->engine == ENGINE_OVERLAY ||
		config->engine == ENGINE_IMAGE) &&
	    isolation == ISOLATION_NONE) {
		snprintf(why, why_size,
		    "--engine %s: needs a mount namespace, and --isolation is none%s",
		    engine_names[config->engine],
		    config->isolation == ISOLATION_AUTO ? " here (see ramet doctor)" : "");
		return -ENOTSUP;
	}
	*ret_isolation = isolation;
	return 0;
}
