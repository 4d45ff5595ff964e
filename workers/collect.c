#include "workers/collect.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fs.h"
#include "base/utf8.h"
#include "cas/file_times.h"
#include "shm/counters.h"
#include "workers/collect_internal.h"

#define FORMAT_IS(command, name)                                                                   \
	((command)->output_directory_format ==                                                     \
	    BUILD__BAZEL__REMOTE__EXECUTION__V2__COMMAND__OUTPUT_DIRECTORY_FORMAT__##name)

int
collect_fail(struct collector *collector, int rc, const char *path)
{
	return error_errno(collector->err, rc, "output %.512s: cannot collect", path);
}

int
collect_refuse(struct collector *collector, const char *path, const struct stat *st)
{
	const char *kind = S_ISFIFO(st->st_mode) ? "a fifo"
	    : S_ISSOCK(st->st_mode)              ? "a socket"
						 : "a device";

	if (collector->slot != NULL)
		COUNTER_ADD(collector->slot, outputs_refused, 1);
	return error_set(collector->err, -EINVAL,
	    "output %.512s is %s; only files, directories and symlinks can be kept", path, kind);
}

int
collect_refuse_mount_point(struct collector *collector, const char *path, const struct stat *st)
{
	mode_t mode = S_ISDIR(st->st_mode) ? MOUNT_POINT_DIRECTORY_MODE : MOUNT_POINT_FILE_MODE;

	if ((!S_ISDIR(st->st_mode) && !S_ISREG(st->st_mode)) || (st->st_mode & 07777) != mode ||
	    st->st_uid != geteuid())
		return 0;
	return error_set(collector->err, -EINVAL,
	    "output %.512s: an input tree was moved into an output; copy it instead", path);
}

ReapiNodeProperties *
collect_properties(struct collector *collector, const struct stat *st)
{
	ReapiNodeProperties *properties;

	if (!collector->want_mtime && !collector->want_mode)
		return NULL;
	properties = REAPI_NEW(collector->arena, node_properties);
	if (collector->want_mtime) {
		int64_t ns = file_mtime_ns(st);
		Google__Protobuf__Timestamp *mtime =
		    reapi_new(collector->arena, &google__protobuf__timestamp__descriptor);

		mtime->seconds = ns / 1000000000 - (ns % 1000000000 < 0);
		mtime->nanos = (int32_t)(ns - mtime->seconds * 1000000000);
		properties->mtime = mtime;
	}
	if (collector->want_mode) {
		properties->unix_mode =
		    reapi_new(collector->arena, &google__protobuf__uint32_value__descriptor);
		properties->unix_mode->value = st->st_mode & 07777;
	}
	return properties;
}

/*
 * The action's own thing that it made unreadable is made readable; every process of the action has
 * ended, so it is still what it was when we looked.
 */
static bool
unlock(struct collector *collector, int dirfd, const char *name, mode_t more)
{
	struct stat st;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || S_ISLNK(st.st_mode))
		return false;
	if (st.st_uid != collector->owner || (S_ISREG(st.st_mode) && st.st_nlink != 1))
		return false;
	return fchmodat(dirfd, name, (st.st_mode | more) & 0777, 0) == 0;
}

int
collect_open_directory(struct collector *collector, int dirfd, const char *name, int *ret_fd)
{
	int fd, rc = fs_open_beneath(dirfd, name, &fd);
	struct stat st;

	if (rc == -EACCES && unlock(collector, dirfd, name, 0700))
		rc = fs_open_beneath(dirfd, name, &fd);
	if (rc != 0)
		return rc;
	/* To look into it and to move files out of it takes all three. */
	if (fstat(fd, &st) == 0 && (st.st_mode & 0700) != 0700 && st.st_uid == collector->owner)
		(void)fchmod(fd, (st.st_mode | 0700) & 0777);
	*ret_fd = fd;
	return 0;
}

static int
file_copy(struct collector *collector, int dirfd, const char *name, struct digest *ret_digest)
{
	int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
	int fd = openat(dirfd, name, flags);
	int rc;

	if (fd < 0 && errno == EACCES && unlock(collector, dirfd, name, 0400))
		fd = openat(dirfd, name, flags);
	if (fd < 0)
		return -errno;
	rc = cas_put_fd(collector->cas, fd, ret_digest);
	close(fd);
	return rc;
}

static int
file_move(struct collector *collector, int dirfd, const char *name, const struct stat *st,
    struct digest *ret_digest, bool *ret_moved)
{
	bool executable = (st->st_mode & S_IXUSR) != 0;
	int rc = cas_put_move(collector->cas, dirfd, name, executable, ret_digest, ret_moved);

	if (rc == -EACCES && unlock(collector, dirfd, name, 0400))
		rc = cas_put_move(collector->cas, dirfd, name, executable, ret_digest, ret_moved);
	return rc;
}

static void
file_count(struct collector *collector, const struct digest *digest, bool moved)
{
	collector->stats->files++;
	collector->stats->bytes += (uint64_t)digest->size_bytes;
	collector->stats->moved += moved;
	collector->stats->copied += !moved;
	if (collector->slot == NULL)
		return;
	COUNTER_ADD(collector->slot, outputs_moved, moved);
	COUNTER_ADD(collector->slot, outputs_copied, !moved);
	COUNTER_ADD(collector->slot, output_bytes, (uint64_t)digest->size_bytes);
}

int
collect_file(struct collector *collector, int dirfd, const char *name, const char *path,
    const struct stat *st, struct digest *ret_digest)
{
	bool moved = false;
	int rc = 0;

	if (st->st_size == 0)
		*ret_digest = digest_empty;
	else if (collector->may_move && st->st_nlink == 1 && st->st_uid == collector->owner)
		rc = file_move(collector, dirfd, name, st, ret_digest, &moved);
	else
		rc = file_copy(collector, dirfd, name, ret_digest);
	if (rc != 0)
		return collect_fail(collector, rc, path);
	if (moved)
		CRASH_POINT(output_moved);
	file_count(collector, ret_digest, moved);
	return 0;
}

int
collect_link(struct collector *collector, int dirfd, const char *name, const struct stat *st,
    char **ret_target)
{
	size_t room = st->st_size > 0 ? (size_t)st->st_size + 1 : 4096;
	char *target = arena_alloc(collector->arena, room + 1);
	ssize_t n = readlinkat(dirfd, name, target, room);

	if (n < 0 || (size_t)n >= room)
		return collect_fail(collector, n < 0 ? -errno : -ENAMETOOLONG, name);
	target[n] = '\0';
	if (!utf8_is_valid(target))
		return error_set(collector->err, -EINVAL,
		    "output %.512s: the target of this symlink is not UTF-8", name);
	*ret_target = target;
	return 0;
}

/* Which list an output was named in: that of `outputs`, or one of the older two. */
enum output_list { LIST_PATHS, LIST_FILES, LIST_DIRECTORIES };

static void
symlink_add(ReapiActionResult *result, ReapiOutputSymlink *symlink, enum output_list list)
{
	result->output_symlinks[result->n_output_symlinks++] = symlink;
	if (list == LIST_FILES)
		result->output_file_symlinks[result->n_output_file_symlinks++] = symlink;
	else if (list == LIST_DIRECTORIES)
		result->output_directory_symlinks[result->n_output_directory_symlinks++] = symlink;
}

static int
symlink_collect(struct collector *collector, int dirfd, const char *name, char *path,
    const struct stat *st, enum output_list list, ReapiActionResult *result)
{
	ReapiOutputSymlink *symlink = REAPI_NEW(collector->arena, output_symlink);
	int rc = collect_link(collector, dirfd, name, st, &symlink->target);

	if (rc != 0)
		return rc;
	symlink->path = path;
	symlink->node_properties = collect_properties(collector, st);
	symlink_add(result, symlink, list);
	return 0;
}

static int
file_collect(struct collector *collector, int dirfd, const char *name, char *path,
    const struct stat *st, ReapiActionResult *result)
{
	ReapiOutputFile *file;
	struct digest digest;
	int rc = collect_file(collector, dirfd, name, path, st, &digest);

	if (rc != 0)
		return rc;
	file = REAPI_NEW(collector->arena, output_file);
	file->path = path;
	file->digest = reapi_digest_new(collector->arena, &digest);
	file->is_executable = (st->st_mode & S_IXUSR) != 0;
	file->node_properties = collect_properties(collector, st);
	result->output_files[result->n_output_files++] = file;
	return 0;
}

static int
directory_collect(
    struct collector *collector, const struct place *place, char *path, ReapiActionResult *result)
{
	ReapiOutputDirectory *output = REAPI_NEW(collector->arena, output_directory);
	int rc = collect_directory(collector, place, path, output);

	if (rc != 0)
		return rc;
	output->path = path;
	result->output_directories[result->n_output_directories++] = output;
	return 0;
}

/* A parent that is missing, or no directory (a symlink, say): then there is no output. */
static bool
is_absent(int rc)
{
	return rc == -ENOENT || rc == -ENOTDIR || rc == -ELOOP;
}

/* The directory that holds `path`, one component after the other, none of them a symlink. */
static int
parent_open(struct collector *collector, const struct place *root, const char *path,
    struct place *ret_place)
{
	struct place place = {.lower = root->lower};
	int rc = fs_open_beneath(root->fd, "", &place.fd);

	while (rc == 0 && *path != '\0') {
		size_t len = strcspn(path, "/");
		char *name = arena_printf(collector->arena, "%.*s", (int)len, path);
		struct place next;

		rc = place_enter(collector, &place, name, &next);
		place_leave(&place);
		if (rc == 0)
			place = next;
		path += len + (path[len] == '/');
	}
	if (rc == 0)
		*ret_place = place;
	return rc;
}

/* What the older lists ask for is a file, or a directory; the newer one takes what there is. */
static int
kind_check(struct collector *collector, const char *path, enum output_list list, mode_t mode,
    const ReapiActionResult *result)
{
	bool is_directory = S_ISDIR(mode);

	if (list == LIST_PATHS || result->exit_code != 0 ||
	    is_directory == (list == LIST_DIRECTORIES))
		return 0;
	return error_set(collector->err, COLLECT_UNMET, "output %.512s is a %s, and was to be a %s",
	    path, is_directory ? "directory" : "file", is_directory ? "file" : "directory");
}

/* An input that the action left as it was, and named as its output. */
static int
lower_look(struct collector *collector, const struct place *place, const char *name, char *path,
    enum output_list list, ReapiActionResult *result)
{
	struct lower_entry entry = lower_find(place->lower, name);
	struct arena *arena = collector->arena;
	int rc = 0;

	if (entry.file != NULL || entry.directory != NULL)
		rc = kind_check(
		    collector, path, list, entry.file != NULL ? S_IFREG : S_IFDIR, result);
	if (rc != 0)
		return rc;
	if (entry.file != NULL) {
		ReapiOutputFile *file = REAPI_NEW(arena, output_file);

		rc = lower_file(collector, entry.file, path);
		file->path = path;
		file->digest = entry.file->digest;
		file->is_executable = entry.file->is_executable;
		file->node_properties = lower_properties(
		    collector, entry.file->node_properties, file->is_executable ? 0555 : 0444);
		if (rc == 0)
			result->output_files[result->n_output_files++] = file;
	} else if (entry.symlink != NULL) {
		ReapiOutputSymlink *symlink = REAPI_NEW(arena, output_symlink);

		symlink->path = path;
		symlink->target = entry.symlink->target;
		symlink->node_properties =
		    lower_properties(collector, entry.symlink->node_properties, 0777);
		symlink_add(result, symlink, list);
	} else if (entry.directory != NULL) {
		struct place inner = {.fd = -1};

		rc = lower_load(collector, entry.directory->digest, &inner.lower);
		rc = rc == 0 ? directory_collect(collector, &inner, path, result)
			     : collect_fail(collector, rc, path);
	}
	return rc;
}

static int
output_look(struct collector *collector, const struct place *place, const char *name, char *path,
    enum output_list list, ReapiActionResult *result)
{
	int dirfd = place->fd, rc;
	struct place inner;
	struct stat st;

	if (dirfd < 0)
		return lower_look(collector, place, name, path, list, result);
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
		if (errno == ENOENT)
			return lower_look(collector, place, name, path, list, result);
		return is_absent(-errno) ? 0 : collect_fail(collector, -errno, path);
	}
	if (upper_is_whiteout(collector, &st))
		return 0;
	rc = collect_refuse_mount_point(collector, path, &st);
	if (rc == 0 && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
		rc = kind_check(collector, path, list, st.st_mode, result);
	if (rc != 0)
		return rc;
	if (S_ISREG(st.st_mode))
		return file_collect(collector, dirfd, name, path, &st, result);
	if (S_ISLNK(st.st_mode))
		return symlink_collect(collector, dirfd, name, path, &st, list, result);
	if (S_ISDIR(st.st_mode)) {
		rc = place_enter(collector, place, name, &inner);
		if (rc != 0)
			return collect_fail(collector, rc, path);
		rc = directory_collect(collector, &inner, path, result);
		place_leave(&inner);
		return rc;
	}
	return collect_refuse(collector, path, &st);
}

static int
output_collect(struct collector *collector, const struct place *root, char *path,
    enum output_list list, ReapiActionResult *result)
{
	const char *cwd = collector->request->command->working_directory;
	char *full = arena_printf(
	    collector->arena, "%s%s%s", cwd, cwd[0] != '\0' && path[0] != '\0' ? "/" : "", path);
	char *slash = strrchr(full, '/');
	const char *name = slash == NULL ? full : slash + 1;
	struct place parent;
	int rc;

	if (full[0] == '\0')
		return directory_collect(collector, root, path, result);
	if (slash != NULL)
		*slash = '\0';
	rc = parent_open(collector, root, slash == NULL ? "" : full, &parent);
	if (rc != 0)
		return is_absent(rc) ? 0 : collect_fail(collector, rc, path);
	rc = output_look(collector, &parent, name, path, list, result);
	place_leave(&parent);
	return rc;
}

static int
list_collect(struct collector *collector, const struct place *root, char **paths, size_t count,
    enum output_list list, ReapiActionResult *result)
{
	int rc = 0;

	for (size_t i = 0; i < count && rc == 0; i++)
		rc = output_collect(collector, root, paths[i], list, result);
	return rc;
}

static void
result_make_room(struct arena *arena, ReapiActionResult *result, size_t count)
{
	size_t size = count * sizeof(void *);

	result->output_files = arena_alloc(arena, size);
	result->output_directories = arena_alloc(arena, size);
	result->output_symlinks = arena_alloc(arena, size);
	result->output_file_symlinks = arena_alloc(arena, size);
	result->output_directory_symlinks = arena_alloc(arena, size);
}

/* A '/' before all else, so that what lies within a path comes right after it. */
static int
path_compare(const void *a, const void *b)
{
	const char *x = *(char *const *)a, *y = *(char *const *)b;

	while (*x == *y && *x != '\0') {
		x++;
		y++;
	}
	int left = *x == '/' ? 1 : *x == '\0' ? 0 : (unsigned char)*x + 1;
	int right = *y == '/' ? 1 : *y == '\0' ? 0 : (unsigned char)*y + 1;
	return left - right;
}

/* What is moved for one output would be missing for the other. */
static bool
outputs_overlap(struct arena *arena, char **paths, size_t count)
{
	char **sorted = arena_alloc(arena, (count + 1) * sizeof(*sorted));

	memcpy(sorted, paths, count * sizeof(*sorted));
	qsort(sorted, count, sizeof(*sorted), path_compare);
	for (size_t i = 1; i < count; i++) {
		size_t len = strlen(sorted[i - 1]);

		if (strncmp(sorted[i - 1], sorted[i], len) == 0 &&
		    (len == 0 || sorted[i][len] == '/' || sorted[i][len] == '\0'))
			return true;
	}
	return false;
}

static int
outputs_collect(struct collector *collector, const struct place *root, ReapiActionResult *result)
{
	const ReapiCommand *command = collector->request->command;
	size_t old_count = command->n_output_files + command->n_output_directories;
	char **old;
	int rc;

	if (command->n_output_paths > 0) {
		result_make_room(collector->arena, result, command->n_output_paths);
		collector->may_move = collector->may_move &&
		    !outputs_overlap(
			collector->arena, command->output_paths, command->n_output_paths);
		return list_collect(collector, root, command->output_paths, command->n_output_paths,
		    LIST_PATHS, result);
	}
	if (old_count == 0)
		return 0;
	result_make_room(collector->arena, result, old_count);
	old = arena_alloc(collector->arena, old_count * sizeof(*old));
	for (size_t i = 0; i < old_count; i++)
		old[i] = i < command->n_output_files
		    ? command->output_files[i]
		    : command->output_directories[i - command->n_output_files];
	collector->may_move =
	    collector->may_move && !outputs_overlap(collector->arena, old, old_count);
	rc = list_collect(collector, root, old, command->n_output_files, LIST_FILES, result);
	return rc != 0 ? rc
		       : list_collect(collector, root, old + command->n_output_files,
			     command->n_output_directories, LIST_DIRECTORIES, result);
}

/* The worker wrote these files itself. */
static int
log_collect(struct collector *collector, int dirfd, const char *name, ProtobufCBinaryData *raw,
    ReapiDigest **digest_field)
{
	struct digest digest;
	struct stat st;
	int rc = 0, fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? 0 : collect_fail(collector, -errno, name);
	if (fstat(fd, &st) != 0)
		rc = -errno;
	if (rc == 0 && st.st_size > 0 && st.st_size <= COLLECT_INLINE_MAX) {
		raw->data = arena_alloc(collector->arena, (size_t)st.st_size);
		raw->len = (size_t)st.st_size;
		if (pread(fd, raw->data, raw->len, 0) != (ssize_t)raw->len)
			rc = -EIO;
	}
	if (rc == 0 && st.st_size > 0 && (raw->len == 0 || collector->request->need_digests)) {
		rc = cas_put_fd(collector->cas, fd, &digest);
		if (rc == 0)
			*digest_field = reapi_digest_new(collector->arena, &digest);
	}
	close(fd);
	return rc == 0 ? 0 : collect_fail(collector, rc, name);
}

static void
properties_want(struct collector *collector)
{
	const ReapiCommand *command = collector->request->command;

	for (size_t i = 0; i < command->n_output_node_properties; i++) {
		if (strcmp(command->output_node_properties[i], "mtime") == 0)
			collector->want_mtime = true;
		else if (strcmp(command->output_node_properties[i], "unix_mode") == 0)
			collector->want_mode = true;
	}
	collector->want_tree = !FORMAT_IS(command, DIRECTORY_ONLY);
	collector->want_directory = !FORMAT_IS(command, TREE_ONLY);
}

/* What lies below the sandbox's root, if an output can be part of it. */
static int
root_lower(struct collector *collector, struct place *root)
{
	const struct stage_overlay *overlay = collector->request->overlay;
	int rc;

	if (overlay == NULL || !overlay->is_owned)
		return 0;
	rc = lower_load(
	    collector, reapi_digest_new(collector->arena, &overlay->digest), &root->lower);
	return rc == 0 ? 0 : collect_fail(collector, rc, "input root");
}

int
collect_outputs(struct cas *cas, struct arena *arena, struct slot *slot, struct sandbox *sandbox,
    const struct collect_request *request, ReapiActionResult *result,
    struct collect_stats *ret_stats, struct error_text *err)
{
	uint64_t start_us = clock_monotonic_us();
	struct collect_stats stats = {0};
	struct collector collector = {.cas = cas,
	    .arena = arena,
	    .slot = slot,
	    .request = request,
	    .stats = &stats,
	    .err = err,
	    .may_move = request->may_move};
	struct place root = {.fd = sandbox->rootfd};
	struct stat st;
	int rc;

	properties_want(&collector);
	if (fstat(sandbox->rootfd, &st) != 0)
		return error_errno(err, -errno, "%s/root: cannot look at it", sandbox->name);
	collector.owner = st.st_uid;
	rc = root_lower(&collector, &root);
	if (rc == 0)
		rc = outputs_collect(&collector, &root, result);
	if (rc == 0)
		rc = log_collect(&collector, sandbox->dirfd, "stdout", &result->stdout_raw,
		    &result->stdout_digest);
	if (rc == 0)
		rc = log_collect(&collector, sandbox->dirfd, "stderr", &result->stderr_raw,
		    &result->stderr_digest);
	if (rc != 0)
		return rc;
	stats.elapsed_us = clock_monotonic_us() - start_us;
	if (slot != NULL)
		COUNTER_ADD(slot, collect_us, stats.elapsed_us);
	*ret_stats = stats;
	return 0;
}
