#include "cas/tree_check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/fs.h"
#include "cas/directory.h"
#include "cas/file_times.h"
#include "cas/tree_check_internal.h"

enum { FAULT_PATH_SIZE = 1024, FAULT_TEXT_SIZE = 320 };

/* A name that a Directory lists. */
struct listed {
	const char *name;
	enum { LISTED_FILE, LISTED_DIRECTORY, LISTED_SYMLINK } kind;
	size_t number; /* in its list */
};

int
tree_checker_new(const struct tree_check_config *config, struct tree_checker **ret_checker)
{
	struct tree_checker *checker = calloc(1, sizeof(*checker));

	if (checker == NULL)
		return -ENOMEM;
	*checker = (struct tree_checker){.config = *config, .arena = arena_new(), .top_fd = -1};
	checker->buffer = malloc(CHECK_BUFFER_SIZE);
	if (checker->buffer == NULL || hasher_new(&checker->hasher) != 0) {
		tree_checker_free(checker);
		return -ENOMEM;
	}
	*ret_checker = checker;
	return 0;
}

void
tree_checker_free(struct tree_checker *checker)
{
	if (checker == NULL)
		return;
	inode_map_fini(&checker->inodes);
	hasher_free(checker->hasher);
	arena_free(checker->arena);
	free(checker->pending);
	free(checker->buffer);
	free(checker);
}

const struct tree_check_stats *
tree_checker_stats(const struct tree_checker *checker)
{
	return &checker->stats;
}

int
check_pause(struct tree_checker *checker)
{
	if (checker->config.pause != NULL && checker->ended == 0)
		checker->ended = checker->config.pause(checker->config.arg);
	return checker->ended;
}

bool
tree_check_must_end(int rc)
{
	return rc == -EMFILE || rc == -ENFILE || rc == -ENOMEM;
}

/* Names are whatever a client, or somebody else, made them. */
static void
make_printable(char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

static void
report(const struct check_level *level, const char *name, enum tree_fault_kind kind,
    const struct digest *blob, const char *what)
{
	struct tree_checker *checker = level->checker;
	const char *slash = level->path[0] == '\0' || name[0] == '\0' ? "" : "/";
	char path[FAULT_PATH_SIZE];

	snprintf(path, sizeof(path), "%s%s%s", level->path, slash, name);
	make_printable(path);
	checker->faults += kind != TREE_FAULT_MESSAGE;
	checker->config.on_fault(checker->config.arg,
	    &(struct tree_fault){.kind = kind, .path = path, .what = what, .blob = blob});
}

void
check_fault(const struct check_level *level, const char *name, const char *format, ...)
{
	char what[FAULT_TEXT_SIZE];
	va_list ap;

	va_start(ap, format);
	vsnprintf(what, sizeof(what), format, ap);
	va_end(ap);
	report(level, name, TREE_FAULT_TREE, NULL, what);
}

void
check_blob_fault(const struct check_level *level, const char *name, enum tree_fault_kind kind,
    const struct digest *blob, const char *what)
{
	report(level, name, kind, blob, what);
}

void
check_mode_owner(
    const struct check_level *level, const char *name, const struct stat *st, mode_t mode)
{
	uid_t owner = level->checker->owner;
	/* A directory takes this bit from the one above it, where the state directory has it. */
	mode_t found = S_ISDIR(st->st_mode) ? st->st_mode & 05777 : st->st_mode & 07777;

	if (found != mode)
		check_fault(
		    level, name, "its mode is %04o, not %04o", (unsigned)found, (unsigned)mode);
	if (st->st_uid != owner && st->st_uid != 0)
		check_fault(level, name, "it belongs to uid %lu, not %lu",
		    (unsigned long)st->st_uid, (unsigned long)owner);
}

mode_t
check_directory_mode(const struct stat *st)
{
	return (st->st_mode & 05777) == 0555 ? 0555 : 0755;
}

int
check_level_open(struct tree_checker *checker, const char *path, struct check_level *ret_level)
{
	struct check_level level = {.checker = checker, .path = path, .fd = -1};
	struct stat st;
	int rc = fs_open_beneath(checker->top_fd, path, &level.fd);

	if (rc == 0 && fstat(level.fd, &st) != 0) {
		rc = -errno;
		close(level.fd);
	}
	if (rc != 0 && tree_check_must_end(rc))
		return rc;
	if (rc != 0) {
		check_fault(&level, "", "this directory cannot be opened: %s", strerror(-rc));
		return 1;
	}
	level.is_touched = file_mtime_ns(&st) > checker->built_ns;
	*ret_level = level;
	return 0;
}

void
check_level_close(struct check_level *level)
{
	close(level->fd);
}

static int
pending_push(
    struct tree_checker *checker, const char *path, const struct digest *digest, unsigned depth)
{
	struct check_pending *item;

	if (checker->pending_count == checker->pending_room) {
		size_t room = checker->pending_room == 0 ? 64 : 2 * checker->pending_room;
		struct check_pending *grown = reallocarray(checker->pending, room, sizeof(*grown));

		if (grown == NULL)
			return -ENOMEM;
		checker->pending = grown;
		checker->pending_room = room;
	}
	item = &checker->pending[checker->pending_count];
	*item = (struct check_pending){.path = strdup(path), .digest = *digest, .depth = depth};
	if (item->path == NULL)
		return -ENOMEM;
	checker->pending_count++;
	return 0;
}

static int
listed_compare(const void *a, const void *b)
{
	return strcmp(((const struct listed *)a)->name, ((const struct listed *)b)->name);
}

/* All that a Directory lists, by name; in the arena. */
static struct listed *
list_names(struct arena *arena, const ReapiDirectory *message, size_t *ret_count)
{
	size_t room = message->n_files + message->n_directories + message->n_symlinks, count = 0;
	struct listed *list = arena_alloc(arena, (room + 1) * sizeof(*list));

	for (size_t i = 0; i < message->n_files; i++)
		list[count++] = (struct listed){message->files[i]->name, LISTED_FILE, i};
	for (size_t i = 0; i < message->n_directories; i++)
		list[count++] = (struct listed){message->directories[i]->name, LISTED_DIRECTORY, i};
	for (size_t i = 0; i < message->n_symlinks; i++)
		list[count++] = (struct listed){message->symlinks[i]->name, LISTED_SYMLINK, i};
	if (count > 1)
		qsort(list, count, sizeof(*list), listed_compare);
	*ret_count = count;
	return list;
}

/* What lies there and is not listed. */
static int
find_extra(const struct check_level *level, const struct listed *list, size_t count)
{
	struct dirent *entry;
	DIR *dir;
	int fd = fcntl(level->fd, F_DUPFD_CLOEXEC, 0), rc;

	dir = fd < 0 ? NULL : fdopendir(fd);
	if (dir == NULL) {
		rc = -errno;
		if (fd >= 0)
			close(fd);
		return rc;
	}
	while (errno = 0, (entry = readdir(dir)) != NULL) {
		struct listed key = {.name = entry->d_name};

		if (strcmp(key.name, ".") == 0 || strcmp(key.name, "..") == 0)
			continue;
		if (bsearch(&key, list, count, sizeof(*list), listed_compare) == NULL)
			check_fault(level, key.name, "its digest knows of no such thing");
	}
	rc = -errno;
	closedir(dir);
	if (rc == 0 || tree_check_must_end(rc))
		return rc;
	check_fault(level, "", "this directory cannot be read: %s", strerror(-rc));
	return 0;
}

static int
check_symlink(const struct check_level *level, const ReapiSymlinkNode *node, const struct stat *st)
{
	const char *target;

	level->checker->stats.symlinks++;
	if (!S_ISLNK(st->st_mode)) {
		check_fault(level, node->name, "it is no symlink, as its digest says");
		return 0;
	}
	target = check_target(level, level->checker->arena, node->name);
	if (target != NULL && strcmp(target, node->target) != 0)
		check_fault(level, node->name, "this symlink has another target");
	return 0;
}

/* Its own contents are looked at in their turn. */
static int
check_directory(const struct check_level *level, const ReapiDirectoryNode *node,
    const struct stat *st, unsigned depth)
{
	struct tree_checker *checker = level->checker;
	struct digest digest;
	const char *path;

	if (!S_ISDIR(st->st_mode)) {
		check_fault(level, node->name, "it is no directory, as its digest says");
		return 0;
	}
	check_mode_owner(level, node->name, st, check_directory_mode(st));
	if (depth + 1 > TREE_DEPTH_MAX) {
		check_fault(level, node->name, "more than %d directories deep", TREE_DEPTH_MAX);
		return 0;
	}
	CHECK(reapi_digest_get(node->digest, &digest) == 0);
	path = level->path[0] == '\0'
	    ? node->name
	    : arena_printf(checker->arena, "%s/%s", level->path, node->name);
	return pending_push(checker, path, &digest, depth + 1);
}

static int
check_listed(const struct check_level *level, const ReapiDirectory *message,
    const struct listed *listed, unsigned depth)
{
	struct stat st;

	if (fstatat(level->fd, listed->name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
		check_fault(
		    level, listed->name, "%s", errno == ENOENT ? "it is missing" : strerror(errno));
		return 0;
	}
	switch (listed->kind) {
	case LISTED_FILE:
		return check_file(level, message->files[listed->number], &st);
	case LISTED_DIRECTORY:
		return check_directory(level, message->directories[listed->number], &st, depth);
	case LISTED_SYMLINK:
		break;
	}
	return check_symlink(level, message->symlinks[listed->number], &st);
}

static int
compare_level(const struct check_level *level, const ReapiDirectory *message, unsigned depth)
{
	size_t count;
	struct listed *list = list_names(level->checker->arena, message, &count);
	int rc = find_extra(level, list, count);

	for (size_t i = 0; rc == 0 && i < count; i++)
		rc = check_listed(level, message, &list[i], depth);
	return rc;
}

/* Nothing to compare with, but the digest itself. */
static int
message_gone(const struct check_level *level, const struct check_pending *item)
{
	struct tree_checker *checker = level->checker;
	struct digest found;
	int rc;

	if (!checker->config.deep) {
		checker->is_uncompared = true;
		return 0;
	}
	rc = check_derive(checker, item->path, item->depth, &found);
	if (rc == 0 && !digest_equal(&found, &item->digest))
		check_fault(level, "",
		    "its Directory message is gone from the store, and what lies here does not "
		    "make its digest (it was changed, or gives files times or modes)");
	return rc < 0 ? rc : 0;
}

static int
message_get(
    const struct check_level *level, const struct check_pending *item, ReapiDirectory **ret_message)
{
	struct tree_checker *checker = level->checker;
	struct error_text err = {""};
	int rc;

	arena_reset(checker->arena);
	rc = directory_load(checker->config.cas, checker->arena, &item->digest, ret_message, &err);
	if (rc == -EBADMSG)
		check_blob_fault(level, "", TREE_FAULT_MESSAGE, &item->digest,
		    "the store's copy of its Directory message is damaged");
	if (rc == -EINVAL)
		check_fault(level, "", "its digest names no Directory");
	return rc;
}

static int
check_item(struct tree_checker *checker, const struct check_pending *item)
{
	struct check_level level;
	ReapiDirectory *message;
	int rc = check_level_open(checker, item->path, &level);

	if (rc != 0)
		return rc < 0 ? rc : 0;
	checker->stats.directories++;
	if (checker->config.on_directory != NULL)
		checker->config.on_directory(checker->config.arg, item->path, &item->digest);
	rc = message_get(&level, item, &message);
	if (rc == 0)
		rc = compare_level(&level, message, item->depth);
	else if (rc == -EINVAL)
		rc = 0;
	else if (!tree_check_must_end(rc))
		rc = message_gone(&level, item);
	check_level_close(&level);
	return rc == 0 ? check_pause(checker) : rc;
}

/* 1: a fault, reported. */
static int
top_open(struct tree_checker *checker, int dirfd, const char *name)
{
	struct check_level level = {.checker = checker, .path = "", .fd = -1};
	struct stat folder, st;
	int rc;

	if (fstat(dirfd, &folder) != 0)
		return -errno;
	checker->owner = folder.st_uid;
	checker->top_fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (checker->top_fd < 0 || fstat(checker->top_fd, &st) != 0) {
		rc = -errno;
		if (tree_check_must_end(rc))
			return rc;
		check_fault(&level, "", "%s", rc == -ENOENT ? "it is not there" : strerror(-rc));
		return 1;
	}
	check_mode_owner(&level, "", &st, check_directory_mode(&st));
	return 0;
}

static void
start(struct tree_checker *checker, int64_t built_ns)
{
	checker->built_ns = built_ns;
	checker->faults = 0;
	checker->is_uncompared = false;
	checker->ended = 0;
}

static void
finish(struct tree_checker *checker)
{
	while (checker->pending_count > 0)
		free(checker->pending[--checker->pending_count].path);
	if (checker->top_fd >= 0)
		close(checker->top_fd);
	checker->top_fd = -1;
}

int
tree_check(struct tree_checker *checker, int dirfd, const char *name,
    const struct digest *directory, int64_t built_ns)
{
	struct check_pending item;
	int rc;

	start(checker, built_ns);
	rc = top_open(checker, dirfd, name);
	if (rc == 0)
		rc = pending_push(checker, "", directory, 1);
	while (rc == 0 && checker->pending_count > 0) {
		item = checker->pending[--checker->pending_count];
		rc = check_item(checker, &item);
		free(item.path);
	}
	finish(checker);
	if (rc < 0)
		return rc;
	if (checker->faults > 0)
		return TREE_FAULTY;
	return checker->is_uncompared ? TREE_UNCOMPARED : TREE_WHOLE;
}
