#include <sys/param.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <libutil.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/state_path.h"
#include "supervisor/state_dir.h"
#include "tests/cmocka_wrap.h"

static char top[64], real_top[PATH_MAX];

static char *
below(const char *name)
{
	static char path[PATH_MAX + 64];

	snprintf(path, sizeof(path), "%s/%s", top, name);
	return path;
}

static void
the_layout_is_made_and_the_path_is_real(void **state)
{
	static const char *const folders[] = {
	    "cas", "ac", "trees", "images", "sandboxes", "trash", "ingest", "suspect"};
	struct host_config host = {.state_fd = -1}, again = {.state_fd = -1};
	struct error_text err = {""};
	char expected[PATH_MAX + 64];
	struct stat st;

	assert_int_equal(symlink(".", below("link")), 0);
	assert_int_equal(state_dir_open(below("link/a/b"), &host, &err), 0);
	snprintf(expected, sizeof(expected), "%s/a/b", real_top);
	assert_string_equal(host.state_dir, expected);
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		assert_int_equal(fstatat(host.state_fd, folders[i], &st, 0), 0);
		assert_true(S_ISDIR(st.st_mode));
	}
	assert_int_equal(state_dir_open(below("a/b"), &again, &err), 0);
	assert_string_equal(again.state_dir, expected);
	close(again.state_fd);
	close(host.state_fd);
}

static void
one_host_at_a_time(void **state)
{
	struct host_config host = {.state_fd = -1};
	struct error_text err = {""};
	struct pidfh *pidfile, *second = NULL;
	uint32_t last = 1;
	char pid[32];

	assert_int_equal(state_dir_open(below("lock"), &host, &err), 0);
	assert_int_equal(state_dir_lock(&host, &pidfile, &last, &err), 0);
	assert_int_equal(last, 0);
	assert_int_equal(pidfile_write(pidfile), 0);
	assert_int_equal(state_dir_lock(&host, &second, &last, &err), -EEXIST);
	assert_null(second);
	snprintf(pid, sizeof(pid), "(pid %ld)", (long)getpid());
	assert_non_null(strstr(err.text, "in use by another host"));
	assert_non_null(strstr(err.text, pid));
	pidfile_close(pidfile); /* as when the host dies: the file stays, the lock goes */
	assert_int_equal(state_dir_lock(&host, &pidfile, &last, &err), 0);
	assert_int_not_equal(last, 0);
	state_dir_unlock(&host, pidfile);
	assert_int_equal(faccessat(host.state_fd, "ramet.pid", F_OK, 0), -1);
	close(host.state_fd);
}

/* The directory is moved away, or the file replaced, under a host: the next one's stays. */
static void
another_hosts_pid_file_stays(void **state)
{
	struct host_config old = {.state_fd = -1}, new = {.state_fd = -1};
	struct pidfh *old_file, *new_file;
	struct error_text err = {""};
	uint32_t last;

	assert_int_equal(state_dir_open(below("moved"), &old, &err), 0);
	assert_int_equal(state_dir_lock(&old, &old_file, &last, &err), 0);
	assert_int_equal(renameat(AT_FDCWD, old.state_dir, AT_FDCWD, below("away")), 0);
	assert_int_equal(state_dir_lock(&old, &new_file, &last, &err), -ENOENT);
	assert_int_equal(state_dir_open(below("moved"), &new, &err), 0);
	assert_int_equal(state_dir_lock(&new, &new_file, &last, &err), 0);
	state_dir_unlock(&old, old_file);
	assert_int_equal(faccessat(old.state_fd, "ramet.pid", F_OK, 0), -1);
	assert_int_equal(faccessat(new.state_fd, "ramet.pid", F_OK, 0), 0);
	close(old.state_fd);

	assert_int_equal(unlinkat(new.state_fd, "ramet.pid", 0), 0);
	assert_int_equal(state_dir_lock(&new, &old_file, &last, &err), 0);
	state_dir_unlock(&new, new_file);
	assert_int_equal(faccessat(new.state_fd, "ramet.pid", F_OK, 0), 0);
	state_dir_unlock(&new, old_file);
	assert_int_equal(faccessat(new.state_fd, "ramet.pid", F_OK, 0), -1);
	close(new.state_fd);
}

static void
what_is_in_the_way_is_named(void **state)
{
	struct host_config host = {.state_fd = -1};
	struct error_text err = {""};
	char dir[PATH_MAX];
	int fd;

	fd = open(below("file"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_not_equal(state_dir_open(below("file"), &host, &err), 0);
	assert_non_null(strstr(err.text, "/file"));
	assert_int_equal(host.state_fd, -1);

	strlcpy(dir, below("blocked"), sizeof(dir));
	assert_int_equal(mkdir(dir, 0700), 0);
	fd = open(below("blocked/trees"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	close(fd);
	assert_int_not_equal(state_dir_open(dir, &host, &err), 0);
	assert_non_null(strstr(err.text, "trees"));
	assert_int_not_equal(state_dir_open("/proc/ramet", &host, &err), 0);
}

static void
the_state_directory_that_is_meant(void **state)
{
	char path[PATH_MAX], here[PATH_MAX], expected[PATH_MAX + 64];

	assert_non_null(getcwd(here, sizeof(here)));
	setenv("RAMET_STATE", "/from/env", 1);
	assert_int_equal(state_path_choose("given", path, sizeof(path)), 0);
	assert_string_equal(path, "given");
	assert_int_equal(state_path_choose("", path, sizeof(path)), 0);
	assert_string_equal(path, "/from/env");
	unsetenv("RAMET_STATE");

	setenv("XDG_CACHE_HOME", "/the/cache", 1);
	assert_int_equal(chdir(top), 0);
	assert_int_equal(state_path_choose(NULL, path, sizeof(path)), 0);
	assert_string_equal(path, "/the/cache/ramet");
	unsetenv("XDG_CACHE_HOME");
	setenv("HOME", "/the/home", 1);
	assert_int_equal(state_path_choose(NULL, path, sizeof(path)), 0);
	assert_string_equal(path, "/the/home/.cache/ramet");

	assert_int_equal(mkdir("supervisor", 0700), 0);
	close(open("GNUmakefile", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	assert_int_equal(state_path_choose(NULL, path, sizeof(path)), 0);
	snprintf(expected, sizeof(expected), "%s/var", real_top);
	assert_string_equal(path, expected);
	assert_int_equal(state_path_choose(NULL, path, 3), -ENAMETOOLONG);
	assert_int_equal(chdir(here), 0);
}

static int
make_top(void **state)
{
	strlcpy(top, "/tmp/ramet-state.XXXXXX", sizeof(top));
	return mkdtemp(top) == NULL || realpath(top, real_top) == NULL ? -1 : 0;
}

static int
drop_top(void **state)
{
	return fs_remove_tree(AT_FDCWD, top);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_layout_is_made_and_the_path_is_real),
	    cmocka_unit_test(one_host_at_a_time),
	    cmocka_unit_test(another_hosts_pid_file_stays),
	    cmocka_unit_test(what_is_in_the_way_is_named),
	    cmocka_unit_test(the_state_directory_that_is_meant),
	};

	return cmocka_run_group_tests(tests, make_top, drop_top);
}
