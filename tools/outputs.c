#include "tools/outputs.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "cas/ingest.h"

int
outputs_open_into(const char *into)
{
	const char *path = into != NULL ? into : ".";
	int fd;

	tool_make_path(path, 0755);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	return fd;
}

/* Opens the directory that `path` lies in, made where missing; *ret_name is the last component. */
static int
open_parent(
    int into_fd, const char *path, int *ret_fd, const char **ret_name, struct error_text *err)
{
	const char *slash = strrchr(path, '/');
	char *parent;
	int rc;

	if (fs_path_check(path, 0) != 0)
		return error_set(err, -EINVAL, "%s: not a path that an output can have", path);
	parent = slash != NULL ? xprintf("%.*s", (int)(slash - path), path) : xstrdup("");
	rc = slash != NULL ? fs_mkdir_path(into_fd, parent, 0755) : 0;
	if (rc == 0)
		rc = fs_open_beneath(into_fd, parent, ret_fd);
	free(parent);
	if (rc != 0)
		return error_errno(err, rc, "%s: cannot make or open its directory", path);
	*ret_name = slash != NULL ? slash + 1 : path;
	return 0;
}

static int
swap_directory(int dirfd, const char *temp, const char *name)
{
	char old[64];
	int rc = 0;

	fs_temp_name(".ramet.old", old, sizeof(old));
	if (renameat(dirfd, name, dirfd, old) != 0)
		return -errno;
	if (renameat(dirfd, temp, dirfd, name) != 0) {
		rc = -errno;
		(void)renameat(dirfd, old, dirfd, name);
		return rc;
	}
	return fs_remove_tree(dirfd, old);
}

/* Gives what was written as `temp` its name.  A directory only takes a directory's place. */
static int
put_in_place(int dirfd, const char *temp, const char *name, bool directory)
{
	struct stat st;
	bool exists = fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;

	if (exists && S_ISDIR(st.st_mode) != directory)
		return directory ? -ENOTDIR : -EISDIR;
	if (exists && directory)
		return swap_directory(dirfd, temp, name);
	return renameat(dirfd, temp, dirfd, name) == 0 ? 0 : -errno;
}

static int
finish(int rc, int dirfd, const char *temp, const char *name, bool directory, const char *path,
    struct error_text *err)
{
	if (rc == 0) {
		rc = put_in_place(dirfd, temp, name, directory);
		if (rc == -ENOTDIR)
			error_set(err, rc, "%s: is no directory: move it out of the way", path);
		else if (rc == -EISDIR)
			error_set(err, rc, "%s: is a directory: move it out of the way", path);
		else if (rc != 0)
			error_errno(err, rc, "%s: cannot put it in place", path);
	}
	if (rc != 0)
		(void)fs_remove_tree(dirfd, temp);
	close(dirfd);
	return rc;
}

int
outputs_place_tree(struct cas *cas, const struct digest *root, int into_fd, const char *path,
    struct error_text *err)
{
	const char *name;
	char temp[64];
	int dirfd, rc;

	rc = open_parent(into_fd, path, &dirfd, &name, err);
	if (rc != 0)
		return rc;
	fs_temp_name(".ramet.new", temp, sizeof(temp));
	rc = export_tree(cas, root, dirfd, temp, err);
	return finish(rc, dirfd, temp, name, true, path, err);
}

int
outputs_place_file(struct cas *cas, const struct digest *digest, bool executable, int into_fd,
    const char *path, struct error_text *err)
{
	const char *name;
	char temp[64];
	int dirfd, rc;

	rc = open_parent(into_fd, path, &dirfd, &name, err);
	if (rc != 0)
		return rc;
	fs_temp_name(".ramet.new", temp, sizeof(temp));
	rc = export_file(cas, digest, executable, dirfd, temp, err);
	return finish(rc, dirfd, temp, name, false, path, err);
}

static int
place_symlink(const ReapiOutputSymlink *link, int into_fd, struct error_text *err)
{
	const char *name;
	char temp[64];
	int dirfd, rc;

	rc = open_parent(into_fd, link->path, &dirfd, &name, err);
	if (rc != 0)
		return rc;
	fs_temp_name(".ramet.new", temp, sizeof(temp));
	rc = symlinkat(link->target, dirfd, temp) == 0 ? 0 : -errno;
	if (rc != 0)
		error_errno(err, rc, "%s: cannot make the symlink", link->path);
	return finish(rc, dirfd, temp, name, false, link->path, err);
}

/* The Directories of an output's Tree, each stored for itself; the root's digest. */
static int
tree_root(struct cas *cas, struct arena *arena, const ReapiOutputDirectory *directory,
    struct digest *ret_root, struct error_text *err)
{
	struct digest digest, ignored;
	ReapiTree *tree;
	uint8_t *bytes;
	size_t len;
	int rc;

	rc = reapi_digest_get(directory->tree_digest, &digest);
	if (rc == 0)
		rc = cas_read(cas, &digest, CAS_MESSAGE_MAX, &bytes, &len);
	if (rc != 0)
		return error_errno(err, rc, "%s: cannot read its Tree", directory->path);
	tree = REAPI_DECODE(arena, tree, bytes, len);
	free(bytes);
	if (tree == NULL)
		return error_set(err, -EBADMSG, "%s: its Tree is none", directory->path);
	for (size_t i = 0; rc == 0 && i < tree->n_children; i++)
		rc = directory_store(cas, arena, tree->children[i], &ignored);
	if (rc == 0 && tree->root != NULL)
		rc = directory_store(cas, arena, tree->root, ret_root);
	else if (rc == 0)
		*ret_root = digest_empty;
	return rc != 0 ? error_errno(err, rc, "%s: cannot store its tree", directory->path) : 0;
}

struct links {
	size_t count;
	ReapiOutputSymlink **items;
};

/* All symlinks are in output_symlinks; the older lists are looked at only where that is empty. */
static size_t
result_links(const ReapiActionResult *result, struct links lists[2])
{
	if (result->n_output_symlinks > 0) {
		lists[0] = (struct links){result->n_output_symlinks, result->output_symlinks};
		return 1;
	}
	lists[0] = (struct links){result->n_output_file_symlinks, result->output_file_symlinks};
	lists[1] =
	    (struct links){result->n_output_directory_symlinks, result->output_directory_symlinks};
	return 2;
}

int
outputs_write(struct cas *cas, struct arena *arena, const ReapiActionResult *result, int into_fd,
    struct error_text *err)
{
	struct links lists[2];
	struct digest digest;
	size_t count = result_links(result, lists);
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < result->n_output_directories; i++) {
		rc = tree_root(cas, arena, result->output_directories[i], &digest, err);
		if (rc == 0)
			rc = outputs_place_tree(
			    cas, &digest, into_fd, result->output_directories[i]->path, err);
	}
	for (size_t i = 0; rc == 0 && i < result->n_output_files; i++) {
		const ReapiOutputFile *file = result->output_files[i];

		rc = reapi_digest_get(file->digest, &digest);
		if (rc != 0)
			return error_set(err, rc, "%s: broken digest in the result", file->path);
		rc =
		    outputs_place_file(cas, &digest, file->is_executable, into_fd, file->path, err);
	}
	for (size_t list = 0; list < count; list++)
		for (size_t i = 0; rc == 0 && i < lists[list].count; i++)
			rc = place_symlink(lists[list].items[i], into_fd, err);
	return rc;
}

static const char *
in_root(struct arena *arena, const char *cwd, const char *path)
{
	if (cwd == NULL || cwd[0] == '\0')
		return arena_strdup(arena, path);
	return arena_printf(arena, "%s/%s", cwd, path);
}

int
outputs_grafts(struct cas *cas, struct arena *arena, const ReapiActionResult *result,
    const char *cwd, struct tree_graft **ret_grafts, size_t *ret_count, struct error_text *err)
{
	struct links lists[2];
	size_t lists_count = result_links(result, lists), count = 0;
	size_t most = result->n_output_files + result->n_output_directories + lists[0].count +
	    (lists_count == 2 ? lists[1].count : 0);
	struct tree_graft *grafts = arena_alloc(arena, (most + 1) * sizeof(*grafts));
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < result->n_output_files; i++) {
		const ReapiOutputFile *file = result->output_files[i];
		struct tree_graft *graft = &grafts[count++];

		graft->kind = GRAFT_FILE;
		graft->path = in_root(arena, cwd, file->path);
		graft->executable = file->is_executable;
		rc = reapi_digest_get(file->digest, &graft->digest);
		if (rc != 0)
			error_set(err, rc, "%s: broken digest in the result", file->path);
	}
	for (size_t i = 0; rc == 0 && i < result->n_output_directories; i++) {
		struct tree_graft *graft = &grafts[count++];

		graft->kind = GRAFT_DIRECTORY;
		graft->path = in_root(arena, cwd, result->output_directories[i]->path);
		rc = tree_root(cas, arena, result->output_directories[i], &graft->digest, err);
	}
	for (size_t list = 0; list < lists_count; list++)
		for (size_t i = 0; i < lists[list].count; i++) {
			struct tree_graft *graft = &grafts[count++];

			graft->kind = GRAFT_SYMLINK;
			graft->path = in_root(arena, cwd, lists[list].items[i]->path);
			graft->target = arena_strdup(arena, lists[list].items[i]->target);
		}
	if (rc != 0)
		return rc;
	*ret_grafts = grafts;
	*ret_count = count;
	return 0;
}
