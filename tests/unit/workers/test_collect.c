/* Outputs of every kind, and the ones that would lead out of the sandbox: workers/collect.h. */
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/xattr.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "cas/directory.h"
#include "tests/cmocka_wrap.h"
#include "workers/collect.h"

enum { ACTION_UID = 64321, OUTPUTS_MAX = 8 };

struct fixture {
	char path[64];
	int top, root; /* root: what the action wrote to */
	struct cas *cas;
	struct arena *arena;
	struct sandbox sandbox;
	ReapiCommand *command;
	ReapiActionResult *result;
	struct collect_request request;
	struct collect_stats stats;
	struct error_text err;
};

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	snprintf(f->path, sizeof(f->path), "/tmp/ramet-test-collect.XXXXXX");
	if (mkdtemp(f->path) == NULL)
		return -1;
	f->top = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fs_mkdir_path(f->top, "state", 0755) != 0 ||
	    fs_mkdir_path(f->top, "box/root", 0755) != 0 ||
	    fs_open_beneath(f->top, "box", &f->sandbox.dirfd) != 0 ||
	    fs_open_beneath(f->top, "box/root", &f->root) != 0)
		return -1;
	f->sandbox.rootfd = f->root;
	if (geteuid() == 0 && fchown(f->root, ACTION_UID, ACTION_UID) != 0)
		return -1;
	int state_fd;

	if (fs_open_beneath(f->top, "state", &state_fd) != 0 ||
	    cas_open(state_fd, true, &f->cas, &f->err) != 0)
		return -1;
	f->arena = arena_new();
	f->command = REAPI_NEW(f->arena, command);
	f->result = REAPI_NEW(f->arena, action_result);
	f->request = (struct collect_request){.command = f->command, .may_move = true};
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;
	int state_fd = cas_state_fd(f->cas);
	int rc;

	arena_free(f->arena);
	cas_close(f->cas);
	close(state_fd);
	close(f->root);
	close(f->sandbox.dirfd);
	close(f->top);
	rc = fs_remove_tree(AT_FDCWD, f->path);
	free(f);
	return rc;
}

/* What an action does, done as it: everything below root belongs to its uid. */
static void
own(struct fixture *f, int dirfd, const char *name)
{
	if (geteuid() == 0)
		assert_int_equal(
		    fchownat(dirfd, name, ACTION_UID, ACTION_UID, AT_SYMLINK_NOFOLLOW), 0);
}

static void
make_file(struct fixture *f, const char *path, const char *text, mode_t mode)
{
	int fd = openat(f->root, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(fs_write_all(fd, text, strlen(text)), 0);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
	own(f, f->root, path);
}

static void
make_dir(struct fixture *f, const char *path)
{
	assert_int_equal(mkdirat(f->root, path, 0755), 0);
	own(f, f->root, path);
}

static void
make_link(struct fixture *f, const char *path, const char *target)
{
	assert_int_equal(symlinkat(target, f->root, path), 0);
	own(f, f->root, path);
}

static int
collect(struct fixture *f, const char *const *paths)
{
	static char *list[OUTPUTS_MAX];
	size_t count = 0;

	for (; paths[count] != NULL; count++)
		list[count] = arena_strdup(f->arena, paths[count]);
	f->command->output_paths = list;
	f->command->n_output_paths = count;
	f->result = REAPI_NEW(f->arena, action_result);
	f->err.text[0] = '\0';
	return collect_outputs(
	    f->cas, f->arena, NULL, &f->sandbox, &f->request, f->result, &f->stats, &f->err);
}
#define COLLECT(f, ...) collect((f), (const char *const[]){__VA_ARGS__, NULL})

static void
blob_is(struct fixture *f, const ReapiDigest *name, const char *text)
{
	struct digest digest;
	uint8_t *data;
	size_t len;

	assert_int_equal(reapi_digest_get(name, &digest), 0);
	assert_int_equal(cas_read(f->cas, &digest, 1 << 20, &data, &len), 0);
	assert_int_equal(len, strlen(text));
	assert_memory_equal(data, text, len);
	free(data);
}

static void
test_every_kind(void **state)
{
	struct fixture *f = *state;

	make_dir(f, "w");
	make_file(f, "w/plain", "plain bytes", 0644);
	make_file(f, "w/tool", "#!tool", 0755);
	make_file(f, "w/none", "", 0644);
	make_link(f, "w/link", "/nowhere/at all");
	f->command->working_directory = arena_strdup(f->arena, "w");
	assert_int_equal(COLLECT(f, "plain", "tool", "none", "link", "missing", "no/parent"), 0);
	assert_int_equal(f->result->n_output_files, 3);
	assert_string_equal(f->result->output_files[0]->path, "plain");
	assert_false(f->result->output_files[0]->is_executable);
	blob_is(f, f->result->output_files[0]->digest, "plain bytes");
	assert_true(f->result->output_files[1]->is_executable);
	blob_is(f, f->result->output_files[1]->digest, "#!tool");
	assert_int_equal(f->result->output_files[2]->digest->size_bytes, 0);
	assert_int_equal(f->result->n_output_symlinks, 1);
	assert_string_equal(f->result->output_symlinks[0]->target, "/nowhere/at all");
	assert_int_equal(f->result->n_output_file_symlinks, 0);
	assert_int_equal(f->result->n_output_directories, 0);
	assert_int_equal(f->stats.files, 3);
	assert_int_equal(f->stats.moved, 2);
	assert_int_equal(faccessat(f->root, "w/plain", F_OK, 0), -1); /* moved, not copied */
}

static void
test_not_moved_when_it_may_be_open(void **state)
{
	struct fixture *f = *state;

	make_file(f, "a", "bytes", 0644);
	f->request.may_move = false;
	assert_int_equal(COLLECT(f, "a"), 0);
	assert_int_equal(f->stats.moved, 0);
	assert_int_equal(f->stats.copied, 1);
	assert_int_equal(faccessat(f->root, "a", F_OK, 0), 0);
}

static void
tree_of(struct fixture *f, struct digest *ret_tree)
{
	assert_int_equal(f->result->n_output_directories, 1);
	assert_int_equal(
	    reapi_digest_get(f->result->output_directories[0]->tree_digest, ret_tree), 0);
}

static ReapiTree *
tree_load(struct fixture *f, const struct digest *digest)
{
	uint8_t *data;
	size_t len;
	ReapiTree *tree;

	assert_int_equal(cas_read(f->cas, digest, 1 << 20, &data, &len), 0);
	tree = REAPI_DECODE(f->arena, tree, data, len);
	free(data);
	assert_non_null(tree);
	return tree;
}

static void
test_directory(void **state)
{
	struct fixture *f = *state;
	struct digest first, second;
	ReapiTree *tree;

	make_dir(f, "one");
	make_dir(f, "one/z");
	make_file(f, "one/z/f", "same", 0644);
	make_dir(f, "one/a");
	make_file(f, "one/a/f", "same", 0644);
	make_link(f, "one/l", "../..");
	make_file(f, "one/b", "b", 0755);
	make_dir(f, "one/empty");
	make_dir(f, "two");
	make_dir(f, "two/empty");
	make_file(f, "two/b", "b", 0755);
	make_dir(f, "two/a");
	make_file(f, "two/a/f", "same", 0600);
	make_link(f, "two/l", "../..");
	make_dir(f, "two/z");
	make_file(f, "two/z/f", "same", 0644);
	assert_int_equal(COLLECT(f, "one"), 0);
	tree_of(f, &first);
	assert_int_equal(COLLECT(f, "two"), 0);
	tree_of(f, &second);
	assert_true(digest_equal(&first, &second));
	tree = tree_load(f, &first);
	assert_int_equal(tree->n_children, 2); /* a and z are one, and the empty one */
	assert_int_equal(tree->root->n_directories, 3);
	assert_string_equal(tree->root->directories[0]->name, "a");
	assert_string_equal(tree->root->symlinks[0]->target, "../..");
	assert_true(tree->root->files[0]->is_executable);
	assert_null(f->result->output_directories[0]->root_directory_digest);
}

static void
test_directory_formats(void **state)
{
	struct fixture *f = *state;
	struct digest root;
	ReapiDirectory *directory;

	make_dir(f, "d");
	make_file(f, "d/f", "bytes", 0644);
	f->command->output_directory_format =
	    BUILD__BAZEL__REMOTE__EXECUTION__V2__COMMAND__OUTPUT_DIRECTORY_FORMAT__DIRECTORY_ONLY;
	assert_int_equal(COLLECT(f, "d"), 0);
	assert_null(f->result->output_directories[0]->tree_digest);
	assert_int_equal(
	    reapi_digest_get(f->result->output_directories[0]->root_directory_digest, &root), 0);
	assert_int_equal(directory_load(f->cas, f->arena, &root, &directory, &f->err), 0);
	assert_string_equal(directory->files[0]->name, "f");
}

static void
test_older_lists(void **state)
{
	struct fixture *f = *state;
	char *files[] = {arena_strdup(f->arena, "f"), arena_strdup(f->arena, "fl")};
	char *directories[] = {arena_strdup(f->arena, "d"), arena_strdup(f->arena, "dl")};

	make_file(f, "f", "bytes", 0644);
	make_link(f, "fl", "f");
	make_dir(f, "d");
	make_link(f, "dl", "d");
	f->command->output_files = files;
	f->command->n_output_files = 2;
	f->command->output_directories = directories;
	f->command->n_output_directories = 2;
	assert_int_equal(collect_outputs(f->cas, f->arena, NULL, &f->sandbox, &f->request,
			     f->result, &f->stats, &f->err),
	    0);
	assert_int_equal(f->result->n_output_files, 1);
	assert_int_equal(f->result->n_output_directories, 1);
	assert_int_equal(f->result->n_output_file_symlinks, 1);
	assert_string_equal(f->result->output_file_symlinks[0]->path, "fl");
	assert_string_equal(f->result->output_directory_symlinks[0]->path, "dl");
	assert_int_equal(f->result->n_output_symlinks, 2);
}

/* A directory of the host's, with something that must stay. */
static void
host_make(struct fixture *f)
{
	assert_int_equal(fs_mkdir(f->top, "host", 0755), 0);
	assert_int_equal(fs_mkdir(f->top, "host/sub", 0755), 0);
	assert_int_equal(fs_write_atomic(f->top, "host/secret", "secret", 6, 0644), 0);
	assert_int_equal(fs_write_atomic(f->top, "host/sub/secret", "secret", 6, 0644), 0);
}

static void
host_check(struct fixture *f)
{
	struct stat st;

	assert_int_equal(fstatat(f->top, "host/secret", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_int_equal(st.st_nlink, 1);
	assert_int_equal(st.st_uid, geteuid());
	assert_int_equal(fstatat(f->top, "host/sub/secret", &st, 0), 0);
	assert_int_equal(st.st_nlink, 1);
}

static void
test_symlinked_parent_leads_nowhere(void **state)
{
	struct fixture *f = *state;
	char target[128];
	struct digest tree;

	host_make(f);
	snprintf(target, sizeof(target), "%s/host", f->path);
	make_link(f, "out", target);
	make_dir(f, "dir");
	make_link(f, "dir/up", "../../../host");
	assert_int_equal(COLLECT(f, "out", "out/secret", "out/sub/secret", "out/sub", "dir"), 0);
	assert_int_equal(f->result->n_output_files, 0);
	assert_int_equal(f->result->n_output_symlinks, 1);
	assert_string_equal(f->result->output_symlinks[0]->target, target);
	tree_of(f, &tree);
	assert_int_equal(tree_load(f, &tree)->root->n_symlinks, 1);
	assert_int_equal(tree_load(f, &tree)->root->n_directories, 0);
	assert_int_equal(COLLECT(f, "dir/up/secret", "dir/up/sub"), 0);
	assert_int_equal(f->result->n_output_files + f->result->n_output_directories, 0);
	host_check(f);
}

static void
test_link_to_a_host_file_is_copied(void **state)
{
	struct fixture *f = *state;

	host_make(f);
	assert_int_equal(linkat(f->top, "host/secret", f->root, "out", 0), 0);
	assert_int_equal(COLLECT(f, "out"), 0);
	assert_int_equal(f->stats.copied, 1);
	blob_is(f, f->result->output_files[0]->digest, "secret");
	assert_int_equal(unlinkat(f->root, "out", 0), 0);
	host_check(f);
}

static void
test_hard_linked_outputs(void **state)
{
	struct fixture *f = *state;

	make_file(f, "a", "twice", 0644);
	assert_int_equal(linkat(f->root, "a", f->root, "b", 0), 0);
	assert_int_equal(COLLECT(f, "a", "b"), 0);
	assert_int_equal(f->result->n_output_files, 2);
	blob_is(f, f->result->output_files[0]->digest, "twice");
	blob_is(f, f->result->output_files[1]->digest, "twice");
	assert_int_equal(f->stats.moved, 0);
}

static void
test_overlapping_outputs(void **state)
{
	struct fixture *f = *state;
	struct digest tree;

	make_dir(f, "d");
	make_file(f, "d/f", "bytes", 0644);
	make_file(f, "d-x", "bytes beside", 0644);
	assert_int_equal(COLLECT(f, "d", "d-x", "d/f"), 0);
	assert_int_equal(f->stats.moved, 0);
	assert_int_equal(COLLECT(f, "d/f", "d", "d/f"), 0);
	assert_int_equal(f->result->n_output_files, 2);
	tree_of(f, &tree);
	assert_int_equal(tree_load(f, &tree)->root->n_files, 1);
}

static void
test_root_as_output(void **state)
{
	struct fixture *f = *state;
	struct digest tree;

	make_file(f, "f", "bytes", 0644);
	assert_int_equal(COLLECT(f, ""), 0);
	tree_of(f, &tree);
	assert_int_equal(tree_load(f, &tree)->root->n_files, 1);
	assert_string_equal(f->result->output_directories[0]->path, "");
}

static void
test_refused_kinds(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	make_dir(f, "d");
	assert_int_equal(mkfifoat(f->root, "d/fifo", 0644), 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/box/root/sock", f->path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	assert_int_equal(COLLECT(f, "d/fifo"), -EINVAL);
	assert_non_null(strstr(f->err.text, "d/fifo is a fifo"));
	assert_int_equal(COLLECT(f, "d"), -EINVAL);
	assert_non_null(strstr(f->err.text, "d/fifo is a fifo"));
	assert_int_equal(COLLECT(f, "sock"), -EINVAL);
	assert_non_null(strstr(f->err.text, "sock is a socket"));
}

static void
test_refused_device(void **state)
{
	struct fixture *f = *state;

	struct stat st;

	assert_int_equal(stat("/dev/null", &st), 0);
	if (mknodat(f->root, "dev", S_IFCHR | 0600, st.st_rdev) != 0) {
		print_message("skipped: making a device needs root\n");
		skip();
	}
	assert_int_equal(COLLECT(f, "dev"), -EINVAL);
	assert_non_null(strstr(f->err.text, "dev is a device"));
}

/* What was bound there is gone: an empty directory would be a lie. */
static void
test_moved_inputs_are_refused(void **state)
{
	struct fixture *f = *state;
	int fd;

	make_dir(f, "out");
	make_dir(f, "out/below");
	assert_int_equal(mkdirat(f->root, "out/below/tree", MOUNT_POINT_DIRECTORY_MODE), 0);
	assert_int_equal(COLLECT(f, "out"), -EINVAL);
	assert_string_equal(f->err.text,
	    "output out/below/tree: an input tree was moved into an output; copy it instead");
	assert_int_equal(COLLECT(f, "out/below/tree"), -EINVAL);
	assert_int_equal(fs_remove_tree(f->root, "out/below/tree"), 0);
	fd = openat(
	    f->root, "out/file", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, MOUNT_POINT_FILE_MODE);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(COLLECT(f, "out"), -EINVAL);
	assert_non_null(strstr(f->err.text, "out/file"));
	assert_int_equal(COLLECT(f, "out/file"), -EINVAL);
	assert_int_equal(fs_remove_tree(f->root, "out/file"), 0);
	assert_int_equal(COLLECT(f, "out"), 0);
}

static void
test_unreadable(void **state)
{
	struct fixture *f = *state;
	struct digest tree;

	make_dir(f, "d");
	make_dir(f, "d/e");
	make_file(f, "d/e/f", "hidden", 0000);
	make_file(f, "d/g", "locked", 0200);
	make_file(f, "top", "top", 0000);
	assert_int_equal(fchmodat(f->root, "d/e", 0000, 0), 0);
	assert_int_equal(fchmodat(f->root, "d", 0555, 0), 0);
	assert_int_equal(COLLECT(f, "d", "top"), 0);
	tree_of(f, &tree);
	assert_int_equal(tree_load(f, &tree)->n_children, 1);
	blob_is(f, tree_load(f, &tree)->children[0]->files[0]->digest, "hidden");
	blob_is(f, f->result->output_files[0]->digest, "top");
}

static void
test_too_deep(void **state)
{
	struct fixture *f = *state;
	int fd = dup(f->root);

	for (int i = 0; i < TREE_DEPTH_MAX + 2; i++) {
		int next;

		assert_int_equal(mkdirat(fd, "d", 0755), 0);
		next = openat(fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(next >= 0);
		close(fd);
		fd = next;
	}
	close(fd);
	assert_int_equal(COLLECT(f, "d"), -EINVAL);
	assert_non_null(strstr(f->err.text, "levels deep"));
}

static void
test_logs(void **state)
{
	struct fixture *f = *state;
	char *big = calloc(1, COLLECT_INLINE_MAX + 2);

	memset(big, 'x', COLLECT_INLINE_MAX + 1);
	assert_int_equal(fs_write_atomic(f->sandbox.dirfd, "stdout", "said", 4, 0600), 0);
	assert_int_equal(
	    fs_write_atomic(f->sandbox.dirfd, "stderr", big, COLLECT_INLINE_MAX + 1, 0600), 0);
	assert_int_equal(COLLECT(f, "none"), 0);
	assert_int_equal(f->result->stdout_raw.len, 4);
	assert_memory_equal(f->result->stdout_raw.data, "said", 4);
	assert_null(f->result->stdout_digest);
	assert_int_equal(f->result->stderr_raw.len, 0);
	blob_is(f, f->result->stderr_digest, big);
	f->request.need_digests = true;
	assert_int_equal(COLLECT(f, "none"), 0);
	blob_is(f, f->result->stdout_digest, "said");
	free(big);
}

static void
test_node_properties(void **state)
{
	struct fixture *f = *state;
	struct timespec times[2] = {{1, 0}, {1700000000, 5}};
	char *wanted[] = {arena_strdup(f->arena, "mtime"), arena_strdup(f->arena, "unix_mode")};
	ReapiNodeProperties *properties;

	make_file(f, "f", "bytes", 0640);
	assert_int_equal(utimensat(f->root, "f", times, 0), 0);
	f->command->output_node_properties = wanted;
	f->command->n_output_node_properties = 2;
	assert_int_equal(COLLECT(f, "f"), 0);
	properties = f->result->output_files[0]->node_properties;
	assert_non_null(properties);
	assert_int_equal(properties->mtime->seconds, 1700000000);
	assert_int_equal(properties->mtime->nanos, 5);
	assert_int_equal(properties->unix_mode->value, 0640);
}

/* A name or a link's target that is not UTF-8 has no place in a result; a file's bytes may be any.
 */
static void
test_names_that_are_not_utf8(void **state)
{
	struct fixture *f = *state;

	make_dir(f, "d");
	make_file(f, "d/caf\xc3\xa9", "\xff\xfe", 0644);
	assert_int_equal(COLLECT(f, "d"), 0);
	make_dir(f, "e");
	make_dir(f, "e/below");
	make_file(f, "e/below/latin\xe9", "x", 0644);
	assert_int_equal(COLLECT(f, "e"), -EINVAL);
	assert_non_null(strstr(f->err.text, "e/below/latin"));
	assert_non_null(strstr(f->err.text, "UTF-8"));
	make_dir(f, "g");
	make_link(f, "g/link", "to\xff");
	assert_int_equal(COLLECT(f, "g"), -EINVAL);
	assert_non_null(strstr(f->err.text, "UTF-8"));
	make_link(f, "link", "to\xff");
	assert_int_equal(COLLECT(f, "link"), -EINVAL);
	assert_non_null(strstr(f->err.text, "UTF-8"));
}

/* By the older lists: files that are to be files, directories that are to be directories. */
static int
collect_older(struct fixture *f, const char *file, const char *directory, int exit_code)
{
	static char *files[1], *directories[1];

	files[0] = arena_strdup(f->arena, file);
	directories[0] = arena_strdup(f->arena, directory);
	f->command->n_output_paths = 0;
	f->command->output_files = files;
	f->command->n_output_files = file[0] != '\0';
	f->command->output_directories = directories;
	f->command->n_output_directories = directory[0] != '\0';
	f->result = REAPI_NEW(f->arena, action_result);
	f->result->exit_code = exit_code;
	f->err.text[0] = '\0';
	return collect_outputs(
	    f->cas, f->arena, NULL, &f->sandbox, &f->request, f->result, &f->stats, &f->err);
}

static void
test_outputs_of_another_kind(void **state)
{
	struct fixture *f = *state;

	make_file(f, "file", "x", 0644);
	make_file(f, "other", "x", 0644);
	make_dir(f, "dir");
	make_dir(f, "dir2");
	make_link(f, "link", "file");
	assert_int_equal(collect_older(f, "dir", "", 0), COLLECT_UNMET);
	assert_non_null(strstr(f->err.text, "output dir is a directory, and was to be a file"));
	assert_int_equal(collect_older(f, "", "file", 0), COLLECT_UNMET);
	assert_non_null(strstr(f->err.text, "output file is a file, and was to be a directory"));
	/* one that failed has what there is */
	assert_int_equal(collect_older(f, "dir2", "other", 1), 0);
	assert_int_equal(f->result->n_output_directories, 1);
	assert_int_equal(f->result->n_output_files, 1);
	/* what fits, what is not there, and a symlink, which is either */
	assert_int_equal(collect_older(f, "link", "dir", 0), 0);
	assert_int_equal(f->result->n_output_directories, 1);
	assert_int_equal(collect_older(f, "absent", "link", 0), 0);
}

/* What the action found below its own root/, and left there. */
static ReapiDirectory *
lower_dir(struct fixture *f, const char *const *files, const char *link)
{
	ReapiDirectory *dir = REAPI_NEW(f->arena, directory);
	size_t count = 0;

	while (files[count] != NULL)
		count++;
	dir->files = arena_alloc(f->arena, (count + 1) * sizeof(void *));
	for (; dir->n_files < count; dir->n_files++) {
		const char *name = files[dir->n_files];
		ReapiFileNode *node = dir->files[dir->n_files] = REAPI_NEW(f->arena, file_node);
		struct digest digest;

		assert_int_equal(cas_put_bytes(f->cas, name, strlen(name), &digest), 0);
		node->name = arena_strdup(f->arena, name);
		node->digest = reapi_digest_new(f->arena, &digest);
		node->is_executable = name[0] == 't';
	}
	if (link != NULL) {
		dir->symlinks = arena_alloc(f->arena, sizeof(void *));
		dir->symlinks[0] = REAPI_NEW(f->arena, symlink_node);
		dir->symlinks[0]->name = arena_strdup(f->arena, link);
		dir->symlinks[0]->target = arena_strdup(f->arena, "a");
		dir->n_symlinks = 1;
	}
	return dir;
}

static struct digest
lower_add(struct fixture *f, ReapiDirectory *dir, const char *name, const struct digest *child)
{
	struct digest digest;

	if (name != NULL) {
		ReapiDirectoryNode **grown =
		    arena_alloc(f->arena, (dir->n_directories + 1) * sizeof(void *));

		if (dir->n_directories > 0)
			memcpy(grown, dir->directories, dir->n_directories * sizeof(void *));
		dir->directories = grown;
		grown[dir->n_directories] = REAPI_NEW(f->arena, directory_node);
		grown[dir->n_directories]->name = arena_strdup(f->arena, name);
		grown[dir->n_directories++]->digest = reapi_digest_new(f->arena, child);
	}
	directory_sort(dir);
	assert_int_equal(directory_store(f->cas, f->arena, dir, &digest), 0);
	return digest;
}

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})

static struct stage_overlay
overlay_make(struct fixture *f)
{
	static char lower[] = "not looked at";
	ReapiDirectory *root = lower_dir(f, NAMES("a", "tool"), "link");
	struct digest deep = lower_add(f, lower_dir(f, NAMES("x", "y"), NULL), NULL, NULL);
	struct digest dir =
	    lower_add(f, lower_dir(f, NAMES("a", "b", "c", "tool"), "link"), "deep", &deep);

	lower_add(f, root, "dir", &dir);
	f->request.overlay = NULL;
	return (struct stage_overlay){
	    .lower = lower, .is_owned = true, .digest = lower_add(f, root, "kept", &deep)};
}

static struct digest
root_digest(struct fixture *f)
{
	struct digest digest;

	assert_int_equal(f->result->n_output_directories, 1);
	assert_int_equal(
	    reapi_digest_get(f->result->output_directories[0]->root_directory_digest, &digest), 0);
	return digest;
}

static void
make_whiteout(struct fixture *f, const char *path)
{
	assert_int_equal(mknodat(f->root, path, S_IFCHR, 0), 0);
}

static void
make_opaque(struct fixture *f, const char *path)
{
	int fd;

	make_dir(f, path);
	assert_int_equal(fs_open_beneath(f->root, path, &fd), 0);
	assert_int_equal(
	    fsetxattr(
		fd, geteuid() == 0 ? "trusted.overlay.opaque" : "user.overlay.opaque", "y", 1, 0),
	    0);
	close(fd);
}

static void
test_nothing_written_above_an_overlay(void **state)
{
	struct fixture *f = *state;
	struct stage_overlay overlay = overlay_make(f);

	f->command->output_directory_format =
	    BUILD__BAZEL__REMOTE__EXECUTION__V2__COMMAND__OUTPUT_DIRECTORY_FORMAT__TREE_AND_DIRECTORY;
	f->request.overlay = &overlay;
	assert_int_equal(COLLECT(f, ""), 0);
	struct digest digest = root_digest(f);
	assert_true(digest_equal(&digest, &overlay.digest));
	assert_int_equal(f->stats.files, 0); /* nothing was read */
	assert_int_equal(
	    COLLECT(f, "tool", "link", "dir/deep/x", "dir/link/x", "dir/a/b", "gone"), 0);
	assert_int_equal(f->result->n_output_files, 2);
	assert_true(f->result->output_files[0]->is_executable);
	blob_is(f, f->result->output_files[0]->digest, "tool");
	blob_is(f, f->result->output_files[1]->digest, "x");
	assert_int_equal(f->result->n_output_symlinks, 1);
	assert_string_equal(f->result->output_symlinks[0]->target, "a");
	assert_int_equal(COLLECT(f, "dir/deep"), 0);
	ReapiDirectory *same = lower_dir(f, NAMES("x", "y"), NULL);
	struct digest deep = lower_add(f, same, NULL, NULL);
	digest = root_digest(f);
	assert_true(digest_equal(&digest, &deep));
}

/* Everything at once: what is left is compared by its digest with a Directory made by hand. */
static void
test_written_above_an_overlay(void **state)
{
	struct fixture *f = *state;
	struct stage_overlay overlay = overlay_make(f);

	f->command->output_directory_format =
	    BUILD__BAZEL__REMOTE__EXECUTION__V2__COMMAND__OUTPUT_DIRECTORY_FORMAT__TREE_AND_DIRECTORY;
	f->request.overlay = &overlay;
	make_dir(f, "dir");
	make_file(f, "dir/a", "new", 0644); /* changed */
	make_whiteout(f, "dir/b"); /* deleted */
	make_whiteout(f, "dir/link");
	make_file(f, "dir/new", "new", 0644); /* made */
	make_dir(f, "dir/c"); /* a directory in the place of a file */
	make_file(f, "dir/c/new", "new", 0644);
	make_opaque(f, "dir/deep"); /* made anew */
	make_file(f, "dir/deep/y", "y", 0644);
	make_file(f, "kept", "kept", 0755); /* a file in the place of a directory */
	make_whiteout(f, "tool");
	assert_int_equal(COLLECT(f, ""), 0);
	assert_int_equal(f->stats.files, 5);
	struct digest got = root_digest(f);

	ReapiDirectory *dir = lower_dir(f, NAMES("a", "new", "tool"), NULL);
	ReapiDirectory *root = lower_dir(f, NAMES("a", "kept"), "link");
	struct digest new = lower_add(f, lower_dir(f, NAMES("new"), NULL), NULL, NULL);
	struct digest deep = lower_add(f, lower_dir(f, NAMES("y"), NULL), NULL, NULL);
	dir->files[0]->digest = dir->files[1]->digest; /* "new" */
	root->files[1]->is_executable = true;
	lower_add(f, dir, "c", &new);
	struct digest dir_digest = lower_add(f, dir, "deep", &deep);
	struct digest wanted = lower_add(f, root, "dir", &dir_digest);
	assert_true(digest_equal(&got, &wanted));
}

static void
test_single_outputs_above_an_overlay(void **state)
{
	struct fixture *f = *state;
	struct stage_overlay overlay = overlay_make(f);

	f->request.overlay = &overlay;
	make_dir(f, "dir");
	make_file(f, "dir/a", "new", 0644);
	make_whiteout(f, "dir/b");
	make_whiteout(f, "kept");
	make_opaque(f, "dir/deep");
	assert_int_equal(COLLECT(f, "dir/a", "dir/b", "dir/c", "dir/deep/x", "kept/x", "kept"), 0);
	assert_int_equal(f->result->n_output_files, 2);
	blob_is(f, f->result->output_files[0]->digest, "new");
	blob_is(f, f->result->output_files[1]->digest, "c");
	assert_int_equal(f->result->n_output_directories, 0);
	/* Below flat directories' overlay nothing is an output by being an input. */
	overlay.is_owned = false;
	assert_int_equal(COLLECT(f, "dir/b", "dir/c", "tool"), 0);
	assert_int_equal(f->result->n_output_files, 0);
	/* And where there was none, a whiteout is a device as any. */
	f->request.overlay = NULL;
	assert_int_equal(COLLECT(f, "dir/b"), -EINVAL);
}

static void
line_is(const char *text, const char *line, bool expected)
{
	char *found = strstr(text, line);
	bool whole =
	    found != NULL && (found == text || found[-1] == '\n') && found[strlen(line)] == '\n';

	if (whole != expected)
		fail_msg("\"%s\" %s be in: %s", line, expected ? "should" : "should not", text);
}

static void
test_writes_beside_outputs(void **state)
{
	struct fixture *f = *state;
	struct stage_overlay overlay = overlay_make(f);
	const char *const outputs[] = {"out/o", "dir/deep/x"};
	char *text;
	size_t len, lines = 0;

	f->request.overlay = &overlay;
	make_dir(f, "dir");
	make_file(f, "dir/a", "new", 0644);
	make_whiteout(f, "dir/b");
	make_file(f, "dir/new\nline", "new", 0644);
	make_dir(f, "dir/deep");
	make_file(f, "dir/deep/x", "an output", 0644);
	make_file(f, "dir/deep/y", "none", 0644);
	make_opaque(f, "kept");
	make_whiteout(f, "link");
	make_dir(f, "out"); /* made for it */
	make_file(f, "out/o", "an output", 0644);
	make_file(f, "out/beside", "none", 0644);
	make_dir(f, "made");
	make_file(f, "made/below", "none", 0644);
	assert_int_equal(collect_writes(f->cas, f->arena, &f->sandbox, &f->request, outputs, 2,
			     &text, &len, &f->err),
	    0);
	for (size_t i = 0; i < len; i++)
		lines += text[i] == '\n';
	line_is(text, "changed dir/a", true);
	line_is(text, "deleted dir/b", true);
	line_is(text, "made dir/new?line", true);
	line_is(text, "changed dir/deep/y", true);
	line_is(text, "changed kept/", true);
	line_is(text, "deleted link", true);
	line_is(text, "made out/beside", true);
	line_is(text, "made made/", true);
	assert_int_equal(lines, 8);
	free(text);
	overlay.is_owned = false;
	assert_int_equal(collect_writes(f->cas, f->arena, &f->sandbox, &f->request, outputs, 2,
			     &text, &len, &f->err),
	    -ENOTSUP);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_every_kind),
	    TEST(test_not_moved_when_it_may_be_open),
	    TEST(test_directory),
	    TEST(test_directory_formats),
	    TEST(test_older_lists),
	    TEST(test_symlinked_parent_leads_nowhere),
	    TEST(test_link_to_a_host_file_is_copied),
	    TEST(test_hard_linked_outputs),
	    TEST(test_overlapping_outputs),
	    TEST(test_root_as_output),
	    TEST(test_refused_kinds),
	    TEST(test_refused_device),
	    TEST(test_moved_inputs_are_refused),
	    TEST(test_unreadable),
	    TEST(test_too_deep),
	    TEST(test_logs),
	    TEST(test_node_properties),
	    TEST(test_names_that_are_not_utf8),
	    TEST(test_outputs_of_another_kind),
	    TEST(test_nothing_written_above_an_overlay),
	    TEST(test_written_above_an_overlay),
	    TEST(test_single_outputs_above_an_overlay),
	    TEST(test_writes_beside_outputs),
	};

	return cmocka_run_group_tests_name("collect", tests, NULL, NULL);
}
