/* Cached trees as a worker places them, and what can be done to them behind everybody's back. */
#ifndef TESTS_TREE_FIXTURE_H
#define TESTS_TREE_FIXTURE_H

#include "cas/directory.h"
#include "cas/file_times.h"
#include "shm/index.h"
#include "tests/unit/cas/cas_fixture.h"

#define APPEND(f, message, list, node)                                                             \
	do {                                                                                       \
		void *grown_ =                                                                     \
		    arena_alloc((f)->arena, ((message)->n_##list + 1) * sizeof(*(message)->list)); \
		if ((message)->n_##list > 0)                                                       \
			memcpy(grown_, (message)->list,                                            \
			    (message)->n_##list * sizeof(*(message)->list));                       \
		(message)->list = grown_;                                                          \
		(message)->list[(message)->n_##list++] = (node);                                   \
	} while (0)

static inline ReapiFileNode *
add_file(struct fixture *f, ReapiDirectory *to, const char *name, const char *text, bool executable)
{
	ReapiFileNode *node = REAPI_NEW(f->arena, file_node);
	struct digest digest = put_text(f->cas, text);

	node->name = arena_strdup(f->arena, name);
	node->digest = reapi_digest_new(f->arena, &digest);
	node->is_executable = executable;
	APPEND(f, to, files, node);
	return node;
}

static inline void
add_directory(struct fixture *f, ReapiDirectory *to, const char *name, const struct digest *digest)
{
	ReapiDirectoryNode *node = REAPI_NEW(f->arena, directory_node);

	node->name = arena_strdup(f->arena, name);
	node->digest = reapi_digest_new(f->arena, digest);
	APPEND(f, to, directories, node);
}

static inline void
add_symlink(struct fixture *f, ReapiDirectory *to, const char *name, const char *target)
{
	ReapiSymlinkNode *node = REAPI_NEW(f->arena, symlink_node);

	node->name = arena_strdup(f->arena, name);
	node->target = arena_strdup(f->arena, target);
	APPEND(f, to, symlinks, node);
}

static inline struct digest
store_directory(struct fixture *f, ReapiDirectory *directory)
{
	struct digest digest;

	assert_int_equal(directory_store(f->cas, f->arena, directory, &digest), 0);
	return digest;
}

/* sub/: one, two (of one size), tool, deep/: leaf.  Beside it: same (one's bytes), zero, link,
 * none/. */
struct tree_digests {
	struct digest top, sub, deep;
};

static inline struct tree_digests
store_tree(struct fixture *f)
{
	ReapiDirectory *top = REAPI_NEW(f->arena, directory), *sub = REAPI_NEW(f->arena, directory),
		       *deep = REAPI_NEW(f->arena, directory);
	struct tree_digests digests;

	add_file(f, deep, "leaf", "leaf's bytes", false);
	digests.deep = store_directory(f, deep);
	add_file(f, sub, "one", "bytes 1", false);
	add_file(f, sub, "two", "bytes 2", false);
	add_file(f, sub, "tool", "#!/bin/sh\n", true);
	add_directory(f, sub, "deep", &digests.deep);
	digests.sub = store_directory(f, sub);
	add_file(f, top, "same", "bytes 1", false);
	add_file(f, top, "zero", "", false);
	add_symlink(f, top, "link", "sub/one");
	add_directory(f, top, "none", &digest_empty);
	add_directory(f, top, "sub", &digests.sub);
	digests.top = store_directory(f, top);
	return digests;
}

static inline void
place_file(struct fixture *f, int dirfd, const ReapiFileNode *node, bool copies)
{
	struct digest digest;
	char name[CAS_NAME_SIZE];
	uint8_t *data;
	size_t len;
	bool made;
	int fd;

	assert_int_equal(reapi_digest_get(node->digest, &digest), 0);
	if (!copies && !digest_is_empty(&digest)) {
		assert_int_equal(cas_ensure(f->cas, &digest, node->is_executable, &made), 0);
		cas_blob_name(&digest, node->is_executable, name);
		assert_int_equal(linkat(cas_dirfd(f->cas), name, dirfd, node->name, 0), 0);
		return;
	}
	assert_int_equal(cas_read(f->cas, &digest, 4096, &data, &len), 0);
	fd = openat(dirfd, node->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_int_equal(fs_write_all(fd, data, len), 0);
	assert_int_equal(fchmod(fd, node->is_executable ? 0555 : 0444), 0);
	close(fd);
	free(data);
}

static inline void
place_level(struct fixture *f, int dirfd, const struct digest *digest, bool copies)
{
	struct error_text err;
	ReapiDirectory *message;

	assert_int_equal(directory_load(f->cas, f->arena, digest, &message, &err), 0);
	for (size_t i = 0; i < message->n_files; i++)
		place_file(f, dirfd, message->files[i], copies);
	for (size_t i = 0; i < message->n_symlinks; i++)
		assert_int_equal(
		    symlinkat(message->symlinks[i]->target, dirfd, message->symlinks[i]->name), 0);
	for (size_t i = 0; i < message->n_directories; i++) {
		const char *name = message->directories[i]->name;
		struct digest below;
		int fd;

		assert_int_equal(reapi_digest_get(message->directories[i]->digest, &below), 0);
		assert_int_equal(mkdirat(dirfd, name, 0755), 0);
		fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		place_level(f, fd, &below, copies);
		close(fd);
	}
}

static inline int
trees_open(struct fixture *f)
{
	int fd;

	assert_int_equal(fs_mkdir(f->state_fd, "trees", 0755), 0);
	fd = openat(f->state_fd, "trees", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

/* When the last tree was complete. */
static int64_t fixture_built_ns;

/* Until what is changed from now on has another time than what was there, which it returns. */
static inline int64_t
time_pass(struct fixture *f)
{
	struct stat before, st;

	file_text(f->dirfd, "clock", "");
	assert_int_equal(fstatat(f->dirfd, "clock", &before, 0), 0);
	do {
		file_text(f->dirfd, "clock", "");
		assert_int_equal(fstatat(f->dirfd, "clock", &st, 0), 0);
	} while (st.st_mtim.tv_sec == before.st_mtim.tv_sec &&
	    st.st_mtim.tv_nsec == before.st_mtim.tv_nsec);
	return file_mtime_ns(&before);
}

/* Under its name, replacing what has it. */
static inline void
place_tree_of(struct fixture *f, const struct digest *digest, bool copies)
{
	char name[DIGEST_TEXT_SIZE];
	int trees = trees_open(f), fd;

	umask(022);
	index_tree_name(digest, name);
	assert_int_equal(fs_remove_tree(trees, name), 0);
	assert_int_equal(mkdirat(trees, "building", 0755), 0);
	fd = openat(trees, "building", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	place_level(f, fd, digest, copies);
	close(fd);
	assert_int_equal(renameat(trees, "building", trees, name), 0);
	fixture_built_ns = time_pass(f);
	close(trees);
}

static inline int
tree_open(struct fixture *f, const struct digest *digest)
{
	char path[16 + DIGEST_TEXT_SIZE] = "trees/";
	int fd;

	index_tree_name(digest, path + 6);
	fd = openat(f->state_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

/* Other bytes in the same inode, whatever its mode; its time stays if `hidden`. */
static inline void
overwrite(int dirfd, const char *path, const char *text, bool hidden)
{
	struct stat st;
	int fd;

	assert_int_equal(fstatat(dirfd, path, &st, 0), 0);
	assert_int_equal(fchmodat(dirfd, path, 0600, 0), 0);
	fd = openat(dirfd, path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(fs_write_all(fd, text, strlen(text)), 0);
	assert_int_equal(fchmod(fd, st.st_mode & 07777), 0);
	if (hidden) {
		const struct timespec times[2] = {st.st_atim, st.st_mtim};

		assert_int_equal(futimens(fd, times), 0);
	}
	close(fd);
}

#endif
