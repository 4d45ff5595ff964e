/* Grafts, and Trees built bottom-up. */
#include "cas/directory.h"
#include "cas/tree.h"
#include "tests/unit/cas/cas_fixture.h"

static struct tree_graft
graft_file(const char *path, const char *text)
{
	return (struct tree_graft){
	    .path = path, .kind = GRAFT_FILE, .digest = digest_of(text, strlen(text))};
}

static ReapiDirectory *
load(struct fixture *f, const struct digest *digest)
{
	ReapiDirectory *directory;
	struct error_text err;

	assert_int_equal(directory_load(f->cas, f->arena, digest, &directory, &err), 0);
	return directory;
}

static struct digest
child_of(const ReapiDirectory *directory, const char *name)
{
	struct digest digest = digest_empty;

	for (size_t i = 0; i < directory->n_directories; i++)
		if (strcmp(directory->directories[i]->name, name) == 0) {
			assert_int_equal(
			    reapi_digest_get(directory->directories[i]->digest, &digest), 0);
			return digest;
		}
	fail_msg("no directory %s", name);
	return digest;
}

static void
test_graft(void **state)
{
	struct fixture *f = *state;
	const struct tree_graft first[] = {graft_file("a/b/c", "1"), graft_file("a-b", "2"),
	    graft_file("a/b.c", "3"), graft_file("z", "4")};
	const struct tree_graft second[] = {graft_file("z", "5"), graft_file("a/b/d", "6"),
	    {.path = "l", .kind = GRAFT_SYMLINK, .target = "a/b"}};
	const struct tree_graft again[] = {first[3], first[2], first[1], first[0]};
	struct digest one, other, two;
	struct error_text err;
	ReapiDirectory *root;

	assert_int_equal(tree_graft(f->cas, &digest_empty, first, 4, &one, &err), 0);
	assert_int_equal(tree_graft(f->cas, &digest_empty, again, 4, &other, &err), 0);
	assert_true(digest_equal(&one, &other));
	root = load(f, &one);
	assert_int_equal(root->n_files, 2);
	assert_string_equal(root->files[0]->name, "a-b");
	assert_int_equal(root->n_directories, 1);
	assert_int_equal(tree_graft(f->cas, &one, second, 3, &two, &err), 0);
	root = load(f, &two);
	assert_int_equal(root->n_files, 2);
	assert_string_equal(root->symlinks[0]->target, "a/b");
	other = digest_of("5", 1);
	assert_int_equal(reapi_digest_get(root->files[1]->digest, &one), 0);
	assert_true(digest_equal(&one, &other));
	one = child_of(root, "a");
	one = child_of(load(f, &one), "b");
	assert_int_equal(load(f, &one)->n_files, 2);
}

static void
test_graft_below_a_grafted_directory(void **state)
{
	struct fixture *f = *state;
	const struct tree_graft inner[] = {graft_file("x", "1")};
	struct tree_graft outer[] = {
	    {.path = "d", .kind = GRAFT_DIRECTORY}, graft_file("d/y", "2")};
	struct digest digest;
	struct error_text err;

	assert_int_equal(tree_graft(f->cas, &digest_empty, inner, 1, &outer[0].digest, &err), 0);
	assert_int_equal(tree_graft(f->cas, &digest_empty, outer, 2, &digest, &err), 0);
	digest = child_of(load(f, &digest), "d");
	assert_int_equal(load(f, &digest)->n_files, 2);
}

static void
test_graft_refuses(void **state)
{
	struct fixture *f = *state;
	const struct tree_graft file[] = {graft_file("f", "1")}, below[] = {graft_file("f/g", "1")};
	const struct tree_graft both[] = {graft_file("f/g", "1"), graft_file("f", "1")};
	const struct tree_graft twice[] = {graft_file("f", "1"), graft_file("f", "2")};
	const struct tree_graft up[] = {graft_file("../f", "1")}, root[] = {graft_file("/f", "1")};
	struct digest base, digest = digest_of("gone", 4);
	struct error_text err;

	assert_int_equal(tree_graft(f->cas, &digest_empty, file, 1, &base, &err), 0);
	assert_int_equal(tree_graft(f->cas, &base, below, 1, &base, &err), -ENOTDIR);
	assert_int_equal(tree_graft(f->cas, &digest_empty, both, 2, &base, &err), -ENOTDIR);
	assert_int_equal(tree_graft(f->cas, &digest_empty, twice, 2, &base, &err), -EINVAL);
	assert_int_equal(tree_graft(f->cas, &digest_empty, up, 1, &base, &err), -EINVAL);
	assert_int_equal(tree_graft(f->cas, &digest_empty, root, 1, &base, &err), -EINVAL);
	assert_int_equal(tree_graft(f->cas, &digest, file, 1, &base, &err), -ENOENT);
}

static struct digest
build(struct fixture *f, struct tree_builder *builder, const char *file, const char *const *names,
    const struct digest *const *children)
{
	ReapiDirectory *directory = REAPI_NEW(f->arena, directory);
	struct digest digest;
	struct error_text err;

	directory->directories = arena_alloc(f->arena, 8 * sizeof(void *));
	directory->files = arena_alloc(f->arena, sizeof(void *));
	for (size_t i = 0; names != NULL && names[i] != NULL; i++) {
		ReapiDirectoryNode *node = REAPI_NEW(f->arena, directory_node);

		node->name = arena_strdup(f->arena, names[i]);
		node->digest = reapi_digest_new(f->arena, children[i]);
		directory->directories[directory->n_directories++] = node;
	}
	if (file != NULL) {
		ReapiFileNode *node = REAPI_NEW(f->arena, file_node);

		digest = digest_of(file, strlen(file));
		node->name = arena_strdup(f->arena, file);
		node->digest = reapi_digest_new(f->arena, &digest);
		directory->files[directory->n_files++] = node;
	}
	assert_int_equal(tree_builder_add(builder, directory, &digest, &err), 0);
	return digest;
}

/* root: a -> x, y -> x, empty; x is shared, and the order of adding must not show. */
static struct digest
build_example(struct fixture *f, bool backwards, bool directories)
{
	struct tree_builder *builder = tree_builder_new();
	struct digest x, y, unused, empty, root, tree;
	struct error_text err;

	if (backwards)
		empty = build(f, builder, NULL, NULL, NULL);
	x = build(f, builder, "x", NULL, NULL);
	unused = build(f, builder, "unused", NULL, NULL);
	assert_false(digest_equal(&unused, &x));
	if (!backwards)
		empty = build(f, builder, NULL, NULL, NULL);
	assert_true(digest_is_empty(&empty));
	y = build(f, builder, "y", (const char *[]){"in", NULL}, (const struct digest *[]){&x});
	root = build(f, builder, NULL,
	    backwards ? (const char *[]){"y", "e", "a", NULL}
		      : (const char *[]){"a", "e", "y", NULL},
	    backwards ? (const struct digest *[]){&y, &empty, &x}
		      : (const struct digest *[]){&x, &empty, &y});
	assert_int_equal(tree_builder_finish(builder, f->cas, &root, directories, &tree, &err), 0);
	assert_int_equal(cas_has(f->cas, &root), directories);
	tree_builder_free(builder);
	return tree;
}

static void
test_tree_builder(void **state)
{
	struct fixture *f = *state;
	struct digest one = build_example(f, false, false), other = build_example(f, true, true);
	struct digest digest, child;
	ReapiTree *tree;
	uint8_t *data, *again;
	size_t len, again_len;

	assert_true(digest_equal(&one, &other));
	assert_int_equal(cas_read(f->cas, &one, 1 << 20, &data, &len), 0);
	tree = REAPI_DECODE(f->arena, tree, data, len);
	assert_non_null(tree);
	again = reapi_encode(f->arena, &tree->base, &again_len);
	assert_int_equal(again_len, len);
	assert_memory_equal(again, data, len);
	free(data);
	assert_int_equal(tree->n_children, 3); /* x, y and the empty one, once each */
	assert_int_equal(tree->root->n_directories, 3);
	for (size_t i = 0; i < tree->n_children; i++) {
		again = reapi_encode(f->arena, &tree->children[i]->base, &len);
		child = digest_of(again, len);
		for (size_t j = i; j < tree->n_children; j++) /* parents first */
			for (size_t k = 0; k < tree->children[j]->n_directories; k++) {
				assert_int_equal(
				    reapi_digest_get(
					tree->children[j]->directories[k]->digest, &digest),
				    0);
				assert_false(digest_equal(&digest, &child));
			}
	}
}

static void
test_tree_of_one(void **state)
{
	struct fixture *f = *state;
	struct tree_builder *builder = tree_builder_new();
	struct digest root = build(f, builder, NULL, NULL, NULL), tree, expected;
	struct error_text err;

	assert_int_equal(tree_builder_finish(builder, f->cas, &root, false, &tree, &err), 0);
	expected = digest_of("\x0a\x00", 2);
	assert_true(digest_equal(&tree, &expected));
	root = digest_of("gone", 4);
	assert_int_equal(tree_builder_finish(builder, f->cas, &root, false, &tree, &err), -EINVAL);
	tree_builder_free(builder);
}

static void
test_tree_deep_and_shared(void **state)
{
	struct fixture *f = *state;
	struct tree_builder *builder = tree_builder_new();
	struct digest below = build(f, builder, "leaf", NULL, NULL), tree;
	struct error_text err;
	uint8_t *data;
	size_t len;

	for (int i = 0; i < 3000; i++) {
		struct digest here = below;

		below = build(f, builder, NULL, (const char *[]){"l", "r", NULL},
		    (const struct digest *[]){&here, &here});
	}
	assert_int_equal(tree_builder_finish(builder, f->cas, &below, false, &tree, &err), 0);
	assert_int_equal(cas_read(f->cas, &tree, CAS_MESSAGE_MAX, &data, &len), 0);
	assert_int_equal(((ReapiTree *)REAPI_DECODE(f->arena, tree, data, len))->n_children, 3000);
	free(data);
	tree_builder_free(builder);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_graft),
	    T(test_graft_below_a_grafted_directory),
	    T(test_graft_refuses),
	    T(test_tree_builder),
	    T(test_tree_of_one),
	    T(test_tree_deep_and_shared),
	};

	return cmocka_run_group_tests_name("cas/tree", tests, NULL, NULL);
}
