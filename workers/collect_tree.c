#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
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
	int fd; /* -1: nothing of it was written */
	const ReapiDirectory *lower; /* what it had before; NULL: nothing */
	char **names; /* what was written, or deleted, in it; sorted where there is a lower */
	size_t name_count;
	const char *path;
	unsigned depth;
};

static int tree_collect(const struct level *parent, const struct place *place, const char *path,
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

/* What the action left as it was. */
static int
lower_file_add(struct level *level, const ReapiFileNode *file, const char *path)
{
	struct arena *arena = level->collector->arena;
	ReapiDirectory *directory = level->directory;
	ReapiFileNode *node = REAPI_NEW(arena, file_node);
	int rc = lower_file(level->collector, file, path);

	if (rc != 0)
		return rc;
	node->name = file->name;
	node->digest = file->digest;
	node->is_executable = file->is_executable;
	node->node_properties = lower_properties(
	    level->collector, file->node_properties, file->is_executable ? 0555 : 0444);
	GROW(arena, directory->files, directory->n_files);
	directory->files[directory->n_files++] = node;
	return 0;
}

static void
lower_link_add(struct level *level, const ReapiSymlinkNode *symlink)
{
	struct arena *arena = level->collector->arena;
	ReapiDirectory *directory = level->directory;
	ReapiSymlinkNode *node = REAPI_NEW(arena, symlink_node);

	node->name = symlink->name;
	node->target = symlink->target;
	node->node_properties = lower_properties(level->collector, symlink->node_properties, 0777);
	GROW(arena, directory->symlinks, directory->n_symlinks);
	directory->symlinks[directory->n_symlinks++] = node;
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
directory_add(struct level *level, const char *name, const char *path)
{
	struct place here = {.fd = level->fd, .lower = level->lower}, inner;
	struct arena *arena = level->collector->arena;
	ReapiDirectory *directory = level->directory;
	ReapiDirectoryNode *node;
	struct digest digest;
	int rc;

	if (level->depth >= TREE_DEPTH_MAX)
		return error_set(level->collector->err, -EINVAL, "%.512s: more than %d levels deep",
		    path, TREE_DEPTH_MAX);
	rc = place_enter(level->collector, &here, name, &inner);
	if (rc != 0)
		return collect_fail(level->collector, rc, path);
	rc = tree_collect(level, &inner, path, &digest);
	place_leave(&inner);
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
	if (upper_is_whiteout(level->collector, &st))
		return 0;
	rc = collect_refuse_mount_point(level->collector, path, &st);
	if (rc != 0)
		return rc;
	if (S_ISREG(st.st_mode))
		return file_add(level, name, path, &st);
	if (S_ISLNK(st.st_mode))
		return link_add(level, name, &st);
	if (S_ISDIR(st.st_mode))
		return directory_add(level, name, path);
	return collect_refuse(level->collector, path, &st);
}

static int
name_compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* By what was made, or deleted, by that name; it may have been moved into the store by now. */
static bool
is_hidden(const struct level *level, const char *name)
{
	return level->name_count > 0 &&
	    bsearch(&name, level->names, level->name_count, sizeof(*level->names), name_compare) !=
	    NULL;
}

/* After what was written: whatever was there before and has not been touched. */
static int
lower_add(struct level *level)
{
	const ReapiDirectory *lower = level->lower;
	struct arena *arena = level->collector->arena;
	int rc = 0;

#define PATH_OF(entry) arena_printf(arena, "%s/%s", level->path, (entry)->name)
	for (size_t i = 0; rc == 0 && i < lower->n_files; i++)
		if (!is_hidden(level, lower->files[i]->name))
			rc = lower_file_add(level, lower->files[i], PATH_OF(lower->files[i]));
	for (size_t i = 0; rc == 0 && i < lower->n_symlinks; i++)
		if (!is_hidden(level, lower->symlinks[i]->name))
			lower_link_add(level, lower->symlinks[i]);
	for (size_t i = 0; rc == 0 && i < lower->n_directories; i++)
		if (!is_hidden(level, lower->directories[i]->name))
			rc = directory_add(
			    level, lower->directories[i]->name, PATH_OF(lower->directories[i]));
#undef PATH_OF
	return rc;
}

/* Names first: moving files out changes the directory that is read. */
int
collect_names(struct collector *collector, int fd, char ***ret_names, size_t *ret_count)
{
	struct arena *arena = collector->arena;
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
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
tree_collect(const struct level *parent, const struct place *place, const char *path,
    struct digest *ret_digest)
{
	struct level level = *parent;
	struct stat st;
	int rc = 0;

	level.names = NULL;
	level.name_count = 0;
	level.fd = place->fd;
	level.lower = place->lower;
	level.path = path;
	level.depth = parent->depth + 1;
	level.directory = REAPI_NEW(level.collector->arena, directory);
	if (level.fd >= 0)
		rc = fstat(level.fd, &st) != 0
		    ? -errno
		    : collect_names(level.collector, level.fd, &level.names, &level.name_count);
	if (rc != 0)
		return collect_fail(level.collector, rc, path);
	if (level.lower != NULL && level.name_count > 0)
		qsort(level.names, level.name_count, sizeof(*level.names), name_compare);
	for (size_t i = 0; i < level.name_count && rc == 0; i++)
		rc = entry_add(&level, level.names[i]);
	if (rc == 0 && level.lower != NULL)
		rc = lower_add(&level);
	if (rc != 0)
		return rc;
	level.directory->node_properties = level.fd >= 0
	    ? collect_properties(level.collector, &st)
	    : lower_properties(level.collector, level.lower->node_properties, 0755);
	return tree_builder_add(level.builder, level.directory, ret_digest, level.collector->err);
}

int
collect_directory(struct collector *collector, const struct place *place, const char *path,
    ReapiOutputDirectory *output)
{
	struct level above = {.collector = collector, .builder = tree_builder_new()};
	struct digest root, tree;
	int rc = tree_collect(&above, place, path[0] == '\0' ? "." : path, &root);

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
