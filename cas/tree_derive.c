/* The Directory messages made anew from what lies on disk, for those that the store has lost. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cas/directory.h"
#include "cas/tree_check_internal.h"

struct derived {
	struct tree_checker *checker;
	struct arena *arena; /* this level's */
	char **names;
	size_t count, room;
	ReapiDirectory *message;
	unsigned depth;
};

static void
name_add(struct derived *derived, const char *name)
{
	if (derived->count == derived->room) {
		size_t room = derived->room == 0 ? 64 : 2 * derived->room;
		char **grown = arena_alloc(derived->arena, room * sizeof(char *));

		if (derived->count > 0)
			memcpy(grown, derived->names, derived->count * sizeof(char *));
		derived->names = grown;
		derived->room = room;
	}
	derived->names[derived->count++] = arena_strdup(derived->arena, name);
}

static int
names_read(struct derived *derived, const struct check_level *level)
{
	int rc, fd = fcntl(level->fd, F_DUPFD_CLOEXEC, 0);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (dir == NULL) {
		rc = -errno;
		if (fd >= 0)
			close(fd);
		return rc;
	}
	while (errno = 0, (entry = readdir(dir)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			name_add(derived, entry->d_name);
	rc = -errno;
	closedir(dir);
	return rc;
}

/* Room for all of one kind: the names are all there are. */
static void
lists_make(struct derived *derived)
{
	size_t bytes = (derived->count + 1) * sizeof(void *);

	derived->message = REAPI_NEW(derived->arena, directory);
	derived->message->files = arena_alloc(derived->arena, bytes);
	derived->message->directories = arena_alloc(derived->arena, bytes);
	derived->message->symlinks = arena_alloc(derived->arena, bytes);
}

static int
file_add(
    struct derived *derived, const struct check_level *level, char *name, const struct stat *st)
{
	bool executable = (st->st_mode & 0111) != 0;
	struct digest digest = digest_empty;
	ReapiFileNode *node;
	int rc = 0;

	derived->checker->stats.files++;
	check_mode_owner(level, name, st, executable ? 0555 : 0444);
	if (st->st_size != 0)
		rc = check_hash(level, name, st, NULL, &digest);
	if (rc != 0)
		return rc;
	node = REAPI_NEW(derived->arena, file_node);
	node->name = name;
	node->digest = reapi_digest_new(derived->arena, &digest);
	node->is_executable = executable;
	derived->message->files[derived->message->n_files++] = node;
	return 0;
}

static int
symlink_add(struct derived *derived, const struct check_level *level, char *name)
{
	ReapiSymlinkNode *node = REAPI_NEW(derived->arena, symlink_node);
	const char *target = check_target(level, derived->arena, name);

	derived->checker->stats.symlinks++;
	if (target == NULL)
		return 1;
	node->name = name;
	node->target = arena_strdup(derived->arena, target);
	derived->message->symlinks[derived->message->n_symlinks++] = node;
	return 0;
}

/* Its digest comes later, when this level is closed. */
static void
directory_add(struct derived *derived, char *name)
{
	ReapiDirectoryNode *node = REAPI_NEW(derived->arena, directory_node);

	node->name = name;
	derived->message->directories[derived->message->n_directories++] = node;
}

static int
entry_add(struct derived *derived, const struct check_level *level, char *name)
{
	struct stat st;

	if (fstatat(level->fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
		check_fault(level, name, "%s", strerror(errno));
		return 1;
	}
	if (S_ISREG(st.st_mode))
		return file_add(derived, level, name, &st);
	if (S_ISLNK(st.st_mode))
		return symlink_add(derived, level, name);
	if (!S_ISDIR(st.st_mode)) {
		check_fault(level, name, "it is neither file, directory nor symlink");
		return 1;
	}
	check_mode_owner(level, name, &st, check_directory_mode(&st));
	directory_add(derived, name);
	return 0;
}

static int
level_read(struct derived *derived, const char *path)
{
	struct check_level level;
	int rc = check_level_open(derived->checker, path, &level);

	if (rc != 0)
		return rc;
	rc = names_read(derived, &level);
	if (rc != 0 && !tree_check_must_end(rc)) {
		check_fault(&level, "", "this directory cannot be read: %s", strerror(-rc));
		rc = 1;
	}
	if (rc == 0)
		lists_make(derived);
	for (size_t i = 0; rc == 0 && i < derived->count; i++)
		rc = entry_add(derived, &level, derived->names[i]);
	check_level_close(&level);
	return rc == 0 ? check_pause(derived->checker) : rc;
}

static int
below_derive(struct derived *derived, const char *path)
{
	for (size_t i = 0; i < derived->message->n_directories; i++) {
		ReapiDirectoryNode *node = derived->message->directories[i];
		const char *below = path[0] == '\0'
		    ? node->name
		    : arena_printf(derived->arena, "%s/%s", path, node->name);
		struct digest digest;
		int rc = check_derive(derived->checker, below, derived->depth + 1, &digest);

		if (rc != 0)
			return rc;
		if (derived->checker->config.on_directory != NULL)
			derived->checker->config.on_directory(
			    derived->checker->config.arg, below, &digest);
		derived->checker->stats.directories++;
		node->digest = reapi_digest_new(derived->arena, &digest);
	}
	return 0;
}

/* One descriptor at a time: a level is closed before those below it are opened. */
int
check_derive(
    struct tree_checker *checker, const char *path, unsigned depth, struct digest *ret_digest)
{
	struct derived derived = {.checker = checker, .arena = arena_new(), .depth = depth};
	size_t len;
	uint8_t *bytes;
	int rc = level_read(&derived, path);

	if (rc == 0 && depth > TREE_DEPTH_MAX) {
		struct check_level level = {.checker = checker, .path = path};

		check_fault(&level, "", "more than %d directories deep", TREE_DEPTH_MAX);
		rc = 1;
	}
	if (rc == 0)
		rc = below_derive(&derived, path);
	if (rc == 0) {
		directory_sort(derived.message);
		bytes = reapi_encode(derived.arena, &derived.message->base, &len);
		rc = hash_bytes(bytes, len, ret_digest);
	}
	arena_free(derived.arena);
	return rc;
}
