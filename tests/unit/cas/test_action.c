/* Action, Command, and the action cache. */
#include <time.h>

#include "cas/action.h"
#include "cas/action_cache.h"
#include "cas/directory.h"
#include "cas/evict.h"
#include "cas/tree.h"
#include "tests/unit/cas/cas_fixture.h"

static char **
texts(struct arena *arena, const char *const *from, size_t *ret_count)
{
	size_t count = 0;
	char **copy;

	while (from[count] != NULL)
		count++;
	copy = arena_alloc(arena, (count + 1) * sizeof(*copy));
	for (size_t i = 0; i < count; i++)
		copy[i] = arena_strdup(arena, from[i]);
	*ret_count = count;
	return copy;
}
#define TEXTS(...) ((const char *const[]){__VA_ARGS__, NULL})

static ReapiCommand *
command_new(struct arena *arena)
{
	ReapiCommand *command = REAPI_NEW(arena, command);

	command->arguments = texts(arena, TEXTS("/bin/true"), &command->n_arguments);
	return command;
}

static int
check_paths(struct arena *arena, const char *const *paths)
{
	ReapiCommand *command = command_new(arena);

	command->output_paths = texts(arena, paths, &command->n_output_paths);
	return command_check(command, NULL);
}

static int
check_old(struct arena *arena, const char *const *files, const char *const *directories)
{
	ReapiCommand *command = command_new(arena);

	command->output_files = texts(arena, files, &command->n_output_files);
	command->output_directories = texts(arena, directories, &command->n_output_directories);
	return command_check(command, NULL);
}

static void
test_output_paths(void **state)
{
	struct arena *arena = ((struct fixture *)*state)->arena;
	static const char *const bad[] = {
	    "/etc", "a/", "a//b", "..", "a/../b", ".", "./a", "a/.", "/", "../../etc/passwd"};

	assert_int_equal(check_paths(arena, TEXTS("a", "b/c", "b/d", "a b", "")), 0);
	assert_int_equal(check_paths(arena, TEXTS("a", "a/b")), 0);
	assert_int_equal(check_paths(arena, TEXTS("a", "b", "a")), -EINVAL);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ReapiCommand *command = command_new(arena);

		assert_int_equal(check_paths(arena, TEXTS(bad[i])), -EINVAL);
		assert_int_equal(check_old(arena, TEXTS(bad[i]), TEXTS("d")), -EINVAL);
		assert_int_equal(check_old(arena, TEXTS("f"), TEXTS(bad[i])), -EINVAL);
		command->working_directory = arena_strdup(arena, bad[i]);
		assert_int_equal(command_check(command, NULL), -EINVAL);
	}
	assert_int_equal(check_old(arena, TEXTS("f", "g/h"), TEXTS("d", "d/e", "")), 0);
	assert_int_equal(check_old(arena, TEXTS("f", "f/g"), TEXTS("d")), -EINVAL);
	assert_int_equal(check_old(arena, TEXTS("f-", "f", "f/g"), TEXTS("d")), -EINVAL);
	assert_int_equal(check_old(arena, TEXTS("f", "f-/g"), TEXTS("d")), 0);
	assert_int_equal(check_old(arena, TEXTS("f"), TEXTS("f")), -EINVAL);
	assert_int_equal(check_old(arena, TEXTS("f", "f"), TEXTS("d")), -EINVAL);
	assert_int_equal(check_old(arena, TEXTS(""), TEXTS("d")), -EINVAL);
}

static void
test_command_refuses(void **state)
{
	static const char *const names[] = {"", "A=B", "="};
	struct arena *arena = ((struct fixture *)*state)->arena;
	ReapiCommand *command = command_new(arena);
	ReapiEnvironmentVariable *variable = REAPI_NEW(arena, command__environment_variable);

	variable->name = arena_strdup(arena, "PATH");
	variable->value = arena_strdup(arena, "a=b");
	command->environment_variables = &variable;
	command->n_environment_variables = 1;
	assert_int_equal(command_check(command, NULL), 0);
	for (size_t i = 0; i < 3; i++) {
		variable->name = arena_strdup(arena, names[i]);
		assert_int_equal(command_check(command, NULL), -EINVAL);
	}
	command->n_environment_variables = 0;
	command->arguments[0] = arena_strdup(arena, "");
	assert_int_equal(command_check(command, NULL), -EINVAL);
	command->n_arguments = 0;
	assert_int_equal(command_check(command, NULL), -EINVAL);
}

static struct digest
action_put(struct fixture *f, const struct digest *command, const struct digest *root,
    int64_t timeout_s, ReapiAction **ret_action)
{
	ReapiAction *action = REAPI_NEW(f->arena, action);
	struct digest digest;
	uint8_t *data;
	size_t len;

	action->command_digest = command != NULL ? reapi_digest_new(f->arena, command) : NULL;
	action->input_root_digest = root != NULL ? reapi_digest_new(f->arena, root) : NULL;
	action->timeout = reapi_new(f->arena, &google__protobuf__duration__descriptor);
	action->timeout->seconds = timeout_s;
	data = reapi_encode(f->arena, &action->base, &len);
	assert_int_equal(cas_put_bytes(f->cas, data, len, &digest), 0);
	if (ret_action != NULL)
		*ret_action = action;
	return digest;
}

static struct digest
command_put(struct fixture *f)
{
	struct digest digest;
	uint8_t *data;
	size_t len;

	data = reapi_encode(f->arena, &command_new(f->arena)->base, &len);
	assert_int_equal(cas_put_bytes(f->cas, data, len, &digest), 0);
	return digest;
}

static void
test_action_load(void **state)
{
	struct fixture *f = *state;
	struct digest command = command_put(f), gone = digest_of("gone", 4), digest;
	struct digest other = digest_of("other", 5);
	struct action_missing missing;
	struct error_text err;
	ReapiAction *action;
	ReapiCommand *loaded;

	digest = action_put(f, &command, &digest_empty, 5, NULL);
	assert_int_equal(
	    action_load(f->cas, f->arena, &digest, &action, &loaded, &missing, &err), 0);
	assert_string_equal(loaded->arguments[0], "/bin/true");
	assert_int_equal(missing.count, 0);
	assert_int_equal(
	    action_load(f->cas, f->arena, &gone, &action, &loaded, &missing, &err), -ENOENT);
	assert_int_equal(missing.count, 1);
	digest = action_put(f, &gone, &other, 5, NULL);
	assert_int_equal(
	    action_load(f->cas, f->arena, &digest, &action, &loaded, &missing, &err), -ENOENT);
	assert_int_equal(missing.count, 2);
	assert_true(digest_equal(&missing.digests[0], &gone));
	assert_true(digest_equal(&missing.digests[1], &other));
	digest = action_put(f, &command, &other, 5, NULL);
	assert_int_equal(
	    action_load(f->cas, f->arena, &digest, &action, &loaded, &missing, NULL), -ENOENT);
	assert_int_equal(missing.count, 1);
	digest = action_put(f, &command, &digest_empty, -1, NULL);
	assert_int_equal(
	    action_load(f->cas, f->arena, &digest, &action, &loaded, NULL, &err), -EINVAL);
	digest = action_put(f, &command, NULL, 1, NULL);
	assert_int_equal(
	    action_load(f->cas, f->arena, &digest, &action, &loaded, NULL, &err), -EINVAL);
	digest = action_put(f, NULL, &digest_empty, 1, NULL);
	assert_int_equal(
	    action_load(f->cas, f->arena, &digest, &action, &loaded, NULL, &err), -EINVAL);
	digest = put_text(f->cas, "no message");
	assert_int_equal(
	    action_load(f->cas, f->arena, &digest, &action, &loaded, NULL, &err), -EINVAL);
}

static void
test_command_with_a_nul(void **state)
{
	static const uint8_t wire[] = {0x0a, 3, 'l', 0, 's'};
	struct fixture *f = *state;
	struct digest command, digest;
	struct error_text err;
	ReapiAction *action;
	ReapiCommand *loaded;

	assert_int_equal(cas_put_bytes(f->cas, wire, sizeof(wire), &command), 0);
	digest = action_put(f, &command, &digest_empty, 5, NULL);
	assert_int_equal(
	    action_load(f->cas, f->arena, &digest, &action, &loaded, NULL, &err), -EINVAL);
	assert_non_null(strstr(err.text, "arguments"));
}

static ReapiActionResult *
result_new(struct fixture *f, const struct digest *file, const struct digest *tree,
    const struct digest *root)
{
	ReapiActionResult *result = REAPI_NEW(f->arena, action_result);

	result->output_files = arena_alloc(f->arena, sizeof(void *));
	result->output_files[0] = REAPI_NEW(f->arena, output_file);
	result->output_files[0]->path = arena_strdup(f->arena, "out");
	result->output_files[0]->digest = reapi_digest_new(f->arena, file);
	result->n_output_files = 1;
	result->output_directories = arena_alloc(f->arena, sizeof(void *));
	result->output_directories[0] = REAPI_NEW(f->arena, output_directory);
	result->output_directories[0]->path = arena_strdup(f->arena, "dir");
	result->output_directories[0]->tree_digest = reapi_digest_new(f->arena, tree);
	if (root != NULL)
		result->output_directories[0]->root_directory_digest =
		    reapi_digest_new(f->arena, root);
	result->n_output_directories = 1;
	result->stdout_digest = reapi_digest_new(f->arena, &digest_empty);
	return result;
}

static int
cache_put(struct fixture *f, const struct digest *action, const ReapiActionResult *result)
{
	size_t len;
	uint8_t *data = reapi_encode(f->arena, &result->base, &len);

	return action_cache_put(f->cas, action, data, len);
}

/* A directory with the file "in" in it; its Tree, and its own digest. */
static struct digest
tree_put(struct fixture *f, const struct digest *file, bool directories, struct digest *ret_root)
{
	struct tree_builder *builder = tree_builder_new();
	ReapiDirectory *directory = REAPI_NEW(f->arena, directory);
	ReapiFileNode *node = REAPI_NEW(f->arena, file_node);
	struct error_text err;
	struct digest tree;

	node->name = arena_strdup(f->arena, "in");
	node->digest = reapi_digest_new(f->arena, file);
	directory->files = &node;
	directory->n_files = 1;
	assert_int_equal(tree_builder_add(builder, directory, ret_root, &err), 0);
	assert_int_equal(
	    tree_builder_finish(builder, f->cas, ret_root, directories, &tree, &err), 0);
	tree_builder_free(builder);
	return tree;
}

static void
test_cache_serves_complete_results(void **state)
{
	struct fixture *f = *state;
	struct digest action = digest_of("action", 6), root, tree;
	ReapiActionResult *result;

	for (int lost = 0; lost < 5; lost++) {
		struct digest file = put_text(f->cas, "out"), in = put_text(f->cas, "in");
		const struct digest *victims[] = {NULL, &file, &in, &tree, &root};

		tree = tree_put(f, &in, true, &root);
		assert_int_equal(action_cache_get(f->cas, f->arena, &action, &result), -ENOENT);
		assert_int_equal(cache_put(f, &action, result_new(f, &file, &tree, &root)), 0);
		assert_int_equal(action_cache_get(f->cas, f->arena, &action, &result), 0);
		assert_string_equal(result->output_files[0]->path, "out");
		assert_int_equal(result->base.n_unknown_fields, 0);
		if (lost == 0) {
			char name[CAS_NAME_SIZE];

			cas_blob_name(&action, false, name);
			assert_int_equal(unlinkat(cas_ac_dirfd(f->cas), name, 0), 0);
			continue;
		}
		cas_drop(f->cas, victims[lost]);
		assert_int_equal(action_cache_get(f->cas, f->arena, &action, &result), -ESTALE);
	}
	assert_int_equal(folder_count(f->state_fd, "cas/tmp"), 0);
}

static void
test_cache_tree_without_directory_blobs(void **state)
{
	struct fixture *f = *state;
	struct digest action = digest_of("action", 6), root, in = put_text(f->cas, "in");
	struct digest tree = tree_put(f, &in, false, &root);
	ReapiActionResult *result;

	assert_int_equal(cache_put(f, &action, result_new(f, &in, &tree, NULL)), 0);
	assert_int_equal(action_cache_get(f->cas, f->arena, &action, &result), 0);
}

static void
test_cache_damaged_entries(void **state)
{
	struct fixture *f = *state;
	struct digest action = digest_of("action", 6), in = put_text(f->cas, "in"), root;
	struct digest tree = tree_put(f, &in, false, &root);
	char name[CAS_NAME_SIZE];
	ReapiActionResult *result;
	uint8_t *data;
	size_t len;

	cas_blob_name(&action, false, name);
	assert_int_equal(cache_put(f, &action, result_new(f, &in, &tree, NULL)), 0);
	assert_int_equal(fs_read_file(cas_ac_dirfd(f->cas), name, 1 << 20, &data, &len), 0);
	for (size_t cut = 0; cut < len; cut += cut < len - 45 ? 29 : 1) {
		file_write(cas_ac_dirfd(f->cas), name, data, cut, 0644);
		assert_int_equal(action_cache_get(f->cas, f->arena, &action, &result), -ENOENT);
		assert_int_equal(faccessat(cas_ac_dirfd(f->cas), name, F_OK, 0), -1);
	}
	data[3] ^= 1;
	file_write(cas_ac_dirfd(f->cas), name, data, len, 0644);
	assert_int_equal(action_cache_get(f->cas, f->arena, &action, &result), -ENOENT);
	free(data);
	assert_int_equal(action_cache_put(f->cas, &action, "no message", 10), -EINVAL);
}

static void
test_cache_ages(void **state)
{
	struct fixture *f = *state;
	struct digest old = digest_of("old", 3), young = digest_of("young", 5);
	const struct timespec long_ago[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	ReapiActionResult *result = REAPI_NEW(f->arena, action_result);
	char name[CAS_NAME_SIZE];
	uint64_t removed;

	assert_int_equal(cache_put(f, &old, result), 0);
	assert_int_equal(cache_put(f, &young, result), 0);
	cas_blob_name(&old, false, name);
	assert_int_equal(utimensat(cas_ac_dirfd(f->cas), name, long_ago, 0), 0);
	assert_int_equal(action_cache_get(f->cas, f->arena, &old, &result), 0);
	assert_int_equal(evict_action_cache(f->cas, 100, &removed), 0);
	assert_int_equal(removed, 0); /* it was asked for just now */
	assert_int_equal(utimensat(cas_ac_dirfd(f->cas), name, long_ago, 0), 0);
	assert_int_equal(evict_action_cache(f->cas, 100, &removed), 0);
	assert_int_equal(removed, 1);
	assert_int_equal(action_cache_get(f->cas, f->arena, &old, &result), -ENOENT);
	assert_int_equal(action_cache_get(f->cas, f->arena, &young, &result), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_output_paths),
	    T(test_command_refuses),
	    T(test_action_load),
	    T(test_command_with_a_nul),
	    T(test_cache_serves_complete_results),
	    T(test_cache_tree_without_directory_blobs),
	    T(test_cache_damaged_entries),
	    T(test_cache_ages),
	};

	return cmocka_run_group_tests_name("cas/action", tests, NULL, NULL);
}
