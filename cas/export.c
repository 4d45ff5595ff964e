/* Trees and files out of the store, into a directory of the user's. */
#include <sys/stat.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "cas/directory.h"
#include "cas/ingest.h"
#include "cas/internal.h"

struct exporter {
	struct cas *cas;
	struct error_text *err;
};

static int
bytes_write(struct cas *cas, const struct digest *digest, int fd)
{
	struct digest found;
	int in_fd, rc;

	if (digest_is_empty(digest))
		return 0;
	rc = cas_open_blob(cas, digest, &in_fd);
	if (rc != 0)
		return rc;
	rc = fs_reflink(in_fd, fd);
	if (rc != 0 && rc != -ENOSPC && rc != -EDQUOT && rc != -EIO)
		rc = fs_copy(in_fd, fd);
	close(in_fd);
	if (rc == 0)
		rc = hash_fd(fd, &found);
	if (rc == 0 && !digest_equal(&found, digest)) {
		cas_drop(cas, digest);
		rc = -EBADMSG;
	}
	return rc;
}

static int
file_write(
    struct cas *cas, const struct digest *digest, bool executable, int dirfd, const char *name)
{
	int rc,
	    fd = openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		executable ? 0777 : 0666);

	if (fd < 0)
		return -errno;
	rc = bytes_write(cas, digest, fd);
	if (close(fd) != 0 && rc == 0)
		rc = -errno;
	if (rc != 0)
		unlinkat(dirfd, name, 0);
	return rc;
}

static int
place(int dirfd, const char *temp, const char *name)
{
	int rc = renameat(dirfd, temp, dirfd, name) != 0 ? -errno : 0;

	if (rc != 0)
		unlinkat(dirfd, temp, 0);
	return rc;
}

static int
export_error(struct error_text *err, int rc, const char *name, const struct digest *digest)
{
	char text[DIGEST_TEXT_SIZE] = "";

	if (rc == -EEXIST)
		return error_set(err, rc,
		    "%s: another name of the same directory took its place (a clash of case?)",
		    name);
	if (digest != NULL)
		digest_to_text(digest, '/', text);
	if (rc == -ENOENT && digest != NULL)
		return error_set(err, rc, "%s: its blob %s is missing", name, text);
	if (rc == -EBADMSG && digest != NULL)
		return error_set(err, rc, "%s: its blob %s is corrupt (dropped)", name, text);
	return error_errno(err, rc, "%s: cannot write", name);
}

/* `fresh`: the directory was made here, so nothing of the user's can be in the way. */
static int
export_one_file(struct cas *cas, const struct digest *digest, bool executable, int dirfd,
    const char *name, bool fresh, struct error_text *err)
{
	char temp[64];
	int rc;

	fs_temp_name(".ramet", temp, sizeof(temp));
	rc = file_write(cas, digest, executable, dirfd, fresh ? name : temp);
	if (rc == 0 && !fresh)
		rc = place(dirfd, temp, name);
	return rc != 0 ? export_error(err, rc, name, digest) : 0;
}

static int
export_symlink(struct exporter *exporter, const ReapiSymlinkNode *node, int dirfd, bool fresh)
{
	char temp[64];
	int rc;

	fs_temp_name(".ramet", temp, sizeof(temp));
	rc = symlinkat(node->target, dirfd, fresh ? node->name : temp) != 0 ? -errno : 0;
	if (rc == 0 && !fresh)
		rc = place(dirfd, temp, node->name);
	return rc != 0 ? export_error(exporter->err, rc, node->name, NULL) : 0;
}

static int export_level(
    struct exporter *exporter, const struct digest *digest, int dirfd, bool fresh, unsigned depth);

static int
export_directory(struct exporter *exporter, const struct digest *digest, int dirfd,
    const char *name, bool fresh, unsigned depth)
{
	bool made = mkdirat(dirfd, name, 0777) == 0;
	int fd, rc;

	if (!made && (errno != EEXIST || fresh))
		return export_error(exporter->err, -errno, name, NULL);
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return export_error(exporter->err, -errno, name, NULL);
	rc = export_level(exporter, digest, fd, made, depth);
	close(fd);
	return rc;
}

static int
export_entries(struct exporter *exporter, const ReapiDirectory *directory, int dirfd, bool fresh,
    unsigned depth)
{
	struct digest digest;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < directory->n_files; i++) {
		const ReapiFileNode *node = directory->files[i];

		CHECK(reapi_digest_get(node->digest, &digest) == 0);
		rc = export_one_file(exporter->cas, &digest, node->is_executable, dirfd, node->name,
		    fresh, exporter->err);
	}
	for (size_t i = 0; rc == 0 && i < directory->n_symlinks; i++)
		rc = export_symlink(exporter, directory->symlinks[i], dirfd, fresh);
	for (size_t i = 0; rc == 0 && i < directory->n_directories; i++) {
		const ReapiDirectoryNode *node = directory->directories[i];

		CHECK(reapi_digest_get(node->digest, &digest) == 0);
		rc = export_directory(exporter, &digest, dirfd, node->name, fresh, depth + 1);
	}
	return rc;
}

static int
export_level(
    struct exporter *exporter, const struct digest *digest, int dirfd, bool fresh, unsigned depth)
{
	ReapiDirectory *directory;
	struct arena *arena;
	int rc;

	if (depth > TREE_DEPTH_MAX)
		return error_set(exporter->err, -EINVAL,
		    "the tree is more than %d directories deep", TREE_DEPTH_MAX);
	arena = arena_new();
	rc = directory_load(exporter->cas, arena, digest, &directory, exporter->err);
	if (rc == 0)
		rc = export_entries(exporter, directory, dirfd, fresh, depth);
	arena_free(arena);
	return rc;
}

int
export_tree(
    struct cas *cas, const struct digest *root, int dirfd, const char *name, struct error_text *err)
{
	struct exporter exporter = {.cas = cas, .err = err};
	uint32_t entries;
	int rc = tree_count(cas, root, &entries, err);

	if (rc != 0)
		return rc;
	if (strcmp(name, ".") == 0)
		return export_level(&exporter, root, dirfd, false, 1);
	if (fs_name_check(name, strlen(name)) != 0)
		return error_set(err, -EINVAL, "'%s' is not one name", name);
	return export_directory(&exporter, root, dirfd, name, false, 1);
}

int
export_file(struct cas *cas, const struct digest *digest, bool executable, int dirfd,
    const char *name, struct error_text *err)
{
	if (fs_name_check(name, strlen(name)) != 0)
		return error_set(err, -EINVAL, "'%s' is not one name", name);
	return export_one_file(cas, digest, executable, dirfd, name, false, err);
}
