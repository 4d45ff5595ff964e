#include "cas/ingest_scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cas/directory.h"

static bool
excluded(const struct ingest_scan *scan, const char *name, const char *path)
{
	for (const char *const *at = scan->excludes; at != NULL && *at != NULL; at++)
		if (fnmatch(*at, name, 0) == 0 || fnmatch(*at, path, FNM_PATHNAME) == 0)
			return true;
	return false;
}

static int
name_compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
names_free(char **names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(names[i]);
	free(names);
}

/* All names of the directory, sorted, so that the same tree is walked in the same order. */
static int
names_read(int fd, char ***ret_names, size_t *ret_count)
{
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	char **names = NULL;
	size_t count = 0, room = 0;
	struct dirent *dirent;
	int rc = 0;

	if (dir == NULL) {
		rc = -errno;
		if (copy >= 0)
			close(copy);
		return rc;
	}
	while ((errno = 0, dirent = readdir(dir)) != NULL) {
		if (strcmp(dirent->d_name, ".") == 0 || strcmp(dirent->d_name, "..") == 0)
			continue;
		if (count == room) {
			char **more = reallocarray(names, room = 2 * room + 16, sizeof(*names));

			if (more == NULL)
				break;
			names = more;
		}
		names[count] = strdup(dirent->d_name);
		if (names[count++] == NULL)
			break;
	}
	rc = -errno;
	closedir(dir);
	if (rc != 0) {
		names_free(names, count);
		return rc;
	}
	if (count > 1)
		qsort(names, count, sizeof(*names), name_compare);
	*ret_names = names;
	*ret_count = count;
	return 0;
}

static int
symlink_read(struct ingest_scan *scan, int fd, struct found *found)
{
	ssize_t len = readlinkat(fd, found->name, scan->target, sizeof(scan->target));

	if (len < 0)
		return error_errno(scan->err, -errno, "%s: cannot read the symlink", found->path);
	if (len == (ssize_t)sizeof(scan->target))
		return error_errno(
		    scan->err, -ENAMETOOLONG, "%s: the symlink's target", found->path);
	found->target = arena_printf(scan->arena, "%.*s", (int)len, scan->target);
	scan->stats->symlinks++;
	return 0;
}

static int
file_found(struct ingest_scan *scan, const struct stat *st, struct found *found)
{
	file_identity_get(st, &found->identity);
	found->executable = (st->st_mode & S_IXUSR) != 0;
	if (scan->file_count == scan->file_room) {
		size_t room = scan->file_room == 0 ? 256 : 2 * scan->file_room;
		struct found **files = reallocarray(scan->files, room, sizeof(struct found *));

		if (files == NULL)
			return error_errno(scan->err, -ENOMEM, "%s", found->path);
		scan->files = files;
		scan->file_room = room;
	}
	scan->files[scan->file_count++] = found;
	scan->stats->files++;
	return 0;
}

static int scan_level(struct ingest_scan *scan, int fd, struct found *directory, unsigned depth);

static int
scan_down(struct ingest_scan *scan, int fd, struct found *found, unsigned depth)
{
	int rc, below = openat(fd, found->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (below < 0)
		return error_errno(scan->err, -errno, "%s: cannot open the directory", found->path);
	rc = scan_level(scan, below, found, depth + 1);
	close(below);
	return rc;
}

/* *ret_found: NULL when the name is left out, or has gone meanwhile. */
static int
scan_name(struct ingest_scan *scan, int fd, const char *parent, const char *name, unsigned depth,
    struct found **ret_found)
{
	struct found *found;
	struct stat st;
	char *path = *parent == '\0' ? arena_strdup(scan->arena, name)
				     : arena_printf(scan->arena, "%s/%s", parent, name);

	*ret_found = NULL;
	if (excluded(scan, name, path))
		return 0;
	if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT ? 0 : error_errno(scan->err, -errno, "%s", path);
	if (st.st_dev == scan->state.st_dev && st.st_ino == scan->state.st_ino)
		return 0;
	found = arena_alloc(scan->arena, sizeof(*found));
	found->path = path;
	found->name = path + strlen(path) - strlen(name);
	*ret_found = found;
	if (S_ISREG(st.st_mode)) {
		found->kind = FOUND_FILE;
		return file_found(scan, &st, found);
	}
	if (S_ISLNK(st.st_mode)) {
		found->kind = FOUND_SYMLINK;
		return symlink_read(scan, fd, found);
	}
	if (!S_ISDIR(st.st_mode))
		return error_set(scan->err, -EINVAL,
		    "%s: neither file, directory nor symlink (exclude it or remove it)", path);
	found->kind = FOUND_DIRECTORY;
	return scan_down(scan, fd, found, depth);
}

static int
scan_level(struct ingest_scan *scan, int fd, struct found *directory, unsigned depth)
{
	char **names;
	size_t count;
	int rc;

	if (depth > TREE_DEPTH_MAX)
		return error_set(scan->err, -ENAMETOOLONG, "%.200s...: too deep", directory->path);
	rc = names_read(fd, &names, &count);
	if (rc != 0)
		return error_errno(scan->err, rc, "%s: cannot list the directory",
		    *directory->path == '\0' ? "." : directory->path);
	scan->stats->directories++;
	directory->entries = arena_alloc(scan->arena, (count + 1) * sizeof(struct found *));
	for (size_t i = 0; rc == 0 && i < count; i++) {
		struct found *found;

		rc = scan_name(scan, fd, directory->path, names[i], depth, &found);
		if (rc == 0 && found != NULL)
			directory->entries[directory->count++] = found;
	}
	names_free(names, count);
	return rc;
}

int
ingest_scan(struct ingest_scan *scan, struct found *ret_root)
{
	*ret_root = (struct found){.kind = FOUND_DIRECTORY, .name = "", .path = ""};
	return scan_level(scan, scan->root_fd, ret_root, 1);
}
