/* What image_encode refuses to make and image_check to accept (cas/image.h). */
#include "cas/tree_check.h"
#include "tests/cmocka_wrap.h"
#include "tests/unit/workers/image_host.h"

enum { FILE_TAIL = 32, REDIRECT = FILE_TAIL + 12 + 20 + 20 };

static void
assert_refused(struct host *host, const struct image *image, const char *what)
{
	struct index_tree totals = {.files = 77};
	int rc = check(host, image, &totals);

	if (rc != -EBADMSG)
		fail_msg("%s: %d", what, rc);
	assert_int_equal(totals.files, 77);
}

static struct image
copy(struct host *host, const struct image *image, size_t len)
{
	struct image other = *image;

	other.bytes = arena_alloc(host->arena, len + IMAGE_BLOCK);
	other.len = len;
	memcpy(other.bytes, image->bytes, len < image->len ? len : image->len);
	return other;
}

/* a/{x} b/ file link wide: all in one block, no directory in blocks of its own. */
static struct image
plain_image(struct host *host)
{
	ReapiDirectory *a = dir_new(host), *root = dir_new(host);
	struct digest digest = host_put(host, "bytes", 5);

	dir_add_file(host, a, "x", "ex", true);
	struct digest below = dir_put(host, a);
	dir_add_dir(host, root, "a", &below);
	dir_add_dir(host, root, "b", &digest_empty);
	dir_add_digest(host, root, "file", &digest, false);
	dir_add_digest(host, root, "gone", &digest_empty, false);
	dir_add_symlink(host, root, "link", "file");
	with_mtime(host, dir_add_digest(host, root, "wide", &digest, true), 86400, 7);
	below = dir_put(host, root);
	return encode(host, &below);
}

/* In the root, which lies in the first block. */
static uint8_t *
dirent_of(const struct image *image, const char *name)
{
	uint8_t *block = image->bytes + IMAGE_ROOT_AT + sizeof(struct image_inode);
	struct image_dirent dirent, next;

	memcpy(&next, block, sizeof next);
	for (size_t i = 1, count = next.name_at / sizeof next; i <= count; i++) {
		dirent = next;
		memcpy(&next, block + i * sizeof next, sizeof next);
		const char *found = (const char *)block + dirent.name_at;
		size_t end = i < count ? next.name_at : dirent.name_at + strlen(found);
		size_t len = end - dirent.name_at;
		if (len == strlen(name) && memcmp(found, name, len) == 0)
			return block + (i - 1) * sizeof dirent;
	}
	fail_msg("%s: not in the image", name);
	return NULL;
}

static uint8_t *
inode_of(const struct image *image, const char *name)
{
	struct image_dirent dirent;

	memcpy(&dirent, dirent_of(image, name), sizeof dirent);
	return image->bytes + (size_t)dirent.nid * IMAGE_SLOT;
}

/* A few bytes of the superblock, of an inode and what follows it, or of a name's entry. */
struct edit {
	enum { SUPER, INODE, DIRENT } of;
	const char *name;
	size_t at;
	uint32_t value;
	unsigned len;
};
static const struct edit edits[] = {
    {SUPER, "magic", 0, 0xE0F5E1E3, 4},
    {SUPER, "checksum", 4, 1, 4},
    {SUPER, "feature_compat", 8, 1, 4},
    {SUPER, "block size", 12, 9, 1},
    {SUPER, "more slots", 13, 1, 1},
    {SUPER, "root in the middle of it", 14, 37, 2},
    {SUPER, "root is another directory", 14, 42, 2},
    {SUPER, "root beyond the end", 14, 65535, 2},
    {SUPER, "no inodes", 16, 0, 4},
    {SUPER, "fewer inodes", 16, 7, 4},
    {SUPER, "more inodes", 16, 9, 4},
    {SUPER, "far more inodes", 20, 1, 4},
    {SUPER, "epoch", 24, 0, 4},
    {SUPER, "fixed_ns", 32, 1, 4},
    {SUPER, "blocks", 36, 2, 4},
    {SUPER, "meta_block", 40, 1, 4},
    {SUPER, "xattr_block", 44, 1, 4},
    {SUPER, "volume name", 64, 'x', 1},
    {SUPER, "compression", 80, 4 | 1, 4},
    {SUPER, "device table", 80, 4 | 8, 4},
    {SUPER, "no chunks", 80, 0, 4},
    {SUPER, "extra devices", 86, 1, 2},
    {SUPER, "directory block size", 90, 1, 1},
    {SUPER, "packed inode", 96, 1, 1},
    {INODE, "file", 0, IMAGE_PLAIN, 2},
    {INODE, "file", 0, 1 << 1, 2}, /* compressed */
    {INODE, "file", 0, IMAGE_INLINE, 2},
    {INODE, "file", 0, IMAGE_CHUNKED | IMAGE_WIDE, 2},
    {INODE, "file", 0, IMAGE_CHUNKED | 1 << 4, 2},
    {INODE, "file", 2, 0, 2},
    {INODE, "file", 2, 27, 2},
    {INODE, "file", 2, 29, 2},
    {INODE, "file", 2, 0xFFFF, 2},
    {INODE, "file", 4, S_IFREG | 04444, 2},
    {INODE, "file", 4, S_IFREG | 02444, 2},
    {INODE, "file", 4, S_IFREG | 01444, 2},
    {INODE, "file", 4, S_IFREG | 0644, 2},
    {INODE, "file", 4, S_IFREG | 0400, 2},
    {INODE, "file", 4, S_IFCHR | 0444, 2},
    {INODE, "file", 4, S_IFBLK | 0444, 2},
    {INODE, "file", 4, S_IFIFO | 0444, 2},
    {INODE, "file", 4, S_IFSOCK | 0444, 2},
    {INODE, "file", 4, S_IFDIR | 0755, 2},
    {INODE, "file", 4, S_IFLNK | 0777, 2},
    {INODE, "file", 4, 0444, 2},
    {INODE, "file", 6, 2, 2}, /* links */
    {INODE, "file", 8, 0, 4}, /* size */
    {INODE, "file", 12, 1, 4},
    {INODE, "file", 16, 1, 4}, /* a chunk larger than needed */
    {INODE, "file", 16, 0x20, 4}, /* chunk indexes */
    {INODE, "file", 20, 1, 4},
    {INODE, "file", 24, 1, 2}, /* uid */
    {INODE, "file", 26, 1, 2},
    {INODE, "file", 28, 1, 4},
    {INODE, "file", FILE_TAIL, 1, 4},
    {INODE, "file", FILE_TAIL + 4, 1, 1}, /* shared attributes */
    {INODE, "file", FILE_TAIL + 12, 15, 1},
    {INODE, "file", FILE_TAIL + 13, 1, 1}, /* user.overlay.metacopy */
    {INODE, "file", FILE_TAIL + 14, 1, 2},
    {INODE, "file", FILE_TAIL + 16 + 8, 'M', 1},
    {INODE, "file", REDIRECT - 20, 200, 1},
    {INODE, "file", REDIRECT - 18, 60, 2},
    {INODE, "file", REDIRECT - 18, 4000, 2},
    {INODE, "file", REDIRECT - 1, 'x', 1},
    {INODE, "file", REDIRECT, 'x', 1},
    {INODE, "file", REDIRECT + 1, '.', 1},
    {INODE, "file", REDIRECT + 1, 'g', 1},
    {INODE, "file", REDIRECT + 3, 'a', 1},
    {INODE, "file", REDIRECT + 4, '.', 1},
    {INODE, "file", REDIRECT + 10, 'A', 1},
    {INODE, "file", REDIRECT + 67, '/', 1},
    {INODE, "file", REDIRECT + 68, 0, 4}, /* a chunk that is no hole */
    {INODE, "gone", 0, IMAGE_CHUNKED, 2},
    {INODE, "gone", 8, 1, 4},
    {INODE, "gone", 16, 1, 4},
    {INODE, "wide", 0, IMAGE_CHUNKED, 2},
    {INODE, "wide", 6, 1, 2},
    {INODE, "wide", 15, 0x80, 1}, /* of its size */
    {INODE, "wide", 24, 1, 4},
    {INODE, "wide", 40, 1000000000, 4}, /* nanoseconds */
    {INODE, "wide", 44, 0, 4},
    {INODE, "wide", 48, 1, 1},
    {INODE, "link", 4, S_IFLNK | 0755, 2},
    {INODE, "link", 8, 0, 4},
    {INODE, "link", 8, 3, 4},
    {INODE, "link", 8, 5, 4},
    {INODE, "link", 8, IMAGE_TARGET_MAX + 1, 4},
    {INODE, "link", 8, 0xFFFFFFFF, 4},
    {INODE, "link", 33, 0, 1},
    {INODE, "link", 0, IMAGE_PLAIN, 2},
    {INODE, "link", 2, 1, 2},
    {INODE, "a", 0, IMAGE_PLAIN, 2},
    {INODE, "a", 0, IMAGE_INLINE | 1 << 4, 2}, /* without "." */
    {INODE, "a", 4, S_IFDIR | 0777, 2},
    {INODE, "a", 4, S_IFDIR | 01755, 2},
    {INODE, "a", 4, S_IFREG | 0555, 2},
    {INODE, "a", 6, 3, 2},
    {INODE, "a", 8, 0, 4},
    {INODE, "a", 8, 11, 4},
    {INODE, "a", 8, 39, 4},
    {INODE, "a", 8, 41, 4},
    {INODE, "a", 8, 0xFFFFFFFF, 4},
    {INODE, "a", 16, 1, 4},
    {INODE, "a", 32, 0, 4}, /* its "." */
    {INODE, "a", 44, 0, 4}, /* its ".." */
    {INODE, "a", 40, 0, 2},
    {INODE, "a", 40, 11, 2},
    {INODE, "a", 40, 48, 2},
    {INODE, "a", 40, 0xFFF0, 2},
    {INODE, "a", 52, 36, 2}, /* its name's end before its start */
    {INODE, "a", 32 + 36, 'x', 1},
    {INODE, "a", 32 + 39, 0, 1}, /* an empty name */
    {INODE, "a", 32 + 39, '/', 1},
    {INODE, "a", 32 + 39, '.', 1},
    {INODE, "a", 32 + 39, '-', 1}, /* not sorted */
    {DIRENT, "a", 0, 36, 4}, /* the root: a cycle */
    {DIRENT, "a", 0, 0, 4},
    {DIRENT, "a", 0, 127, 4},
    {DIRENT, "a", 0, 0xFFFFFFFF, 4},
    {DIRENT, "a", 4, 1, 4},
    {DIRENT, "a", 10, 1, 1}, /* type */
    {DIRENT, "a", 11, 1, 1},
    {DIRENT, "a", 8, 0, 2},
    {DIRENT, "file", 10, 3, 1}, /* a device */
    {DIRENT, "file", 8, 4095, 2},
    {DIRENT, ".", 0, 37, 4},
};

static void
test_edits_are_refused(void **state)
{
	struct host *host = *state;
	struct image image = plain_image(host);
	char what[64];

	assert_int_equal(image.len, IMAGE_BLOCK);
	for (size_t i = 0; i < sizeof edits / sizeof edits[0]; i++) {
		const struct edit *edit = &edits[i];
		struct image other = copy(host, &image, image.len);
		uint8_t *at = edit->of == SUPER ? other.bytes + IMAGE_SUPER_AT
		    : edit->of == INODE         ? inode_of(&other, edit->name)
						: dirent_of(&other, edit->name);

		snprintf(what, sizeof what, "%s at %zu: %#x", edit->name, edit->at, edit->value);
		if (memcmp(at + edit->at, &edit->value, edit->len) == 0)
			fail_msg("%s: changes nothing", what);
		memcpy(at + edit->at, &edit->value, edit->len);
		image_seal(other.bytes, other.len);
		assert_refused(host, &other, what);
	}
}

/* Two names for one directory, and one that leads back up. */
static void
test_directories_are_trees(void **state)
{
	struct host *host = *state;
	struct image image = plain_image(host), other = copy(host, &image, image.len);

	memcpy(dirent_of(&other, "b"), dirent_of(&other, "a"), 4);
	image_seal(other.bytes, other.len);
	assert_refused(host, &other, "linked twice");
	other = copy(host, &image, image.len);
	memcpy(inode_of(&other, "a") + 32 + 24, dirent_of(&other, "a"), 4);
	image_seal(other.bytes, other.len);
	assert_refused(host, &other, "in itself");
}

/* Written by hand, since an edit cannot take an entry away. */
static void
test_dots_are_there(void **state)
{
	struct host *host = *state;
	struct image_entry entries[] = {
	    {.name = "", .mode = S_IFDIR | 0755, .mtime_s = IMAGE_TIME_S, .first = 1},
	    {.name = ".", .name_len = 1, .mode = S_IFDIR | 0755},
	    {.name = "..", .name_len = 2, .mode = S_IFDIR | 0755},
	};
	struct image_plan plan = {.entries = entries, .count = 3};

	for (uint32_t first = 1; first <= 2; first++) {
		for (uint32_t count = 0; first + count <= 3; count++) {
			struct image image = {.bytes = arena_alloc(host->arena, IMAGE_BLOCK)};
			entries[0].first = first;
			entries[0].count = count;
			assert_int_equal(image_measure(&plan), 0);
			image.len = plan.blocks * IMAGE_BLOCK;
			image_write(&plan, image.bytes);
			if (count == 2)
				assert_int_equal(check(host, &image, NULL), 0);
			else
				assert_refused(host, &image, "a dot less");
		}
	}
}

static void
test_chunks_cover_files(void **state)
{
	static const struct {
		int64_t size;
		uint16_t bits;
	} files[] = {{1, 0}, {4096, 0}, {4097, 1}, {8192, 1}, {8193, 2}, {UINT32_MAX, 20},
	    {INT64_C(1) << 32, 20}, {(INT64_C(1) << 43) - 1, 31}, {INT64_C(1) << 43, 31}};
	struct host *host = *state;
	struct digest digest = host_put(host, "bytes", 5);

	for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
		ReapiDirectory *dir = dir_new(host);
		struct image_inode inode;
		digest.size_bytes = files[i].size;
		dir_add_digest(host, dir, "file", &digest, false);
		struct digest root = dir_put(host, dir);
		struct image image = encode(host, &root);
		memcpy(&inode, inode_of(&image, "file"), sizeof inode);
		assert_int_equal(inode.format & ~IMAGE_WIDE, IMAGE_CHUNKED);
		assert_int_equal(inode.format & IMAGE_WIDE, files[i].size > UINT32_MAX);
		assert_int_equal(inode.data, files[i].bits);
	}
}

static void
test_lengths_and_gaps(void **state)
{
	struct host *host = *state;
	struct digest root = small_tree(host);
	struct image image = encode(host, &root);

	image.bytes[0] = 1;
	image_seal(image.bytes, image.len);
	assert_refused(host, &image, "the first byte");
	image = encode(host, &root);
	image.bytes[image.len - 1] = 1;
	image_seal(image.bytes, image.len);
	assert_refused(host, &image, "the last byte");
	image = encode(host, &root);
	struct image longer = copy(host, &image, image.len + IMAGE_BLOCK);
	image_seal(longer.bytes, longer.len);
	assert_refused(host, &longer, "one block more");
	longer.len = image.len + 1;
	assert_refused(host, &longer, "one byte more");
	image.len = 0;
	assert_refused(host, &image, "nothing");
}

/* Without a new seal nothing passes; with one, nothing crashes and some are other trees. */
static void
test_every_bit(void **state)
{
	struct host *host = *state;
	struct digest root = small_tree(host);
	struct image image = encode(host, &root), again = copy(host, &image, image.len);
	struct arena *arena = arena_new();
	size_t accepted = 0;

	for (size_t bit = 0; bit < image.len * 8; bit++) {
		image.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		if (image_check(arena, image.bytes, image.len, 0, 0, NULL, NULL, NULL) == 0)
			fail_msg("bit %zu: accepted", bit);
		memcpy(again.bytes, image.bytes, image.len);
		image_seal(again.bytes, again.len);
		int rc = image_check(arena, again.bytes, again.len, 0, 0, NULL, NULL, NULL);
		assert_true(rc == 0 || rc == -EBADMSG);
		accepted += rc == 0;
		image.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		arena_reset(arena);
	}
	/* Of names, targets, hashes, sizes, times, modes; and of the seal itself. */
	assert_in_range(accepted, 1000, 4000);
	arena_free(arena);
}

static void
test_cut_anywhere(void **state)
{
	struct host *host = *state;
	ReapiDirectory *dir = dir_new(host);

	for (int i = 0; i < 200; i++)
		dir_add_file(host, dir, arena_printf(host->arena, "%040d", i), "x", false);
	struct digest root = dir_put(host, dir);
	struct image image = encode(host, &root);
	assert_int_equal(image.len, 12 * IMAGE_BLOCK); /* 9 of inodes, 3 of names */
	for (size_t len = IMAGE_BLOCK; len < image.len; len += IMAGE_BLOCK) {
		uint8_t *exact = malloc(len); /* so that a read behind it is seen */
		struct image part = image;
		memcpy(exact, image.bytes, len);
		image_seal(exact, len);
		part.bytes = exact;
		part.len = len;
		assert_refused(host, &part, "cut");
		free(exact);
	}
}

struct blobs {
	struct digest digests[8];
	bool executable[8];
	int count, stop_at;
};

static int
note_blob(void *arg, const struct digest *digest, bool executable)
{
	struct blobs *blobs = arg;

	blobs->digests[blobs->count] = *digest;
	blobs->executable[blobs->count] = executable;
	return ++blobs->count == blobs->stop_at ? -ECANCELED : 0;
}

static void
test_blobs_are_told(void **state)
{
	struct host *host = *state;
	struct digest bytes = host_put(host, "bytes", 5), ex = host_put(host, "ex", 2);
	struct image image = plain_image(host);
	struct blobs blobs = {0};
	struct index_tree totals = {0};
	uint8_t *odd = malloc(image.len + 1);

	memcpy(odd + 1, image.bytes, image.len);
	assert_int_equal(
	    image_check(host->arena, odd + 1, image.len, 0, 0, note_blob, &blobs, &totals), 0);
	free(odd);
	assert_int_equal(blobs.count, 3);
	assert_true(digest_equal(&blobs.digests[0], &bytes) && !blobs.executable[0]);
	assert_true(digest_equal(&blobs.digests[1], &bytes) && blobs.executable[1]);
	assert_true(digest_equal(&blobs.digests[2], &ex) && blobs.executable[2]);
	assert_int_equal(totals.files, 4);
	assert_int_equal(totals.directories, 3);
	assert_int_equal(totals.symlinks, 1);
	assert_int_equal(totals.bytes, 12);

	blobs = (struct blobs){.stop_at = 2};
	totals.files = 77;
	assert_int_equal(
	    image_check(host->arena, image.bytes, image.len, 0, 0, note_blob, &blobs, &totals),
	    -ECANCELED);
	assert_int_equal(blobs.count, 2);
	assert_int_equal(totals.files, 77);

	/* None is told of an image that is refused, nor for another owner. */
	blobs = (struct blobs){0};
	assert_int_equal(
	    image_check(host->arena, image.bytes, image.len, 1, 0, note_blob, &blobs, NULL),
	    -EBADMSG);
	image.bytes[image.len - 1] = 1;
	image_seal(image.bytes, image.len);
	assert_int_equal(
	    image_check(host->arena, image.bytes, image.len, 0, 0, note_blob, &blobs, NULL),
	    -EBADMSG);
	assert_int_equal(blobs.count, 0);
}

static void
test_same_tree_same_bytes(void **state)
{
	struct host *host = *state;
	ReapiDirectory *dir = dir_new(host);
	static const char *const names[] = {"z", "", "-", "m", ".x", "...", "a"};

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		if (names[i][0] == '\0')
			continue;
		dir_add_file(host, dir, names[i], names[i], false);
		dir_add_dir(host, dir, arena_printf(host->arena, "%s-d", names[i]), &digest_empty);
		dir_add_symlink(host, dir, arena_printf(host->arena, "%s-l", names[i]), "x");
	}
	struct digest raw = dir_put_raw(host, dir), sorted = dir_put(host, dir);
	assert_false(digest_equal(&raw, &sorted));
	struct image images[] = {
	    encode(host, &raw), encode(host, &sorted), encode_for(host, &sorted, 1, 0)};
	assert_int_equal(images[0].len, images[1].len);
	assert_memory_equal(images[0].bytes, images[1].bytes, images[0].len);
	assert_memory_not_equal(images[1].bytes, images[2].bytes, images[1].len);
}

static int
encode_rc(struct host *host, ReapiDirectory *dir)
{
	struct digest root = dir_put(host, dir);
	uint8_t *bytes = NULL;
	size_t len = 77;
	int rc = image_encode(host->arena, load(host, &root), 0, 0, &bytes, &len, &host->err);

	if (rc != 0) {
		assert_null(bytes);
		assert_int_equal(len, 77);
		assert_string_not_equal(host->err.text, "");
	}
	return rc;
}

/* 0x3fffffff is "now" to the system call that would set it. */
static void
test_bad_times_are_refused(void **state)
{
	static const int32_t nanos[] = {-1, 1000000000, 0x3fffffff, INT32_MAX};
	struct host *host = *state;
	struct digest digest = host_put(host, "bytes", 5);

	for (size_t i = 0; i < sizeof nanos / sizeof nanos[0]; i++) {
		ReapiDirectory *dir = dir_new(host);
		with_mtime(host, dir_add_digest(host, dir, "x", &digest, false), 0, nanos[i]);
		struct digest root = dir_put(host, dir);
		struct tree_loader loader;
		struct tree_dir *loaded;
		tree_loader_start(&loader, host->cas, host->arena);
		assert_int_equal(tree_load(&loader, &root, 0, &loaded, &host->err), -EINVAL);
		assert_non_null(strstr(host->err.text, "mtime"));
		tree_loader_free(&loader);
	}
}

struct stored {
	struct tree_dir *root;
	int dirfd;
};

static void
store_image(struct host *host, struct stored *stored, uid_t uid, gid_t gid)
{
	uint8_t *bytes;
	size_t len;

	HOST_TRY(
	    "encode", image_encode(host->arena, stored->root, uid, gid, &bytes, &len, &host->err));
	HOST_TRY("write", fs_write_atomic(stored->dirfd, "image", bytes, len, 0444));
}

static int
compared(struct host *host, const struct stored *stored, const char *name)
{
	const char *what = NULL;

	for (int deep = 0; deep < 2; deep++) {
		int rc = image_compare(
		    host->cas, stored->dirfd, name, &stored->root->digest, deep != 0, &what);
		if (rc != 0)
			return rc;
	}
	return 0;
}

/* Whoever looks, in whatever group; and what is in its place is a fault, not the end of all. */
static void
test_compared_on_disk(void **state)
{
	struct host *host = *state;
	struct digest digest = small_tree(host);
	struct tree_dir *part = load(host, &digest);
	struct stored stored;
	struct stat st;

	HOST_TRY("root", image_root(host->arena, &part, 1, &stored.root));
	HOST_TRY("images", fs_mkdir(host->config.state_fd, "images", 0755));
	HOST_TRY("images", fs_open_beneath(host->config.state_fd, "images", &stored.dirfd));
	assert_int_equal(fstat(stored.dirfd, &st), 0);
	store_image(host, &stored, st.st_uid, st.st_gid);
	assert_int_equal(compared(host, &stored, "image"), TREE_WHOLE);
	store_image(host, &stored, st.st_uid, st.st_gid + 1);
	assert_int_equal(compared(host, &stored, "image"), TREE_WHOLE);
	store_image(host, &stored, st.st_uid + 1, st.st_gid);
	assert_int_equal(compared(host, &stored, "image"), TREE_FAULTY);

	assert_int_equal(compared(host, &stored, "nothing"), TREE_FAULTY);
	assert_int_equal(mknodat(stored.dirfd, "socket", S_IFSOCK | 0666, 0), 0);
	assert_int_equal(compared(host, &stored, "socket"), TREE_FAULTY);
	assert_int_equal(symlinkat("image", stored.dirfd, "symlink"), 0);
	assert_int_equal(compared(host, &stored, "symlink"), TREE_FAULTY);
	assert_int_equal(mkdirat(stored.dirfd, "directory", 0755), 0);
	assert_int_equal(compared(host, &stored, "directory"), TREE_FAULTY);
	assert_int_equal(fs_write_atomic(stored.dirfd, "short", "x", 1, 0444), 0);
	assert_int_equal(compared(host, &stored, "short"), TREE_FAULTY);
	close(stored.dirfd);
}

static void
test_bad_trees_are_refused(void **state)
{
	struct host *host = *state;
	struct digest digest = host_put(host, "bytes", 5), missing = digest;

	ReapiDirectory *dir = dir_new(host);
	dir_add_symlink(host, dir, "x", letters(host, 'x', IMAGE_TARGET_MAX + 1));
	assert_int_equal(encode_rc(host, dir), -ENAMETOOLONG);
	dir = dir_new(host);
	digest.size_bytes = 0;
	dir_add_digest(host, dir, "x", &digest, false);
	assert_int_equal(encode_rc(host, dir), -EINVAL);
	dir = dir_new(host);
	digest.size_bytes = (INT64_C(1) << 43) + 1;
	dir_add_digest(host, dir, "x", &digest, false);
	assert_int_equal(encode_rc(host, dir), -EFBIG);

	dir = dir_new(host);
	missing.hash[0] ^= 1;
	dir_add_dir(host, dir, "x", &missing);
	assert_int_equal(encode_rc(host, dir), -ENOENT);
	struct digest root = dir_put(host, dir);
	dir = dir_new(host);
	dir_add_dir(host, dir, "x", &root);
	assert_int_equal(encode_rc(host, dir), -ENOENT);
}

/* `levels` directories, each holding the next `fan` times, above `bottom`. */
static ReapiDirectory *
fanned(struct host *host, struct digest bottom, int levels, int fan)
{
	ReapiDirectory *dir = NULL;

	for (int level = 0; level < levels; level++) {
		dir = dir_new(host);
		for (int i = 0; i < fan; i++)
			dir_add_dir(host, dir, arena_printf(host->arena, "%d", i), &bottom);
		bottom = dir_put(host, dir);
	}
	return dir;
}

/* A few Directories that name very many. */
static void
test_size_is_bounded(void **state)
{
	struct host *host = *state;
	ReapiDirectory *links = dir_new(host);

	assert_int_equal(encode_rc(host, fanned(host, digest_empty, 14, 2)), 0);
	assert_int_equal(encode_rc(host, fanned(host, digest_empty, 20, 2)), -E2BIG);
	for (int i = 0; i < 64; i++)
		dir_add_symlink(host, links, arena_printf(host->arena, "%d", i),
		    letters(host, 't', IMAGE_TARGET_MAX));
	assert_int_equal(encode_rc(host, fanned(host, dir_put(host, links), 2, 8)), 0);
	assert_int_equal(encode_rc(host, fanned(host, dir_put(host, links), 3, 17)), -E2BIG);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	    T(test_edits_are_refused),
	    T(test_directories_are_trees),
	    T(test_dots_are_there),
	    T(test_chunks_cover_files),
	    T(test_lengths_and_gaps),
	    T(test_every_bit),
	    T(test_cut_anywhere),
	    T(test_blobs_are_told),
	    T(test_same_tree_same_bytes),
	    T(test_bad_times_are_refused),
	    T(test_bad_trees_are_refused),
	    T(test_compared_on_disk),
	    T(test_size_is_bounded),
#undef T
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
