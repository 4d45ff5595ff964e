/*
 * Staging as an action meets it: a throwaway host with a runner; what has been staged is looked at
 * by a program that runs in it, and compared with the Merkle tree entry by entry.
 *
 * A runner changes its process for good, so each isolation has a process of its own: suite_main.
 */
#ifndef TESTS_STAGE_SUITE_H
#define TESTS_STAGE_SUITE_H

#include <sys/wait.h>

#include <spawn.h>

#include "base/clock.h"
#include "base/log.h"
#include "tests/cmocka_wrap.h"
#include "tests/unit/workers/stage_compare.h"
#include "workers/run.h"
#include "workers/stage_internal.h"

enum { SUITE_UID = 64321 };

struct suite {
	struct host host;
	struct runner *runner;
	enum isolation isolation;
	uid_t uid; /* the actions' */
	struct look_bytes bytes;
	struct stage_request request; /* the latest */
};

static inline unsigned
suite_setting(const char *name, unsigned otherwise)
{
	const char *text = getenv(name);

	return text == NULL ? otherwise : (unsigned)strtoul(text, NULL, 10);
}

/* Of long series every so many; all of it for a volume of its own (tests/on_volume), unless told.
 */
static inline unsigned
suite_stride(void)
{
	unsigned stride =
	    suite_setting("RAMET_TEST_STRIDE", getenv("RAMET_TEST_DIR") != NULL ? 1 : 3);

	return stride > 0 ? stride : 1;
}

/* The first of the series n: told so, other volumes see the others. */
static inline unsigned
suite_first(size_t n)
{
	return 1 + (unsigned)(n + suite_setting("RAMET_TEST_SHIFT", 0)) % suite_stride();
}

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
	host->config.recycle = true;
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

/* From now on; a stager has its own, which it corrects by what it sees. */
static inline void
suite_set_costs(struct host *host, const struct cost_model *costs)
{
	host->probe.costs = *costs;
	if (host->stager != NULL)
		host->stager->memory->costs = *costs;
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

static inline void
suite_started(void *arg)
{
	stage_after(arg);
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
	    .timeout_us = 60000000, /* a hung one is a failed one */
	    .started = suite_started,
	    .started_arg = host->stager,
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

/* Records, compared with what was staged. */
static inline int
suite_compare(
    struct suite *suite, struct host *host, bool any_owner, const uint8_t *data, size_t len)
{
	bool is_owned = host->report.has_overlay && host->report.overlay.is_owned;
	struct look look = {
	    .host = &suite->host,
	    .bytes = &suite->bytes,
	    .request = &suite->request,
	    .report = &host->report,
	    .at = data,
	    .end = data + len,
	    .any_owner = any_owner,
	    .all_own = !suite_uid_differs(suite) || suite->request.guard_off || is_owned,
	    .is_writable = suite->request.guard_off && !is_owned,
	};

	look_compare_directory(&look, "", 0, &suite->request.root);
	return look.differences;
}

/* Runs an action that looks around: 0, or it could not, and why is on stderr. */
static inline int
suite_see_by(struct suite *suite, struct host *host)
{
	uint8_t *data = NULL;
	size_t len = 0;
	int exit_code = suite_run_by(suite, host, "walk");

	if (exit_code == 0)
		return 0;
	if (exit_code > 0 && fs_read_file(host->sandbox.dirfd, "stderr", 1000, &data, &len) == 0)
		fprintf(stderr, "%.*s", (int)len, (const char *)data);
	fprintf(stderr, "it cannot look around: %d (%s)\n", exit_code, host->err.text);
	free(data);
	return exit_code;
}

/* How much of what it saw differs from what was asked for. */
static inline int
suite_judge_by(struct suite *suite, struct host *host)
{
	uint8_t *data = NULL;
	size_t len = 0;
	int rc = fs_read_file(host->sandbox.dirfd, "stdout", (size_t)1 << 30, &data, &len);

	if (rc != 0 && rc != -ENOENT) /* no output, no file */
		return -1;
	int differences = suite_compare(suite, host, false, data, len);
	free(data);
	return differences;
}

static inline int
suite_look_by(struct suite *suite, struct host *host)
{
	int rc = suite_see_by(suite, host);

	return rc == 0 ? suite_judge_by(suite, host) : rc;
}

static inline int
suite_look(struct suite *suite)
{
	return suite_look_by(suite, &suite->host);
}

/* Walks by itself; the records are the caller's to free. */
static inline char *
suite_walk(struct host *host, int dirfd, const char *name, uint32_t depth, size_t *ret_len)
{
	char *data = NULL;
	FILE *out = open_memstream(&data, ret_len);

	HOST_TRY("memory", out == NULL ? -ENOMEM : 0);
	HOST_TRY(name, action_walk(dirfd, depth, out));
	fclose(out);
	return data;
}

/* What was placed, where nothing is mounted over it: without running anything. */
static inline int
suite_look_directly(struct suite *suite)
{
	struct host *host = &suite->host;
	size_t len;
	char *data = suite_walk(host, host->sandbox.rootfd, "sandbox", 0, &len);
	int differences = suite_compare(suite, host, true, (uint8_t *)data, len);

	free(data);
	return differences;
}

/* What lies at a path of the state directory, compared with a Directory. */
static inline int
suite_compare_cached(struct suite *suite, const char *path, const struct digest *digest)
{
	struct host *host = &suite->host;
	size_t len;
	int fd;

	HOST_TRY(path, fs_open_beneath(host->config.state_fd, path, &fd));
	/* (Depth 1: a cached tree may have what a sandbox's root may not.) */
	char *data = suite_walk(host, fd, path, 1, &len);
	close(fd);
	struct look look = {.host = host,
	    .bytes = &suite->bytes,
	    .at = (uint8_t *)data,
	    .end = (uint8_t *)data + len,
	    .any_owner = true};
	look_compare_directory(&look, "", 1, digest);
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
