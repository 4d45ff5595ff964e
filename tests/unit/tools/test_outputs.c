/* Outputs written for the user, grafts for dependants, and actions built canonically. */
#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "cas/tree.h"
#include "tests/cmocka_wrap.h"
#include "tools/action_build.h"
#include "tools/outputs.h"

struct place {
	char path[64];
	int state_fd, into_fd;
	struct cas *cas;
	struct arena *arena;
};

static int
setup(void **state)
{
	struct place *place = calloc(1, sizeof(*place));
	struct error_text err;
	int fd;

	strlcpy(place->path, "/tmp/ramet-outputs.XXXXXX", sizeof(place->path));
	assert_non_null(mkdtemp(place->path));
	fd = open(place->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(fs_mkdir(fd, "state", 0755), 0);
	assert_int_equal(fs_mkdir(fd, "into", 0755), 0);
	assert_int_equal(fs_open_beneath(fd, "state", &place->state_fd), 0);
	assert_int_equal(fs_open_beneath(fd, "into", &place->into_fd), 0);
	close(fd);
	assert_int_equal(cas_open(place->state_fd, true, &place->cas, &err), 0);
	place->arena = arena_new();
	*state = place;
	return 0;
}

static int
teardown(void **state)
{
	struct place *place = *state;

	arena_free(place->arena);
	cas_close(place->cas);
	close(place->state_fd);
	close(place->into_fd);
	assert_int_equal(fs_remove_tree(AT_FDCWD, place->path), 0);
	free(place);
	return 0;
}

static struct digest
blob(struct place *place, const char *text)
{
	struct digest digest;

	assert_int_equal(cas_put_bytes(place->cas, text, strlen(text), &digest), 0);
	return digest;
}

static ReapiActionResult *
result_with_file(struct place *place, const char *path, const char *text, bool executable)
{
	ReapiActionResult *result = REAPI_NEW(place->arena, action_result);
	ReapiOutputFile *file = REAPI_NEW(place->arena, output_file);
	struct digest digest = blob(place, text);

	file->path = arena_strdup(place->arena, path);
	file->digest = reapi_digest_new(place->arena, &digest);
	file->is_executable = executable;
	result->n_output_files = 1;
	result->output_files = arena_alloc(place->arena, sizeof(void *));
	result->output_files[0] = file;
	return result;
}

/* An output directory that holds one file. */
static ReapiActionResult *
result_with_directory(struct place *place, const char *path, const char *name, const char *text)
{
	ReapiActionResult *result = REAPI_NEW(place->arena, action_result);
	ReapiOutputDirectory *output = REAPI_NEW(place->arena, output_directory);
	ReapiDirectory *directory = REAPI_NEW(place->arena, directory);
	ReapiFileNode *file = REAPI_NEW(place->arena, file_node);
	struct tree_builder *builder = tree_builder_new();
	struct digest digest = blob(place, text), root, tree;
	struct error_text err;

	file->name = arena_strdup(place->arena, name);
	file->digest = reapi_digest_new(place->arena, &digest);
	directory->n_files = 1;
	directory->files = arena_alloc(place->arena, sizeof(void *));
	directory->files[0] = file;
	assert_int_equal(tree_builder_add(builder, directory, &root, &err), 0);
	assert_int_equal(tree_builder_finish(builder, place->cas, &root, false, &tree, &err), 0);
	tree_builder_free(builder);
	output->path = arena_strdup(place->arena, path);
	output->tree_digest = reapi_digest_new(place->arena, &tree);
	result->n_output_directories = 1;
	result->output_directories = arena_alloc(place->arena, sizeof(void *));
	result->output_directories[0] = output;
	return result;
}

static ReapiActionResult *
result_with_symlink(struct place *place, const char *path, const char *target)
{
	ReapiActionResult *result = REAPI_NEW(place->arena, action_result);
	ReapiOutputSymlink *link = REAPI_NEW(place->arena, output_symlink);

	link->path = arena_strdup(place->arena, path);
	link->target = arena_strdup(place->arena, target);
	result->n_output_symlinks = 1;
	result->output_symlinks = arena_alloc(place->arena, sizeof(void *));
	result->output_symlinks[0] = link;
	return result;
}

static int
write_out(struct place *place, const ReapiActionResult *result)
{
	struct error_text err = {""};
	int rc = outputs_write(place->cas, place->arena, result, place->into_fd, &err);

	assert_true((rc == 0) == (err.text[0] == '\0'));
	return rc;
}

static void
assert_holds(struct place *place, const char *path, const char *text)
{
	uint8_t *data = NULL;
	size_t len;
	int fd = openat(place->into_fd, path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(fs_read_fd(fd, 4096, &data, &len), 0);
	close(fd);
	assert_int_equal(len, strlen(text));
	assert_memory_equal(data, text, len);
	free(data);
}

/* No temporary name is left beside the outputs. */
static void
assert_names(struct place *place, unsigned expected)
{
	int fd = openat(place->into_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fdopendir(fd);
	struct dirent *item;
	unsigned count = 0;

	while ((item = readdir(dir)) != NULL)
		if (strcmp(item->d_name, ".") != 0 && strcmp(item->d_name, "..") != 0) {
			assert_int_not_equal(item->d_name[0], '.');
			count++;
		}
	closedir(dir);
	assert_int_equal(count, expected);
}

static void
test_file(void **state)
{
	struct place *place = *state;
	struct stat st;

	assert_int_equal(write_out(place, result_with_file(place, "a/b/f", "one", false)), 0);
	assert_holds(place, "a/b/f", "one");
	assert_int_equal(write_out(place, result_with_file(place, "a/b/f", "two", true)), 0);
	assert_holds(place, "a/b/f", "two");
	assert_int_equal(fstatat(place->into_fd, "a/b/f", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(st.st_mode & 0111, 0111);
	assert_int_equal(st.st_mode & 0200, 0200);
	assert_int_equal(st.st_nlink, 1); /* the user's own, not the store's */
	assert_names(place, 1);
}

static void
test_directory_replaced_whole(void **state)
{
	struct place *place = *state;

	assert_int_equal(write_out(place, result_with_directory(place, "d", "old", "1")), 0);
	assert_holds(place, "d/old", "1");
	assert_int_equal(write_out(place, result_with_directory(place, "d", "new", "2")), 0);
	assert_holds(place, "d/new", "2");
	assert_int_equal(faccessat(place->into_fd, "d/old", F_OK, 0), -1);
	assert_names(place, 1);
}

static void
test_kinds_do_not_replace_each_other(void **state)
{
	struct place *place = *state;

	assert_int_equal(write_out(place, result_with_directory(place, "d", "in", "1")), 0);
	assert_int_equal(write_out(place, result_with_file(place, "d", "x", false)), -EISDIR);
	assert_holds(place, "d/in", "1");
	assert_int_equal(write_out(place, result_with_file(place, "f", "x", false)), 0);
	assert_int_equal(write_out(place, result_with_directory(place, "f", "in", "1")), -ENOTDIR);
	assert_holds(place, "f", "x");
	assert_names(place, 2);
}

static void
test_symlinks(void **state)
{
	struct place *place = *state;
	char target[64] = "";

	assert_int_equal(write_out(place, result_with_symlink(place, "l", "../state/cas")), 0);
	assert_int_equal(readlinkat(place->into_fd, "l", target, sizeof(target) - 1), 12);
	assert_string_equal(target, "../state/cas");
	/* Nothing is written through it, also not over it. */
	assert_int_not_equal(write_out(place, result_with_file(place, "l/escape", "x", false)), 0);
	assert_int_equal(faccessat(place->state_fd, "cas/escape", F_OK, 0), -1);
	assert_int_equal(write_out(place, result_with_file(place, "l", "x", false)), 0);
	assert_holds(place, "l", "x");
	assert_names(place, 1);
}

static void
test_bad_paths(void **state)
{
	static const char *const paths[] = {"", "/etc/x", "../x", "a/../../x", "a//b", "a/", "."};
	struct place *place = *state;

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		assert_int_equal(
		    write_out(place, result_with_file(place, paths[i], "x", false)), -EINVAL);
		assert_int_equal(
		    write_out(place, result_with_directory(place, paths[i], "f", "x")), -EINVAL);
		assert_int_equal(
		    write_out(place, result_with_symlink(place, paths[i], "x")), -EINVAL);
	}
	assert_names(place, 0);
}

static void
test_missing_blob(void **state)
{
	struct place *place = *state;
	ReapiActionResult *result = result_with_file(place, "f", "soon gone", false);
	struct digest digest;

	assert_int_equal(reapi_digest_get(result->output_files[0]->digest, &digest), 0);
	cas_drop(place->cas, &digest);
	assert_int_equal(write_out(place, result), -ENOENT);
	assert_names(place, 0);
}

static void
test_grafts(void **state)
{
	struct place *place = *state;
	ReapiActionResult *result = result_with_directory(place, "d", "f", "1");
	struct tree_graft *grafts;
	struct error_text err;
	ReapiDirectory *directory;
	size_t count;

	assert_int_equal(
	    outputs_grafts(place->cas, place->arena, result, "sub", &grafts, &count, &err), 0);
	assert_int_equal(count, 1);
	assert_int_equal(grafts[0].kind, GRAFT_DIRECTORY);
	assert_string_equal(grafts[0].path, "sub/d");
	/* The Tree's Directories are in the store by themselves now. */
	assert_int_equal(
	    directory_load(place->cas, place->arena, &grafts[0].digest, &directory, &err), 0);
	assert_string_equal(directory->files[0]->name, "f");
	result = result_with_file(place, "f", "1", true);
	assert_int_equal(
	    outputs_grafts(place->cas, place->arena, result, NULL, &grafts, &count, &err), 0);
	assert_string_equal(grafts[0].path, "f");
	assert_true(grafts[0].kind == GRAFT_FILE && grafts[0].executable);
}

static struct digest
built(struct place *place, const struct action_spec *spec)
{
	struct error_text err;
	struct digest action;

	assert_int_equal(action_check_spec(spec, &err), 0);
	assert_int_equal(action_build(place->cas, spec, &digest_empty, &action, &err), 0);
	return action;
}

static void
test_canonical_actions(void **state)
{
	struct place *place = *state;
	struct action_spec one = {.cwd = ""}, two = {.cwd = NULL};
	struct digest first, second;

	strings_add(&one.argv, "/bin/true");
	strings_add(&two.argv, "/bin/true");
	strings_add(&one.env, "A=1");
	strings_add(&one.env, "B=2");
	strings_add(&two.env, "B=0");
	strings_add(&two.env, "A=1");
	strings_add(&two.env, "B=2"); /* the later one counts */
	strings_add(&one.outputs, "x");
	strings_add(&one.outputs, "y");
	strings_add(&two.outputs, "y");
	strings_add(&two.outputs, "x");
	strings_add(&two.outputs, "y");
	first = built(place, &one);
	second = built(place, &two);
	assert_true(digest_equal(&first, &second));
	two.timeout_s = 2.5;
	second = built(place, &two);
	assert_false(digest_equal(&first, &second));
	action_spec_free(&one);
	action_spec_free(&two);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_file),
	    TEST(test_directory_replaced_whole),
	    TEST(test_kinds_do_not_replace_each_other),
	    TEST(test_symlinks),
	    TEST(test_bad_paths),
	    TEST(test_missing_blob),
	    TEST(test_grafts),
	    TEST(test_canonical_actions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
