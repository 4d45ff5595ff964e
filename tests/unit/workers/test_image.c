/* A tree as an image: what the kernel makes of it, and what is refused (workers/image.h). */
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include <linux/mount.h>
#include <sched.h>

#include "base/clock.h"
#include "tests/cmocka_wrap.h"
#include "tests/unit/workers/stage_host.h"
#include "workers/image.h"
#include "workers/image_format.h"

enum { OWNER = 64321, GROUP = 70001, CANNOT = 77 };

/* Where the kernel mounts an image from a file: not on tmpfs. */
static const char *
volume(void)
{
	const char *tmp = getenv("TMPDIR");

	return tmp != NULL ? tmp : "/var/tmp";
}

static int
setup(void **state)
{
	struct host *host = malloc(sizeof *host);

	host_start(host, volume());
	*state = host;
	return 0;
}

static int
teardown(void **state)
{
	host_stop(*state);
	free(*state);
	return 0;
}

struct image {
	struct tree_dir *root;
	uint8_t *bytes;
	size_t len;
	uid_t uid;
	gid_t gid;
};

static struct tree_dir *
load(struct host *host, const struct digest *root)
{
	struct tree_loader loader;
	struct tree_dir *dir;

	tree_loader_start(&loader, host->cas, host->arena);
	HOST_TRY("load", tree_load(&loader, root, 0, &dir, &host->err));
	tree_loader_free(&loader);
	return dir;
}

static struct image
encode_for(struct host *host, const struct digest *root, uid_t uid, gid_t gid)
{
	struct image image = {.root = load(host, root), .uid = uid, .gid = gid};

	HOST_TRY("encode",
	    image_encode(host->arena, image.root, uid, gid, &image.bytes, &image.len, &host->err));
	return image;
}

static struct image
encode(struct host *host, const struct digest *root)
{
	return encode_for(host, root, 0, 0);
}

/* What is in a directory of the mounted image, or of the overlay above it (`overlaid`). */
struct look {
	struct host *host;
	const struct image *image;
	bool overlaid;
	int differences;
};

static void
look_at_times(struct look *look, const char *path, const struct stat *st,
    const Google__Protobuf__Timestamp *mtime)
{
	int64_t want_s = mtime == NULL ? IMAGE_TIME_S : mtime->seconds;
	long want_ns = mtime == NULL ? 0 : mtime->nanos;

	if (st->st_mtim.tv_sec != want_s || st->st_mtim.tv_nsec != want_ns)
		DIFFERS(look, "%s: of %jd.%09ld", path, (intmax_t)st->st_mtim.tv_sec,
		    st->st_mtim.tv_nsec);
	if (st->st_uid != look->image->uid || st->st_gid != look->image->gid)
		DIFFERS(look, "%s: of uid %u, gid %u", path, st->st_uid, st->st_gid);
}

static void
look_at_redirect(struct look *look, const char *name, int fd, const ReapiDigest *digest)
{
	char found[128], want[128];

	snprintf(want, sizeof want, "/%.2s/%s", digest->hash, digest->hash);
	ssize_t len = fgetxattr(fd, "trusted.overlay.redirect", found, sizeof found);
	if (digest->size_bytes == 0
		? len >= 0
		: len != (ssize_t)strlen(want) || memcmp(found, want, (size_t)len) != 0)
		DIFFERS(look, "%s: redirected elsewhere", name);
	len = fgetxattr(fd, "trusted.overlay.metacopy", found, sizeof found);
	if (digest->size_bytes == 0 ? len >= 0 : len != 0)
		DIFFERS(look, "%s: metacopy", name);
}

static void
look_at_file(struct look *look, int dirfd, const ReapiFileNode *file)
{
	const ReapiNodeProperties *properties = file->node_properties;
	mode_t mode = file->is_executable ? 0555 : 0444;
	struct digest want, got;
	struct stat st;

	if (properties != NULL && properties->unix_mode != NULL)
		mode = (properties->unix_mode->value & 0555) | 0444;
	int fd = openat(dirfd, file->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0) {
		DIFFERS(look, "%s: %s", file->name, strerror(errno));
		return;
	}
	reapi_digest_get(file->digest, &want);
	if (st.st_mode != (S_IFREG | mode) || st.st_nlink != 1 || st.st_size != want.size_bytes)
		DIFFERS(look, "%s: mode %o, %jd bytes", file->name, (unsigned)st.st_mode,
		    (intmax_t)st.st_size);
	look_at_times(look, file->name, &st, properties == NULL ? NULL : properties->mtime);
	if (!look->overlaid)
		look_at_redirect(look, file->name, fd, file->digest);
	else if (hash_fd(fd, &got) != 0 || !digest_equal(&want, &got))
		DIFFERS(look, "%s: other bytes", file->name);
	close(fd);
}

static void
look_at_symlink(struct look *look, int dirfd, const ReapiSymlinkNode *symlink)
{
	char target[IMAGE_TARGET_MAX + 2];
	struct stat st;
	ssize_t len = readlinkat(dirfd, symlink->name, target, sizeof target);

	if (len != (ssize_t)strlen(symlink->target) ||
	    memcmp(target, symlink->target, (size_t)len) != 0)
		DIFFERS(look, "%s: another target, %zd bytes", symlink->name, len);
	if (fstatat(dirfd, symlink->name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
	    st.st_mode != (S_IFLNK | 0777) || st.st_size != len)
		DIFFERS(look, "%s: not a symlink", symlink->name);
	look_at_times(look, symlink->name, &st, NULL);
}

static void
look_at_directory(struct look *look, int dirfd, const char *path, const struct tree_dir *dir)
{
	const ReapiDirectory *want = dir->message;
	struct stat st;

	if (fstat(dirfd, &st) != 0 || st.st_mode != (S_IFDIR | 0755))
		DIFFERS(look, "%s: mode %o", path, (unsigned)st.st_mode);
	if (!look->overlaid && st.st_nlink != want->n_directories + 2)
		DIFFERS(look, "%s: %ju links", path, (uintmax_t)st.st_nlink);
	if (!look->overlaid || dir != look->image->root) /* there it is the upper one's */
		look_at_times(look, path, &st, NULL);
	if (count_entries(dirfd) != want->n_files + want->n_directories + want->n_symlinks)
		DIFFERS(look, "%s: %zu entries", path, count_entries(dirfd));
	for (size_t i = 0; i < want->n_files; i++)
		look_at_file(look, dirfd, want->files[i]);
	for (size_t i = 0; i < want->n_symlinks; i++)
		look_at_symlink(look, dirfd, want->symlinks[i]);
	for (size_t i = 0; i < want->n_directories; i++) {
		const char *name = want->directories[i]->name;
		int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0) {
			DIFFERS(look, "%s: %s", name, strerror(errno));
			continue;
		}
		look_at_directory(look, fd, name, dir->children[i]);
		close(fd);
	}
}

static int
configure(int fs, const char *key, const char *value)
{
	return fsconfig(fs, FSCONFIG_SET_STRING, key, value, 0) != 0 ? -errno : 0;
}

static int
configure_fd(int fs, const char *key, int fd)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return configure(fs, key, path);
}

static int
create(int fs, unsigned flags)
{
	if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) != 0)
		return -errno;
	int fd = fsmount(fs, FSMOUNT_CLOEXEC, flags);
	close(fs);
	return fd < 0 ? -errno : fd;
}

static int
mount_image(struct host *host)
{
	int file = openat(host->config.state_fd, "image", O_RDONLY | O_CLOEXEC);
	int fs = fsopen("erofs", FSOPEN_CLOEXEC);

	if (fs < 0)
		return -errno;
	int rc = configure_fd(fs, "source", file);
	return rc != 0 ? rc : create(fs, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
}

/* By path: a descriptor from before belongs to the other namespace's mounts. */
static int
configure_below(int fs, const char *key, struct host *host, const char *name)
{
	char path[512];

	snprintf(path, sizeof path, "%s/%s", host->dir, name);
	if (mkdir(path, 0755) != 0 && errno != EEXIST)
		return -errno;
	return configure(fs, key, path);
}

static int
mount_overlay(struct host *host, int image)
{
	int fs = fsopen("overlay", FSOPEN_CLOEXEC);
	int rc = fs < 0 ? -errno : configure_fd(fs, "lowerdir+", image);

	if (rc == 0)
		rc = configure_below(fs, "datadir+", host, "cas");
	if (rc == 0)
		rc = configure(fs, "metacopy", "on");
	if (rc == 0)
		rc = configure_below(fs, "upperdir", host, "upper");
	if (rc == 0)
		rc = configure_below(fs, "workdir", host, "work");
	return rc != 0 ? rc : create(fs, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
}

/* Whoever writes gets a copy; what is stored stays. */
static void
look_at_a_write(struct look *look, int root)
{
	const ReapiDirectory *want = look->image->root->message;
	struct digest digest, stored;

	for (size_t i = 0; i < want->n_files; i++) {
		const char *name = want->files[i]->name;
		int fd = openat(root, name, O_WRONLY | O_APPEND | O_CLOEXEC), blob;
		if (fd < 0 || write(fd, "more", 4) != 4)
			DIFFERS(look, "%s: cannot write: %s", name, strerror(errno));
		close(fd);
		reapi_digest_get(want->files[i]->digest, &digest);
		if (digest_is_empty(&digest))
			continue;
		if (cas_open_blob(look->host->cas, &digest, &blob) != 0 ||
		    hash_fd(blob, &stored) != 0 || !digest_equal(&digest, &stored))
			DIFFERS(look, "%s: its blob has changed", name);
	}
}

/* In a process with mounts of its own: the exit code. */
static int
look_at_image(struct host *host, const struct image *image)
{
	struct look look = {.host = host, .image = image};

	if (unshare(CLONE_NEWNS) != 0)
		return CANNOT;
	int lower = mount_image(host);
	if (lower < 0) {
		fprintf(stderr, "mount the image: %s\n", strerror(-lower));
		return lower == -ENODEV || lower == -ENOTBLK || lower == -EPERM ? CANNOT : 1;
	}
	look_at_directory(&look, lower, ".", image->root);
	int upper = mount_overlay(host, lower);
	if (upper < 0) {
		fprintf(stderr, "mount the overlay: %s\n", strerror(-upper));
		return 1;
	}
	look.overlaid = true;
	look_at_directory(&look, upper, ".", image->root);
	look_at_a_write(&look, upper);
	return look.differences == 0 ? 0 : 1;
}

static void
mount_and_look(struct host *host, const struct image *image)
{
	int status;

	assert_int_equal(
	    fs_write_atomic(host->config.state_fd, "image", image->bytes, image->len, 0600), 0);
	fs_remove_tree(host->config.state_fd, "upper");
	fs_remove_tree(host->config.state_fd, "work");
	pid_t pid = fork();
	if (pid == 0)
		_exit(look_at_image(host, image));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == CANNOT) {
		print_message("skipped: no mount of an image from a file here\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

static ReapiFileNode *
with_mtime(struct host *host, ReapiFileNode *file, int64_t seconds, int32_t nanos)
{
	Google__Protobuf__Timestamp *mtime = arena_alloc(host->arena, sizeof *mtime);

	google__protobuf__timestamp__init(mtime);
	mtime->seconds = seconds;
	mtime->nanos = nanos;
	if (file->node_properties == NULL)
		file->node_properties = REAPI_NEW(host->arena, node_properties);
	file->node_properties->mtime = mtime;
	return file;
}

static ReapiFileNode *
with_mode(struct host *host, ReapiFileNode *file, uint32_t value)
{
	Google__Protobuf__UInt32Value *mode = arena_alloc(host->arena, sizeof *mode);

	google__protobuf__uint32_value__init(mode);
	mode->value = value;
	if (file->node_properties == NULL)
		file->node_properties = REAPI_NEW(host->arena, node_properties);
	file->node_properties->unix_mode = mode;
	return file;
}

/* One of each, with names on both sides of "." and "..". */
static struct digest
small_tree(struct host *host)
{
	ReapiDirectory *deep = dir_new(host), *a = dir_new(host), *root = dir_new(host);
	struct digest bytes = host_put(host, "bytes", 5);

	dir_add_file(host, deep, "y", "why", false);
	struct digest deep_digest = dir_put(host, deep);
	dir_add_file(host, a, "run", "#!/bin/sh\n", true);
	dir_add_file(host, a, "empty", "", false);
	dir_add_file(host, a, "empty-run", "", true);
	dir_add_symlink(host, a, "link", "run");
	dir_add_dir(host, a, "deep", &deep_digest);
	struct digest a_digest = dir_put(host, a);
	dir_add_dir(host, root, "a", &a_digest);
	dir_add_dir(host, root, "...", &deep_digest);
	dir_add_dir(host, root, "b", &digest_empty);
	dir_add_file(host, root, "-first", "first", false);
	dir_add_file(host, root, ".-", "between", false);
	dir_add_file(host, root, "\xff", "last", true);
	dir_add_symlink(host, root, "!", "/nowhere");
	with_mtime(host, dir_add_digest(host, root, "old", &bytes, false), -1, 999999999);
	with_mtime(host, dir_add_digest(host, root, "new", &bytes, true), INT64_C(1) << 34, 1);
	with_mtime(host, dir_add_digest(host, root, "same", &bytes, true), IMAGE_TIME_S, 0);
	with_mode(host, dir_add_digest(host, root, "mode", &bytes, false), 06751);
	with_mode(host, dir_add_digest(host, root, "mode-0", &bytes, true), 0);
	with_mode(host, dir_add_digest(host, root, "mode-empty", &digest_empty, true), 0110);
	with_mtime(host, root->files[root->n_files - 1], 86400, 5);
	return dir_put(host, root);
}

static void
test_small_is_mounted(void **state)
{
	struct host *host = *state;
	struct digest root = small_tree(host);
	struct image image = encode(host, &root);

	assert_int_equal(image.len, IMAGE_BLOCK);
	mount_and_look(host, &image);
}

static void
test_empty_root_is_mounted(void **state)
{
	struct host *host = *state;
	struct image image = encode(host, &digest_empty);

	assert_int_equal(image.len, IMAGE_BLOCK);
	mount_and_look(host, &image);
}

static void
test_random_trees_are_mounted(void **state)
{
	struct host *host = *state;

	for (uint64_t seed = 1; seed <= 4; seed++) {
		uint64_t from = seed;
		struct digest root = random_tree(host, &from, 5);
		struct image image = encode_for(host, &root, seed % 2 == 0 ? OWNER : 0, 0);
		mount_and_look(host, &image);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	    T(test_small_is_mounted),
	    T(test_empty_root_is_mounted),
	    T(test_random_trees_are_mounted),
#undef T
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
