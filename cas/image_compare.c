#include <sys/stat.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "cas/image.h"
#include "cas/tree_check.h"

static int
by_digest(const void *a, const void *b)
{
	const struct tree_dir *const *x = a, *const *y = b;

	return digest_compare(&(*x)->digest, &(*y)->digest);
}

/* What the names at the top stand for, not yet read. */
static int
parts_of(struct arena *arena, char **names, size_t count, struct tree_dir ***ret_parts)
{
	struct tree_dir **parts = arena_alloc(arena, (count + 1) * sizeof(struct tree_dir *));

	for (size_t i = 0; i < count; i++) {
		parts[i] = arena_alloc(arena, sizeof(struct tree_dir));
		if (digest_from_text(names[i], &parts[i]->digest) != 0)
			return -EBADMSG;
	}
	qsort(parts, count, sizeof(struct tree_dir *), by_digest);
	*ret_parts = parts;
	return 0;
}

/* Encoded again from the Directory messages. */
static int
compare_deep(struct cas *cas, struct arena *arena, struct tree_dir **parts, size_t count,
    const uint8_t *bytes, size_t len, uid_t uid, gid_t gid)
{
	struct tree_loader loader;
	struct error_text unused;
	struct tree_dir *root;
	uint8_t *again;
	size_t again_len;
	int rc = 0;

	tree_loader_start(&loader, cas, arena);
	for (size_t i = 0; rc == 0 && i < count; i++) {
		struct digest digest = parts[i]->digest;
		rc = tree_load(&loader, &digest, 0, &parts[i], &unused);
	}
	if (rc == 0 && loader.missing_count > 0)
		rc = TREE_UNCOMPARED;
	if (rc == 0)
		rc = image_root(arena, parts, count, &root);
	if (rc == 0)
		rc = image_encode(arena, root, uid, gid, &again, &again_len, &unused);
	if (rc == 0 && (again_len != len || memcmp(again, bytes, len) != 0))
		rc = TREE_FAULTY;
	tree_loader_free(&loader);
	return rc;
}

static int
compare(struct cas *cas, struct arena *arena, const uint8_t *bytes, size_t len, uid_t owner,
    const struct digest *root, bool deep, const char **ret_what)
{
	struct tree_dir **parts, *found;
	char **names;
	size_t count;
	uid_t uid;
	gid_t gid;
	int rc = image_owner(bytes, len, &uid, &gid);

	*ret_what = "it is no image that ramet has made";
	if (rc == 0 && uid != owner)
		rc = -EBADMSG;
	if (rc == 0)
		rc = image_top(arena, bytes, len, uid, gid, &names, &count);
	if (rc == 0)
		rc = parts_of(arena, names, count, &parts);
	if (rc == 0)
		rc = image_root(arena, parts, count, &found);
	if (rc != 0)
		return rc;
	*ret_what = "it is the image of other trees";
	if (!digest_equal(&found->digest, root))
		return TREE_FAULTY;
	*ret_what = "it is not what its Directory messages say";
	return deep ? compare_deep(cas, arena, parts, count, bytes, len, uid, gid) : TREE_WHOLE;
}

/* What must end a check is told; all else is a fault of what is looked at, or of the disk. */
static int
judge(int rc, const char **ret_what)
{
	if (rc >= 0 || tree_check_must_end(rc))
		return rc;
	if (rc != -EBADMSG)
		*ret_what = rc == -ENOENT ? "it is not there" : strerror(-rc);
	return TREE_FAULTY;
}

int
image_compare(struct cas *cas, int dirfd, const char *name, const struct digest *root, bool deep,
    const char **ret_what)
{
	struct arena *arena;
	struct stat folder;
	uint8_t *bytes;
	size_t len;
	int rc;

	if (fstat(dirfd, &folder) != 0)
		return -errno;
	rc = fs_read_file(dirfd, name, IMAGE_BYTES_MAX, &bytes, &len);
	if (rc != 0)
		return judge(rc, ret_what);
	arena = arena_new();
	rc = judge(compare(cas, arena, bytes, len, folder.st_uid, root, deep, ret_what), ret_what);
	arena_free(arena);
	free(bytes);
	return rc;
}
