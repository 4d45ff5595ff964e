#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "cas/image.h"
#include "cas/reapi.h"
#include "workers/cost.h"
#include "workers/image_linux.h"
#include "workers/probe_os.h"

enum { MOUNTS = 3 };

static int
bind_one(int dirfd, const char *source, const char *target)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
	int rc = fs_mkdir(dirfd, target, 0555);

	if (rc != 0)
		return rc;
	int fd = open_tree(dirfd, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) != 0 ||
	    move_mount(fd, "", dirfd, target, MOVE_MOUNT_F_EMPTY_PATH) != 0)
		rc = -errno;
	close(fd);
	return rc;
}

static void
binds_measure(const struct cost_trial *trial, struct cost_model *costs)
{
	struct cost_samples samples = {0};
	char source[32], target[32];

	for (unsigned i = 0; i < trial->directories; i++) {
		snprintf(source, sizeof(source), "tree/d%u", i);
		snprintf(target, sizeof(target), "bound%u", i);
		cost_begin(&samples);
		if (bind_one(trial->dirfd, source, target) != 0)
			return;
		cost_end(&samples, 1);
	}
	costs->ns[COST_BIND] = cost_median(&samples);
}

/* What it costs more than as it is. */
static void
touch_measure(
    const struct cost_trial *trial, int tree_fd, enum cost_item item, struct cost_model *costs)
{
	uint32_t ns = cost_touch(tree_fd, trial), plain_ns = costs->ns[COST_TOUCH];

	if (ns > 0)
		costs->ns[item] = ns > plain_ns ? ns - plain_ns : 1;
}

/* `turn`: each has layers of its own. */
static int
overlay_mount(int dirfd, unsigned turn)
{
	static const char *const layers[][2] = {
	    {"lowerdir", "tree"}, {"upperdir", "upper"}, {"workdir", "work"}};
	int fs_fd = fsopen("overlay", FSOPEN_CLOEXEC), fd = -1, rc = fs_fd < 0 ? -errno : 0;
	char path[96], name[32];

	for (size_t i = 0; rc == 0 && i < sizeof(layers) / sizeof(layers[0]); i++) {
		if (i == 0)
			strlcpy(name, layers[i][1], sizeof(name));
		else
			snprintf(name, sizeof(name), "%s%u", layers[i][1], turn);
		rc = i == 0 ? 0 : fs_mkdir(dirfd, name, 0755);
		snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dirfd, name);
		if (rc == 0 && fsconfig(fs_fd, FSCONFIG_SET_STRING, layers[i][0], path, 0) != 0)
			rc = -errno;
	}
	if (rc == 0 && geteuid() != 0 &&
	    fsconfig(fs_fd, FSCONFIG_SET_FLAG, "userxattr", NULL, 0) != 0)
		rc = -errno;
	if (rc == 0 && fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		fd = fsmount(fs_fd, FSMOUNT_CLOEXEC, 0);
	if (fs_fd >= 0)
		close(fs_fd);
	return fd;
}

static void
overlay_measure(const struct cost_trial *trial, struct cost_model *costs)
{
	struct cost_samples samples = {0};

	for (unsigned turn = 0; turn < MOUNTS; turn++) {
		cost_begin(&samples);
		int fd = overlay_mount(trial->dirfd, turn);
		if (fd < 0)
			return;
		cost_end(&samples, 1);
		if (turn == 0)
			touch_measure(trial, fd, COST_TOUCH_OVERLAY, costs);
		close(fd);
	}
	costs->ns[COST_OVERLAY] = cost_median(&samples);
}

/* As tree/ is: its files are those of blobs/, whose names are their digests in decimal. */
static struct tree_dir *
directory_of(const struct cost_trial *trial, struct arena *arena, unsigned number)
{
	struct tree_dir *dir = arena_alloc(arena, sizeof(*dir));
	ReapiDirectory *message = REAPI_NEW(arena, directory);

	message->files = arena_alloc(arena, trial->files * sizeof(ReapiFileNode *));
	for (unsigned i = 0; i < trial->files; i++) {
		ReapiFileNode *file = REAPI_NEW(arena, file_node);
		file->name = arena_printf(arena, "f%u", i);
		file->digest = REAPI_NEW(arena, digest);
		file->digest->hash = arena_printf(arena, "%064u", number * trial->files + i);
		file->digest->size_bytes = trial->blob_bytes;
		message->files[message->n_files++] = file;
	}
	dir->message = message;
	dir->children_read = true;
	dir->totals = (struct index_tree){.files = trial->files, .directories = 1};
	return dir;
}

static struct tree_dir *
tree_of(const struct cost_trial *trial, struct arena *arena)
{
	struct tree_dir *dir = arena_alloc(arena, sizeof(*dir));
	ReapiDirectory *message = REAPI_NEW(arena, directory);

	dir->children = arena_alloc(arena, trial->directories * sizeof(struct tree_dir *));
	message->directories =
	    arena_alloc(arena, trial->directories * sizeof(ReapiDirectoryNode *));
	dir->totals.directories = 1;
	for (unsigned i = 0; i < trial->directories; i++) {
		ReapiDirectoryNode *entry = REAPI_NEW(arena, directory_node);
		entry->name = arena_printf(arena, "d%u", i);
		entry->digest = reapi_digest_new(arena, &digest_empty);
		message->directories[message->n_directories++] = entry;
		dir->children[i] = directory_of(trial, arena, i);
		tree_totals_add(dir, dir->children[i]);
	}
	dir->message = message;
	dir->children_read = true;
	return dir;
}

static int
blobs_find(const struct cost_trial *trial)
{
	unsigned files = trial->directories * trial->files;
	struct stat st;
	char name[80];

	for (unsigned i = 0; i < files; i++) {
		snprintf(name, sizeof(name), "blobs/00/%064u", i);
		if (fstatat(trial->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
			return -errno;
	}
	return 0;
}

/* What is an image's own, and what each file in it costs: looked for, then encoded. */
struct image_costs {
	struct cost_samples files, writes, mounts;
};

static int
image_write(const struct cost_trial *trial, struct tree_dir *dir, struct image_costs *costs)
{
	struct arena *arena = arena_new();
	struct error_text err;
	uint8_t *bytes;
	size_t len;

	cost_begin(&costs->files);
	int rc = blobs_find(trial);
	if (rc == 0)
		rc = image_encode(arena, dir, geteuid(), getegid(), &bytes, &len, &err);
	if (rc == 0) {
		cost_end(&costs->files, trial->directories * trial->files);
		cost_begin(&costs->writes);
		rc = fs_write_atomic(trial->dirfd, "image", bytes, len, 0444);
	}
	if (rc == 0)
		cost_end(&costs->writes, 1);
	arena_free(arena);
	return rc;
}

/* A descriptor of the mount. */
static int
image_open(const struct cost_trial *trial, struct image_costs *costs)
{
	int image_fd = openat(trial->dirfd, "image", O_RDONLY | O_CLOEXEC);
	int blobs_fd = openat(trial->dirfd, "blobs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	cost_begin(&costs->mounts);
	int fd = image_fd < 0 || blobs_fd < 0 ? -1 : image_mount(image_fd, blobs_fd);
	if (fd >= 0)
		cost_end(&costs->mounts, 1);
	if (image_fd >= 0)
		close(image_fd);
	if (blobs_fd >= 0)
		close(blobs_fd);
	return fd;
}

static void
image_measure(const struct cost_trial *trial, struct cost_model *costs)
{
	struct arena *arena = arena_new();
	struct tree_dir *dir = tree_of(trial, arena);
	struct image_costs image = {.files.count = 0};
	bool mounted = true;

	for (unsigned turn = 0; turn < MOUNTS && mounted; turn++) {
		int fd = image_write(trial, dir, &image) == 0 ? image_open(trial, &image) : -1;
		mounted = fd >= 0;
		if (mounted && turn == 0)
			touch_measure(trial, fd, COST_TOUCH_IMAGE, costs);
		if (mounted)
			close(fd);
	}
	arena_free(arena);
	if (!mounted)
		return;
	costs->ns[COST_IMAGE_FILE] = cost_median(&image.files);
	costs->ns[COST_IMAGE] = cost_median(&image.writes) + cost_median(&image.mounts);
}

static void
measure_in_child(const struct cost_trial *outer, struct cost_model *costs)
{
	struct cost_trial trial = *outer;

	if (probe_enter_namespaces() != 0)
		return;
	/* A descriptor from before belongs to the other namespace's mounts. */
	trial.dirfd = open(trial.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (trial.dirfd < 0)
		return;
	binds_measure(&trial, costs);
	overlay_measure(&trial, costs);
	if (trial.can_image)
		image_measure(&trial, costs);
}

/* In a process of its own, which takes its mounts along. */
void
cost_measure_mounts(const struct cost_trial *trial, struct cost_model *costs)
{
	struct cost_model *shared =
	    mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid;

	if (shared == MAP_FAILED)
		return;
	*shared = *costs;
	pid = fork();
	if (pid == 0) {
		measure_in_child(trial, shared);
		_exit(0);
	}
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (pid > 0)
		*costs = *shared;
	munmap(shared, sizeof(*shared));
}
