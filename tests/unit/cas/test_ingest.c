#include <time.h>

#include "base/clock.h"
#include "cas/directory.h"
#include "cas/ingest.h"
#include "tests/unit/cas/cas_fixture.h"

/* As if everything had lain there for a while. */
static int64_t
later(void)
{
	return (int64_t)clock_realtime_s() + 10;
}

static struct digest
ingest(struct fixture *f, const char *name, const struct ingest_options *options,
    struct ingest_stats *ret_stats)
{
	char path[512];
	struct digest digest;
	struct error_text err = {""};

	snprintf(path, sizeof(path), "%s/user/%s", f->path, name);
	if (ingest_tree(f->cas, path, options, &digest, ret_stats, &err) != 0)
		fail_msg("%s", err.text);
	return digest;
}

static int
ingest_fails(struct fixture *f, const char *name, struct error_text *err)
{
	char path[512];
	struct digest digest;

	snprintf(path, sizeof(path), "%s/user/%s", f->path, name);
	return ingest_tree(f->cas, path, NULL, &digest, NULL, err);
}

static int
open_dir(int dirfd, const char *name)
{
	int fd;

	assert_int_equal(fs_mkdir_path(dirfd, name, 0755), 0);
	assert_int_equal(fs_open_beneath(dirfd, name, &fd), 0);
	return fd;
}

static void
tree_make(int dirfd, const char *name, bool backwards)
{
	int fd = open_dir(dirfd, name), sub = open_dir(fd, "sub/deep");
	char file[16];

	for (int i = 0; i < 40; i++) {
		snprintf(file, sizeof(file), "file%d", backwards ? 39 - i : i);
		file_text(fd, file, file);
	}
	file_write(sub, "tool", "#!/bin/sh\n", 10, 0755);
	file_text(sub, "empty", "");
	assert_int_equal(symlinkat("../file1", sub, "link"), 0);
	assert_int_equal(fs_mkdir(fd, "void", 0700), 0);
	close(sub);
	close(fd);
}

static void
test_same_tree_same_digest(void **state)
{
	struct fixture *f = *state;
	const struct ingest_options single = {.threads = 1}, several = {.threads = 7};
	struct digest one, other;
	struct ingest_stats stats;

	tree_make(f->dirfd, "one", false);
	tree_make(f->dirfd, "other", true);
	one = ingest(f, "one", &single, &stats);
	assert_int_equal(stats.files, 42);
	assert_int_equal(stats.directories, 4);
	assert_int_equal(stats.symlinks, 1);
	assert_true(stats.bytes_stored > 0);
	other = ingest(f, "other", &several, &stats);
	assert_true(digest_equal(&one, &other));
	assert_int_equal(stats.bytes_stored, 0);
	assert_int_equal(folder_count(f->state_fd, "cas/tmp"), 0);
}

static void
test_contents(void **state)
{
	struct fixture *f = *state;
	ReapiDirectory *directory;
	struct digest root, tool = digest_of("#!/bin/sh\n", 10), found;
	struct error_text err;

	tree_make(f->dirfd, "tree", false);
	root = ingest(f, "tree/sub/deep", NULL, NULL);
	assert_int_equal(directory_load(f->cas, f->arena, &root, &directory, &err), 0);
	assert_int_equal(directory->n_files, 2);
	assert_string_equal(directory->files[0]->name, "empty");
	assert_int_equal(reapi_digest_get(directory->files[0]->digest, &found), 0);
	assert_true(digest_is_empty(&found));
	assert_true(directory->files[1]->is_executable);
	assert_int_equal(reapi_digest_get(directory->files[1]->digest, &found), 0);
	assert_true(digest_equal(&found, &tool));
	assert_string_equal(directory->symlinks[0]->target, "../file1");
}

static void
test_again(void **state)
{
	struct fixture *f = *state;
	const struct ingest_options options = {.now_s = later()};
	struct digest first, second, gone = digest_of("file3", 5), changed;
	struct ingest_stats stats;
	int fd;

	tree_make(f->dirfd, "tree", false);
	first = ingest(f, "tree", &options, &stats);
	assert_int_equal(stats.files_hashed, 42);
	second = ingest(f, "tree", &options, &stats);
	assert_int_equal(stats.files_hashed, 0);
	assert_true(digest_equal(&first, &second));

	cas_drop(f->cas, &gone); /* believed, but its blob has gone: put again */
	second = ingest(f, "tree", &options, &stats);
	assert_int_equal(stats.files_hashed, 1);
	assert_true(digest_equal(&first, &second));
	assert_int_equal(cas_has(f->cas, &gone), 1);

	fd = open_dir(f->dirfd, "tree");
	file_text(fd, "file3", "FILE3");
	changed = ingest(f, "tree", &options, &stats);
	assert_int_equal(stats.files_hashed, 1);
	assert_false(digest_equal(&first, &changed));
	assert_int_equal(fchmodat(fd, "file3", 0755, 0), 0);
	second = ingest(f, "tree", &options, &stats);
	assert_false(digest_equal(&second, &changed));
	assert_int_equal(unlinkat(fd, "file3", 0), 0);
	second = ingest(f, "tree", &options, &stats);
	assert_int_equal(stats.files, 41);
	close(fd);
}

/* A file changed within one tick has the same times before and after. */
static void
test_racy_files_are_not_believed(void **state)
{
	struct fixture *f = *state;
	const struct timespec long_ago[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	struct ingest_stats stats;
	int fd = open_dir(f->dirfd, "tree");

	file_text(fd, "new", "now");
	file_text(fd, "backdated", "now");
	assert_int_equal(utimensat(fd, "backdated", long_ago, 0), 0);
	for (int i = 0; i < 3; i++) {
		const struct ingest_options options = {.now_s = (int64_t)clock_realtime_s()};

		ingest(f, "tree", &options, &stats);
		assert_int_equal(stats.files_hashed, 2);
	}
	close(fd);
}

static void
test_damaged_cache(void **state)
{
	struct fixture *f = *state;
	const struct ingest_options options = {.now_s = later()};
	struct digest first, second;
	char path[512], name[128], hex[DIGEST_HEX_SIZE];
	struct ingest_stats stats;
	uint8_t *data;
	size_t len;

	tree_make(f->dirfd, "tree", false);
	first = ingest(f, "tree", &options, &stats);
	snprintf(path, sizeof(path), "%s/user/tree", f->path);
	second = digest_of(path, strlen(path));
	snprintf(name, sizeof(name), "ingest/%s", digest_to_hex(&second, hex));
	assert_int_equal(fs_read_file(f->state_fd, name, 1 << 20, &data, &len), 0);
	for (size_t at = 0; at < len; at += 211) {
		data[at] ^= 0x55;
		file_write(f->state_fd, name, data, len, 0644);
		data[at] ^= 0x55;
		second = ingest(f, "tree", &options, &stats);
		assert_int_equal(stats.files_hashed, 42);
		assert_true(digest_equal(&first, &second));
	}
	for (size_t cut = 0; cut < len; cut += 211) {
		file_write(f->state_fd, name, data, cut, 0644);
		ingest(f, "tree", &options, &stats);
		assert_int_equal(stats.files_hashed, 42);
	}
	free(data);
}

static void
test_excludes(void **state)
{
	struct fixture *f = *state;
	const char *const patterns[] = {"file[0-9]", "sub/deep", "void", NULL};
	const struct ingest_options options = {.excludes = patterns};
	struct ingest_stats stats;

	tree_make(f->dirfd, "tree", false);
	ingest(f, "tree", &options, &stats);
	assert_int_equal(stats.files, 30);
	assert_int_equal(stats.directories, 2);
}

static void
test_refuses(void **state)
{
	struct fixture *f = *state;
	struct error_text err;
	int fd = open_dir(f->dirfd, "tree/sub");

	assert_int_equal(mkfifoat(fd, "pipe", 0644), 0);
	assert_int_equal(ingest_fails(f, "tree", &err), -EINVAL);
	assert_non_null(strstr(err.text, "sub/pipe"));
	close(fd);
	assert_int_equal(ingest_fails(f, "none", &err), -ENOENT);
	assert_non_null(strstr(err.text, "none"));
	file_text(f->dirfd, "file", "x");
	assert_int_equal(ingest_fails(f, "file", &err), -ENOTDIR);
}

static void
test_unreadable_file(void **state)
{
	struct fixture *f = *state;
	struct error_text err;

	if (geteuid() == 0) {
		print_message("root can read everything\n");
		skip();
	}
	tree_make(f->dirfd, "tree", false);
	assert_int_equal(fchmodat(f->dirfd, "tree/file7", 0, 0), 0);
	assert_int_equal(ingest_fails(f, "tree", &err), -EACCES);
	assert_non_null(strstr(err.text, "file7"));
}

static void
test_too_deep(void **state)
{
	struct fixture *f = *state;
	struct error_text err;
	int fd = open_dir(f->dirfd, "tree");

	for (int i = 0; i < TREE_DEPTH_MAX; i++) {
		int below = open_dir(fd, "d");

		close(fd);
		fd = below;
	}
	close(fd);
	assert_int_equal(ingest_fails(f, "tree", &err), -ENAMETOOLONG);
}

/* `make run` keeps its state directory inside the tree it works on. */
static void
test_state_directory_inside(void **state)
{
	struct fixture *f = *state;
	struct digest digest;
	struct error_text err;
	struct ingest_stats stats;

	file_text(f->dirfd, "file", "x");
	assert_int_equal(ingest_tree(f->cas, f->path, NULL, &digest, &stats, &err), 0);
	assert_int_equal(stats.files, 1);
	assert_int_equal(stats.directories, 2);
}

static void
test_export(void **state)
{
	struct fixture *f = *state;
	struct digest root, again;
	struct error_text err;
	struct stat st;
	int fd;

	tree_make(f->dirfd, "tree", false);
	root = ingest(f, "tree", NULL, NULL);
	assert_int_equal(export_tree(f->cas, &root, f->dirfd, "copy", &err), 0);
	again = ingest(f, "copy", NULL, NULL);
	assert_true(digest_equal(&root, &again));
	assert_int_equal(fstatat(f->dirfd, "copy/file1", &st, 0), 0);
	assert_int_equal(st.st_nlink, 1);
	assert_int_equal(st.st_mode & 0200, 0200);

	fd = open_dir(f->dirfd, "copy"); /* over what is there, and nothing else touched */
	file_text(fd, "file1", "changed");
	file_text(fd, "mine", "kept");
	assert_int_equal(unlinkat(fd, "file2", 0), 0);
	assert_int_equal(symlinkat("mine", fd, "file2"), 0);
	assert_int_equal(export_tree(f->cas, &root, fd, ".", &err), 0);
	assert_int_equal(faccessat(fd, "mine", F_OK, 0), 0);
	assert_int_equal(fstatat(fd, "mine", &st, 0), 0);
	assert_int_equal(st.st_size, 4);
	assert_int_equal(unlinkat(fd, "mine", 0), 0);
	again = ingest(f, "copy", NULL, NULL);
	assert_true(digest_equal(&root, &again));
	close(fd);
}

static void
test_export_follows_no_symlink(void **state)
{
	struct fixture *f = *state;
	struct digest root;
	struct error_text err;
	int fd = open_dir(f->dirfd, "copy");

	tree_make(f->dirfd, "tree", false);
	root = ingest(f, "tree", NULL, NULL);
	assert_int_equal(fs_mkdir(f->dirfd, "elsewhere", 0755), 0);
	assert_int_equal(symlinkat("../elsewhere", fd, "sub"), 0);
	assert_true(export_tree(f->cas, &root, f->dirfd, "copy", &err) < 0);
	assert_non_null(strstr(err.text, "sub"));
	assert_int_equal(folder_count(f->dirfd, "elsewhere"), 0);
	assert_int_equal(export_tree(f->cas, &root, f->dirfd, "../x", &err), -EINVAL);
	close(fd);
}

/* Each Directory names the one below it twice: a few blobs, 2^40 entries. */
static void
test_export_is_bounded(void **state)
{
	struct fixture *f = *state;
	struct digest digest = digest_empty;
	struct error_text err = {""};
	uint32_t entries;

	for (int i = 1; i <= 40; i++) {
		ReapiDirectory *directory = REAPI_NEW(f->arena, directory);
		ReapiDirectoryNode *nodes[2];

		for (int j = 0; j < 2; j++) {
			nodes[j] = REAPI_NEW(f->arena, directory_node);
			nodes[j]->name = arena_strdup(f->arena, j == 0 ? "a" : "b");
			nodes[j]->digest = reapi_digest_new(f->arena, &digest);
		}
		directory->directories = nodes;
		directory->n_directories = 2;
		assert_int_equal(directory_store(f->cas, f->arena, directory, &digest), 0);
		if (i == 3) {
			assert_int_equal(tree_count(f->cas, &digest, &entries, &err), 0);
			assert_int_equal(entries, 2 + 4 + 8);
		}
	}
	assert_int_equal(export_tree(f->cas, &digest, f->dirfd, "copy", &err), -EINVAL);
	assert_non_null(strstr(err.text, "4194304"));
	assert_int_equal(export_tree(f->cas, &digest, f->dirfd, ".", &err), -EINVAL);
	assert_int_equal(folder_count(f->dirfd, "."), 0);
}

static void
test_export_verifies(void **state)
{
	struct fixture *f = *state;
	struct digest digest = put_text(f->cas, "right"), gone = digest_of("gone", 4);
	struct error_text err;

	assert_int_equal(export_file(f->cas, &digest, true, f->dirfd, "out", &err), 0);
	assert_int_equal(faccessat(f->dirfd, "out", X_OK, 0), 0);
	assert_int_equal(export_file(f->cas, &digest_empty, false, f->dirfd, "empty", &err), 0);
	assert_int_equal(export_file(f->cas, &gone, false, f->dirfd, "gone", &err), -ENOENT);
	blob_spoil(f->cas, &digest, "wrong");
	assert_int_equal(export_file(f->cas, &digest, false, f->dirfd, "bad", &err), -EBADMSG);
	assert_int_equal(cas_has(f->cas, &digest), 0);
	assert_int_equal(folder_count(f->dirfd, "."), 2);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_same_tree_same_digest),
	    T(test_contents),
	    T(test_again),
	    T(test_racy_files_are_not_believed),
	    T(test_damaged_cache),
	    T(test_excludes),
	    T(test_refuses),
	    T(test_unreadable_file),
	    T(test_too_deep),
	    T(test_state_directory_inside),
	    T(test_export),
	    T(test_export_follows_no_symlink),
	    T(test_export_is_bounded),
	    T(test_export_verifies),
	};

	return cmocka_run_group_tests_name("cas/ingest", tests, NULL, NULL);
}
