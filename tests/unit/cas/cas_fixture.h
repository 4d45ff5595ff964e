/* A state directory with a store in it, gone after each test. */
#ifndef TESTS_CAS_FIXTURE_H
#define TESTS_CAS_FIXTURE_H

#include <sys/stat.h>
#include <sys/wait.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "cas/hash.h"
#include "cas/reapi.h"
#include "cas/store.h"
#include "shm/usage.h"
#include "tests/cmocka_wrap.h"

struct fixture {
	char path[256];
	int dirfd; /* what the user has: fixture/user */
	int state_fd;
	struct cas *cas;
	struct arena *arena;
};

static inline int
fixture_setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	const char *tmp = getenv("TMPDIR");
	struct error_text err;
	int top;

	snprintf(fixture->path, sizeof(fixture->path), "%s/cas.XXXXXX", tmp != NULL ? tmp : "/tmp");
	if (mkdtemp(fixture->path) == NULL)
		return -1;
	top = open(fixture->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fs_mkdir(top, "user", 0755) != 0 || fs_mkdir(top, "state", 0755) != 0)
		return -1;
	fixture->dirfd = openat(top, "user", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fixture->state_fd = openat(top, "state", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	close(top);
	if (cas_open(fixture->state_fd, true, &fixture->cas, &err) != 0) {
		fprintf(stderr, "%s\n", err.text);
		return -1;
	}
	fixture->arena = arena_new();
	*state = fixture;
	return 0;
}

static inline int
fixture_teardown(void **state)
{
	struct fixture *fixture = *state;
	int rc;

	arena_free(fixture->arena);
	cas_close(fixture->cas);
	close(fixture->dirfd);
	close(fixture->state_fd);
	rc = fs_remove_tree(AT_FDCWD, fixture->path);
	free(fixture);
	return rc;
}

static inline void
file_write(int dirfd, const char *name, const void *data, size_t len, mode_t mode)
{
	int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(fs_write_all(fd, data, len), 0);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static inline void
file_text(int dirfd, const char *name, const char *text)
{
	file_write(dirfd, name, text, strlen(text), 0644);
}

/* Entries of a folder of the state directory. */
static inline size_t
folder_count(int state_fd, const char *name)
{
	int fd = openat(state_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fdopendir(fd);
	size_t count = 0;
	struct dirent *dirent;

	while ((dirent = readdir(dir)) != NULL)
		count += strcmp(dirent->d_name, ".") != 0 && strcmp(dirent->d_name, "..") != 0;
	closedir(dir);
	return count;
}

static inline struct digest
put_text(struct cas *cas, const char *text)
{
	struct digest digest;

	assert_int_equal(cas_put_bytes(cas, text, strlen(text), &digest), 0);
	return digest;
}

static inline struct digest
digest_of(const void *data, size_t len)
{
	struct digest digest;

	assert_int_equal(hash_bytes(data, len, &digest), 0);
	return digest;
}

static inline struct stat
blob_stat_of(struct cas *cas, const struct digest *digest, bool executable)
{
	char name[CAS_NAME_SIZE];
	struct stat st = {0};

	assert_int_equal(
	    fstatat(cas_dirfd(cas), cas_blob_name(digest, executable, name), &st, 0), 0);
	return st;
}

static inline bool
blob_named(struct cas *cas, const struct digest *digest, bool executable)
{
	char name[CAS_NAME_SIZE];

	return faccessat(cas_dirfd(cas), cas_blob_name(digest, executable, name), F_OK, 0) == 0;
}

/* Spoils a stored blob behind the store's back. */
static inline void
blob_spoil(struct cas *cas, const struct digest *digest, const char *text)
{
	char name[CAS_NAME_SIZE];

	cas_blob_name(digest, false, name);
	assert_int_equal(unlinkat(cas_dirfd(cas), name, 0), 0);
	file_write(cas_dirfd(cas), name, text, strlen(text), 0444);
}

#endif
