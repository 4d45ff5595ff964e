/*
 * Staging as an action meets it: a throwaway host with a runner; what has been staged is looked at
 * by a program that runs in it, and compared with the Merkle tree entry by entry.
 *
 * A runner changes its process for good, so each isolation has a process of its own: suite_main.
 */
#ifndef TESTS_STAGE_SUITE_H
#define TESTS_STAGE_SUITE_H

#include <sys/wait.h>

#include <inttypes.h>
#include <libgen.h>
#include <spawn.h>

#include "base/clock.h"
#include "base/log.h"
#include "cas/digest_map.h"
#include "tests/cmocka_wrap.h"
#include "tests/unit/workers/action_walk.h"
#include "tests/unit/workers/stage_host.h"
#include "workers/run.h"

enum { SUITE_UID = 64321 };

/* What blobs hold, as action_walk.h hashes it: kept, so that a blob may be lost meanwhile. */
struct suite_bytes {
	struct digest_map map;
	uint64_t *hashes;
	size_t count, room;
};

struct suite {
	struct host host;
	struct runner *runner;
	enum isolation isolation;
	uid_t uid; /* the actions' */
	struct suite_bytes bytes;
	struct stage_request request; /* the latest */
};

static inline bool
suite_uid_differs(const struct suite *suite)
{
	return suite->uid != geteuid();
}

/* helper_action, which lies beside this program, into the state directory. */
static inline void
suite_take_program(struct suite *suite)
{
	struct host *host = &suite->host;
	char path[4096];
	uint8_t *data;
	size_t len;
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 32);

	HOST_TRY("exe", n < 0 ? -errno : 0);
	path[n] = '\0';
	char *slash = strrchr(path, '/');
	memcpy(slash, "/helper_action", sizeof("/helper_action"));
	HOST_TRY(path, fs_read_file(AT_FDCWD, path, 64 << 20, &data, &len));
	HOST_TRY("program", fs_write_atomic(host->config.state_fd, "program", data, len, 0755));
	free(data);
}

static inline void
suite_configure(struct host *host, enum isolation isolation)
{
	host->config.isolation = isolation;
	host->config.action_uid_base = SUITE_UID;
	host->config.kill_grace_ms = 1000;
	host->config.log_cap_bytes = 1 << 30;
}

/* What this system really allows, as the probe asks. */
static inline void
suite_try_mounts(struct suite *suite)
{
	struct host *host = &suite->host;
	struct probe_way *ways = host->probe.ways;
	double us;

	ways[PLACE_BIND].works = suite->isolation != ISOLATION_NONE;
	ways[PLACE_OVERLAY].works = suite->isolation != ISOLATION_NONE &&
	    run_try_overlay(&host->config, suite->isolation, &us, &host->err) == 0;
	if (!ways[PLACE_OVERLAY].works && suite->isolation != ISOLATION_NONE)
		print_message("note: no overlay here: %s\n", host->err.text);
	ways[PLACE_IMAGE].works = suite->isolation == ISOLATION_ROOT &&
	    run_try_image(&host->config, &us, &host->err) == 0;
	if (!ways[PLACE_IMAGE].works && suite->isolation == ISOLATION_ROOT)
		print_message("note: no images here: %s\n", host->err.text);
	if (!ways[PLACE_REFLINK].works && suite->isolation != ISOLATION_NONE)
		print_message("note: no reflinks here\n");
}

static inline void
suite_open(struct suite *suite, enum isolation isolation)
{
	struct host *host = &suite->host;

	memset(suite, 0, sizeof(*suite));
	host_start(host, "/dev/shm");
	log_open(open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_LEVEL_ERROR);
	suite->isolation = isolation;
	suite->uid = geteuid() == 0 && isolation != ISOLATION_USER ? SUITE_UID : geteuid();
	suite_configure(host, isolation);
	slot_assign(host->region, SLOT_JANITOR);
	slot_activate(host->region, SLOT_JANITOR, getpid());
	suite_take_program(suite);
	suite_try_mounts(suite);
	HOST_TRY("runner",
	    runner_new(
		&host->config, isolation, suite->uid, host->slot, &suite->runner, &host->err));
}

static inline void
suite_close(struct suite *suite)
{
	runner_free(suite->runner);
	digest_map_fini(&suite->bytes.map);
	free(suite->bytes.hashes);
	host_stop(&suite->host);
}

/* As probe_choose has it: an engine that a host would refuse is not tried. */
static inline bool
suite_allows(const struct suite *suite, enum engine engine)
{
	static const enum place_way way[ENGINE_COUNT] = {
	    [ENGINE_AUTO] = PLACE_COPY,
	    [ENGINE_BIND] = PLACE_BIND,
	    [ENGINE_OVERLAY] = PLACE_OVERLAY,
	    [ENGINE_IMAGE] = PLACE_IMAGE,
	    [ENGINE_CLONEFILE] = PLACE_CLONEFILE,
	    [ENGINE_REFLINK] = PLACE_REFLINK,
	    [ENGINE_HARDLINK] = PLACE_HARDLINK,
	    [ENGINE_COPY] = PLACE_COPY,
	};

	return suite->host.probe.ways[way[engine]].works;
}

static inline void
suite_stager(struct suite *suite, enum engine engine)
{
	host_stager(&suite->host, engine, suite->isolation, suite->uid);
}

/* By the worker `host`, which is the suite's own or another of the same state directory. */
static inline int
suite_stage_by(struct suite *suite, struct host *host, const struct stage_request *request)
{
	uint32_t number = slot_number(host->region, host->slot);

	suite->request = *request;
	host->err.text[0] = '\0';
	HOST_TRY("sandbox",
	    sandbox_make(
		host->config.state_fd, host->slot, number, suite->uid, &host->sandbox, &host->err));
	return stage_compose(host->stager, request, &host->sandbox, &host->report, &host->err);
}

static inline int
suite_stage(struct suite *suite, const struct stage_request *request)
{
	return suite_stage_by(suite, &suite->host, request);
}

/* The program in the sandbox that `host` has staged; its exit code, or -errno. */
static inline int
suite_run_by(struct suite *suite, struct host *host, const char *what)
{
	const struct stage_request *staged = &suite->request;
	char program[] = "/" ACTION_PROGRAM, up[4096] = ".", at[4200];
	const char *argv[] = {at, what, up, NULL}, *env[] = {NULL};
	struct run_request request = {
	    .argv = (char *const *)argv,
	    .env = (char *const *)env,
	    .working_directory = staged->working_directory,
	    .binds = host->report.binds,
	    .bind_count = host->report.bind_count,
	    .image = host->report.image,
	    .overlay = host->report.has_overlay ? &host->report.overlay : NULL,
	    .cancel_fd = -1,
	};
	struct run_result result;

	for (const char *path = staged->working_directory; *path != '\0';) {
		strlcat(up, "/..", sizeof(up));
		path += strcspn(path, "/");
		path += *path == '/';
	}
	snprintf(at, sizeof(at), "%s%s", up, program);
	if (linkat(host->config.state_fd, "program", host->sandbox.rootfd, ACTION_PROGRAM, 0) !=
		0 &&
	    errno != EEXIST)
		return -errno;
	int rc = run_action(suite->runner, &host->sandbox, &request, &result, &host->err);
	return rc != 0 ? rc : result.exit_code;
}

static inline int
suite_run(struct suite *suite, const char *what)
{
	return suite_run_by(suite, &suite->host, what);
}

/* Comparison. */

static inline uint64_t
suite_hash_of(struct suite *suite, const struct digest *digest)
{
	struct suite_bytes *bytes = &suite->bytes;
	struct host *host = &suite->host;
	bool is_new;
	uint8_t *data;
	size_t len;

	if (digest_is_empty(digest))
		return ACTION_HASH_START;
	uint32_t *number = digest_map_add(&bytes->map, digest, &is_new);
	if (!is_new)
		return bytes->hashes[*number];
	HOST_TRY("blob", cas_read(host->cas, digest, 1 << 30, &data, &len));
	if (bytes->count == bytes->room) {
		bytes->room = bytes->room == 0 ? 256 : bytes->room * 2;
		bytes->hashes = reallocarray(bytes->hashes, bytes->room, sizeof(uint64_t));
		HOST_TRY("memory", bytes->hashes == NULL ? -ENOMEM : 0);
	}
	*number = (uint32_t)bytes->count;
	bytes->hashes[bytes->count++] = action_hash(ACTION_HASH_START, data, len);
	free(data);
	return bytes->hashes[*number];
}

/* What is to be seen, and the records of what was. */
struct suite_look {
	struct suite *suite;
	const struct stage_request *request; /* NULL: a cached tree, no sandbox */
	const struct stage_report *report;
	const uint8_t *at, *end;
	bool all_own, is_writable; /* the inputs: whose, and of which modes */
	int differences;
};

/* `path` is `other` or lies below it. */
static inline bool
suite_is_below(const char *path, const char *other)
{
	size_t len = strlen(other);

	return len == 0 ||
	    (strncmp(path, other, len) == 0 && (path[len] == '/' || path[len] == '\0'));
}

/* An output, or in one. */
static inline bool
suite_is_output(const struct stage_request *request, const char *path)
{
	for (size_t i = 0; request != NULL && i < request->output_count; i++)
		if (suite_is_below(path, request->output_paths[i]))
			return true;
	for (size_t i = 0; request != NULL && i < request->output_directory_count; i++)
		if (suite_is_below(path, request->output_directories[i]))
			return true;
	return false;
}

/* Has to be a directory: leads to an output, or is one, or is on the way to where it works. */
static inline bool
suite_is_made(const struct stage_request *request, const char *path)
{
	if (request == NULL)
		return false;
	if (suite_is_below(request->working_directory, path))
		return true;
	for (size_t i = 0; i < request->output_count; i++)
		if (suite_is_below(request->output_paths[i], path) &&
		    strcmp(request->output_paths[i], path) != 0)
			return true;
	for (size_t i = 0; i < request->output_directory_count; i++)
		if (suite_is_below(request->output_directories[i], path))
			return true;
	return false;
}

struct suite_want {
	const char *name;
	const ReapiFileNode *file;
	const ReapiSymlinkNode *symlink;
	bool is_directory;
	struct digest digest;
};

static inline int
suite_by_name(const void *a, const void *b)
{
	const struct suite_want *x = a, *y = b;

	return strcmp(x->name, y->name);
}

/* The first component below `path` of something that has to be made, if the tree lacks it. */
static inline void
suite_want_made(struct suite_look *look, const char *path, const char *made,
    struct suite_want *wants, size_t *inout_count)
{
	struct arena *arena = look->suite->host.arena;
	const char *below = made + (path[0] == '\0' ? 0 : strlen(path) + 1);

	if (!suite_is_below(made, path) || strlen(made) <= strlen(path))
		return;
	char *name = arena_printf(arena, "%.*s", (int)strcspn(below, "/"), below);
	char *full = path[0] == '\0' ? name : arena_printf(arena, "%s/%s", path, name);
	if (!suite_is_made(look->request, full))
		return;
	for (size_t i = 0; i < *inout_count; i++)
		if (strcmp(wants[i].name, name) == 0)
			return;
	wants[(*inout_count)++] =
	    (struct suite_want){.name = name, .is_directory = true, .digest = digest_empty};
}

/* Everything that has to be in a directory, sorted. */
static inline struct suite_want *
suite_wants(
    struct suite_look *look, const char *path, const struct digest *digest, size_t *ret_count)
{
	struct host *host = &look->suite->host;
	const struct stage_request *request = look->request;
	ReapiDirectory *message;

	HOST_TRY("Directory", directory_load(host->cas, host->arena, digest, &message, &host->err));
	size_t count = 0,
	       room = message->n_files + message->n_symlinks + message->n_directories + 1;
	if (request != NULL)
		room += request->output_count + request->output_directory_count;
	struct suite_want *wants = arena_alloc(host->arena, room * sizeof(*wants));
	for (size_t i = 0; i < message->n_files; i++)
		wants[count++] =
		    (struct suite_want){.name = message->files[i]->name, .file = message->files[i]};
	for (size_t i = 0; i < message->n_symlinks; i++)
		wants[count++] = (struct suite_want){
		    .name = message->symlinks[i]->name, .symlink = message->symlinks[i]};
	for (size_t i = 0; i < message->n_directories; i++) {
		wants[count] = (struct suite_want){
		    .name = message->directories[i]->name, .is_directory = true};
		HOST_TRY("digest",
		    reapi_digest_get(message->directories[i]->digest, &wants[count].digest));
		count++;
	}
	if (request != NULL) {
		suite_want_made(look, path, request->working_directory, wants, &count);
		for (size_t i = 0; i < request->output_count; i++)
			suite_want_made(look, path, request->output_paths[i], wants, &count);
		for (size_t i = 0; i < request->output_directory_count; i++)
			suite_want_made(look, path, request->output_directories[i], wants, &count);
	}
	qsort(wants, count, sizeof(*wants), suite_by_name);
	*ret_count = count;
	return wants;
}

/* The record that comes next; NULL at the end. */
static inline const struct action_record *
suite_peek(const struct suite_look *look, struct action_record *record)
{
	if ((size_t)(look->end - look->at) < sizeof(*record))
		return NULL;
	memcpy(record, look->at, sizeof(*record));
	return record;
}

static inline void
suite_next(struct suite_look *look, const struct action_record *record)
{
	look->at += sizeof(*record) + record->name_len + record->target_len;
}

static inline const char *
suite_shown(const struct suite_look *look, const char *path, const struct action_record *record)
{
	return arena_printf(look->suite->host.arena, "%.200s%s%.*s", path,
	    path[0] == '\0' ? "" : "/", record->name_len, (const char *)look->at + sizeof(*record));
}

#define SUITE_DIFFERS(look, path, ...)                                                             \
	do {                                                                                       \
		if ((look)->differences++ < 10) {                                                  \
			fprintf(stderr, "%.300s: ", path);                                         \
			fprintf(stderr, __VA_ARGS__);                                              \
			fputc('\n', stderr);                                                       \
		}                                                                                  \
	} while (0)

static inline void
suite_compare_file(struct suite_look *look, const char *path, const ReapiFileNode *file,
    const struct action_record *got)
{
	struct host *host = &look->suite->host;
	const ReapiNodeProperties *properties = file->node_properties;
	bool is_output = suite_is_output(look->request, path);
	/* Below an overlay of all its inputs an action needs no write bit. */
	bool is_lower =
	    look->report != NULL && look->report->has_overlay && look->report->overlay.is_owned;
	mode_t mode = file->is_executable ? 0555 : 0444;
	struct digest digest;

	if (properties != NULL && properties->unix_mode != NULL)
		mode = (properties->unix_mode->value & 0555) | 0444;
	if (look->is_writable || (is_output && !is_lower))
		mode |= 0200;
	if (!S_ISREG(got->mode)) {
		SUITE_DIFFERS(look, path, "no file, mode %o", got->mode);
		return;
	}
	if ((got->mode & 07777) != mode)
		SUITE_DIFFERS(look, path, "mode %o, not %o", got->mode & 07777, (unsigned)mode);
	HOST_TRY("digest", reapi_digest_get(file->digest, &digest));
	if (got->size != (uint64_t)digest.size_bytes ||
	    got->hash != suite_hash_of(look->suite, &digest))
		SUITE_DIFFERS(look, path, "other bytes");
	if (properties != NULL && properties->mtime != NULL &&
	    (got->mtime_s != properties->mtime->seconds ||
		got->mtime_ns != (uint32_t)properties->mtime->nanos))
		SUITE_DIFFERS(
		    look, path, "mtime %" PRId64 ".%09" PRIu32, got->mtime_s, got->mtime_ns);
	if (look->request != NULL && got->is_own != (look->all_own || is_output))
		SUITE_DIFFERS(
		    look, path, got->is_own ? "the action's own" : "not the action's own");
}

static inline void suite_compare_directory(
    struct suite_look *look, const char *path, uint32_t depth, const struct digest *digest);

static inline void
suite_compare_entry(struct suite_look *look, const char *path, uint32_t depth,
    const struct suite_want *want, const struct action_record *got)
{
	const char *target = (const char *)look->at + sizeof(*got) + got->name_len;

	suite_next(look, got);
	if (want->file != NULL) {
		suite_compare_file(look, path, want->file, got);
		return;
	}
	if (want->symlink != NULL) {
		if (!S_ISLNK(got->mode) || got->target_len != strlen(want->symlink->target) ||
		    memcmp(target, want->symlink->target, got->target_len) != 0)
			SUITE_DIFFERS(
			    look, path, "no symlink, or to %.*s", got->target_len, target);
		return;
	}
	bool is_spine = suite_is_made(look->request, path) || suite_is_output(look->request, path);
	if (!S_ISDIR(got->mode)) {
		SUITE_DIFFERS(look, path, "no directory, mode %o", got->mode);
		return;
	}
	if ((got->mode & 07777) != 0755)
		SUITE_DIFFERS(look, path, "directory of mode %o", got->mode & 07777);
	if (look->request != NULL && got->is_own != (look->all_own || is_spine))
		SUITE_DIFFERS(
		    look, path, got->is_own ? "the action's own" : "not the action's own");
	suite_compare_directory(look, path, depth + 1, &want->digest);
}

static inline void
suite_compare_directory(
    struct suite_look *look, const char *path, uint32_t depth, const struct digest *digest)
{
	struct arena *arena = look->suite->host.arena;
	struct action_record got;
	size_t count;
	struct suite_want *wants = suite_wants(look, path, digest, &count);

	for (size_t i = 0; i < count; i++) {
		const struct suite_want *want = &wants[i];
		const char *below =
		    path[0] == '\0' ? want->name : arena_printf(arena, "%s/%s", path, want->name);
		const char *name;
		int order = -1; /* of what comes, compared with what has to */
		while (suite_peek(look, &got) != NULL && got.depth >= depth && order < 0) {
			name = (const char *)look->at + sizeof(got);
			order = got.depth > depth ? -1 : strncmp(name, want->name, got.name_len);
			if (order == 0 && want->name[got.name_len] != '\0')
				order = -1;
			if (order < 0) {
				SUITE_DIFFERS(look, suite_shown(look, path, &got), "too much");
				suite_next(look, &got);
			}
		}
		if (order == 0)
			suite_compare_entry(look, below, depth, want, &got);
		else
			SUITE_DIFFERS(look, below, "not there");
	}
	while (suite_peek(look, &got) != NULL && got.depth >= depth) {
		SUITE_DIFFERS(look, suite_shown(look, path, &got), "too much");
		suite_next(look, &got);
	}
}

/* Of records, with what was staged (request and report), or a cached tree. */
static inline int
suite_compare(struct suite *suite, const struct stage_request *request,
    const struct stage_report *report, const struct digest *root, const uint8_t *data, size_t len)
{
	bool is_owned = report != NULL && report->has_overlay && report->overlay.is_owned;
	bool is_off = request != NULL && request->guard_off;
	struct suite_look look = {
	    .suite = suite,
	    .request = request,
	    .report = report,
	    .at = data,
	    .end = data + len,
	    .all_own = !suite_uid_differs(suite) || is_off || is_owned,
	    .is_writable = is_off && !is_owned,
	};

	suite_compare_directory(&look, "", 0, root);
	return look.differences;
}

/* Runs an action that looks around; how much differs from what was asked for, -1: it failed. */
static inline int
suite_look_by(struct suite *suite, struct host *host)
{
	uint8_t *data = NULL;
	size_t len = 0;
	int exit_code = suite_run_by(suite, host, "walk");

	if (exit_code != 0) {
		if (exit_code > 0 &&
		    fs_read_file(host->sandbox.dirfd, "stderr", 1000, &data, &len) == 0)
			fprintf(stderr, "%.*s", (int)len, (const char *)data);
		fprintf(stderr, "it cannot look around: %d (%s)\n", exit_code, host->err.text);
		free(data);
		return -1;
	}
	int rc = fs_read_file(host->sandbox.dirfd, "stdout", (size_t)1 << 30, &data, &len);
	if (rc != 0 && rc != -ENOENT) /* no output, no file */
		return -1;
	int differences =
	    suite_compare(suite, &suite->request, &host->report, &suite->request.root, data, len);
	free(data);
	return differences;
}

static inline int
suite_look(struct suite *suite)
{
	return suite_look_by(suite, &suite->host);
}

/* Records of what lies at a path of the state directory, compared with a Directory. */
static inline int
suite_compare_cached(struct suite *suite, const char *path, const struct digest *digest)
{
	struct host *host = &suite->host;
	char *data = NULL;
	size_t len = 0;
	int fd;

	HOST_TRY(path, fs_open_beneath(host->config.state_fd, path, &fd));
	FILE *out = open_memstream(&data, &len);
	HOST_TRY("memory", out == NULL ? -ENOMEM : 0);
	HOST_TRY(path, action_walk(fd, 1, out));
	fclose(out);
	close(fd);
	/* (Depth 1: a cached tree may have what a sandbox's root may not.) */
	struct suite_look look = {
	    .suite = suite, .at = (uint8_t *)data, .end = (uint8_t *)data + len};
	suite_compare_directory(&look, "", 1, digest);
	free(data);
	return look.differences;
}

/* The program itself, once for each isolation that this system allows. */

static inline int
suite_again(char *self, const char *what, enum isolation isolation)
{
	char *argv[] = {self, (char *)what, (char *)isolation_names[isolation], NULL};
	pid_t pid;
	int status;

	fflush(NULL);
	if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ) != 0 ||
	    waitpid(pid, &status, 0) != pid)
		return 1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static inline int
suite_try(enum isolation isolation)
{
	static struct host try_host;
	struct host *host = &try_host;
	double us;

	host_start(host, "/dev/shm");
	suite_configure(host, isolation);
	int rc = run_try_isolation(&host->config, isolation, &us, &host->err);
	if (rc != 0)
		print_message(
		    "note: skipped isolation %s: %s\n", isolation_names[isolation], host->err.text);
	host_stop(host);
	return rc == 0 ? 0 : 1;
}

/* run: in a process of its own; 0 when nothing failed. */
static inline int
suite_main(int argc, char **argv, int (*run)(enum isolation isolation))
{
	int failed = 0, ran = 0;

	for (int i = ISOLATION_ROOT; i < ISOLATION_COUNT; i++) {
		enum isolation isolation = (enum isolation)i;
		if (argc == 3 && strcmp(argv[2], isolation_names[i]) == 0)
			return strcmp(argv[1], "try") == 0 ? suite_try(isolation) : run(isolation);
		/* Root's action in its own user namespace would be root: no host does that. */
		if (argc == 3 || (isolation == ISOLATION_ROOT && geteuid() != 0) ||
		    (isolation == ISOLATION_USER && geteuid() == 0))
			continue;
		if (suite_again(argv[0], "try", isolation) != 0)
			continue;
		failed += suite_again(argv[0], "run", isolation);
		ran++;
	}
	return failed == 0 && ran > 0 ? 0 : 1;
}

#endif
