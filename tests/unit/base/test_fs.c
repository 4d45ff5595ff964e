#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "tests/cmocka_wrap.h"

struct scratch {
	char path[64];
	int fd;
};

static int
setup(void **state)
{
	struct scratch *scratch = calloc(1, sizeof(*scratch));

	strcpy(scratch->path, "/tmp/ramet-test.fs.XXXXXX");
	if (mkdtemp(scratch->path) == NULL)
		return -1;
	scratch->fd = open(scratch->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*state = scratch;
	return scratch->fd < 0 ? -1 : 0;
}

static int
teardown(void **state)
{
	struct scratch *scratch = *state;
	int rc;

	close(scratch->fd);
	rc = fs_remove_tree(AT_FDCWD, scratch->path);
	free(scratch);
	return rc;
}

static void
test_mkdir_takes_only_a_directory_for_one(void **state)
{
	struct scratch *scratch = *state;

	assert_int_equal(fs_mkdir(scratch->fd, "dir", 0755), 0);
	assert_int_equal(fs_mkdir(scratch->fd, "dir", 0755), 0);
	assert_int_equal(fs_write_atomic(scratch->fd, "file", "x", 1, 0644), 0);
	assert_int_equal(symlinkat("dir", scratch->fd, "link"), 0);
	assert_int_equal(symlinkat("nowhere", scratch->fd, "broken"), 0);
	assert_int_equal(fs_mkdir(scratch->fd, "file", 0755), -ENOTDIR);
	assert_int_equal(fs_mkdir(scratch->fd, "link", 0755), -ENOTDIR);
	assert_int_equal(fs_mkdir(scratch->fd, "broken", 0755), -ENOTDIR);
	assert_int_equal(fs_mkdir(scratch->fd, "none/x", 0755), -ENOENT);
}

static void
test_names_that_are_no_component_are_refused(void **state)
{
	char longest[300];

	memset(longest, 'a', sizeof(longest));
	assert_int_equal(fs_name_check("a", 1), 0);
	assert_int_equal(fs_name_check("..a", 3), 0);
	assert_int_equal(fs_name_check(longest, 255), 0);
	assert_int_equal(fs_name_check(longest, 256), -ENAMETOOLONG);
	assert_int_equal(fs_name_check("", 0), -EINVAL);
	assert_int_equal(fs_name_check(".", 1), -EINVAL);
	assert_int_equal(fs_name_check("..", 2), -EINVAL);
	assert_int_equal(fs_name_check("a/b", 3), -EINVAL);
	assert_int_equal(fs_name_check("a\0b", 3), -EINVAL);
}

static void
test_paths_are_checked_by_component(void **state)
{
	assert_int_equal(fs_path_check("a/b/c", 0), 0);
	assert_int_equal(fs_path_check("", FS_PATH_EMPTY_OK), 0);
	assert_int_equal(fs_path_check("", 0), -EINVAL);
	assert_int_equal(fs_path_check("/a", 0), -EINVAL);
	assert_int_equal(fs_path_check("a/", 0), -EINVAL);
	assert_int_equal(fs_path_check("a//b", 0), -EINVAL);
	assert_int_equal(fs_path_check("a/../b", 0), -EINVAL);
	assert_int_equal(fs_path_check("./a", 0), -EINVAL);
}

static void
test_opening_beneath_follows_no_symlink(void **state)
{
	struct scratch *scratch = *state;
	int fd;

	assert_int_equal(fs_mkdir_path(scratch->fd, "a/b/c", 0755), 0);
	assert_int_equal(fs_mkdir_path(scratch->fd, "a/b/c", 0755), 0);
	assert_int_equal(fs_open_beneath(scratch->fd, "a/b/c", &fd), 0);
	close(fd);
	assert_int_equal(symlinkat("a", scratch->fd, "link"), 0);
	assert_int_equal(fs_open_beneath(scratch->fd, "link/b", &fd), -ENOTDIR);
	assert_int_equal(fs_mkdir_path(scratch->fd, "link/x", 0755), -ENOTDIR);
	assert_int_equal(fs_open_beneath(scratch->fd, "a/../a", &fd), -EINVAL);
}

static void
test_write_read_and_replace(void **state)
{
	struct scratch *scratch = *state;
	uint8_t *data;
	size_t len;

	assert_int_equal(fs_write_atomic(scratch->fd, "f", "one", 3, 0644), 0);
	assert_int_equal(fs_write_atomic(scratch->fd, "f", "three", 5, 0444), 0);
	assert_int_equal(fs_read_file(scratch->fd, "f", 5, &data, &len), 0);
	assert_int_equal(len, 5);
	assert_memory_equal(data, "three", 5);
	free(data);
	assert_int_equal(fs_read_file(scratch->fd, "f", 4, &data, &len), -EFBIG);
	assert_int_equal(fs_read_file(scratch->fd, ".", 4, &data, &len), -EINVAL);
	assert_int_equal(fs_read_file(scratch->fd, "none", 4, &data, &len), -ENOENT);
}

static void
test_copy_copies_all_bytes(void **state)
{
	struct scratch *scratch = *state;
	static uint8_t bytes[300000];
	uint8_t *data;
	size_t len;
	int in_fd, out_fd;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 + i / 256);
	assert_int_equal(fs_write_atomic(scratch->fd, "in", bytes, sizeof(bytes), 0644), 0);
	in_fd = openat(scratch->fd, "in", O_RDONLY | O_CLOEXEC);
	out_fd = openat(scratch->fd, "out", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	assert_int_equal(fs_copy(in_fd, out_fd), 0);
	assert_int_equal(fs_read_fd(out_fd, sizeof(bytes), &data, &len), 0);
	assert_int_equal(len, sizeof(bytes));
	assert_memory_equal(data, bytes, sizeof(bytes));
	free(data);
	close(in_fd);
	close(out_fd);
}

static void
test_clone_keeps_clonefiles_contract(void **state)
{
	struct scratch *scratch = *state;
	struct stat st;

	assert_int_equal(fs_mkdir_path(scratch->fd, "src/sub", 0755), 0);
	assert_int_equal(fs_write_atomic(scratch->fd, "src/sub/x", "x", 1, 0555), 0);
	assert_int_equal(symlinkat("sub/x", scratch->fd, "src/l"), 0);
	assert_int_equal(fs_clone(scratch->fd, "src", scratch->fd, "dst"), 0);
	assert_int_equal(fstatat(scratch->fd, "dst/sub/x", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0555);
	assert_int_equal(st.st_nlink, 1);
	assert_int_equal(fstatat(scratch->fd, "dst/l", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(fs_clone(scratch->fd, "src", scratch->fd, "dst"), -EEXIST);
	assert_int_equal(fs_clone(scratch->fd, "src/sub/x", scratch->fd, "dst/l"), -EEXIST);
	assert_int_equal(fs_clone(scratch->fd, "none", scratch->fd, "other"), -ENOENT);
}

static void
test_rename_never_replaces(void **state)
{
	struct scratch *scratch = *state;

	assert_int_equal(fs_write_atomic(scratch->fd, "r1", "1", 1, 0644), 0);
	assert_int_equal(fs_write_atomic(scratch->fd, "r2", "2", 1, 0644), 0);
	assert_int_equal(fs_rename_noreplace(scratch->fd, "r1", scratch->fd, "r2"), -EEXIST);
	assert_int_equal(fs_rename_noreplace(scratch->fd, "r1", scratch->fd, "r3"), 0);
	assert_int_equal(faccessat(scratch->fd, "r1", F_OK, 0), -1);
}

/* Deeper than descriptors and PATH_MAX allow, with directories that nobody may enter. */
static void
test_remove_takes_deep_and_closed_trees(void **state)
{
	struct scratch *scratch = *state;
	struct stat st;
	int fd, next;

	fd = openat(scratch->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < 3000; i++) {
		assert_int_equal(mkdirat(fd, "deep", 0755), 0);
		next = openat(fd, "deep", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(next >= 0);
		close(fd);
		fd = next;
	}
	close(fd);
	assert_int_equal(fs_mkdir_path(scratch->fd, "deep/closed/inner", 0755), 0);
	assert_int_equal(fchmodat(scratch->fd, "deep/closed", 0, 0), 0);
	assert_int_equal(fs_remove_tree(scratch->fd, "deep"), 0);
	assert_int_equal(fstatat(scratch->fd, "deep", &st, AT_SYMLINK_NOFOLLOW), -1);
	assert_int_equal(fs_remove_tree(scratch->fd, "deep"), 0);
}

static void
test_remove_does_not_follow_symlinks(void **state)
{
	struct scratch *scratch = *state;

	assert_int_equal(fs_mkdir_path(scratch->fd, "keep/inner", 0755), 0);
	assert_int_equal(fs_mkdir_path(scratch->fd, "gone", 0755), 0);
	assert_int_equal(symlinkat("../keep", scratch->fd, "gone/link"), 0);
	assert_int_equal(symlinkat("keep", scratch->fd, "top"), 0);
	assert_int_equal(fs_remove_tree(scratch->fd, "gone"), 0);
	assert_int_equal(fs_remove_tree(scratch->fd, "top"), 0);
	assert_int_equal(faccessat(scratch->fd, "keep/inner", F_OK, 0), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		test_mkdir_takes_only_a_directory_for_one, setup, teardown),
	    cmocka_unit_test(test_names_that_are_no_component_are_refused),
	    cmocka_unit_test(test_paths_are_checked_by_component),
	    cmocka_unit_test(test_opening_beneath_follows_no_symlink),
	    cmocka_unit_test(test_write_read_and_replace),
	    cmocka_unit_test(test_copy_copies_all_bytes),
	    cmocka_unit_test(test_clone_keeps_clonefiles_contract),
	    cmocka_unit_test(test_rename_never_replaces),
	    cmocka_unit_test(test_remove_takes_deep_and_closed_trees),
	    cmocka_unit_test(test_remove_does_not_follow_symlinks),
	};

	return cmocka_run_group_tests_name("fs", tests, setup, teardown);
}
