/* A tree as an image: what the kernel makes of it, and what is refused (cas/image.h). */
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include <linux/mount.h>
#include <sched.h>

#include "base/clock.h"
#include "tests/cmocka_wrap.h"
#include "tests/unit/workers/image_host.h"

enum { OWNER = 64321, GROUP = 70001, CANNOT = 77 };

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
	for (size_t i = 0; i < want->n_files; i += look->image->every)
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

	for (size_t i = 0; i < want->n_files; i += look->image->every) {
		const char *name = want->files[i]->name;
		int fd = openat(root, name, O_WRONLY | O_APPEND | O_CLOEXEC), blob = -1;
		if (fd < 0 || write(fd, "more", 4) != 4)
			DIFFERS(look, "%s: cannot write: %s", name, strerror(errno));
		close(fd);
		reapi_digest_get(want->files[i]->digest, &digest);
		if (digest_is_empty(&digest))
			continue;
		if (cas_open_blob(look->host->cas, &digest, &blob) != 0 ||
		    hash_fd(blob, &stored) != 0 || !digest_equal(&digest, &stored))
			DIFFERS(look, "%s: its blob has changed", name);
		close(blob);
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
	if (image->is_bare)
		return look.differences == 0 ? 0 : 1;
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

/* A directory of so many bytes, "." and ".." too. */
static struct digest
directory_of(struct host *host, size_t size)
{
	struct digest digest = host_put(host, "bytes", 5);
	ReapiDirectory *dir = dir_new(host);
	size_t left = size - 27;

	for (char letter = 'a'; left > 0; letter++) {
		size_t len = left > 2 * 252 ? 240 : left > 267 ? left / 2 - 12 : left - 12;
		dir_add_digest(host, dir, letters(host, letter, len), &digest, false);
		left -= len + 12;
	}
	return dir_put(host, dir);
}

static unsigned
root_nid(const struct image *image)
{
	struct image_super super;

	memcpy(&super, image->bytes + IMAGE_SUPER_AT, sizeof super);
	return super.root_nid;
}

/* Behind the inode, in a block, in two: with both kinds of inode. */
static void
test_directory_sizes_are_mounted(void **state)
{
	static const size_t sizes[] = {40, 2880, 2881, 2912, 2913, 2944, 2945, 4031, 4032, 4033,
	    4063, 4064, 4065, 4095, 4096, 4097, 8160, 8192, 8193};
	struct host *host = *state;
	ReapiDirectory *all = dir_new(host);
	char name[32];

	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		struct digest root = directory_of(host, sizes[i]);
		snprintf(name, sizeof name, "%zu", sizes[i]);
		dir_add_dir(host, all, name, &root);
		struct image image = encode(host, &root);
		bool next = sizes[i] > 2912 && sizes[i] <= 4064;
		assert_int_equal(root_nid(&image), next ? 128 : 36);
	}
	struct digest root = dir_put(host, all);
	struct image image = encode(host, &root), wide = encode_for(host, &root, OWNER, GROUP);
	mount_and_look(host, &image);
	mount_and_look(host, &wide);
}

static void
test_long_things_are_mounted(void **state)
{
	static const size_t targets[] = {1, 255, 4031, 4032, 4033, 4063, 4064, 4065, 4094, 4095};
	struct host *host = *state;
	ReapiDirectory *root = dir_new(host);
	struct digest below = digest_empty, digest = host_put(host, "bytes", 5);
	char name[32];

	for (int depth = 0; depth < 200; depth++) {
		ReapiDirectory *dir = dir_new(host);
		dir_add_dir(host, dir, letters(host, 'd', depth % 255 + 1), &below);
		below = dir_put(host, dir);
	}
	dir_add_dir(host, root, "deep", &below);
	for (int i = 0; i < 64; i++) {
		char *text = (char *)letters(host, 'n', 255);
		text[254] = (char)('!' + i); /* with a '/' less */
		if (text[254] != '/')
			dir_add_digest(host, root, text, &digest, i % 2 == 0);
	}
	for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
		snprintf(name, sizeof name, "l%zu", targets[i]);
		dir_add_symlink(host, root, name, letters(host, 't', targets[i]));
	}
	digest = dir_put(host, root);
	struct image image = encode(host, &digest), wide = encode_for(host, &digest, OWNER, GROUP);
	mount_and_look(host, &image);
	mount_and_look(host, &wide);
}

static void
test_large_directory_is_mounted(void **state)
{
	enum { FILES = 100000, DIRECTORIES = 66000 };
	struct host *host = *state;
	ReapiDirectory *root = dir_new(host);
	struct digest digest = host_put(host, "bytes", 5);
	char name[32];

	dir_room(host, root, FILES, DIRECTORIES, 0);
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof name, "f%d", i);
		root->files[root->n_files++] = file_new(host, name, &digest);
	}
	for (int i = 0; i < DIRECTORIES; i++) { /* more links than 16 bits count */
		ReapiDirectoryNode *node = REAPI_NEW(host->arena, directory_node);
		node->name = arena_printf(host->arena, "d%d", i);
		node->digest = reapi_digest_new(host->arena, &digest_empty);
		root->directories[root->n_directories++] = node;
	}
	digest = dir_put(host, root);
	struct image image = encode(host, &digest);
	image.every = 997;
	mount_and_look(host, &image);
}

static void
test_large_files_are_mounted(void **state)
{
	static const int64_t sizes[] = {1, 4095, 4096, 4097, UINT32_MAX, INT64_C(1) << 32,
	    (INT64_C(1) << 32) + 1, (INT64_C(1) << 43) - 1, INT64_C(1) << 43};
	struct host *host = *state;
	ReapiDirectory *root = dir_new(host);
	struct digest digest = host_put(host, "bytes", 5);

	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		digest.size_bytes = sizes[i];
		dir_add_digest(
		    host, root, arena_printf(host->arena, "%zu", i), &digest, i % 2 == 0);
	}
	digest = dir_put(host, root);
	struct image image = encode(host, &digest);
	image.is_bare = true;
	mount_and_look(host, &image);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	    T(test_small_is_mounted),
	    T(test_empty_root_is_mounted),
	    T(test_random_trees_are_mounted),
	    T(test_directory_sizes_are_mounted),
	    T(test_long_things_are_mounted),
	    T(test_large_directory_is_mounted),
	    T(test_large_files_are_mounted),
#undef T
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
