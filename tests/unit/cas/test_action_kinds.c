/* What is remembered about kinds of actions, whole or not at all: cas/action_kinds.h. */
#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "cas/action_kinds.h"
#include "tests/cmocka_wrap.h"

static char top[64];
static int top_fd;

static int
setup(void **state)
{
	strlcpy(top, "/tmp/ramet-test-kinds.XXXXXX", sizeof(top));
	top_fd = mkdtemp(top) == NULL ? -1 : open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return top_fd < 0 ? -1 : 0;
}

static int
teardown(void **state)
{
	close(top_fd);
	return fs_remove_tree(AT_FDCWD, top);
}

static struct action_kind
kind_of(const char *name, enum action_kind_state state)
{
	struct action_kind kind = {.state = state, .failed = 2, .since_s = 1795646915};

	strlcpy(kind.name, name, sizeof(kind.name));
	return kind;
}

static int
count_kind(void *arg, const struct action_kind *kind)
{
	++*(unsigned *)arg;
	return 0;
}

static unsigned
count(void)
{
	unsigned kinds = 0;

	assert_int_equal(action_kinds_each(top_fd, count_kind, &kinds), 0);
	return kinds;
}

static void
test_put_get_forget(void **state)
{
	struct action_kind kind, cc = kind_of("/usr/bin/cc CppCompile", ACTION_KIND_WRITER);

	assert_int_equal(action_kind_get(top_fd, cc.name, &kind), -ENOENT);
	assert_int_equal(kind.state, ACTION_KIND_UNPROVED);
	assert_string_equal(kind.name, cc.name);
	assert_int_equal(count(), 0);
	assert_int_equal(action_kind_put(top_fd, &cc), 0);
	assert_int_equal(action_kind_get(top_fd, cc.name, &kind), 0);
	assert_memory_equal(&kind, &cc, sizeof(kind));
	cc.state = ACTION_KIND_GUARDED; /* the last one wins */
	assert_int_equal(action_kind_put(top_fd, &cc), 0);
	struct action_kind other = kind_of("/bin/sh", ACTION_KIND_UNPROVED);
	assert_int_equal(action_kind_put(top_fd, &other), 0);
	assert_int_equal(count(), 2);
	assert_int_equal(action_kind_get(top_fd, cc.name, &kind), 0);
	assert_int_equal(kind.state, ACTION_KIND_GUARDED);
	assert_int_equal(action_kinds_forget(top_fd, "nobody"), -ENOENT);
	assert_int_equal(action_kinds_forget(top_fd, "/bin/sh"), 0);
	assert_int_equal(count(), 1);
	assert_int_equal(action_kinds_forget(top_fd, NULL), 0);
	assert_int_equal(count(), 0);
	assert_int_equal(action_kinds_forget(top_fd, NULL), 0);
}

static void
test_names(void **state)
{
	char name[ACTION_KIND_NAME_SIZE], other[ACTION_KIND_NAME_SIZE], program[600];

	action_kind_name("/bin/cc", "", name);
	assert_string_equal(name, "/bin/cc");
	action_kind_name("/bin/cc", "/bin/cc", name);
	assert_string_equal(name, "/bin/cc");
	action_kind_name("/bin/cc", "Link //a\n:b", name);
	assert_string_equal(name, "/bin/cc Link //a?:b");
	memset(program, 'p', sizeof(program));
	program[sizeof(program) - 1] = '\0';
	action_kind_name(program, "a", name);
	action_kind_name(program, "b", other);
	assert_int_equal(strlen(name), ACTION_KIND_NAME_SIZE - 1);
	assert_string_not_equal(name, other);
}

/* Every file that is not the whole of one is none, and goes. */
static void
test_torn(void **state)
{
	struct action_kind kind, cc = kind_of("/usr/bin/cc", ACTION_KIND_WRITER);
	struct dirent *entry;
	char path[300] = "";
	uint8_t *whole;
	size_t len;

	assert_int_equal(action_kind_put(top_fd, &cc), 0);
	DIR *dir = fdopendir(openat(top_fd, "kinds", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	while ((entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.')
			snprintf(path, sizeof(path), "kinds/%s", entry->d_name);
	closedir(dir);
	assert_int_equal(fs_read_file(top_fd, path, 4096, &whole, &len), 0);
	for (size_t cut = 0; cut < len; cut++) {
		assert_int_equal(fs_write_atomic(top_fd, path, whole, cut, 0644), 0);
		assert_int_equal(count(), 0);
		assert_int_equal(action_kind_get(top_fd, cc.name, &kind), -EBADMSG);
		assert_int_equal(kind.state, ACTION_KIND_UNPROVED);
		assert_int_equal(action_kind_get(top_fd, cc.name, &kind), -ENOENT);
	}
	for (size_t at = 0; at < len; at++) {
		whole[at] ^= 1;
		assert_int_equal(fs_write_atomic(top_fd, path, whole, len, 0644), 0);
		assert_int_equal(action_kind_get(top_fd, cc.name, &kind), -EBADMSG);
		whole[at] ^= 1;
	}
	assert_int_equal(fs_write_atomic(top_fd, path, whole, len, 0644), 0);
	assert_int_equal(action_kind_get(top_fd, cc.name, &kind), 0);
	/* Another kind's, in its place. */
	assert_int_equal(renameat(top_fd, path, top_fd, "kinds/moved"), 0);
	struct action_kind sh = kind_of("/bin/sh", ACTION_KIND_WRITER);
	assert_int_equal(action_kind_put(top_fd, &sh), 0);
	free(whole);
}

static void
test_clean(void **state)
{
	const struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	struct action_kind cc = kind_of("/usr/bin/cc", ACTION_KIND_WRITER);
	int fd;

	assert_int_equal(action_kinds_clean(top_fd, 100), 0);
	assert_int_equal(action_kind_put(top_fd, &cc), 0);
	fd = openat(top_fd, "kinds/.tmp.1.1", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(action_kinds_clean(top_fd, 100), 0);
	assert_int_equal(faccessat(top_fd, "kinds/.tmp.1.1", F_OK, 0), 0);
	assert_int_equal(count(), 1);
	assert_int_equal(futimens(fd, old), 0);
	close(fd);
	assert_int_equal(action_kinds_clean(top_fd, 100), 0);
	assert_int_equal(faccessat(top_fd, "kinds/.tmp.1.1", F_OK, 0), -1);
	assert_int_equal(count(), 1);
	assert_int_equal(action_kinds_clean(top_fd, 0), 0);
	assert_int_equal(count(), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_put_get_forget, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_names, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_torn, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_clean, setup, teardown),
	};

	return cmocka_run_group_tests_name("action_kinds", tests, NULL, NULL);
}
