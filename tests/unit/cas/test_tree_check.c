#include "cas/tree_check.h"
#include "tests/unit/cas/tree_fixture.h"

/* What the last check said. */
struct said {
	unsigned count, blobs, messages;
	char lines[4096];
	struct digest blob;
};

static void
on_fault(void *arg, const struct tree_fault *fault)
{
	struct said *said = arg;
	size_t used = strlen(said->lines);

	said->count++;
	said->blobs += fault->kind == TREE_FAULT_BLOB;
	said->messages += fault->kind == TREE_FAULT_MESSAGE;
	if (fault->blob != NULL)
		said->blob = *fault->blob;
	snprintf(
	    said->lines + used, sizeof(said->lines) - used, "%s: %s\n", fault->path, fault->what);
}

static int
check_with(struct fixture *f, const struct digest *digest, bool deep,
    const struct digest_map *suspects, struct said *ret_said, struct tree_check_stats *ret_stats)
{
	struct tree_check_config config = {
	    .deep = deep, .suspects = suspects, .on_fault = on_fault, .arg = ret_said};
	struct tree_checker *checker;
	char name[DIGEST_TEXT_SIZE];
	struct cas *cas;
	int rc, trees = trees_open(f);

	memset(ret_said, 0, sizeof(*ret_said));
	assert_int_equal(cas_open(f->state_fd, false, &cas, NULL), 0);
	config.cas = cas;
	assert_int_equal(tree_checker_new(&config, &checker), 0);
	index_tree_name(digest, name);
	rc = tree_check(checker, trees, name, digest, fixture_built_ns);
	/* A checker is good for more than one. */
	assert_int_equal(tree_check(checker, trees, name, digest, fixture_built_ns), rc);
	assert_int_equal(ret_said->count % 2, 0);
	if (ret_stats != NULL)
		*ret_stats = *tree_checker_stats(checker);
	tree_checker_free(checker);
	cas_close(cas);
	close(trees);
	return rc;
}

static int
check(struct fixture *f, const struct digest *digest, bool deep, struct said *ret_said)
{
	return check_with(f, digest, deep, NULL, ret_said, NULL);
}

/* Ways of spoiling a tree; `at` is its top. */

static void
extra_file(struct fixture *f, int at)
{
	file_text(at, "sub/evil", "evil");
}

static void
extra_directory(struct fixture *f, int at)
{
	assert_int_equal(mkdirat(at, "sub/deep/evil", 0755), 0);
}

static void
missing_file(struct fixture *f, int at)
{
	assert_int_equal(unlinkat(at, "sub/deep/leaf", 0), 0);
}

static void
missing_directory(struct fixture *f, int at)
{
	assert_int_equal(unlinkat(at, "none", AT_REMOVEDIR), 0);
}

static void
other_bytes(struct fixture *f, int at)
{
	overwrite(at, "sub/two", "BYTES", false);
}

static void
other_bytes_hidden(struct fixture *f, int at)
{
	overwrite(at, "sub/two", "BYTES", true);
}

static void
longer(struct fixture *f, int at)
{
	overwrite(at, "sub/two", "bytes 2 and more", true);
}

static void
other_inode(struct fixture *f, int at)
{
	assert_int_equal(unlinkat(at, "sub/tool", 0), 0);
	file_write(at, "sub/tool", "#!/bin/ls\n", 10, 0555);
}

static void
writable_file(struct fixture *f, int at)
{
	assert_int_equal(fchmodat(at, "sub/one", 0644, 0), 0);
}

static void
not_executable(struct fixture *f, int at)
{
	assert_int_equal(fchmodat(at, "sub/tool", 0444, 0), 0);
}

static void
open_directory(struct fixture *f, int at)
{
	assert_int_equal(fchmodat(at, "sub/deep", 0777, 0), 0);
}

static void
open_top(struct fixture *f, int at)
{
	assert_int_equal(fchmod(at, 0775), 0);
}

static void
other_target(struct fixture *f, int at)
{
	assert_int_equal(unlinkat(at, "link", 0), 0);
	assert_int_equal(symlinkat("sub/two", at, "link"), 0);
}

/* Behind the symlink lies just what should be there: it must not be followed. */
static void
symlink_for_directory(struct fixture *f, int at)
{
	assert_int_equal(renameat(at, "sub", f->dirfd, "sub"), 0);
	assert_int_equal(symlinkat("../../../user/sub", at, "sub"), 0);
	assert_int_equal(faccessat(at, "sub/deep/leaf", R_OK, 0), 0);
}

static void
symlink_for_file(struct fixture *f, int at)
{
	assert_int_equal(renameat(at, "sub/one", f->dirfd, "one"), 0);
	assert_int_equal(symlinkat("../../../../user/one", at, "sub/one"), 0);
	assert_int_equal(faccessat(at, "sub/one", R_OK, 0), 0);
}

static void
file_for_symlink(struct fixture *f, int at)
{
	assert_int_equal(unlinkat(at, "link", 0), 0);
	file_write(at, "link", "bytes 1", 7, 0444);
}

static void
file_for_directory(struct fixture *f, int at)
{
	assert_int_equal(unlinkat(at, "none", AT_REMOVEDIR), 0);
	file_write(at, "none", "", 0, 0444);
}

/* Whoever opened it to read would wait for ever. */
static void
fifo_for_file(struct fixture *f, int at)
{
	assert_int_equal(unlinkat(at, "sub/one", 0), 0);
	assert_int_equal(mkfifoat(at, "sub/one", 0444), 0);
	assert_int_equal(fchmodat(at, "sub/one", 0444, 0), 0);
}

static void
swapped(struct fixture *f, int at)
{
	assert_int_equal(renameat(at, "sub/one", at, "sub/three"), 0);
	assert_int_equal(renameat(at, "sub/two", at, "sub/one"), 0);
	assert_int_equal(renameat(at, "sub/three", at, "sub/two"), 0);
}

/* In the top itself: the tree's own time changes with it. */
static void
other_inode_at_the_top(struct fixture *f, int at)
{
	assert_int_equal(unlinkat(at, "same", 0), 0);
	file_write(at, "same", "BYTES 1", 7, 0444);
}

static void
not_empty(struct fixture *f, int at)
{
	overwrite(at, "zero", "x", true);
}

static void
foreign_owner(struct fixture *f, int at)
{
	assert_int_equal(fchownat(at, "sub/one", 4711, 4711, 0), 0);
}

static void
odd_name(struct fixture *f, int at)
{
	file_text(at, "sub/e\nvil", "evil");
}

enum { BOTH, ONLY_DEEP, ROOT_ALONE };
static const struct spoiling {
	void (*spoil)(struct fixture *f, int at);
	const char *says; /* one of the lines */
	int when;
} spoilings[] = {
    {extra_file, "sub/evil: its digest knows of no such thing\n", BOTH},
    {extra_directory, "sub/deep/evil: its digest knows of no such thing\n", BOTH},
    {odd_name, "sub/e?vil: its digest knows of no such thing\n", BOTH},
    {missing_file, "sub/deep/leaf: it is missing\n", BOTH},
    {missing_directory, "none: it is missing\n", BOTH},
    {other_bytes, "sub/two: its bytes are not its digest's", BOTH},
    {other_bytes_hidden, "sub/two: its bytes are not its digest's", ONLY_DEEP},
    {longer, "sub/two: its bytes are not its digest's", BOTH},
    {other_inode, "sub/tool: its bytes are not its digest's\n", BOTH},
    {other_inode_at_the_top, "same: its bytes are not its digest's\n", BOTH},
    {writable_file, "sub/one: its mode is 0644, not 0444\n", BOTH},
    {not_executable, "sub/tool: its mode is 0444, not 0555\n", BOTH},
    {open_directory, "sub/deep: its mode is 0777, not 0755\n", BOTH},
    {open_top, ": its mode is 0775, not 0755\n", BOTH},
    {other_target, "link: this symlink has another target\n", BOTH},
    {symlink_for_directory, "sub: it is no directory, as its digest says\n", BOTH},
    {symlink_for_file, "sub/one: it is no file, as its digest says\n", BOTH},
    {file_for_symlink, "link: it is no symlink, as its digest says\n", BOTH},
    {file_for_directory, "none: it is no directory, as its digest says\n", BOTH},
    {fifo_for_file, "sub/one: it is no file, as its digest says\n", BOTH},
    {swapped, "sub/two: its bytes are not its digest's\n", BOTH},
    {not_empty, "zero: it is not empty, as its digest says\n", BOTH},
    {foreign_owner, "sub/one: it belongs to uid 4711", ROOT_ALONE},
};

static void
expect_found(struct fixture *f, const struct spoiling *spoiling, bool deep, bool copies)
{
	struct tree_digests digests = store_tree(f);
	bool finds = deep || spoiling->when != ONLY_DEEP;
	struct said said;
	int at;

	place_tree_of(f, &digests.top, copies);
	assert_int_equal(check(f, &digests.top, deep, &said), TREE_WHOLE);
	at = tree_open(f, &digests.top);
	spoiling->spoil(f, at);
	close(at);
	if (copies && spoiling->when == ONLY_DEEP)
		finds = true; /* nobody else links to it: that its inode was touched can be seen */
	assert_int_equal(check(f, &digests.top, deep, &said), finds ? TREE_FAULTY : TREE_WHOLE);
	if (finds && strstr(said.lines, spoiling->says) == NULL)
		fail_msg("'%s' is not in: %s", spoiling->says, said.lines);
}

/* As if nothing had been spoilt. */
static void
clear(struct fixture *f)
{
	static const char *const texts[] = {"bytes 1", "bytes 2", "#!/bin/sh\n", "leaf's bytes"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct digest digest = digest_of(texts[i], strlen(texts[i]));

		cas_drop(f->cas, &digest);
	}
	assert_int_equal(fs_remove_tree(f->dirfd, "sub"), 0);
	assert_int_equal(fs_remove_tree(f->dirfd, "one"), 0);
}

static void
try_all(struct fixture *f, bool deep, bool copies)
{
	for (size_t i = 0; i < sizeof(spoilings) / sizeof(spoilings[0]); i++) {
		if (spoilings[i].when == ROOT_ALONE && geteuid() != 0)
			continue;
		expect_found(f, &spoilings[i], deep, copies);
		clear(f);
	}
}

static void
test_fast_on_links(void **state)
{
	try_all(*state, false, false);
}

static void
test_fast_on_copies(void **state)
{
	try_all(*state, false, true);
}

static void
test_deep_on_links(void **state)
{
	try_all(*state, true, false);
}

static void
test_deep_on_copies(void **state)
{
	try_all(*state, true, true);
}

static void
test_what_is_hashed(void **state)
{
	struct fixture *f = *state;
	struct tree_digests digests = store_tree(f);
	struct digest_map suspects = {.cells = NULL};
	struct tree_check_stats stats;
	struct digest leaf = digest_of("leaf's bytes", 12);
	struct said said;
	bool is_new;

	place_tree_of(f, &digests.top, false);
	assert_int_equal(check_with(f, &digests.top, false, NULL, &said, &stats), TREE_WHOLE);
	assert_int_equal(stats.hashed_files, 0);
	/* Twice: check() looks twice. */
	assert_int_equal(stats.files, 2 * 6);
	assert_int_equal(stats.directories, 2 * 4);
	assert_int_equal(stats.symlinks, 2);
	/* Each inode once: "same" is "sub/one", and the second look hashes nothing again. */
	assert_int_equal(check_with(f, &digests.top, true, NULL, &said, &stats), TREE_WHOLE);
	assert_int_equal(stats.hashed_files, 4);
	assert_int_equal(stats.hashed_bytes, 7 + 7 + 10 + 12);
	digest_map_add(&suspects, &leaf, &is_new);
	assert_int_equal(check_with(f, &digests.top, false, &suspects, &said, &stats), TREE_WHOLE);
	assert_int_equal(stats.hashed_files, 1);
	digest_map_fini(&suspects);
	/* The blob has a second inode by now (EMLINK): the old one is as good, once it is hashed.
	 */
	assert_int_equal(cas_mint(f->cas, &leaf, false), 0);
	assert_int_equal(check_with(f, &digests.top, false, NULL, &said, &stats), TREE_WHOLE);
	assert_int_equal(stats.hashed_files, 2);
	place_tree_of(f, &digests.top, true);
	assert_int_equal(check_with(f, &digests.top, false, NULL, &said, &stats), TREE_WHOLE);
	assert_int_equal(stats.hashed_files, 0);
}

/* The blob's own inode, or one that only the tree has. */
static void
test_who_is_damaged(void **state)
{
	struct fixture *f = *state;
	struct tree_digests digests = store_tree(f);
	struct digest two = digest_of("bytes 2", 7);
	struct said said;
	int at;

	place_tree_of(f, &digests.top, false);
	at = tree_open(f, &digests.top);
	overwrite(at, "sub/two", "BYTES", true);
	assert_int_equal(check(f, &digests.top, true, &said), TREE_FAULTY);
	assert_int_equal(said.blobs, said.count);
	assert_true(digest_equal(&said.blob, &two));
	/* Without a second name for it, it is the tree's alone; fast sees that it is not the
	 * store's. */
	cas_drop(f->cas, &two);
	assert_int_equal(check(f, &digests.top, true, &said), TREE_FAULTY);
	assert_int_equal(said.blobs, 0);
	put_text(f->cas, "bytes 2");
	assert_int_equal(check(f, &digests.top, false, &said), TREE_FAULTY);
	assert_int_equal(said.blobs, 0);
	close(at);
}

static void
test_messages_gone(void **state)
{
	struct fixture *f = *state;
	struct tree_digests digests = store_tree(f);
	struct said said;
	int at;

	for (int copies = 0; copies <= 1; copies++) {
		place_tree_of(f, &digests.top, copies);
		cas_drop(f->cas, &digests.deep);
		assert_int_equal(check(f, &digests.top, false, &said), TREE_UNCOMPARED);
		assert_int_equal(check(f, &digests.top, true, &said), TREE_WHOLE);
		cas_drop(f->cas, &digests.top);
		cas_drop(f->cas, &digests.sub);
		assert_int_equal(check(f, &digests.top, false, &said), TREE_UNCOMPARED);
		assert_int_equal(check(f, &digests.top, true, &said), TREE_WHOLE);
		at = tree_open(f, &digests.top);
		assert_int_equal(unlinkat(at, "sub/deep/leaf", 0), 0);
		close(at);
		assert_int_equal(check(f, &digests.top, true, &said), TREE_FAULTY);
		assert_non_null(strstr(said.lines, "its Directory message is gone"));
		store_tree(f);
	}
}

static void
test_message_damaged(void **state)
{
	struct fixture *f = *state;
	struct tree_digests digests = store_tree(f);
	char *text = arena_alloc(f->arena, (size_t)digests.sub.size_bytes + 1);
	struct said said;

	place_tree_of(f, &digests.top, false);
	memset(text, 'x', (size_t)digests.sub.size_bytes);
	blob_spoil(f->cas, &digests.sub, text);
	assert_int_equal(check(f, &digests.top, false, &said), TREE_UNCOMPARED);
	assert_int_equal(said.messages, said.count);
	assert_int_equal(said.messages, 2);
	assert_true(digest_equal(&said.blob, &digests.sub));
	assert_int_equal(check(f, &digests.top, true, &said), TREE_WHOLE);
	assert_int_equal(said.messages, 2);
	/* Who only reads drops nothing. */
	assert_true(blob_named(f->cas, &digests.sub, false));
}

/* A file's own time and mode are part of the digest. */
static void
test_properties(void **state)
{
	struct fixture *f = *state;
	ReapiDirectory *top = REAPI_NEW(f->arena, directory);
	ReapiFileNode *node = add_file(f, top, "file", "bytes", false);
	struct timespec times[2] = {{.tv_sec = 86400}, {.tv_sec = 86400, .tv_nsec = 5}};
	struct digest digest;
	struct said said;
	int at;

	node->node_properties = REAPI_NEW(f->arena, node_properties);
	node->node_properties->unix_mode =
	    arena_alloc(f->arena, sizeof(*node->node_properties->unix_mode));
	google__protobuf__uint32_value__init(node->node_properties->unix_mode);
	node->node_properties->unix_mode->value = 0750;
	node->node_properties->mtime = arena_alloc(f->arena, sizeof(*node->node_properties->mtime));
	google__protobuf__timestamp__init(node->node_properties->mtime);
	node->node_properties->mtime->seconds = 86400;
	digest = store_directory(f, top);
	place_tree_of(f, &digest, true);
	at = tree_open(f, &digest);
	assert_int_equal(check(f, &digest, false, &said), TREE_FAULTY);
	assert_non_null(strstr(said.lines, "file: its mode is 0444, not 0554"));
	assert_non_null(strstr(said.lines, "file: its time is not the one"));
	assert_int_equal(fchmodat(at, "file", 0554, 0), 0);
	assert_int_equal(utimensat(at, "file", times, 0), 0);
	assert_int_equal(check(f, &digest, false, &said), TREE_WHOLE);
	assert_int_equal(check(f, &digest, true, &said), TREE_WHOLE);
	/* Without its message a tree of that sort cannot be told from a changed one. */
	cas_drop(f->cas, &digest);
	assert_int_equal(check(f, &digest, true, &said), TREE_FAULTY);
	close(at);
}

static void
test_the_top(void **state)
{
	struct fixture *f = *state;
	struct tree_digests digests = store_tree(f);
	struct digest file = put_text(f->cas, "no Directory");
	char name[DIGEST_TEXT_SIZE];
	int trees = trees_open(f);
	struct said said;

	index_tree_name(&digests.top, name);
	assert_int_equal(check(f, &digests.top, false, &said), TREE_FAULTY);
	assert_non_null(strstr(said.lines, ": it is not there\n"));
	place_tree_of(f, &digests.top, false);
	assert_int_equal(renameat(trees, name, trees, "elsewhere"), 0);
	assert_int_equal(symlinkat("elsewhere", trees, name), 0);
	assert_int_equal(check(f, &digests.top, false, &said), TREE_FAULTY);
	assert_int_equal(unlinkat(trees, name, 0), 0);
	assert_int_equal(mkdirat(trees, index_tree_name(&file, name), 0755), 0);
	assert_int_equal(check(f, &file, false, &said), TREE_FAULTY);
	assert_non_null(strstr(said.lines, "its digest names no Directory"));
	close(trees);
}

static int
stop_at_once(void *arg)
{
	return ++*(int *)arg == 2 ? -ECONNRESET : 0;
}

static void
ignore_fault(void *arg, const struct tree_fault *fault)
{
}

static void
test_it_can_be_stopped(void **state)
{
	struct fixture *f = *state;
	struct tree_digests digests = store_tree(f);
	int calls = 0, trees = trees_open(f);
	struct tree_check_config config = {.cas = f->cas,
	    .deep = true,
	    .pause = stop_at_once,
	    .on_fault = ignore_fault,
	    .arg = &calls};
	struct tree_checker *checker;
	char name[DIGEST_TEXT_SIZE];

	place_tree_of(f, &digests.top, false);
	assert_int_equal(tree_checker_new(&config, &checker), 0);
	index_tree_name(&digests.top, name);
	assert_int_equal(
	    tree_check(checker, trees, name, &digests.top, fixture_built_ns), -ECONNRESET);
	assert_int_equal(calls, 2);
	assert_int_equal(
	    tree_check(checker, trees, name, &digests.top, fixture_built_ns), TREE_WHOLE);
	tree_checker_free(checker);
	close(trees);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_fast_on_links, fixture_setup, fixture_teardown),
	    cmocka_unit_test_setup_teardown(test_fast_on_copies, fixture_setup, fixture_teardown),
	    cmocka_unit_test_setup_teardown(test_deep_on_links, fixture_setup, fixture_teardown),
	    cmocka_unit_test_setup_teardown(test_deep_on_copies, fixture_setup, fixture_teardown),
	    cmocka_unit_test_setup_teardown(test_what_is_hashed, fixture_setup, fixture_teardown),
	    cmocka_unit_test_setup_teardown(test_who_is_damaged, fixture_setup, fixture_teardown),
	    cmocka_unit_test_setup_teardown(test_messages_gone, fixture_setup, fixture_teardown),
	    cmocka_unit_test_setup_teardown(test_message_damaged, fixture_setup, fixture_teardown),
	    cmocka_unit_test_setup_teardown(test_properties, fixture_setup, fixture_teardown),
	    cmocka_unit_test_setup_teardown(test_the_top, fixture_setup, fixture_teardown),
	    cmocka_unit_test_setup_teardown(
		test_it_can_be_stopped, fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
