#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/utf8.h"
#include "cas/directory.h"
#include "cas/tree.h"
#include "workers/collect_internal.h"

/* One level of an output directory that is being read. */
struct level {
	struct collector *collector;
	struct tree_builder *builder;
	ReapiDirectory *directory;
	int fd;
	const char *path;
	unsigned depth;
};

static int tree_collect(const struct level *parent, int fd, const char *path, const struct stat *st,
    struct digest *ret_digest);

/* Room for one more pointer, the array doubled when it is full. */
#define GROW(arena, array, count)                                                                  \
	do {                                                                                       \
		if (((count) & ((count)-1)) == 0) {                                                \
			size_t room_ = (count) == 0 ? 1 : (count)*2;                               \
			void *more_ = arena_alloc((arena), room_ * sizeof(void *));                \
			if ((count) > 0)                                                           \
				memcpy(more_, (array), (count) * sizeof(void *));                  \
			(array) = more_;                                                           \
		}                                                                                  \
	} while (0)

static int
file_add(struct level *level, const char *name, const char *path, const struct stat *st)
{
	struct arena *arena = level->collector->arena;
	ReapiDirectory *directory = level->directory;
	ReapiFileNode *node;
	struct digest digest;
	int rc = collect_file(level->collector, level->fd, name, path, st, &digest);

	if (rc != 0)
		return rc;
	node = REAPI_NEW(arena, file_node);
	node->name = arena_strdup(arena, name);
	node->digest = reapi_digest_new(arena, &digest);
	node->is_executable = (st->st_mode & S_IXUSR) != 0;
	node->node_properties = collect_properties(level->collector, st);
	GROW(arena, directory->files, directory->n_files);
	directory->files[directory->n_files++] = node;
	return 0;
}

static int
link_add(struct level *level, const char *name, const struct stat *st)
{
	struct arena *arena = level->collector->arena;
	ReapiDirectory *directory = level->directory;
	ReapiSymlinkNode *node = REAPI_NEW(arena, symlink_node);
	int rc = collect_link(level->collector, level->fd, name, st, &node->target);

	if (rc != 0)
		return rc;
	node->name = arena_strdup(arena, name);
	node->node_properties = collect_properties(level->collector, st);
	GROW(arena, directory->symlinks, directory->n_symlinks);
	directory->symlinks[directory->n_symlinks++] = node;
	return 0;
}

static int
directory_add(struct level *level, const char *name, const char *path, const struct stat *st)
{
	struct arena *arena = level->collector->arena;
	ReapiDirectory *directory = level->directory;
	ReapiDirectoryNode *node;
	struct digest digest;
	int fd, rc;

	if (level->depth >= TREE_DEPTH_MAX)
		return error_set(level->collector->err, -EINVAL, "%.512s: more than %d levels deep",
		    path, TREE_DEPTH_MAX);
	rc = collect_open_directory(level->collector, level->fd, name, &fd);
	if (rc != 0)
		return collect_fail(level->collector, rc, path);
	rc = tree_collect(level, fd, path, st, &digest);
	close(fd);
	if (rc != 0)
		return rc;
	node = REAPI_NEW(arena, directory_node);
	node->name = arena_strdup(arena, name);
	node->digest = reapi_digest_new(arena, &digest);
	GROW(arena, directory->directories, directory->n_directories);
	directory->directories[directory->n_directories++] = node;
	return 0;
}

static int
entry_add(struct level *level, const char *name)
{
	const char *path = arena_printf(level->collector->arena, "%s/%s", level->path, name);
	struct stat st;
	int rc;

	/* It has no place in a message that others must be able to read. */
	if (!utf8_is_valid(name))
		return error_set(
		    level->collector->err, -EINVAL, "output %.512s: its name is not UTF-8", path);

	if (fstatat(level->fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return collect_fail(level->collector, -errno, path);
	rc = collect_refuse_mount_point(level->collector, path, &st);
	if (rc != 0)
		return rc;
	if (S_ISREG(st.st_mode))
		return file_add(level, name, path, &st);
	if (S_ISLNK(st.st_mode))
		return link_add(level, name, &st);
	if (S_ISDIR(st.st_mode))
		return directory_add(level, name, path, &st);
	return collect_refuse(level->collector, path, &st);
}

/* Names first: moving files out changes the directory that is read. */
static int
names_read(struct level *level, char ***ret_names, size_t *ret_count)
{
	struct arena *arena = level->collector->arena;
	int own = fcntl(level->fd, F_DUPFD_CLOEXEC, 0);
	DIR *dir = own < 0 ? NULL : fdopendir(own);
	char **names = NULL;
	size_t count = 0;
	struct dirent *entry;
	int rc;

	if (dir == NULL) {
		rc = -errno;
		if (own >= 0)
			close(own);
		return rc;
	}
	while ((errno = 0, entry = readdir(dir)) != NULL) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		GROW(arena, names, count);
		names[count++] = arena_strdup(arena, entry->d_name);
	}
	rc = -errno;
	closedir(dir);
	if (rc == 0) {
		*ret_names = names;
		*ret_count = count;
	}
	return rc;
}

/* `parent` lends its collector, builder and depth. */
static int
tree_collect(const struct level *parent, int fd, const char *path, const struct stat *st,
    struct digest *ret_digest)
{
	struct level level = *parent;
	char **names = NULL;
	size_t count = 0;
	int rc;

	level.fd = fd;
	level.path = path;
	level.depth = parent->depth + 1;
	level.directory = REAPI_NEW(level.collector->arena, directory);
	rc = names_read(&level, &names, &count);
	if (rc != 0)
		return collect_fail(level.collector, rc, path);
	for (size_t i = 0; i < count && rc == 0; i++)
		rc = entry_add(&level, names[i]);
	if (rc != 0)
		return rc;
	level.directory->node_properties = collect_properties(level.collector, st);
	return tree_builder_add(level.builder, level.directory, ret_digest, level.collector->err);
}

int
collect_directory(
    struct collector *collector, int fd, const char *path, ReapiOutputDirectory *output)
{
	struct level above = {.collector = collector, .builder = tree_builder_new()};
	struct digest root, tree;
	struct stat st;
	int rc;

	if (fstat(fd, &st) != 0)
		rc = collect_fail(collector, -errno, path);
	else
		rc = tree_collect(&above, fd, path[0] == '\0' ? "." : path, &st, &root);
	if (rc == 0)
		rc = tree_builder_finish(above.builder, collector->cas, &root,
		    collector->want_directory, &tree, collector->err);
	tree_builder_free(above.builder);
	if (rc != 0)
		return rc;
	if (collector->want_tree) {
		output->tree_digest = reapi_digest_new(collector->arena, &tree);
		output->is_topologically_sorted = true;
	}
	if (collector->want_directory)
		output->root_directory_digest = reapi_digest_new(collector->arena, &root);
	return 0;
}
