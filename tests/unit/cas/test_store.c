#include <sys/xattr.h>

#include <pthread.h>

#include "tests/unit/cas/cas_fixture.h"

static void
test_put_and_read(void **state)
{
	struct fixture *f = *state;
	struct digest digest = put_text(f->cas, "hello"), missing = digest_of("other", 5);
	char text[DIGEST_TEXT_SIZE];
	uint8_t *data;
	size_t len;
	int fd;

	assert_string_equal(digest_to_text(&digest, '/', text),
	    "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824/5");
	assert_int_equal(cas_has(f->cas, &digest), 1);
	assert_int_equal(cas_has(f->cas, &missing), 0);
	assert_int_equal(cas_open_blob(f->cas, &missing, &fd), -ENOENT);
	assert_int_equal(cas_read(f->cas, &missing, 100, &data, &len), -ENOENT);
	assert_int_equal(cas_read(f->cas, &digest, 4, &data, &len), -EFBIG);
	assert_int_equal(cas_read(f->cas, &digest, 5, &data, &len), 0);
	assert_int_equal(len, 5);
	assert_memory_equal(data, "hello", 5);
	free(data);
	assert_int_equal(blob_stat_of(f->cas, &digest, false).st_mode & 07777, 0444);
	assert_int_equal(usage_blobs(cas_usage(f->cas)), 1);
	assert_int_equal(usage_bytes(cas_usage(f->cas)), 5);
}

static void
test_put_again_keeps_the_inode(void **state)
{
	struct fixture *f = *state;
	struct digest digest = put_text(f->cas, "once");
	struct stat before = blob_stat_of(f->cas, &digest, false), after;
	struct cas_writer *writer;
	bool moved;

	put_text(f->cas, "once");
	assert_int_equal(cas_writer_open(f->cas, NULL, &writer), 0);
	assert_int_equal(cas_writer_write(writer, "once", 4), 0);
	assert_int_equal(cas_writer_commit(writer, &digest), 0);
	file_text(f->dirfd, "output", "once");
	assert_int_equal(cas_put_move(f->cas, f->dirfd, "output", false, &digest, &moved), 0);
	after = blob_stat_of(f->cas, &digest, false);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof(after.st_mtim));
	assert_memory_equal(&before.st_ctim, &after.st_ctim, sizeof(after.st_ctim));
	assert_int_equal(usage_blobs(cas_usage(f->cas)), 1);
	assert_int_equal(folder_count(f->state_fd, "cas/tmp"), 0);
}

static void
test_empty_blob(void **state)
{
	struct fixture *f = *state;
	struct digest digest;
	uint8_t *data;
	size_t len;
	char byte;
	bool made;
	int fd;

	assert_int_equal(cas_put_bytes(f->cas, "", 0, &digest), 0);
	assert_true(digest_is_empty(&digest));
	assert_int_equal(cas_has(f->cas, &digest_empty), 1);
	assert_int_equal(cas_open_blob(f->cas, &digest_empty, &fd), 0);
	assert_int_equal(read(fd, &byte, 1), 0);
	close(fd);
	assert_int_equal(cas_read(f->cas, &digest_empty, 0, &data, &len), 0);
	assert_int_equal(len, 0);
	free(data);
	assert_int_equal(cas_ensure(f->cas, &digest_empty, false, &made), -EINVAL);
	assert_int_equal(usage_blobs(cas_usage(f->cas)), 0);
	assert_false(blob_named(f->cas, &digest_empty, false));
}

static void
test_put_fd_copies(void **state)
{
	static const size_t sizes[] = {0, 1, 255 << 10, 256 << 10, (256 << 10) + 1, 3 << 20};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint8_t *bytes = malloc(sizes[i] + 1);
		struct digest digest, expected;
		struct stat source, blob;
		int fd;

		memset(bytes, (int)('a' + i), sizes[i]);
		file_write(f->dirfd, "file", bytes, sizes[i], 0600);
		expected = digest_of(bytes, sizes[i]);
		fd = openat(f->dirfd, "file", O_RDONLY | O_CLOEXEC);
		assert_int_equal(lseek(fd, (off_t)sizes[i], SEEK_SET), sizes[i]);
		assert_int_equal(cas_put_fd(f->cas, fd, &digest), 0);
		assert_int_equal(fstat(fd, &source), 0);
		close(fd);
		assert_true(digest_equal(&digest, &expected));
		assert_int_equal(source.st_nlink, 1);
		if (sizes[i] > 0) {
			blob = blob_stat_of(f->cas, &digest, false);
			assert_true(blob.st_ino != source.st_ino);
			assert_int_equal(blob.st_mode & 07777, 0444);
			assert_int_equal(blob.st_size, sizes[i]);
		}
		free(bytes);
	}
	assert_int_equal(folder_count(f->state_fd, "cas/tmp"), 0);
	assert_int_equal(cas_put_fd(f->cas, f->dirfd, &(struct digest){0}), -EINVAL);
}

static void
test_put_move(void **state)
{
	struct fixture *f = *state;
	struct digest digest;
	struct stat before, after;
	bool moved = false;

	file_write(f->dirfd, "tool", "#!/bin/sh\n", 10, 06755);
	assert_int_equal(fstatat(f->dirfd, "tool", &before, 0), 0);
	assert_int_equal(cas_put_move(f->cas, f->dirfd, "tool", true, &digest, &moved), 0);
	assert_true(moved);
	assert_int_equal(faccessat(f->dirfd, "tool", F_OK, 0), -1);
	after = blob_stat_of(f->cas, &digest, true);
	assert_int_equal(after.st_ino, before.st_ino);
	assert_int_equal(after.st_mode & 07777, 0555);
	assert_int_equal(after.st_uid, geteuid());
	assert_false(blob_named(f->cas, &digest, false));
	assert_int_equal(cas_has(f->cas, &digest), 1);
}

static void
test_put_move_of_a_foreign_file(void **state)
{
	struct fixture *f = *state;
	struct digest digest;
	bool moved = false;

	if (geteuid() != 0) {
		print_message("needs root to give a file away\n");
		skip();
	}
	file_text(f->dirfd, "output", "theirs");
	assert_int_equal(fchownat(f->dirfd, "output", 12345, 12345, 0), 0);
	assert_int_equal(cas_put_move(f->cas, f->dirfd, "output", false, &digest, &moved), 0);
	assert_true(moved);
	assert_int_equal(blob_stat_of(f->cas, &digest, false).st_uid, 0);
}

static void
test_put_move_copies_what_is_linked(void **state)
{
	struct fixture *f = *state;
	struct digest digest;
	struct stat st;
	bool moved = true;

	file_write(f->dirfd, "a", "linked", 6, 0640);
	assert_int_equal(linkat(f->dirfd, "a", f->dirfd, "b", 0), 0);
	assert_int_equal(cas_put_move(f->cas, f->dirfd, "a", true, &digest, &moved), 0);
	assert_false(moved);
	assert_int_equal(fstatat(f->dirfd, "a", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(st.st_nlink, 2);
	assert_int_equal(blob_stat_of(f->cas, &digest, true).st_nlink, 1);
}

static void
test_put_move_copies_what_has_attributes(void **state)
{
	struct fixture *f = *state;
	struct digest digest;
	bool moved = true;
	int fd, blob;

	file_text(f->dirfd, "marked", "bytes with a mark");
	fd = openat(f->dirfd, "marked", O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(fs_has_xattrs(fd), 0);
	/* What also a kernel without user attributes on tmpfs has: an entry for one more user. */
	static const uint8_t acl[] = {2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 7, 0, 57,
	    48, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255, 16, 0, 7, 0, 255, 255, 255, 255, 32, 0, 4, 0,
	    255, 255, 255, 255};

	if (fsetxattr(fd, "system.posix_acl_access", acl, sizeof(acl), 0) != 0) {
		close(fd);
		print_message("skipped: no ACLs on this volume\n");
		skip();
	}
	assert_int_equal(fs_has_xattrs(fd), 1);
	close(fd);
	assert_int_equal(cas_put_move(f->cas, f->dirfd, "marked", false, &digest, &moved), 0);
	assert_false(moved);
	assert_int_equal(faccessat(f->dirfd, "marked", F_OK, 0), 0);
	assert_int_equal(cas_open_blob(f->cas, &digest, &blob), 0);
	assert_int_equal(fs_has_xattrs(blob), 0);
	close(blob);
}

static void
test_put_move_forgets_times(void **state)
{
	struct fixture *f = *state;
	const struct timespec old[2] = {{1000, 0}, {1000, 0}};
	struct digest digest;
	bool moved = false;

	file_text(f->dirfd, "aged", "old bytes");
	assert_int_equal(utimensat(f->dirfd, "aged", old, 0), 0);
	assert_int_equal(cas_put_move(f->cas, f->dirfd, "aged", false, &digest, &moved), 0);
	assert_true(moved);
	assert_true(blob_stat_of(f->cas, &digest, false).st_mtim.tv_sec > 1000000);
}

/* A descriptor that outlives the action writes to the action's file, never to the blob. */
static void
test_put_move_copies_what_is_open(void **state)
{
	struct fixture *f = *state;
	struct digest digest;
	bool moved = true;
	int fd;

	file_text(f->dirfd, "held", "held open");
	fd = openat(f->dirfd, "held", O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(cas_put_move(f->cas, f->dirfd, "held", false, &digest, &moved), 0);
	assert_false(moved);
	assert_int_equal(pwrite(fd, "evil", 4, 0), 4);
	close(fd);
	assert_int_equal(cas_open_blob(f->cas, &digest, &fd), 0);
	assert_int_equal(fs_has_writers(fd), 0);
	char text[9];
	assert_int_equal(read(fd, text, sizeof(text)), sizeof(text));
	assert_memory_equal(text, "held open", sizeof(text));
	close(fd);
}

static void
test_put_move_from_another_volume(void **state)
{
	struct fixture *f = *state;
	char path[] = "/dev/shm/cas.XXXXXX";
	struct stat here, there;
	struct digest digest;
	bool moved = true;
	int fd = mkstemp(path);

	if (fd < 0 || fstat(fd, &there) != 0 || fstat(f->state_fd, &here) != 0 ||
	    here.st_dev == there.st_dev) {
		print_message("needs a second volume at /dev/shm\n");
		skip();
	}
	assert_int_equal(write(fd, "far", 3), 3);
	close(fd);
	assert_int_equal(cas_put_move(f->cas, AT_FDCWD, path, false, &digest, &moved), 0);
	assert_false(moved);
	assert_int_equal(cas_has(f->cas, &digest), 1);
	assert_int_equal(unlink(path), 0);
}

static void
test_put_move_refuses(void **state)
{
	struct fixture *f = *state;
	struct digest digest;
	bool moved;

	file_text(f->dirfd, "file", "x");
	assert_int_equal(symlinkat("file", f->dirfd, "link"), 0);
	assert_int_equal(mkfifoat(f->dirfd, "fifo", 0644), 0);
	assert_int_equal(fs_mkdir(f->dirfd, "dir", 0755), 0);
	assert_int_equal(cas_put_move(f->cas, f->dirfd, "link", false, &digest, &moved), -EINVAL);
	assert_int_equal(cas_put_move(f->cas, f->dirfd, "fifo", false, &digest, &moved), -EINVAL);
	assert_int_equal(cas_put_move(f->cas, f->dirfd, "dir", false, &digest, &moved), -EINVAL);
	assert_int_equal(cas_put_move(f->cas, f->dirfd, "none", false, &digest, &moved), -ENOENT);
	assert_int_equal(folder_count(f->dirfd, "."), 4);
	assert_int_equal(folder_count(f->state_fd, "cas/tmp"), 0);
}

static void
test_put_move_of_an_unreadable_file(void **state)
{
	struct fixture *f = *state;
	struct digest digest;
	bool moved;

	file_write(f->dirfd, "secret", "0000", 4, 0);
	assert_int_equal(cas_put_move(f->cas, f->dirfd, "secret", false, &digest, &moved), 0);
	assert_true(moved);
	assert_int_equal(blob_stat_of(f->cas, &digest, false).st_mode & 07777, 0444);
}

static void
test_writer_verifies(void **state)
{
	struct fixture *f = *state;
	struct digest expected = digest_of("expected", 8), digest;
	struct cas_writer *writer;

	assert_int_equal(cas_writer_open(f->cas, &expected, &writer), 0);
	assert_int_equal(cas_writer_write(writer, "something", 8), 0);
	assert_int_equal(cas_writer_commit(writer, &digest), -EBADMSG);
	assert_int_equal(cas_writer_open(f->cas, &expected, &writer), 0);
	assert_int_equal(cas_writer_write(writer, "too long a text", 15), -EBADMSG);
	cas_writer_abort(writer);
	assert_int_equal(cas_writer_open(f->cas, &expected, &writer), 0);
	assert_int_equal(cas_writer_write(writer, "exp", 3), 0);
	assert_int_equal(cas_writer_commit(writer, &digest), -EBADMSG);
	assert_int_equal(cas_has(f->cas, &expected), 0);
	assert_int_equal(cas_writer_open(f->cas, &expected, &writer), 0);
	assert_int_equal(cas_writer_write(writer, "exp", 3), 0);
	assert_int_equal(cas_writer_write(writer, "ected", 5), 0);
	assert_int_equal(cas_writer_commit(writer, &digest), 0);
	assert_true(digest_equal(&digest, &expected));
	assert_int_equal(cas_has(f->cas, &expected), 1);
	assert_int_equal(folder_count(f->state_fd, "cas/tmp"), 0);
}

static void
test_ensure_makes_the_twin(void **state)
{
	struct fixture *f = *state;
	struct digest digest = put_text(f->cas, "#!/bin/sh\nexit 0\n");
	struct digest missing = digest_of("other", 5);
	bool made = false;

	assert_int_equal(cas_ensure(f->cas, &digest, false, &made), 0);
	assert_false(made);
	assert_int_equal(cas_ensure(f->cas, &digest, true, &made), 0);
	assert_true(made);
	assert_int_equal(cas_ensure(f->cas, &digest, true, &made), 0);
	assert_false(made);
	assert_int_equal(blob_stat_of(f->cas, &digest, true).st_mode & 07777, 0555);
	assert_true(blob_stat_of(f->cas, &digest, true).st_ino !=
	    blob_stat_of(f->cas, &digest, false).st_ino);
	assert_int_equal(usage_blobs(cas_usage(f->cas)), 2);
	assert_int_equal(cas_ensure(f->cas, &missing, true, &made), -ENOENT);
}

static void
test_mint(void **state)
{
	struct fixture *f = *state;
	struct digest digest = put_text(f->cas, "popular");
	struct stat before = blob_stat_of(f->cas, &digest, false), after;
	char name[CAS_NAME_SIZE];

	cas_blob_name(&digest, false, name);
	assert_int_equal(linkat(cas_dirfd(f->cas), name, f->dirfd, "tree", 0), 0);
	assert_int_equal(cas_mint(f->cas, &digest, false), 0);
	after = blob_stat_of(f->cas, &digest, false);
	assert_true(after.st_ino != before.st_ino);
	assert_int_equal(after.st_nlink, 1);
	assert_int_equal(after.st_mode & 07777, 0444);
	assert_int_equal(fstatat(f->dirfd, "tree", &after, 0), 0);
	assert_int_equal(after.st_ino, before.st_ino);
	assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof(after.st_mtim));
	assert_int_equal(folder_count(f->state_fd, "cas/tmp"), 0);
}

static void
test_corrupt_blob_is_dropped(void **state)
{
	struct fixture *f = *state;
	struct digest digest = put_text(f->cas, "right"), again;
	uint8_t *data = NULL;
	size_t len;

	blob_spoil(f->cas, &digest, "wrong");
	assert_int_equal(cas_has(f->cas, &digest), 1);
	assert_int_equal(cas_read(f->cas, &digest, 100, &data, &len), -EBADMSG);
	assert_null(data);
	assert_int_equal(cas_has(f->cas, &digest), 0);
	assert_int_equal(folder_count(f->state_fd, "trash"), 1);
	again = put_text(f->cas, "right");
	assert_int_equal(cas_read(f->cas, &again, 100, &data, &len), 0);
	free(data);
}

static void
test_torn_blob_is_not_present(void **state)
{
	struct fixture *f = *state;
	struct digest digest = put_text(f->cas, "whole");
	int fd;

	blob_spoil(f->cas, &digest, "who");
	assert_int_equal(cas_open_blob(f->cas, &digest, &fd), -ENOENT);
	assert_false(blob_named(f->cas, &digest, false));
	put_text(f->cas, "whole");
	blob_spoil(f->cas, &digest, "");
	put_text(f->cas, "whole");
	assert_int_equal(blob_stat_of(f->cas, &digest, false).st_size, 5);
}

/* Somebody's mistaken size must cost nobody a good blob. */
static void
test_wrong_size_asked_for(void **state)
{
	struct fixture *f = *state;
	struct digest digest = put_text(f->cas, "precious"), wrong = digest;

	wrong.size_bytes = 9;
	assert_int_equal(cas_has(f->cas, &wrong), 0);
	wrong.size_bytes = -1;
	assert_int_equal(cas_has(f->cas, &wrong), 0);
	assert_int_equal(cas_has(f->cas, &digest), 1);
}

static void
test_drop_takes_both_names(void **state)
{
	struct fixture *f = *state;
	struct digest digest = put_text(f->cas, "bad");
	bool made;

	assert_int_equal(cas_ensure(f->cas, &digest, true, &made), 0);
	cas_drop(f->cas, &digest);
	assert_int_equal(cas_has(f->cas, &digest), 0);
	assert_int_equal(usage_blobs(cas_usage(f->cas)), 0);
	assert_int_equal(usage_bytes(cas_usage(f->cas)), 0);
}

/* Somebody has removed the trash folder of a running host: what must not be served is not. */
static void
test_drop_without_a_trash(void **state)
{
	struct fixture *f = *state;
	struct digest digest = put_text(f->cas, "bad");

	assert_int_equal(unlinkat(f->state_fd, "trash", AT_REMOVEDIR), 0);
	cas_drop(f->cas, &digest);
	assert_int_equal(cas_has(f->cas, &digest), 0);
	assert_int_equal(usage_blobs(cas_usage(f->cas)), 0);
	assert_int_equal(mkdirat(f->state_fd, "trash", 0755), 0);
}

static void
test_read_only_handle(void **state)
{
	struct fixture *f = *state;
	struct digest digest = put_text(f->cas, "look, don't touch"), other;
	struct error_text err;
	struct cas *cas;
	uint8_t *data;
	size_t len;
	bool made;

	assert_int_equal(cas_open(f->state_fd, false, &cas, &err), 0);
	assert_int_equal(cas_has(cas, &digest), 1);
	assert_int_equal(cas_read(cas, &digest, 100, &data, &len), 0);
	free(data);
	assert_int_equal(cas_put_bytes(cas, "x", 1, &other), -EROFS);
	assert_int_equal(cas_ensure(cas, &digest, true, &made), -EROFS);
	cas_drop(cas, &digest);
	assert_int_equal(cas_has(cas, &digest), 1);
	cas_close(cas);
	assert_int_equal(unlinkat(cas_dirfd(f->cas), "usage", 0), 0);
	assert_int_equal(cas_open(f->state_fd, false, &cas, &err), 0);
	assert_int_equal(cas_has(cas, &digest), 1);
	cas_close(cas);
	assert_int_equal(cas_open(f->dirfd, false, &cas, &err), -ENOENT);
	assert_non_null(strstr(err.text, "cas"));
}

/* Several processes put the same blobs at once: one inode each, counted once. */
static int
put_many(int state_fd)
{
	struct cas *cas;
	struct digest digest;

	if (cas_open(state_fd, true, &cas, NULL) != 0)
		return 1;
	for (int i = 0; i < 200; i++) {
		char text[32];

		snprintf(text, sizeof(text), "blob %d", i);
		if (cas_put_bytes(cas, text, strlen(text), &digest) != 0 ||
		    cas_has(cas, &digest) != 1)
			return 2;
	}
	cas_close(cas);
	return 0;
}

static void
test_concurrent_puts(void **state)
{
	struct fixture *f = *state;
	pid_t pids[4];

	for (int i = 0; i < 4; i++) {
		pids[i] = fork();
		assert_true(pids[i] >= 0);
		if (pids[i] == 0)
			_exit(put_many(f->state_fd));
	}
	for (int i = 0; i < 4; i++) {
		int status;

		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
	}
	assert_int_equal(usage_blobs(cas_usage(f->cas)), 200);
	assert_int_equal(folder_count(f->state_fd, "cas/tmp"), 0);
}

static void
test_put_expected(void **state)
{
	struct fixture *f = *state;
	struct digest digest = digest_of("hello", 5), wrong = digest, short_one = digest;

	wrong.hash[31] ^= 1;
	short_one.size_bytes = 4;
	assert_int_equal(cas_put_expected(f->cas, "hello", 5, &wrong), -EBADMSG);
	assert_int_equal(cas_put_expected(f->cas, "hello", 5, &short_one), -EBADMSG);
	assert_int_equal(cas_put_expected(f->cas, "hellO", 5, &digest), -EBADMSG);
	assert_int_equal(cas_put_expected(f->cas, "", 0, &digest), -EBADMSG);
	assert_int_equal(usage_blobs(cas_usage(f->cas)), 0);
	assert_int_equal(cas_put_expected(f->cas, "hello", 5, &digest), 0);
	assert_int_equal(cas_has(f->cas, &digest), 1);
	assert_int_equal(cas_put_expected(f->cas, "hello", 5, &digest), 0); /* it is there */
	assert_int_equal(usage_blobs(cas_usage(f->cas)), 1);
	assert_int_equal(cas_put_expected(f->cas, "", 0, &digest_empty), 0);
	assert_int_equal(folder_count(f->state_fd, "cas/tmp"), 0);
}

enum { WRITERS = 4, WRITES = 40 };

/* Writers of one handle, each another thread's at a time. */
struct writing {
	struct cas *cas;
	struct cas_writer *writers[WRITES];
	unsigned number;
	bool commit;
	int rc;
};

static void *
write_some(void *arg)
{
	struct writing *writing = arg;

	for (unsigned i = 0; writing->rc == 0 && i < WRITES; i++) {
		char text[64];
		size_t len = (size_t)snprintf(text, sizeof(text), "%u %u", writing->number % 2, i);

		if (!writing->commit)
			writing->rc = cas_writer_open(writing->cas, NULL, &writing->writers[i]);
		if (writing->rc == 0)
			writing->rc = cas_writer_write(writing->writers[i], text, len);
		if (writing->rc == 0 && writing->commit)
			writing->rc = cas_writer_commit(writing->writers[i], NULL);
	}
	return NULL;
}

static void
test_writers_of_many_threads(void **state)
{
	struct fixture *f = *state;
	struct writing writings[WRITERS] = {0};
	pthread_t threads[WRITERS];

	for (int commit = 0; commit < 2; commit++) {
		for (unsigned i = 0; i < WRITERS; i++) {
			/* begun by one thread, ended by another */
			unsigned other = commit ? (i + 1) % WRITERS : i;

			writings[other].cas = f->cas;
			writings[other].number = other;
			writings[other].commit = commit;
			assert_int_equal(
			    pthread_create(&threads[i], NULL, write_some, &writings[other]), 0);
		}
		for (unsigned i = 0; i < WRITERS; i++)
			assert_int_equal(pthread_join(threads[i], NULL), 0);
	}
	for (unsigned i = 0; i < WRITERS; i++)
		assert_int_equal(writings[i].rc, 0);
	/* those of the first and third thread are the same, and so the others' */
	assert_int_equal(usage_blobs(cas_usage(f->cas)), 2 * WRITES);
	assert_int_equal(folder_count(f->state_fd, "cas/tmp"), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_put_and_read),
	    T(test_put_again_keeps_the_inode),
	    T(test_empty_blob),
	    T(test_put_fd_copies),
	    T(test_put_move),
	    T(test_put_move_of_a_foreign_file),
	    T(test_put_move_copies_what_is_linked),
	    T(test_put_move_copies_what_has_attributes),
	    T(test_put_move_forgets_times),
	    T(test_put_move_copies_what_is_open),
	    T(test_put_move_from_another_volume),
	    T(test_put_move_refuses),
	    T(test_put_move_of_an_unreadable_file),
	    T(test_writer_verifies),
	    T(test_ensure_makes_the_twin),
	    T(test_mint),
	    T(test_corrupt_blob_is_dropped),
	    T(test_torn_blob_is_not_present),
	    T(test_wrong_size_asked_for),
	    T(test_drop_takes_both_names),
	    T(test_drop_without_a_trash),
	    T(test_read_only_handle),
	    T(test_concurrent_puts),
	    T(test_put_expected),
	    T(test_writers_of_many_threads),
	};

	return cmocka_run_group_tests_name("cas/store", tests, NULL, NULL);
}
