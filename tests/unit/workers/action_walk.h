/*
 * A tree as whoever looks at it finds it: one record for each entry, in order, on a stream.
 *
 * helper_action.c writes them from within an action, the tests read them; both may walk.  Names are
 * sorted bytewise in each directory; a directory's entries follow it.
 */
#ifndef TESTS_ACTION_WALK_H
#define TESTS_ACTION_WALK_H

#include <sys/stat.h>
#include <sys/xattr.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What the test has put into the sandbox's root to be the action's program: no part of the tree. */
#define ACTION_PROGRAM ".ramet-test-action"
enum { ACTION_TARGET_SIZE = 4097 };

struct action_record {
	uint64_t size, hash; /* of a file */
	int64_t mtime_s;
	uint32_t mtime_ns, mode, depth, is_own; /* is_own: of whoever looks */
	uint32_t xattrs; /* length of their names, of what can be opened */
	uint16_t name_len, target_len; /* both follow, without a NUL */
};

static inline uint64_t
action_hash(uint64_t hash, const void *data, size_t len)
{
	const unsigned char *bytes = data;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
	return hash;
}
#define ACTION_HASH_START UINT64_C(0xcbf29ce484222325)

static inline uint32_t
action_xattrs(int fd)
{
	ssize_t len = flistxattr(fd, NULL, 0);

	return len < 0 ? 0 : (uint32_t)len;
}

static inline int
action_hash_file(int dirfd, const char *name, struct action_record *record)
{
	static char data[1 << 16];
	int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	ssize_t got = 0;

	record->hash = ACTION_HASH_START;
	record->size = 0;
	while (fd >= 0 && (got = read(fd, data, sizeof(data))) > 0) {
		record->hash = action_hash(record->hash, data, (size_t)got);
		record->size += (uint64_t)got;
	}
	if (fd < 0 || got < 0)
		return -errno;
	record->xattrs = action_xattrs(fd);
	close(fd);
	return 0;
}

static inline int
action_by_name(const void *a, const void *b)
{
	const char *const *x = a, *const *y = b;

	return strcmp(*x, *y);
}

/* Sorted; the caller frees each and the list. */
static inline char **
action_list(int dirfd, size_t *ret_count)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	char **names = NULL;
	size_t count = 0, room = 0;

	if (dir == NULL)
		return NULL;
	for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (count + 1 >= room) {
			room = room == 0 ? 64 : room * 2;
			names = reallocarray(names, room, sizeof(char *));
			if (names == NULL)
				abort();
		}
		names[count++] = strdup(entry->d_name);
	}
	closedir(dir);
	if (names == NULL)
		names = calloc(1, sizeof(char *));
	qsort(names, count, sizeof(char *), action_by_name);
	*ret_count = count;
	return names;
}

static inline int action_walk(int dirfd, uint32_t depth, FILE *out);

static inline int
action_walk_entry(int dirfd, const char *name, uint32_t depth, FILE *out)
{
	struct action_record record = {.depth = depth, .name_len = (uint16_t)strlen(name)};
	char target[ACTION_TARGET_SIZE];
	struct stat st;
	int fd, rc = 0;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return -errno;
	record.mode = st.st_mode;
	record.is_own = st.st_uid == geteuid();
	record.mtime_s = st.st_mtim.tv_sec;
	record.mtime_ns = (uint32_t)st.st_mtim.tv_nsec;
	if (S_ISREG(st.st_mode))
		rc = action_hash_file(dirfd, name, &record);
	if (S_ISDIR(st.st_mode)) {
		fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			return -errno;
		record.xattrs = action_xattrs(fd);
	}
	if (S_ISLNK(st.st_mode)) {
		ssize_t len = readlinkat(dirfd, name, target, sizeof(target));
		if (len < 0)
			return -errno;
		record.target_len = (uint16_t)len;
	}
	if (rc != 0)
		return rc;
	if (S_ISREG(st.st_mode) && record.size != (uint64_t)st.st_size)
		return -EIO;
	fwrite(&record, sizeof(record), 1, out);
	fwrite(name, 1, record.name_len, out);
	fwrite(target, 1, record.target_len, out);
	if (!S_ISDIR(st.st_mode))
		return 0;
	rc = action_walk(fd, depth + 1, out);
	close(fd);
	return rc;
}

/* 0 or -errno, with the name of what could not be looked at on stderr. */
static inline int
action_walk(int dirfd, uint32_t depth, FILE *out)
{
	size_t count;
	char **names = action_list(dirfd, &count);
	int rc = names == NULL ? -errno : 0;

	for (size_t i = 0; names != NULL && i < count; i++) {
		if (rc == 0 && (depth > 0 || strcmp(names[i], ACTION_PROGRAM) != 0)) {
			rc = action_walk_entry(dirfd, names[i], depth, out);
			if (rc != 0)
				fprintf(stderr, "%s: %s\n", names[i], strerror(-rc));
		}
		free(names[i]);
	}
	free(names);
	return rc;
}

#endif
