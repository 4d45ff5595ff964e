#include <sys/stat.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "cas/hash.h"
#include "cas/image.h"
#include "cas/reapi.h"
#include "cas/store.h"
#include "workers/run.h"
#include "workers/run_internal.h"

static const char *const overlay_files[] = {"changed", "deleted", "kept"};
enum { OVERLAY_FILES = 3 };

/* What the trial's process tells its parent. */
struct trial {
	int rc;
	double us;
	struct error_text err;
};

typedef int trial_fn(
    struct runner *runner, struct sandbox *sandbox, double *ret_us, struct error_text *err);

static int
trial_sandbox_make(int state_fd, uid_t uid, struct sandbox *sandbox)
{
	char path[128];
	int rc;

	sandbox->rootfd = sandbox->dirfd = -1;
	fs_temp_name("probe", sandbox->name, sizeof(sandbox->name));
	snprintf(path, sizeof(path), "sandboxes/%s/root", sandbox->name);
	rc = fs_mkdir_path(state_fd, path, 0755);
	if (rc != 0)
		return rc;
	rc = fs_open_beneath(state_fd, path, &sandbox->rootfd);
	if (rc != 0)
		return rc;
	if (geteuid() == 0 && fchown(sandbox->rootfd, uid, (gid_t)-1) != 0)
		return -errno;
	snprintf(path, sizeof(path), "sandboxes/%s", sandbox->name);
	return fs_open_beneath(state_fd, path, &sandbox->dirfd);
}

static void
trial_sandbox_remove(int state_fd, struct sandbox *sandbox)
{
	int fd;

	if (sandbox->rootfd >= 0)
		close(sandbox->rootfd);
	if (sandbox->dirfd >= 0)
		close(sandbox->dirfd);
	if (fs_open_beneath(state_fd, "sandboxes", &fd) != 0)
		return;
	fs_remove_tree(fd, sandbox->name);
	close(fd);
}

/* A cached tree's stand-in, as cached trees are: ours, and written to by nobody. */
static int
trial_lower_make(int dirfd)
{
	int fd, rc = fs_mkdir(dirfd, "lower", 0755);

	if (rc == 0)
		rc = fs_open_beneath(dirfd, "lower", &fd);
	for (int i = 0; rc == 0 && i < OVERLAY_FILES; i++)
		rc = fs_write_atomic(fd, overlay_files[i], "x", 1, 0444);
	if (rc == 0)
		close(fd);
	return rc == 0 ? fs_mkdir(dirfd, "work", 0755) : rc;
}

static int
trial_lower_check(const struct sandbox *sandbox, struct error_text *err)
{
	char path[64];
	uint8_t *data;
	size_t len;

	for (int i = 0; i < OVERLAY_FILES; i++) {
		snprintf(path, sizeof(path), "lower/%s", overlay_files[i]);
		int rc = fs_read_file(sandbox->dirfd, path, 16, &data, &len);
		if (rc != 0)
			return error_errno(err, rc, "overlay: %s is gone from below it", path);
		free(data);
		if (len != 1)
			return error_set(err, -EIO, "overlay: %s was changed below it", path);
	}
	if (faccessat(sandbox->rootfd, "changed", F_OK, 0) != 0)
		return error_errno(err, -errno, "overlay: a change is not in the upper layer");
	return 0;
}

static int
trial_overlay_run(
    struct runner *runner, struct sandbox *sandbox, double *ret_us, struct error_text *err)
{
	char program[] = "sh", flag[] = "-c",
	     path[] = "PATH=/usr/bin:/bin:/run/current-system/sw/bin";
	char script[] = "echo y >>changed && rm -f deleted && echo z >added && chmod 600 kept";
	char lower[96];
	char *const argv[] = {program, flag, script, NULL};
	char *const env[] = {path, NULL};
	struct stage_overlay overlay = {.lower = lower, .is_owned = true};
	struct run_request request = {.argv = argv,
	    .env = env,
	    .working_directory = "",
	    .overlay = &overlay,
	    .timeout_us = 10000000,
	    .cancel_fd = -1};
	struct run_result result;
	int rc = trial_lower_make(sandbox->dirfd);

	if (rc != 0)
		return error_errno(err, rc, "overlay: cannot make its layers");
	snprintf(lower, sizeof(lower), "sandboxes/%s/lower", sandbox->name);
	rc = run_action(runner, sandbox, &request, &result, err);
	if (rc != 0)
		return rc;
	if (result.exit_code != 0)
		return error_set(err, -EACCES, "overlay: an action could not change its inputs");
	*ret_us = (double)result.setup_us;
	return trial_lower_check(sandbox, err);
}

/* A blob that nobody else has, where the CAS would have it. */
static int
trial_blob_make(int state_fd, const char *text, struct digest *ret_digest, char *path)
{
	int rc = hash_bytes(text, strlen(text), ret_digest);
	char name[CAS_NAME_SIZE];

	if (rc != 0)
		return rc;
	memcpy(path, "cas/", 4);
	memcpy(path + 4, cas_blob_name(ret_digest, false, name), sizeof(name));
	path[6] = '\0';
	rc = fs_mkdir_path(state_fd, path, 0755);
	path[6] = '/';
	return rc == 0 ? fs_write_atomic(state_fd, path, text, strlen(text), 0444) : rc;
}

/* in/ with one file, f. */
static int
trial_image_make(int dirfd, const struct digest *digest, struct error_text *err)
{
	struct arena *arena = arena_new();
	struct tree_dir *root = arena_alloc(arena, sizeof(*root));
	struct tree_dir *in = arena_alloc(arena, sizeof(*in));
	uint8_t *bytes;
	size_t len;

	in->message = REAPI_NEW(arena, directory);
	in->message->files = arena_alloc(arena, sizeof(ReapiFileNode *));
	in->message->files[0] = REAPI_NEW(arena, file_node);
	in->message->files[0]->name = arena_strdup(arena, "f");
	in->message->files[0]->digest = reapi_digest_new(arena, digest);
	in->message->n_files = 1;
	in->totals = (struct index_tree){.files = 1, .directories = 1};
	in->children_read = root->children_read = true;
	root->message = REAPI_NEW(arena, directory);
	root->message->directories = arena_alloc(arena, sizeof(ReapiDirectoryNode *));
	root->message->directories[0] = REAPI_NEW(arena, directory_node);
	root->message->directories[0]->name = arena_strdup(arena, "in");
	root->message->directories[0]->digest = reapi_digest_new(arena, &digest_empty);
	root->message->n_directories = 1;
	root->children = arena_alloc(arena, sizeof(struct tree_dir *));
	root->children[0] = in;
	root->totals.directories = 1;
	tree_totals_add(root, in);
	int rc = image_encode(arena, root, geteuid(), getegid(), &bytes, &len, err);
	if (rc == 0)
		rc = fs_write_atomic(dirfd, "image", bytes, len, 0444);
	arena_free(arena);
	return rc;
}

static int
trial_image_act(
    struct runner *runner, struct sandbox *sandbox, double *ret_us, struct error_text *err)
{
	char program[] = "sh", flag[] = "-c", target[] = "in", image[96],
	     path[] = "PATH=/usr/bin:/bin:/run/current-system/sw/bin";
	char script[] = "read -r text <in/f && test \"$text\" = \"$0\" && ! echo >in/new";
	char text[64];
	char *const argv[] = {program, flag, script, text, NULL};
	char *const env[] = {path, NULL};
	struct stage_bind bind = {
	    .target = target, .source = target, .is_directory = true, .in_image = true};
	struct run_request request = {.argv = argv,
	    .env = env,
	    .working_directory = "",
	    .image = image,
	    .binds = &bind,
	    .bind_count = 1,
	    .timeout_us = 10000000,
	    .cancel_fd = -1};
	struct run_result result;

	strlcpy(text, sandbox->name, sizeof(text));
	snprintf(image, sizeof(image), "sandboxes/%s/image", sandbox->name);
	if (mkdirat(sandbox->rootfd, target, MOUNT_POINT_DIRECTORY_MODE) != 0)
		return error_errno(err, -errno, "image: cannot make a mount point");
	int rc = run_action(runner, sandbox, &request, &result, err);
	if (rc != 0)
		return rc;
	if (result.exit_code != 0)
		return error_set(err, -EIO, "image: an action could not read an input in it");
	*ret_us = (double)result.setup_us;
	return 0;
}

static int
trial_image_run(
    struct runner *runner, struct sandbox *sandbox, double *ret_us, struct error_text *err)
{
	int state_fd = runner->config->state_fd;
	char path[4 + CAS_NAME_SIZE], text[80];
	struct digest digest;

	snprintf(text, sizeof(text), "%s\n", sandbox->name);
	int rc = trial_blob_make(state_fd, text, &digest, path);
	if (rc == 0)
		rc = trial_image_make(sandbox->dirfd, &digest, err);
	if (rc != 0)
		return error_errno(err, rc, "image: cannot make one");
	rc = trial_image_act(runner, sandbox, ret_us, err);
	(void)unlinkat(state_fd, path, 0);
	return rc;
}

/* The second run counts: the first pays for what is made once. */
static int
trial_run(struct runner *runner, struct sandbox *sandbox, double *ret_us, struct error_text *err)
{
	char program[] = "true", path[] = "PATH=/usr/bin:/bin:/run/current-system/sw/bin";
	char *const argv[] = {program, NULL};
	char *const env[] = {path, NULL};
	struct run_request request = {.argv = argv,
	    .env = env,
	    .working_directory = "",
	    .timeout_us = 10000000,
	    .cancel_fd = -1};
	struct run_result result;

	for (int i = 0; i < 2; i++) {
		int rc = run_action(runner, sandbox, &request, &result, err);

		if (rc != 0)
			return rc;
		if (result.exit_code != 0)
			return error_set(err, -ENOEXEC, "true exited with %d", result.exit_code);
		fs_remove_tree(sandbox->dirfd, "stderr");
	}
	*ret_us = (double)result.elapsed_us;
	return 0;
}

static void
trial_make(
    const struct host_config *config, enum isolation isolation, trial_fn *run, struct trial *trial)
{
	uid_t uid =
	    geteuid() == 0 && isolation != ISOLATION_USER ? config->action_uid_base : geteuid();
	struct sandbox sandbox = {.number = 0};
	struct runner *runner = NULL;

	trial->rc = trial_sandbox_make(config->state_fd, uid, &sandbox);
	if (trial->rc != 0)
		error_errno(&trial->err, trial->rc, "%s/sandboxes: cannot make a sandbox",
		    config->state_dir);
	if (trial->rc == 0)
		trial->rc = runner_new(config, isolation, uid, NULL, &runner, &trial->err);
	if (trial->rc == 0)
		trial->rc = run(runner, &sandbox, &trial->us, &trial->err);
	runner_free(runner);
	trial_sandbox_remove(config->state_fd, &sandbox);
}

static int
trial_read(int fd, struct trial *trial)
{
	size_t got = 0;

	while (got < sizeof(*trial)) {
		ssize_t n = read(fd, (char *)trial + got, sizeof(*trial) - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -EIO;
		got += (size_t)n;
	}
	return 0;
}

/* In a process of its own: namespaces, once entered, are not left. */
static int
try_in_child(const struct host_config *config, enum isolation isolation, trial_fn *run,
    double *ret_us, struct error_text *err)
{
	struct trial trial = {.rc = -EIO};
	int fds[2], rc;
	pid_t pid;

	rc = run_os_pipe(fds);
	if (rc != 0)
		return error_errno(err, rc, "cannot make a pipe");
	pid = fork();
	if (pid == 0) {
		trial_make(config, isolation, run, &trial);
		_exit(fs_write_all(fds[1], &trial, sizeof(trial)) == 0 ? 0 : 1);
	}
	rc = pid < 0 ? -errno : 0;
	close(fds[1]);
	if (rc == 0)
		rc = trial_read(fds[0], &trial);
	close(fds[0]);
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (rc != 0)
		return error_errno(err, rc, "the trial's process ended without a word");
	if (trial.rc != 0)
		return error_set(err, trial.rc, "%s", trial.err.text);
	*ret_us = trial.us;
	return 0;
}

int
run_try_isolation(const struct host_config *config, enum isolation isolation, double *ret_us,
    struct error_text *err)
{
	if (isolation == ISOLATION_ROOT && geteuid() != 0)
		return error_set(err, -EPERM, "needs root");
	return try_in_child(config, isolation, trial_run, ret_us, err);
}

int
run_try_image(const struct host_config *config, double *ret_us, struct error_text *err)
{
	return try_in_child(config, ISOLATION_ROOT, trial_image_run, ret_us, err);
}

int
run_try_overlay(const struct host_config *config, enum isolation isolation, double *ret_us,
    struct error_text *err)
{
	return try_in_child(config, isolation, trial_overlay_run, ret_us, err);
}
