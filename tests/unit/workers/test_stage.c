/* A sandbox holds what its input root says, whatever the way: workers/stage.h. */
#include <sys/resource.h>

#include "cas/suspect.h"
#include "tests/cmocka_wrap.h"
#include "tests/unit/workers/stage_host.h"

enum { OTHER_UID = 64321 };

static int
setup(void **state)
{
	struct host *host = malloc(sizeof *host);

	host_start(host, "/dev/shm");
	*state = host;
	return 0;
}

static int
teardown(void **state)
{
	host_stop(*state);
	free(*state);
	return 0;
}

static uint64_t
counter_now(struct host *host, enum counter counter)
{
	uint64_t values[COUNTER_COUNT];

	counters_read(host->region, values);
	return values[counter];
}

static void
stage_ok(struct host *host, const struct digest *root)
{
	assert_int_equal(host_stage_root(host, root), 0);
	assert_int_equal(host_compare(host, root, NULL), 0);
}

static void
release_ok(struct host *host)
{
	assert_int_equal(host_release(host), 0);
	assert_null(host_leak(host));
}

/* a/ {x, run*, empty, deep/{y}}  b/ {} and a loose file, all different. */
static struct digest
small_tree(struct host *host)
{
	ReapiDirectory *deep = dir_new(host), *a = dir_new(host), *root = dir_new(host);

	dir_add_file(host, deep, "y", "why", false);
	struct digest deep_digest = dir_put(host, deep);
	dir_add_file(host, a, "x", "ex", false);
	dir_add_file(host, a, "run", "#!/bin/sh\n", true);
	dir_add_file(host, a, "empty", "", false);
	dir_add_file(host, a, "empty-run", "", true);
	dir_add_symlink(host, a, "link", "x");
	dir_add_dir(host, a, "deep", &deep_digest);
	struct digest a_digest = dir_put(host, a);
	dir_add_dir(host, root, "a", &a_digest);
	dir_add_dir(host, root, "b", &digest_empty);
	dir_add_file(host, root, "loose", "loose", false);
	dir_add_file(host, root, "loose-run", "loose", true);
	return dir_put(host, root);
}

static void
test_empty_root(void **state)
{
	struct host *host = *state;

	host_stager(host, ENGINE_AUTO, ISOLATION_ROOT, geteuid());
	stage_ok(host, &digest_empty);
	assert_int_equal(host->report.files_placed, 0);
	release_ok(host);
}

static void
test_bound_cold_then_warm(void **state)
{
	struct host *host = *state;
	struct digest root = small_tree(host);

	host_stager(host, ENGINE_AUTO, ISOLATION_ROOT, OTHER_UID);
	stage_ok(host, &root);
	assert_int_equal(host->report.bind_count, 1);
	assert_string_equal(host->report.binds[0].target, "a");
	assert_int_equal(host->report.subtrees_built, 1);
	assert_int_equal(host->report.subtrees[PLACE_BIND], 1);
	assert_int_equal(host->report.files_placed, 7);
	/* x, run, y in the tree; two loose ones; empty files are neither */
	assert_int_equal(host->report.files[PLACE_HARDLINK], 5);
	assert_int_equal(counter_now(host, COUNTER_zero_digest_files), 2);
	release_ok(host);

	stage_ok(host, &root);
	assert_int_equal(host->report.subtrees_built, 0);
	assert_int_equal(host->report.bind_count, 1);
	assert_int_equal(host->report.files_placed, 7);
	assert_int_equal(counter_now(host, COUNTER_index_hits), 1);
	assert_int_equal(counter_now(host, COUNTER_stage_bind_subtrees), 2);
	release_ok(host);
}

static void
test_inside_a_larger_tree(void **state)
{
	struct host *host = *state;
	struct digest root = small_tree(host), deep;
	ReapiDirectory *other = dir_new(host), *deep_dir = dir_new(host);

	host_stager(host, ENGINE_AUTO, ISOLATION_USER, geteuid());
	stage_ok(host, &root);
	release_ok(host);
	dir_add_file(host, deep_dir, "y", "why", false);
	deep = dir_put(host, deep_dir);
	dir_add_dir(host, other, "elsewhere", &deep);
	struct digest other_root = dir_put(host, other);
	stage_ok(host, &other_root);
	assert_int_equal(host->report.subtrees_built, 0);
	assert_int_equal(host->report.bind_count, 1);
	assert_non_null(strstr(host->report.binds[0].source, "/deep"));
	release_ok(host);
}

static struct digest
many_files(struct host *host, unsigned count)
{
	ReapiDirectory *dir = dir_new(host);
	char name[16];

	for (unsigned i = 0; i < count; i++) {
		snprintf(name, sizeof name, "f%u", i);
		dir_add_file(host, dir, name, name, false);
	}
	return dir_put(host, dir);
}

/* What lies inside a new tree is noted when its action runs, or when it has ended. */
static void
test_inside_is_noted_later(void **state)
{
	struct host *host = *state;

	host_stager(host, ENGINE_BIND, ISOLATION_USER, geteuid());
	for (unsigned is_run = 0; is_run < 2; is_run++) {
		struct digest deep = many_files(host, 10 + is_run);
		ReapiDirectory *a = dir_new(host), *root = dir_new(host);
		uint32_t entry;
		dir_add_dir(host, a, "deep", &deep);
		struct digest a_digest = dir_put(host, a);
		dir_add_dir(host, root, is_run ? "run" : "not", &a_digest);
		struct digest digest = dir_put(host, root);
		stage_ok(host, &digest);
		assert_int_equal(host->report.subtrees_built, 1);
		assert_int_equal(index_find(host->region, &a_digest, &entry), 0);
		assert_int_equal(index_find(host->region, &deep, &entry), -ENOENT);
		if (is_run) {
			stage_after(host->stager);
			assert_int_equal(index_find(host->region, &deep, &entry), 0);
		}
		release_ok(host);
		assert_int_equal(index_find(host->region, &deep, &entry), 0);
	}
}

/* But what the same action wants elsewhere too is not built twice. */
static void
test_inside_what_was_just_built(void **state)
{
	struct host *host = *state;
	struct digest deep = many_files(host, 50);
	ReapiDirectory *a = dir_new(host), *root = dir_new(host);

	host_stager(host, ENGINE_BIND, ISOLATION_USER, geteuid());
	dir_add_dir(host, a, "deep", &deep);
	struct digest a_digest = dir_put(host, a);
	dir_add_dir(host, root, "a", &a_digest);
	dir_add_dir(host, root, "b", &deep);
	struct digest digest = dir_put(host, root);
	stage_ok(host, &digest);
	assert_int_equal(host->report.subtrees_built, 1);
	assert_int_equal(host->report.files[PLACE_HARDLINK], 50);
	assert_int_equal(host->report.bind_count, 2);
	assert_non_null(strstr(host->report.binds[1].source, "/deep"));
	release_ok(host);
}

/* One file beside a large cached directory comes, again and again the same. */
static void
test_changed_file_is_composed(void **state)
{
	struct host *host = *state;
	ReapiDirectory *big = dir_new(host);
	struct digest roots[2];
	char name[16];
	int composed = 0;

	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof name, "f%d", i);
		dir_add_file(host, big, name, name, i % 2 == 0);
	}
	struct digest big_digest = dir_put(host, big);
	for (int i = 0; i < 2; i++) {
		ReapiDirectory *src = dir_new(host), *root = dir_new(host);
		dir_add_file(host, src, i == 0 ? "old" : "new", "changes", false);
		dir_add_dir(host, src, "big", &big_digest);
		struct digest src_digest = dir_put(host, src);
		dir_add_dir(host, root, "src", &src_digest);
		roots[i] = dir_put(host, root);
	}
	host_stager(host, ENGINE_AUTO, ISOLATION_ROOT, geteuid());
	stage_ok(host, &roots[0]);
	assert_string_equal(host->report.binds[0].target, "src");
	release_ok(host);
	for (int i = 0; i < 200; i++) {
		stage_ok(host, &roots[1]);
		bool is_built = host->report.subtrees_built == 1;
		if (!is_built) {
			assert_string_equal(host->report.binds[0].target, "src/big");
			assert_int_equal(host->report.files_placed, 101);
			composed++;
		}
		release_ok(host);
		if (is_built)
			break;
	}
	/* 100 links are worth about 32 binds with a link each. */
	assert_in_range(composed, 20, 60);
	stage_ok(host, &roots[1]);
	assert_string_equal(host->report.binds[0].target, "src");
	release_ok(host);
}

static void
each_tree(struct host *host, enum engine engine, enum isolation isolation, uid_t uid, bool off)
{
	for (uint64_t seed = 1; seed <= 12; seed++) {
		uint64_t dice_seed = seed;
		struct digest root = random_tree(host, &dice_seed, 4);
		struct stage_request request = {
		    .root = root, .working_directory = "", .guard_off = off};
		struct compare compare = {.host = host, .is_writable = off};

		host_stager(host, engine, isolation, uid);
		assert_int_equal(host_stage(host, &request), 0);
		compare_directory(&compare, host->sandbox.rootfd, "", &root);
		assert_int_equal(compare.differences, 0);
		assert_int_equal(host->report.fallbacks, 0);
		if (off)
			assert_int_equal(host->report.files[PLACE_HARDLINK], 0);
		if (off || isolation == ISOLATION_NONE)
			assert_int_equal(host->report.bind_count, 0);
		release_ok(host);
	}
}

static void
test_every_way(void **state)
{
	struct host *host = *state;
	uid_t uid = geteuid();

	each_tree(host, ENGINE_AUTO, ISOLATION_USER, uid, false);
	each_tree(host, ENGINE_BIND, ISOLATION_USER, uid, false);
	each_tree(host, ENGINE_AUTO, ISOLATION_NONE, uid, false);
	each_tree(host, ENGINE_HARDLINK, ISOLATION_NONE, uid, false);
	each_tree(host, ENGINE_COPY, ISOLATION_ROOT, uid, false);
	each_tree(host, ENGINE_CLONEFILE, ISOLATION_NONE, uid, false);
	if (host->probe.ways[PLACE_REFLINK].works)
		each_tree(host, ENGINE_REFLINK, ISOLATION_NONE, uid, false);
	each_tree(host, ENGINE_AUTO, ISOLATION_USER, uid, true);
	each_tree(host, ENGINE_HARDLINK, ISOLATION_NONE, uid, true);
	if (uid != 0)
		return;
	each_tree(host, ENGINE_AUTO, ISOLATION_ROOT, OTHER_UID, false);
	each_tree(host, ENGINE_HARDLINK, ISOLATION_NONE, OTHER_UID, false);
	each_tree(host, ENGINE_AUTO, ISOLATION_ROOT, OTHER_UID, true);
}

/* tmpfs has no reflink: forced, it is counted for every file and the tree is right all the same. */
static void
test_fallback_is_counted(void **state)
{
	struct host *host = *state;
	struct digest root = small_tree(host);

	if (host->probe.ways[PLACE_REFLINK].works) {
		print_message("skipped: this volume has reflink\n");
		skip();
	}
	host_stager(host, ENGINE_REFLINK, ISOLATION_NONE, geteuid());
	stage_ok(host, &root);
	assert_int_equal(host->report.fallbacks, 5);
	assert_int_equal(host->report.files[PLACE_COPY], 5);
	assert_int_equal(counter_now(host, COUNTER_stage_reflink_fallbacks), 5);
	assert_int_equal(counter_now(host, COUNTER_fallback_eopnotsupp), 5);
	assert_int_equal(counter_now(host, COUNTER_stage_reflink_fallbacks_eopnotsupp), 5);
	assert_int_equal(counter_now(host, COUNTER_stage_copy_fallbacks_eopnotsupp), 0);
	release_ok(host);
}

static void
test_spine(void **state)
{
	struct host *host = *state;
	uid_t uid = geteuid() == 0 ? OTHER_UID : geteuid();
	struct digest root = small_tree(host);
	const char *const outputs[] = {"a/deep/out.o", "new/dir/out", "a/x"};
	const char *const directories[] = {"gen"};
	const char *const extra[] = {"new", "new/dir", "gen", "work", "work/here", NULL};
	struct stage_request request = {
	    .root = root,
	    .working_directory = "work/here",
	    .output_paths = outputs,
	    .output_count = 3,
	    .output_directories = directories,
	    .output_directory_count = 1,
	};
	struct stat st;

	host_stager(host, ENGINE_AUTO, ISOLATION_ROOT, uid);
	assert_int_equal(host_stage(host, &request), 0);
	assert_int_equal(host->report.bind_count, 0); /* a and a/deep are both written to */
	for (size_t i = 0; extra[i] != NULL; i++) {
		assert_int_equal(fstatat(host->sandbox.rootfd, extra[i], &st, 0), 0);
		assert_int_equal(st.st_uid, uid);
	}
	assert_int_equal(fstatat(host->sandbox.rootfd, "a/deep", &st, 0), 0);
	assert_int_equal(st.st_uid, uid);
	/* An input that is an output too is the action's own file. */
	assert_int_equal(fstatat(host->sandbox.rootfd, "a/x", &st, 0), 0);
	assert_int_equal(st.st_uid, uid);
	assert_int_equal(st.st_nlink, 1);
	assert_int_equal(fchmodat(host->sandbox.rootfd, "a/x", 0444, 0), 0);
	assert_int_equal(host_compare(host, &root, extra), 0);
	release_ok(host);
}

static void
test_output_directory_in_input(void **state)
{
	struct host *host = *state;
	struct digest root = small_tree(host);
	const char *const outputs[] = {"a"};
	struct stage_request request = {
	    .root = root, .working_directory = "", .output_paths = outputs, .output_count = 1};

	host_stager(host, ENGINE_AUTO, ISOLATION_ROOT, geteuid());
	assert_int_equal(host_stage(host, &request), 0);
	assert_int_equal(host->report.bind_count, 0);
	assert_int_equal(
	    unlinkat(host->sandbox.rootfd, "a/deep/y", 0), 0); /* all of it can be changed */
	release_ok(host);
}

static void
test_in_the_way(void **state)
{
	struct host *host = *state;
	struct digest root = small_tree(host);
	const char *const outputs[] = {"loose/out"};
	const char *const outside[] = {"../out"};
	struct stage_request request = {
	    .root = root, .working_directory = "", .output_paths = outputs, .output_count = 1};

	host_stager(host, ENGINE_AUTO, ISOLATION_ROOT, geteuid());
	assert_int_equal(host_stage(host, &request), -EINVAL);
	assert_non_null(strstr(host->err.text, "loose"));
	assert_int_equal(count_entries(host->sandbox.rootfd), 0);
	release_ok(host);
	request.output_paths = outside;
	assert_int_equal(host_stage(host, &request), -EINVAL);
	assert_non_null(strstr(host->err.text, "../out"));
	release_ok(host);
}

static void
test_all_missing_are_listed(void **state)
{
	struct host *host = *state;
	static const enum engine engines[] = {ENGINE_AUTO, ENGINE_COPY, ENGINE_CLONEFILE};
	ReapiDirectory *root = dir_new(host), *sub = dir_new(host);
	struct digest gone[3];

	for (int i = 0; i < 3; i++) {
		char text[8] = {'g', 'o', 'n', 'e', (char)('0' + i)};
		assert_int_equal(hash_bytes(text, 5, &gone[i]), 0);
	}
	dir_add_digest(host, root, "one", &gone[0], false);
	dir_add_digest(host, root, "again", &gone[0], true);
	dir_add_digest(host, sub, "two", &gone[1], true);
	dir_add_file(host, sub, "here", "here", false);
	struct digest sub_digest = dir_put(host, sub);
	dir_add_dir(host, root, "sub", &sub_digest);
	struct digest files_only = dir_put(host, root);
	dir_add_dir(host, root, "zub", &gone[2]);
	struct digest with_directory = dir_put(host, root);

	for (size_t i = 0; i < sizeof engines / sizeof engines[0]; i++) {
		host_stager(host, engines[i], ISOLATION_ROOT, geteuid());
		assert_int_equal(host_stage_root(host, &files_only), -ENOENT);
		assert_int_equal(host->report.missing_count, 2);
		release_ok(host);
		assert_int_equal(host_stage_root(host, &with_directory), -ENOENT);
		assert_int_equal(host->report.missing_count, 3);
		assert_int_equal(count_entries(host->sandbox.rootfd), 0);
		release_ok(host);
	}
}

static void
test_bad_trees_are_refused_whole(void **state)
{
	struct host *host = *state;
	static const char *const names[] = {"", ".", "..", "a/b", "/etc", "x"};

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		ReapiDirectory *bad = dir_new(host), *root = dir_new(host);
		dir_add_file(host, bad, "x", "good", false);
		dir_add_file(host, bad, names[i], "bad", false); /* the last one: twice "x" */
		struct digest bad_digest = dir_put_raw(host, bad);
		dir_add_file(host, root, "first", "first", false);
		dir_add_dir(host, root, "sub", &bad_digest);
		struct digest digest = dir_put(host, root);
		host_stager(
		    host, i % 2 == 0 ? ENGINE_AUTO : ENGINE_COPY, ISOLATION_ROOT, geteuid());
		assert_int_equal(host_stage_root(host, &digest), -EINVAL);
		assert_int_equal(count_entries(host->sandbox.rootfd), 0);
		assert_true(host->err.text[0] != '\0');
		release_ok(host);
	}
}

/* Where one that is like it was before, and is compared with it first. */
static void
test_bad_directory_in_a_changed_tree(void **state)
{
	struct host *host = *state;
	struct digest deep[2], roots[2];
	char name[16];

	for (int i = 0; i < 2; i++) {
		ReapiDirectory *dir = dir_new(host), *mid = dir_new(host), *top = dir_new(host);
		ReapiDirectory *root = dir_new(host);
		for (int j = 0; j < 40; j++) {
			snprintf(name, sizeof name, "f%d", i == 0 ? j : j % 39); /* one twice */
			dir_add_file(host, dir, name, name, false);
		}
		deep[i] = dir_put_raw(host, dir);
		dir_add_dir(host, mid, "deep", &deep[i]);
		struct digest digest = dir_put(host, mid);
		dir_add_dir(host, top, "mid", &digest);
		digest = dir_put(host, top);
		dir_add_dir(host, root, "top", &digest);
		roots[i] = dir_put(host, root);
	}
	host_stager(host, ENGINE_AUTO, ISOLATION_ROOT, geteuid());
	stage_ok(host, &roots[0]);
	release_ok(host);
	assert_int_equal(host_stage_root(host, &roots[1]), -EINVAL);
	assert_non_null(strstr(host->err.text, "f0"));
	assert_int_equal(count_entries(host->sandbox.rootfd), 0);
	release_ok(host);
	stage_ok(host, &roots[0]);
	release_ok(host);
}

/* Deeper than there are descriptors; then deeper than allowed. */
static void
test_deep(void **state)
{
	struct host *host = *state;
	struct rlimit limit, few = {.rlim_cur = 64};
	struct digest digest = digest_empty;
	static const enum engine engines[] = {ENGINE_AUTO, ENGINE_HARDLINK, ENGINE_CLONEFILE};

	for (int i = 0; i < 300; i++) {
		ReapiDirectory *dir = dir_new(host);
		dir_add_file(host, dir, "f", "deep", i % 2 == 0);
		if (i > 0)
			dir_add_dir(host, dir, "down", &digest);
		digest = dir_put(host, dir);
	}
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	for (size_t i = 0; i < sizeof engines / sizeof engines[0]; i++) {
		host_stager(host, engines[i], ISOLATION_ROOT, geteuid());
		few.rlim_max = limit.rlim_max;
		if (engines[i] == ENGINE_CLONEFILE) /* the stand-in keeps some for each level */
			few.rlim_cur = limit.rlim_cur;
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
		int rc = host_stage_root(host, &digest);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
		assert_int_equal(rc, 0);
		assert_int_equal(host->report.files_placed, 300);
		assert_int_equal(host_compare(host, &digest, NULL), 0);
		release_ok(host);
	}
	for (int i = 0; i < 250; i++) {
		ReapiDirectory *dir = dir_new(host);
		dir_add_dir(host, dir, "down", &digest);
		digest = dir_put(host, dir);
	}
	host_stager(host, ENGINE_AUTO, ISOLATION_ROOT, geteuid());
	assert_int_equal(host_stage_root(host, &digest), -EINVAL);
	assert_non_null(strstr(host->err.text, "deeper"));
	release_ok(host);
}

/* Forty Directories, each named twice by the one above: 2^40 paths.  Refused, nothing placed. */
static void
test_too_many_entries(void **state)
{
	static const char *const whole[] = {"down"};
	struct host *host = *state;
	struct digest digest = digest_empty;

	for (int i = 0; i < 40; i++) {
		ReapiDirectory *dir = dir_new(host);
		dir_add_file(host, dir, "f", "many", false);
		if (i > 0) {
			dir_add_dir(host, dir, "down", &digest);
			dir_add_dir(host, dir, "twin", &digest);
		}
		digest = dir_put(host, dir);
	}
	for (int i = 0; i < 2; i++) {
		struct stage_request request = {.root = digest,
		    .working_directory = "",
		    .output_directories = whole,
		    .output_directory_count = (size_t)i};
		host_stager(host, ENGINE_AUTO, ISOLATION_ROOT, geteuid());
		assert_int_equal(host_stage(host, &request), -EINVAL);
		assert_non_null(strstr(host->err.text, "more than"));
		assert_int_equal(faccessat(host->sandbox.rootfd, "down", F_OK, 0), -1);
		release_ok(host);
	}
}

static void
test_more_subtrees_than_leases(void **state)
{
	struct host *host = *state;
	ReapiDirectory *root = dir_new(host);
	char name[16];

	for (int i = 0; i < 600; i++) {
		ReapiDirectory *dir = dir_new(host);
		snprintf(name, sizeof name, "d%d", i);
		dir_add_file(host, dir, name, name, false);
		struct digest digest = dir_put(host, dir);
		dir_add_dir(host, root, name, &digest);
	}
	struct digest digest = dir_put(host, root);
	host_stager(host, ENGINE_AUTO, ISOLATION_ROOT, geteuid());
	for (int i = 0; i < 2; i++) {
		stage_ok(host, &digest);
		assert_true(host->report.bind_count > 200);
		assert_true(host->report.bind_count < SLOT_LEASES);
		assert_int_equal(host->report.files_placed, 600);
		release_ok(host);
	}
}

static void
test_large_loose_files_are_bound(void **state)
{
	struct host *host = *state;
	static char large[100000];
	ReapiDirectory *root = dir_new(host);
	struct digest blob;

	memset(large, 'L', sizeof large);
	blob = host_put(host, large, sizeof large);
	dir_add_digest(host, root, "large", &blob, false);
	dir_add_digest(host, root, "large-run", &blob, true);
	dir_add_file(host, root, "small", "small", false);
	struct digest digest = dir_put(host, root);
	host_stager(host, ENGINE_AUTO, ISOLATION_USER, geteuid());
	stage_ok(host, &digest);
	if (host->probe.ways[PLACE_REFLINK].works) {
		assert_int_equal(host->report.files[PLACE_REFLINK], 3);
		release_ok(host);
		return;
	}
	assert_int_equal(host->report.bind_count, 2);
	assert_false(host->report.binds[0].is_directory);
	assert_int_equal(host->report.files[PLACE_COPY], 1);
	assert_int_equal(host->report.files[PLACE_BIND], 2);
	release_ok(host);
}

/* An input with a time and a mode of its own has them, and the blob's inode has not. */
static void
test_node_properties(void **state)
{
	struct host *host = *state;
	static const char *const names[] = {"sub/file", "file"};
	ReapiDirectory *dirs[2] = {dir_new(host), dir_new(host)};
	struct digest digest = host_put(host, "bytes", 5), root = digest_empty;
	struct stat st;

	for (int i = 0; i < 2; i++) {
		ReapiFileNode *file = dir_add_digest(host, dirs[i], "file", &digest, false);
		file->node_properties = REAPI_NEW(host->arena, node_properties);
		file->node_properties->mtime =
		    arena_alloc(host->arena, sizeof *file->node_properties->mtime);
		google__protobuf__timestamp__init(file->node_properties->mtime);
		file->node_properties->mtime->seconds = 86400;
		file->node_properties->unix_mode =
		    arena_alloc(host->arena, sizeof *file->node_properties->unix_mode);
		google__protobuf__uint32_value__init(file->node_properties->unix_mode);
		file->node_properties->unix_mode->value = 0750;
		if (i == 1)
			dir_add_dir(host, dirs[i], "sub", &root);
		root = dir_put(host, dirs[i]);
	}
	host_stager(host, ENGINE_HARDLINK, ISOLATION_NONE, OTHER_UID);
	assert_int_equal(host_stage_root(host, &root), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(fstatat(host->sandbox.rootfd, names[i], &st, 0), 0);
		assert_int_equal(st.st_mtime, 86400);
		assert_int_equal(st.st_mode & 07777, 0554);
		assert_int_equal(st.st_nlink, 1);
	}
	assert_int_equal(host->report.fallbacks, 0);
	release_ok(host);
}

static void
write_into(struct host *host, const char *path, const char *bytes)
{
	assert_int_equal(fchmodat(host->sandbox.rootfd, path, 0644, 0), 0);
	int fd = openat(host->sandbox.rootfd, path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(write(fd, bytes, strlen(bytes)), strlen(bytes));
	assert_int_equal(fchmod(fd, 0444), 0);
	close(fd);
}

static uint64_t
count_of(struct host *host, enum counter counter)
{
	return counter_sum(host->region, counter);
}

/* Forced links where the action has our uid: what it wrote into is found, and dropped. */
static void
test_forced_links_are_checked(void **state)
{
	struct host *host = *state;
	struct digest root = small_tree(host), changed;

	host_stager(host, ENGINE_HARDLINK, ISOLATION_NONE, geteuid());
	stage_ok(host, &root);
	release_ok(host);
	assert_int_equal(hash_bytes("ex", 2, &changed), 0);
	stage_ok(host, &root);
	write_into(host, "a/x", "EX");
	assert_int_equal(host_release(host), -EBADMSG);
	assert_int_equal(cas_has(host->cas, &changed), 0);
	assert_true(suspect_is_noted(host->config.state_fd, SUSPECT_BLOB, &changed));
	assert_int_equal(count_of(host, COUNTER_inputs_changed), 1);
	assert_int_equal(count_of(host, COUNTER_cas_corrupt), 1);
	assert_int_equal(host_stage_root(host, &root), -ENOENT);
	assert_int_equal(host->report.missing_count, 1);
	assert_true(digest_equal(&host->report.missing[0], &changed));
	release_ok(host);
}

/* With a good copy beside it the blob is made anew, and the next action sees what was put in. */
static void
test_forced_links_are_healed(void **state)
{
	struct host *host = *state;
	struct digest root = small_tree(host), changed;
	bool made;

	assert_int_equal(hash_bytes("ex", 2, &changed), 0);
	assert_int_equal(cas_ensure(host->cas, &changed, true, &made), 0);
	assert_true(made);
	host_stager(host, ENGINE_HARDLINK, ISOLATION_NONE, geteuid());
	stage_ok(host, &root);
	write_into(host, "a/x", "EX");
	assert_int_equal(host_release(host), -EBADMSG);
	assert_non_null(strstr(host->err.text, "1 made anew"));
	assert_int_equal(count_of(host, COUNTER_cas_healed), 1);
	assert_int_equal(count_of(host, COUNTER_cas_corrupt), 0);
	stage_ok(host, &root);
	assert_int_equal(host_compare(host, &root, NULL), 0);
	release_ok(host);
}

/* What another action changed, and another's worker healed, was changed for us too. */
static void
test_forced_links_of_two_actions(void **state)
{
	struct host *host = *state;
	struct digest root = small_tree(host), changed;
	enum cas_health health;
	bool made;

	assert_int_equal(hash_bytes("ex", 2, &changed), 0);
	host_stager(host, ENGINE_HARDLINK, ISOLATION_NONE, geteuid());
	for (int heals = 0; heals <= 1; heals++) {
		host_put(host, "ex", 2);
		if (heals)
			assert_int_equal(cas_ensure(host->cas, &changed, true, &made), 0);
		stage_ok(host, &root);
		write_into(host, "a/x", "EX");
		counter_add(slot_at(host->region, HOST_SLOT + 1), COUNTER_inputs_changed, 1);
		assert_int_equal(cas_heal(host->cas, &changed, &health), 0);
		assert_int_equal(health, heals ? CAS_HEALED : CAS_DROPPED);
		assert_int_equal(host_release(host), -EBADMSG);
	}
	/* A second inode for want of links is no change, and neither is a blob that was evicted. */
	stage_ok(host, &root);
	assert_int_equal(cas_mint(host->cas, &changed, false), 0);
	release_ok(host);
	stage_ok(host, &root);
	cas_drop(host->cas, &changed);
	release_ok(host);
}

/* Rubbish under the final name (a crash between rename and publish) gives way. */
static void
test_rubbish_gives_way(void **state)
{
	struct host *host = *state;
	struct digest root = small_tree(host);
	char name[DIGEST_TEXT_SIZE], path[DIGEST_TEXT_SIZE + 32];
	ReapiDirectory *message;
	struct digest a;

	assert_int_equal(directory_load(host->cas, host->arena, &root, &message, &host->err), 0);
	assert_int_equal(reapi_digest_get(message->directories[0]->digest, &a), 0);
	index_tree_name(&a, name);
	snprintf(path, sizeof path, "trees/%s/rubbish", name);
	assert_int_equal(fs_mkdir_path(host->config.state_fd, path, 0755), 0);
	host_stager(host, ENGINE_AUTO, ISOLATION_ROOT, geteuid());
	stage_ok(host, &root);
	assert_int_equal(host->report.bind_count, 1);
	release_ok(host);
}

/* A tree that another process builds and never finishes is not waited for without end. */
static void
test_busy_goes_without(void **state)
{
	struct host *host = *state;
	struct digest root = small_tree(host), a;
	struct slot *other = slot_at(host->region, HOST_SLOT + 1);
	ReapiDirectory *message;
	struct index_claim claim;

	slot_assign(host->region, HOST_SLOT + 1);
	slot_activate(host->region, HOST_SLOT + 1, getpid());
	assert_int_equal(directory_load(host->cas, host->arena, &root, &message, &host->err), 0);
	assert_int_equal(reapi_digest_get(message->directories[0]->digest, &a), 0);
	assert_int_equal(index_claim(host->region, other, &a, &claim), 0);
	host_stager(host, ENGINE_AUTO, ISOLATION_ROOT, geteuid());
	stage_ok(host, &root);
	assert_int_equal(host->report.bind_count, 0);
	assert_int_equal(counter_now(host, COUNTER_index_waits), 1);
	assert_int_equal(counter_now(host, COUNTER_index_busy), 1);
	release_ok(host);
	index_abandon(host->region, other, &claim);
	stage_ok(host, &root);
	assert_int_equal(host->report.bind_count, 1);
	release_ok(host);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	    T(test_empty_root),
	    T(test_bound_cold_then_warm),
	    T(test_inside_a_larger_tree),
	    T(test_inside_is_noted_later),
	    T(test_inside_what_was_just_built),
	    T(test_changed_file_is_composed),
	    T(test_every_way),
	    T(test_fallback_is_counted),
	    T(test_spine),
	    T(test_output_directory_in_input),
	    T(test_in_the_way),
	    T(test_all_missing_are_listed),
	    T(test_bad_trees_are_refused_whole),
	    T(test_bad_directory_in_a_changed_tree),
	    T(test_deep),
	    T(test_too_many_entries),
	    T(test_more_subtrees_than_leases),
	    T(test_large_loose_files_are_bound),
	    T(test_node_properties),
	    T(test_forced_links_are_checked),
	    T(test_forced_links_are_healed),
	    T(test_forced_links_of_two_actions),
	    T(test_rubbish_gives_way),
	    T(test_busy_goes_without),
#undef T
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
