/* What is thrown away is in trash/, or it is said why not (base/trash.h). */
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/trash.h"
#include "tests/cmocka_wrap.h"

struct scratch {
	char path[64];
	int fd;
};

static int
setup(void **state)
{
	struct scratch *scratch = calloc(1, sizeof(*scratch));

	strcpy(scratch->path, "/tmp/ramet-test.trash.XXXXXX");
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

static bool
is_there(const struct scratch *scratch, const char *name)
{
	return faccessat(scratch->fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void
test_trash_is_made_again(void **state)
{
	struct scratch *scratch = *state;
	struct stat st;

	assert_int_equal(fs_mkdir_path(scratch->fd, "thing/below", 0755), 0);
	assert_int_equal(trash_move(scratch->fd, "thing", scratch->fd, "thing.1.2"), 0);
	assert_false(is_there(scratch, "thing"));
	assert_true(is_there(scratch, "trash/thing.1.2/below"));
	assert_int_equal(fstatat(scratch->fd, "trash", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, TRASH_MODE);
}

/* Only what is not there is not there: the tree of an entry is gone then. */
static void
test_what_is_not_there(void **state)
{
	struct scratch *scratch = *state;

	assert_int_equal(trash_move(scratch->fd, "thing", scratch->fd, "thing.1.2"), -ENOENT);
	assert_int_equal(fs_mkdir(scratch->fd, "trash", TRASH_MODE), 0);
	assert_int_equal(trash_move(scratch->fd, "thing", scratch->fd, "thing.1.2"), -ENOENT);
	/* A trash/ that is no folder is no reason to say so. */
	assert_int_equal(unlinkat(scratch->fd, "trash", AT_REMOVEDIR), 0);
	assert_int_equal(symlinkat("nowhere", scratch->fd, "trash"), 0);
	assert_int_equal(fs_mkdir(scratch->fd, "thing", 0755), 0);
	assert_int_equal(trash_move(scratch->fd, "thing", scratch->fd, "thing.1.2"), -ENOTDIR);
	assert_true(is_there(scratch, "thing"));
}

/* A directory that may not be written cannot be moved to another: its ".." changes. */
static void
test_mode_that_does_not_let_it_move(void **state)
{
	struct scratch *scratch = *state;

	assert_int_equal(fs_mkdir(scratch->fd, "thing", 0755), 0);
	assert_int_equal(fchmodat(scratch->fd, "thing", 0, 0), 0);
	assert_int_equal(trash_move(scratch->fd, "thing", scratch->fd, "thing.1.2"), 0);
	assert_true(is_there(scratch, "trash/thing.1.2"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_trash_is_made_again, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_what_is_not_there, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_mode_that_does_not_let_it_move, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
