#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/check.h"
#include "base/fault.h"
#include "workers/cores.h"
#include "workers/place_parallel.h"

void
cursor_init(struct place_cursor *cursor, int fd)
{
	cursor->fd = fd;
	cursor->depth = 0;
}

static int
open_directory(int dirfd, const char *name)
{
	int fd =
	    FAULTY(openat, openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
	return fd < 0 ? -errno : fd;
}

int
cursor_down(struct place_cursor *cursor, const char *name)
{
	int fd = open_directory(cursor->fd, name);

	if (fd < 0)
		return fd;
	if (cursor->depth < CURSOR_KEEP)
		cursor->kept[cursor->depth] = cursor->fd;
	else
		close(cursor->fd);
	cursor->depth++;
	cursor->fd = fd;
	return 0;
}

int
cursor_up(struct place_cursor *cursor)
{
	int fd;

	CHECK(cursor->depth > 0);
	if (cursor->depth <= CURSOR_KEEP) {
		fd = cursor->kept[cursor->depth - 1];
	} else {
		fd = open_directory(cursor->fd, "..");
		if (fd < 0)
			return fd;
	}
	close(cursor->fd);
	cursor->depth--;
	cursor->fd = fd;
	return 0;
}

void
cursor_fini(struct place_cursor *cursor)
{
	if (cursor->depth == 0)
		return;
	close(cursor->fd);
	unsigned kept = cursor->depth < CURSOR_KEEP ? cursor->depth : CURSOR_KEEP;
	for (unsigned i = 1; i < kept; i++)
		close(cursor->kept[i]);
	cursor->fd = cursor->kept[0];
	cursor->depth = 0;
}

int
place_entries(struct placer *placer, const struct place_policy *policy, int dirfd,
    const ReapiDirectory *message)
{
	for (size_t i = 0; i < message->n_files; i++) {
		int rc = place_file(placer, policy, dirfd, message->files[i]);
		if (rc != 0)
			return rc;
	}
	for (size_t i = 0; i < message->n_symlinks; i++) {
		int rc = place_symlink(placer, dirfd, message->symlinks[i]);
		if (rc != 0)
			return rc;
	}
	if (policy->building)
		CRASH_POINT(tree_half_built);
	return 0;
}

static bool
is_empty(const struct tree_dir *dir)
{
	return dir->message->n_files == 0 && dir->message->n_directories == 0 &&
	    dir->message->n_symlinks == 0;
}

static int
place_alone(struct placer *placer, const struct place_policy *policy, struct place_cursor *cursor,
    const struct tree_dir *dir)
{
	int rc = place_entries(placer, policy, cursor->fd, dir->message);

	return rc == 0 ? place_directories(placer, policy, cursor, dir) : rc;
}

int
place_directories(struct placer *placer, const struct place_policy *policy,
    struct place_cursor *cursor, const struct tree_dir *dir)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < dir->message->n_directories; i++) {
		const char *name = dir->message->directories[i]->name;
		rc = place_directory(placer, policy->owner, cursor->fd, name);
		if (rc != 0 || is_empty(dir->children[i]))
			continue;
		rc = cursor_down(cursor, name);
		if (rc != 0)
			return placer_failed(placer, rc, "open this directory", name);
		rc = place_alone(placer, policy, cursor, dir->children[i]);
		if (rc != 0)
			return placer_below(placer, rc, name);
		rc = cursor_up(cursor);
		if (rc != 0)
			return placer_failed(placer, rc, "open the directory above", name);
	}
	return rc;
}

int
place_tree(struct placer *placer, const struct place_policy *policy, struct place_cursor *cursor,
    const struct tree_dir *dir)
{
	unsigned threads = place_parallel_fits(placer, policy, dir)
	    ? place_parallel_threads(placer, cores_running())
	    : 1;
	int rc = threads > 1 ? place_parallel(placer, policy, cursor->fd, dir, threads) : 1;

	return rc == 1 ? place_alone(placer, policy, cursor, dir) : rc;
}
