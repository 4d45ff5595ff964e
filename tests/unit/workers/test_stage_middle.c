/*
 * What others do to the cache while a tree is being staged: the janitor evicts all that nobody
 * holds, or is killed at it; blobs are lost.  Before each system call of staging in turn: the tree
 * is right all the same, or all that is missing is said; and the next one is right.
 *
 * The calls are met by this program's own linkat, mkdirat and so on, which come before the C
 * library's.
 */
#include <sys/syscall.h>

#include "tests/unit/workers/stage_cache.h"
#include "tests/unit/workers/stage_ways.h"

enum { CALLS_MAX = 2000, LOST_MAX = 8 };

enum event { EVENT_EVICTED, EVENT_LEAVING, EVENT_MOVED, EVENT_DROPPED, EVENT_GONE, EVENTS };
static const char *const event_names[EVENTS] = {"all trees evicted", "a janitor killed at once",
    "a janitor killed after a rename", "blobs dropped", "blobs gone behind our back"};

static struct suite suite;
static struct digest trees[2];
static unsigned turns, said_missing, failed_action;

/* The hook. */

static struct {
	_Atomic bool is_armed;
	_Atomic long left; /* calls until it strikes */
	void (*strike)(void);
} hook;
static _Thread_local bool is_striking;

static void
meet(void)
{
	if (is_striking || !hook.is_armed || --hook.left != 0)
		return;
	is_striking = true;
	hook.strike();
	is_striking = false;
}

/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name): the system's are reserved */
int
linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
	meet();
	return (int)syscall(SYS_linkat, from_fd, from, to_fd, to, flags);
}

int
mkdirat(int dirfd, const char *path, mode_t mode)
{
	meet();
	return (int)syscall(SYS_mkdirat, dirfd, path, mode);
}

int
symlinkat(const char *target, int dirfd, const char *path)
{
	meet();
	return (int)syscall(SYS_symlinkat, target, dirfd, path);
}

int
renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	meet();
	return (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, 0);
}

int
openat(int dirfd, const char *path, int flags, ...)
{
	va_list args;

	va_start(args, flags);
	mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(args, mode_t) : 0;
	va_end(args);
	meet();
	return (int)syscall(SYS_openat, dirfd, path, flags, mode);
}

int
fstatat(int dirfd, const char *restrict path, struct stat *restrict st, int flags)
{
	meet();
	return (int)syscall(SYS_newfstatat, dirfd, path, st, flags);
}
/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */

/* What happens. */

struct trial {
	const struct way *way;
	enum phase phase;
	enum event event;
	long call; /* before which */
};
static struct trial trial;
static struct digest lost[LOST_MAX]; /* by the event */
static uint8_t *lost_data[LOST_MAX];
static size_t lost_len[LOST_MAX], lost_count;
static struct cas *other_cas; /* the janitor's */

static void
wrong(const char *what)
{
	fail_msg("%s, %s, %s before call %ld: %s (%s)", trial.way->name, phase_names[trial.phase],
	    event_names[trial.event], trial.call, what, suite.host.err.text);
}

static void
lose(const struct digest *digest)
{
	char name[CAS_NAME_SIZE];

	if (trial.event == EVENT_DROPPED) {
		cas_drop(other_cas, digest);
		return;
	}
	for (int executable = 0; executable < 2; executable++)
		(void)unlinkat(cas_dirfd(other_cas), cas_blob_name(digest, executable, name), 0);
}

static void
strike(void)
{
	uint64_t seed = 0;

	if (trial.event <= EVENT_MOVED)
		(void)cache_evict(
		    &suite.host, &seed, 100, (enum cache_eviction)(trial.event - EVENT_EVICTED));
	else
		for (size_t i = 0; i < lost_count; i++)
			lose(&lost[i]);
}

/* A file of each kind of place, and two Directories of the tree that is to be staged. */
static void
choose_lost(const struct digest *tree)
{
	static const char *const texts[] = {"ex", "zed", "loose", "n1"};
	struct host *host = &suite.host;
	ReapiDirectory *root, *a;
	struct digest digest;

	for (size_t i = 0; i < lost_count; i++)
		free(lost_data[i]);
	lost_count = 0;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		HOST_TRY("hash", hash_bytes(texts[i], strlen(texts[i]), &lost[lost_count++]));
	HOST_TRY("root", directory_load(host->cas, host->arena, tree, &root, &host->err));
	HOST_TRY("a", reapi_digest_get(root->directories[0]->digest, &digest));
	HOST_TRY("a", directory_load(host->cas, host->arena, &digest, &a, &host->err));
	lost[lost_count++] = digest;
	HOST_TRY("deep", reapi_digest_get(a->directories[0]->digest, &lost[lost_count++]));
	for (size_t i = 0; i < lost_count; i++)
		HOST_TRY(
		    "read", cas_read(host->cas, &lost[i], 1 << 20, &lost_data[i], &lost_len[i]));
}

static void
bring_back(void)
{
	struct host *host = &suite.host;

	for (size_t i = 0; i < lost_count; i++)
		HOST_TRY("put", cas_put_expected(host->cas, lost_data[i], lost_len[i], &lost[i]));
}

static void
give_back(void)
{
	struct host *host = &suite.host;

	if (stage_release(host->stager, &host->report, &host->err) != 0)
		wrong("an input was changed");
	HOST_TRY("sandbox", sandbox_release(host->config.state_fd, host->slot, &host->sandbox));
	if (host_leak(host) != NULL)
		wrong(host_leak(host));
}

static void
check_missing(void)
{
	const struct stage_report *report = &suite.host.report;

	said_missing++;
	if (report->missing_count == 0)
		wrong("nothing is said to be missing");
	for (size_t i = 0; i < report->missing_count; i++) {
		bool is_lost = false;
		for (size_t j = 0; j < lost_count; j++)
			is_lost |= digest_equal(&report->missing[i], &lost[j]);
		if (!is_lost)
			wrong("what is there is said to be missing");
	}
}

/*
 * All of them, once all Directories were read: that is, unless a Directory is missing or was not
 * needed.
 */
static bool
has_all_files_of(const struct stage_report *report)
{
	size_t directories = 0;

	for (size_t i = 0; i < report->missing_count; i++)
		for (size_t j = lost_count - 2; j < lost_count; j++)
			directories += digest_equal(&report->missing[i], &lost[j]);
	return directories > 0 || report->missing_count == lost_count - 2;
}

static void
prepare(void)
{
	struct host *host = &suite.host;
	struct stage_request request = ways_request(trial.way, &trees[0]);
	uint64_t seed = 0;

	cache_resume(host);
	(void)cache_evict(host, &seed, 100, CACHE_EVICTED);
	cache_empty_trash(host);
	suite_stager(&suite, trial.way->engine);
	if (trial.phase == PHASE_COLD)
		return;
	if (suite_stage(&suite, &request) != 0)
		wrong("not right to begin with");
	give_back();
}

/* As a worker does when the action has failed. */
static void
look_for_missing(void)
{
	struct host *host = &suite.host;

	if (host->report.image == NULL || trial.event < EVENT_DROPPED)
		wrong("the action cannot see its inputs");
	failed_action++;
	if (stage_look_for_missing(host->stager, &host->report, &host->err) != -ENOENT)
		wrong("what its image lacks is not told");
	check_missing();
}

/* `is_lacking`: blobs are gone while the action runs. */
static void
look(bool is_lacking)
{
	bool is_run = ways_needs_run(&suite.host.report);
	int differences = 0;

	if (is_run && suite_see_by(&suite, &suite.host) != 0) {
		look_for_missing();
		bring_back();
		return;
	}
	if (is_lacking)
		bring_back();
	differences = is_run ? suite_judge_by(&suite, &suite.host) : suite_look_directly(&suite);
	if (differences != 0)
		wrong("another tree");
}

/* False: it had not that many calls. */
static bool
turn(void)
{
	struct host *host = &suite.host;
	struct stage_request request =
	    ways_request(trial.way, &trees[trial.phase == PHASE_CHANGED]);
	bool may_lack = trial.event >= EVENT_DROPPED;

	turns++;
	prepare();
	hook.left = trial.call;
	hook.is_armed = true;
	int rc = suite_stage(&suite, &request);
	hook.is_armed = false;
	bool has_struck = hook.left <= 0;
	if (rc == 0 && !has_struck)
		strike(); /* after all of it, before the action runs */
	if (rc == 0) {
		plans_note(&suite, &host->report);
		look(may_lack);
	} else if (rc == -ENOENT && may_lack && has_struck) {
		check_missing();
		if (trial.phase == PHASE_COLD && !has_all_files_of(&host->report))
			wrong("not all that is missing is said");
		bring_back();
	} else {
		wrong(strerror(-rc));
	}
	give_back();
	cache_resume(host);
	if (suite_stage(&suite, &request) != 0)
		wrong("the next cannot be staged");
	look(false);
	give_back();
	return has_struck;
}

/* Two of what can happen before each call; which two changes from call to call. */
static void
each_call(const struct way *way, enum phase phase)
{
	bool has_more = true;

	ways_costs(&suite.host.probe.costs, way);
	choose_lost(&trees[phase == PHASE_CHANGED]);
	trial =
	    (struct trial){.way = way, .phase = phase, .call = suite_first((size_t)(way - ways))};
	for (; has_more; trial.call += suite_stride()) {
		unsigned turn_of = (unsigned)(trial.call / suite_stride() + (way - ways) + phase);
		trial.event = EVENT_EVICTED + turn_of % 3;
		has_more = turn();
		trial.event = EVENT_DROPPED + turn_of % 2;
		has_more |= turn();
		if (trial.call > CALLS_MAX)
			wrong("there is no end of it");
	}
	if (cache_check(&suite) != 0 || cache_check_blobs(&suite.host) != 0)
		wrong("the cache is not what it says");
	arena_reset(suite.host.arena);
}

static void
test_before_each_call(void **state)
{
	(void)state;
	hook.strike = strike;
	ways_tree(&suite.host, &trees[0], "why");
	ways_tree(&suite.host, &trees[1], "because");
	for (size_t w = 0; w < WAYS; w++)
		for (int phase = 0; ways_possible(&suite, &ways[w]) && phase < PHASES; phase++)
			each_call(&ways[w], (enum phase)phase);
	print_message("note: %s: %u turns, %u times said to be missing, %u by the action\n",
	    isolation_names[suite.isolation], turns, said_missing, failed_action);
	assert_true(said_missing > 0);
	if (suite.host.probe.ways[PLACE_IMAGE].works)
		assert_true(failed_action > 0);
	assert_true(ways_all_met(&suite));
}

static int
run(enum isolation isolation)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_before_each_call)};

	suite_open(&suite, isolation);
	struct host *host = &suite.host;
	HOST_TRY("cas", cas_open(host->config.state_fd, true, &other_cas, &host->err));
	int failed = cmocka_run_group_tests_name(isolation_names[isolation], tests, NULL, NULL);
	cas_close(other_cas);
	suite_close(&suite);
	return failed == 0 ? 0 : 1;
}

int
main(int argc, char **argv)
{
	return suite_main(argc, argv, run);
}
