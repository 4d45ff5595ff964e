#include "cas/directory.h"
#include "cas/wire.h"
#include "tests/unit/cas/cas_fixture.h"

static ReapiDirectory *
directory_new(struct arena *arena)
{
	ReapiDirectory *directory = REAPI_NEW(arena, directory);

	directory->files = arena_alloc(arena, 8 * sizeof(void *));
	directory->directories = arena_alloc(arena, 8 * sizeof(void *));
	directory->symlinks = arena_alloc(arena, 8 * sizeof(void *));
	return directory;
}

static void
add_file(struct arena *arena, ReapiDirectory *directory, const char *name,
    const struct digest *digest, bool executable)
{
	ReapiFileNode *node = REAPI_NEW(arena, file_node);

	node->name = arena_strdup(arena, name);
	node->digest = reapi_digest_new(arena, digest);
	node->is_executable = executable;
	directory->files[directory->n_files++] = node;
}

static void
add_directory(
    struct arena *arena, ReapiDirectory *directory, const char *name, const struct digest *digest)
{
	ReapiDirectoryNode *node = REAPI_NEW(arena, directory_node);

	node->name = arena_strdup(arena, name);
	node->digest = reapi_digest_new(arena, digest);
	directory->directories[directory->n_directories++] = node;
}

static void
add_symlink(struct arena *arena, ReapiDirectory *directory, const char *name, const char *target)
{
	ReapiSymlinkNode *node = REAPI_NEW(arena, symlink_node);

	node->name = arena_strdup(arena, name);
	node->target = arena_strdup(arena, target);
	directory->symlinks[directory->n_symlinks++] = node;
}

static void
test_empty_directory(void **state)
{
	struct fixture *f = *state;
	ReapiDirectory *directory = directory_new(f->arena), *loaded;
	struct digest digest;
	struct error_text err;

	assert_int_equal(directory_store(f->cas, f->arena, directory, &digest), 0);
	assert_true(digest_is_empty(&digest));
	assert_int_equal(directory_load(f->cas, f->arena, &digest, &loaded, &err), 0);
	assert_int_equal(loaded->n_files + loaded->n_directories + loaded->n_symlinks, 0);
}

/* Bytes, not a text: no NUL goes with them. */
static size_t
put(uint8_t *wire, size_t at, const void *bytes, size_t len)
{
	memcpy(wire + at, bytes, len);
	return at + len;
}

/* The bytes as the wire format has them, written by hand. */
static void
test_encoding_by_hand(void **state)
{
	struct fixture *f = *state;
	ReapiDirectory *directory = directory_new(f->arena);
	struct digest blob = digest_of("hello", 5), empty = digest_empty, digest, expected;
	uint8_t wire[512], *encoded;
	char hex[DIGEST_HEX_SIZE];
	size_t at = 0, len;

	add_file(f->arena, directory, "b", &blob, true);
	add_file(f->arena, directory, "a", &blob, false);
	add_directory(f->arena, directory, "d", &empty);
	add_symlink(f->arena, directory, "s", "../t");
	for (int i = 0; i < 2; i++) {
		wire[at++] = 0x0a; /* files = 1 */
		wire[at++] = (uint8_t)(73 + 2 * i); /* name 3, digest 70, is_executable 2 */
		at = put(wire, at, i == 0 ? "\x0a\x01\x61" : "\x0a\x01\x62", 3);
		at = put(wire, at, "\x12\x44\x0a\x40", 4); /* digest = 2: hash = 1 */
		at = put(wire, at, digest_to_hex(&blob, hex), 64);
		at = put(wire, at, "\x10\x05", 2); /* size_bytes = 2 */
		if (i == 1) {
			at = put(wire, at, "\x20\x01", 2); /* is_executable = 4 */
		}
	}
	at = put(wire, at, "\x12\x47\x0a\x01\x64\x12\x42\x0a\x40", 9); /* directories = 2 */
	at = put(wire, at, digest_to_hex(&empty, hex), 64); /* size_bytes 0 is not written */
	at = put(wire, at, "\x1a\x09\x0a\x01\x73\x12\x04../t", 11); /* symlinks = 3 */

	directory_sort(directory);
	encoded = reapi_encode(f->arena, &directory->base, &len);
	assert_int_equal(len, at);
	assert_memory_equal(encoded, wire, at);
	expected = digest_of(wire, at);
	assert_int_equal(directory_store(f->cas, f->arena, directory, &digest), 0);
	assert_true(digest_equal(&digest, &expected));
}

static void
test_bad_names(void **state)
{
	static const char *const bad[] = {"", ".", "..", "a/b", "/", "a/"};
	struct fixture *f = *state;
	struct digest blob = digest_of("x", 1);
	char long_name[257];
	struct error_text err;

	for (size_t i = 0; i <= sizeof(bad) / sizeof(bad[0]); i++) {
		const char *name = i < sizeof(bad) / sizeof(bad[0]) ? bad[i] : long_name;
		ReapiDirectory *files = directory_new(f->arena);
		ReapiDirectory *directories = directory_new(f->arena);
		ReapiDirectory *symlinks = directory_new(f->arena);

		memset(long_name, 'n', 256);
		long_name[256] = '\0';
		add_file(f->arena, files, name, &blob, false);
		add_directory(f->arena, directories, name, &blob);
		add_symlink(f->arena, symlinks, name, "t");
		assert_int_equal(directory_check(files, &err), -EINVAL);
		assert_int_equal(directory_check(directories, &err), -EINVAL);
		assert_int_equal(directory_check(symlinks, &err), -EINVAL);
	}
}

static void
test_doubled_names(void **state)
{
	struct fixture *f = *state;
	struct digest blob = digest_of("x", 1);
	ReapiDirectory *directory;
	struct error_text err;

	for (int kinds = 0; kinds < 4; kinds++) {
		directory = directory_new(f->arena);
		add_file(f->arena, directory, "z", &blob, false);
		add_file(f->arena, directory, "same", &blob, false);
		assert_int_equal(directory_check(directory, &err), 0);
		if (kinds == 0)
			add_file(f->arena, directory, "same", &blob, true);
		else if (kinds == 1)
			add_directory(f->arena, directory, "same", &blob);
		else if (kinds == 2)
			add_symlink(f->arena, directory, "same", "t");
		else
			add_symlink(f->arena, directory, "z", "t");
		assert_int_equal(directory_check(directory, &err), -EINVAL);
		assert_non_null(strstr(err.text, kinds < 3 ? "'same'" : "'z'"));
	}
}

static void
test_bad_digests(void **state)
{
	static const char *const bad[] = {"", "abc",
	    "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
	    "g3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
	    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b8550"};
	struct fixture *f = *state;
	ReapiDirectory *directory = directory_new(f->arena);
	struct digest blob = digest_of("x", 1);
	struct error_text err;

	add_file(f->arena, directory, "file", &blob, false);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		directory->files[0]->digest->hash = arena_strdup(f->arena, bad[i]);
		assert_int_equal(directory_check(directory, &err), -EINVAL);
	}
	directory->files[0]->digest = reapi_digest_new(f->arena, &blob);
	assert_int_equal(directory_check(directory, &err), 0);
	directory->files[0]->digest->size_bytes = -1;
	assert_int_equal(directory_check(directory, &err), -EINVAL);
	directory->files[0]->digest = NULL;
	assert_int_equal(directory_check(directory, &err), -EINVAL);
	directory->n_files = 0;
	add_symlink(f->arena, directory, "link", "");
	assert_int_equal(directory_check(directory, &err), -EINVAL);
}

static void
test_embedded_nul(void **state)
{
	static const uint8_t name[] = "\x1a\x0a\x0a\x03"
				      "a\0b\x12\x03"
				      "tgt";
	static const uint8_t target[] = "\x1a\x0a\x0a\x03"
					"abc\x12\x03"
					"t\0t";
	struct fixture *f = *state;
	const struct {
		const uint8_t *bytes;
		const char *field;
	} cases[] = {{name, "name"}, {target, "target"}};

	for (int i = 0; i < 2; i++) {
		ReapiDirectory *directory;
		struct error_text err;
		struct digest digest;

		assert_null(REAPI_DECODE(f->arena, directory, cases[i].bytes, 12));
		assert_int_equal(cas_put_bytes(f->cas, cases[i].bytes, 12, &digest), 0);
		assert_int_equal(
		    directory_load(f->cas, f->arena, &digest, &directory, &err), -EINVAL);
		assert_non_null(strstr(err.text, cases[i].field));
		assert_non_null(strstr(err.text, "NUL"));
	}
}

static void
test_bytes_that_are_no_message(void **state)
{
	static const char *const bad[] = {"\x0a", "\x85\x01\x01", "\x05\x01\x01\x01\x01",
	    "\x0a\x7f", "\x0b", "hello world", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
	    "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x01"};
	struct fixture *f = *state;
	struct error_text err;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct digest digest = put_text(f->cas, bad[i]);
		ReapiDirectory *directory;

		assert_int_equal(
		    directory_load(f->cas, f->arena, &digest, &directory, &err), -EINVAL);
	}
}

static void
test_load_errors(void **state)
{
	struct fixture *f = *state;
	ReapiDirectory *directory = directory_new(f->arena), *loaded;
	struct digest blob = digest_of("x", 1), digest;
	struct error_text err;

	assert_int_equal(directory_load(f->cas, f->arena, &blob, &loaded, &err), -ENOENT);
	add_file(f->arena, directory, "file", &blob, false);
	assert_int_equal(directory_store(f->cas, f->arena, directory, &digest), 0);
	assert_int_equal(directory_load(f->cas, f->arena, &digest, &loaded, &err), 0);
	assert_string_equal(loaded->files[0]->name, "file");
	blob_spoil(f->cas, &digest, "bytes of some other thing");
	digest.size_bytes = 25;
	assert_int_equal(directory_load(f->cas, f->arena, &digest, &loaded, &err), -EBADMSG);
}

struct seen {
	size_t directories, missing;
};

static int
see_directory(void *arg, const struct digest *digest, const ReapiDirectory *directory)
{
	((struct seen *)arg)->directories++;
	return 0;
}

static int
see_missing(void *arg, const struct digest *digest)
{
	((struct seen *)arg)->missing++;
	return 0;
}

/* depth levels, each naming the one below `width` times: width^depth paths. */
static struct digest
chain_store(struct fixture *f, unsigned depth, unsigned width)
{
	struct digest below = digest_of("leaf", 4);

	for (unsigned i = 0; i < depth; i++) {
		ReapiDirectory *directory = directory_new(f->arena);

		if (i == 0)
			add_file(f->arena, directory, "leaf", &below, false);
		for (unsigned j = 0; i > 0 && j < width; j++)
			add_directory(
			    f->arena, directory, (const char[]){(char)('a' + j), '\0'}, &below);
		assert_int_equal(directory_store(f->cas, f->arena, directory, &below), 0);
	}
	return below;
}

static void
test_walk_shared_subtrees_once(void **state)
{
	struct fixture *f = *state;
	struct digest root = chain_store(f, 200, 3);
	struct seen seen = {0};
	const struct tree_visitor visitor = {&seen, see_directory, see_missing};
	struct digest *missing, leaf = digest_of("leaf", 4);
	struct error_text err;
	size_t count;

	assert_int_equal(tree_walk(f->cas, &root, &visitor, &err), 0);
	assert_int_equal(seen.directories, 200);
	assert_int_equal(seen.missing, 0);
	assert_int_equal(tree_missing(f->cas, &root, &missing, &count, &err), 0);
	assert_int_equal(count, 1);
	assert_true(digest_equal(&missing[0], &leaf));
	free(missing);
	put_text(f->cas, "leaf");
	assert_int_equal(tree_missing(f->cas, &root, &missing, &count, &err), 0);
	assert_int_equal(count, 0);
	free(missing);
}

static void
test_walk_depth_bound(void **state)
{
	struct fixture *f = *state;
	struct seen seen = {0};
	const struct tree_visitor visitor = {&seen, see_directory, see_missing};
	struct digest fits = chain_store(f, TREE_DEPTH_MAX, 1), deep, shortcut, half;
	struct error_text err;
	ReapiDirectory *directory = directory_new(f->arena);

	assert_int_equal(tree_walk(f->cas, &fits, &visitor, &err), 0);
	deep = chain_store(f, TREE_DEPTH_MAX + 1, 1);
	assert_int_equal(tree_walk(f->cas, &deep, &visitor, &err), -EINVAL);
	/* The deep part is met by a short way first and not walked again by the long one. */
	half = chain_store(f, TREE_DEPTH_MAX - 1, 1);
	add_directory(f->arena, directory, "a", &half);
	add_directory(f->arena, directory, "b", &fits);
	assert_int_equal(directory_store(f->cas, f->arena, directory, &shortcut), 0);
	assert_int_equal(tree_walk(f->cas, &shortcut, &visitor, &err), -EINVAL);
}

static void
test_walk_missing_directories(void **state)
{
	struct fixture *f = *state;
	struct digest gone = digest_of("gone", 4), root, blob = digest_of("x", 1), *missing;
	struct seen seen = {0};
	struct tree_visitor visitor = {&seen, see_directory, see_missing};
	ReapiDirectory *directory = directory_new(f->arena);
	struct error_text err;
	size_t count;

	add_directory(f->arena, directory, "a", &gone);
	add_directory(f->arena, directory, "b", &gone);
	add_directory(f->arena, directory, "c", &digest_empty);
	add_file(f->arena, directory, "f", &blob, false);
	add_file(f->arena, directory, "g", &blob, true);
	add_file(f->arena, directory, "z", &digest_empty, true);
	assert_int_equal(directory_store(f->cas, f->arena, directory, &root), 0);
	assert_int_equal(tree_walk(f->cas, &root, &visitor, &err), 0);
	assert_int_equal(seen.directories, 2);
	assert_int_equal(seen.missing, 1);
	visitor.on_missing = NULL;
	assert_int_equal(tree_walk(f->cas, &root, &visitor, &err), -ENOENT);
	assert_int_equal(tree_missing(f->cas, &root, &missing, &count, &err), 0);
	assert_int_equal(count, 2);
	free(missing);
	assert_int_equal(tree_missing(f->cas, &gone, &missing, &count, &err), 0);
	assert_int_equal(count, 1);
	free(missing);
}

/* Metadata's timestamps, and what else the schema nests, within the wire check's bound. */
static void
test_nested_messages(void **state)
{
	struct fixture *f = *state;
	ReapiActionResult *result = REAPI_NEW(f->arena, action_result), *decoded;
	ReapiExecutedActionMetadata *metadata = REAPI_NEW(f->arena, executed_action_metadata);
	Google__Protobuf__Timestamp *when =
	    reapi_new(f->arena, &google__protobuf__timestamp__descriptor);
	uint8_t *data;
	size_t len;

	when->seconds = 1700000000;
	metadata->worker = arena_strdup(f->arena, "host");
	metadata->queued_timestamp = when;
	result->execution_metadata = metadata;
	result->exit_code = -3;
	data = reapi_encode(f->arena, &result->base, &len);
	decoded = REAPI_DECODE(f->arena, action_result, data, len);
	assert_non_null(decoded);
	assert_int_equal(decoded->exit_code, -3);
	assert_int_equal(decoded->execution_metadata->queued_timestamp->seconds, 1700000000);
	for (size_t cut = 1; cut < len; cut++) /* no cut reads out of bounds */
		REAPI_DECODE(f->arena, action_result, data, cut);
}

static void
test_arena(void **state)
{
	struct fixture *f = *state;
	char *text = arena_printf(f->arena, "%s-%d", "a", 7);

	assert_string_equal(text, "a-7");
	for (size_t size = 0; size < 3 << 20; size = size * 2 + 1) {
		uint8_t *place = arena_alloc(f->arena, size);

		assert_int_equal((uintptr_t)place % 16, 0);
		for (size_t i = 0; i < size; i += 97)
			assert_int_equal(place[i], 0);
		memset(place, 0xff, size);
	}
	arena_reset(f->arena);
	assert_int_equal(*(uint8_t *)arena_alloc(f->arena, 1), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_empty_directory),
	    T(test_encoding_by_hand),
	    T(test_bad_names),
	    T(test_doubled_names),
	    T(test_bad_digests),
	    T(test_embedded_nul),
	    T(test_bytes_that_are_no_message),
	    T(test_load_errors),
	    T(test_walk_shared_subtrees_once),
	    T(test_walk_depth_bound),
	    T(test_walk_missing_directories),
	    T(test_nested_messages),
	    T(test_arena),
	};

	return cmocka_run_group_tests_name("cas/directory", tests, NULL, NULL);
}
