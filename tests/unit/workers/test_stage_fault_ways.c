/*
 * Every way fails at every call, one after the other, until no call is left that could: the action
 * still gets a right tree by another way or a clear error; nothing is left over; what fell back is
 * counted by way and errno, and nothing is slower in silence.
 *
 * Three trees for each way: one never seen, the same again, and one that differs far down.
 */
#include "base/fault.h"
#include "tests/unit/workers/stage_cache.h"
#include "tests/unit/workers/stage_ways.h"

enum { TURNS_MAX = 400, MOUNT_TRIES = 3 };
static const struct fault {
	const char *call;
	int error;
	bool is_mount; /* what only running meets */
} faults[] = {
    {"linkat", EPERM, false},
    {"linkat", EMLINK, false},
    {"linkat", EIO, false},
    {"reflink", EOPNOTSUPP, false},
    {"reflink", EIO, false},
    {"copy", EXDEV, false},
    {"copy", ENOSPC, false},
    {"mkdirat", ENOSPC, false},
    {"symlinkat", EIO, false},
    {"renameat", EIO, false},
    {"openat", EMFILE, false},
    {"openat", EACCES, false},
    {"fstatat", EIO, false},
    {"write", ENOSPC, false},
    {"overlay", EPERM, true},
    {"overlay", EINVAL, true},
    {"overlay", ENOSPC, true},
    {"image", EPERM, true},
    {"image", ENOMEM, true},
    {"mount", EPERM, true},
    {"clone", EAGAIN, true},
};

static struct suite suite;
static struct digest trees[2];
static unsigned turns, refused, fell_back;

struct trial {
	const struct way *way;
	const struct fault *fault;
	enum phase phase;
	unsigned turn; /* the call that fails */
	bool for_ever; /* and all after it */
	struct stage_report usual; /* without a fault */
	uint64_t before[COUNTER_COUNT], after[COUNTER_COUNT];
	unsigned struck;
	uint64_t mount_fallbacks; /* told by us, as a worker does */
};

static void
wrong(const struct trial *trial, const char *what)
{
	fail_msg("%s, %s, %s:%u:%s: %s (%s)", trial->way->name, phase_names[trial->phase],
	    trial->fault->call, trial->turn, strerror(trial->fault->error), what,
	    suite.host.err.text);
}

static void
cache_clear(void)
{
	uint64_t seed = 0;

	(void)cache_evict(&suite.host, &seed, 100, CACHE_EVICTED);
	cache_empty_trash(&suite.host);
}

static void
give_back(void)
{
	struct host *host = &suite.host;

	(void)stage_release(host->stager, &host->report, NULL);
	/* Where it fails its number stays in the slot: whoever repairs that tries again. */
	for (int i = 0; sandbox_release(host->config.state_fd, host->slot, &host->sandbox) != 0;
	     i++)
		assert_true(i < 2);
}

static int
sandbox_of(const struct trial *trial)
{
	struct host *host = &suite.host;

	host->err.text[0] = '\0';
	return sandbox_make(
	    host->config.state_fd, host->slot, HOST_SLOT, suite.uid, &host->sandbox, &host->err);
}

/*
 * As a worker goes about it: what cannot be mounted is done without, in another sandbox.  0: what
 * was staged was there to be seen, and *ret_differences of it was wrong.
 */
static int
stage_and_look(struct trial *trial, struct stage_request request, int *ret_differences)
{
	struct host *host = &suite.host;

	for (int i = 0; i < MOUNT_TRIES; i++) {
		enum place_way way = PLACE_OVERLAY;
		int rc = sandbox_of(trial);
		if (rc != 0)
			return rc;
		suite.request = request;
		rc = stage_compose(
		    host->stager, &request, &host->sandbox, &host->report, &host->err);
		if (rc == 0 && (ways_needs_run(&host->report) || trial->fault->is_mount))
			rc = suite_run(&suite, "walk");
		trial->struck += fault_struck();
		if (rc == 0) {
			fault_set(NULL);
			*ret_differences = ways_needs_run(&host->report) || trial->fault->is_mount
			    ? suite_judge_by(&suite, host)
			    : suite_look_directly(&suite);
			return 0;
		}
		int error = rc < 0 ? runner_refused(suite.runner, &way) : 0;
		bool *without = stage_without_way(&request, way);
		if (error == 0 || *without)
			return rc;
		stage_mount_failed(host->stager, &host->report, way, error);
		trial->mount_fallbacks++;
		*without = true;
		struct error_text words = host->err;
		give_back();
		host->err = words;
		if (!trial->for_ever)
			fault_set(NULL);
	}
	return -EIO;
}

/* Groups of errnos, by way and in all, as they have grown. */
static uint64_t
grown(const struct trial *trial, enum counter counter)
{
	return trial->after[counter] - trial->before[counter];
}

static enum place_counter
group_of(int error)
{
	switch (error) {
	case EMLINK:
		return PLACE_FALLBACKS_EMLINK;
	case EXDEV:
		return PLACE_FALLBACKS_EXDEV;
	case EPERM:
	case EACCES:
		return PLACE_FALLBACKS_EPERM;
	case EINVAL:
	case EOPNOTSUPP:
		return PLACE_FALLBACKS_EOPNOTSUPP;
	default:
		return PLACE_FALLBACKS_OTHER;
	}
}

static void
check_counters(const struct trial *trial, uint64_t told)
{
	enum place_counter group = group_of(trial->fault->error);
	uint64_t by_way = 0, of_group = 0, in_all = 0;

	for (int way = 0; way < PLACE_WAY_COUNT; way++) {
		by_way += grown(trial, COUNTER_STAGE(way, PLACE_FALLBACKS));
		of_group += grown(trial, COUNTER_STAGE(way, group));
	}
	for (int i = COUNTER_fallback_emlink; i <= COUNTER_fallback_other; i++)
		in_all += grown(trial, (enum counter)i);
	if (by_way != told || in_all != told)
		wrong(trial, "what is counted is not what is reported");
	if (told > trial->usual.fallbacks && of_group == 0)
		wrong(trial, "the errno is not counted");
	fell_back += told > trial->usual.fallbacks;
}

/* The same files by the same ways as without the fault: it was made up for. */
static bool
is_as_usual(const struct trial *trial, const struct stage_report *report)
{
	const struct stage_report *usual = &trial->usual;

	return memcmp(report->files, usual->files, sizeof(usual->files)) == 0 &&
	    memcmp(report->subtrees, usual->subtrees, sizeof(usual->subtrees)) == 0;
}

/* Cached as it shall be when the fault strikes; a stager that has learnt nothing else. */
static void
prepare(struct trial *trial)
{
	struct stage_request request = ways_request(trial->way, &trees[0]);
	int differences = 0;

	cache_clear();
	suite_stager(&suite, trial->way->engine);
	trial->struck = 0;
	trial->mount_fallbacks = 0;
	if (trial->phase == PHASE_COLD)
		return;
	if (stage_and_look(trial, request, &differences) != 0 || differences != 0)
		wrong(trial, "not right without a fault");
	give_back();
}

static void
check_refused(const struct trial *trial, int rc)
{
	const char *words = suite.host.err.text;

	refused++;
	if (trial->struck == 0)
		wrong(trial, "refused without a fault");
	if (words[0] == '\0')
		wrong(trial, "an error without words");
	if (rc != -trial->fault->error || strstr(words, strerror(trial->fault->error)) == NULL)
		wrong(trial, "another error than the call's");
	if (strchr(words, ':') == NULL)
		wrong(trial, "the words name no thing");
}

static void
check_folders_empty(const struct trial *trial)
{
	static const char *const folders[] = {"trees", "images", "sandboxes"};

	for (size_t i = 0; i < 3; i++) {
		struct host *host = &suite.host;
		int fd;
		HOST_TRY(folders[i], fs_open_beneath(host->config.state_fd, folders[i], &fd));
		if (count_entries(fd) != 0)
			wrong(trial, "something is left that nobody knows of");
		close(fd);
	}
}

/* False: no call was left that could have failed. */
static bool
turn(struct trial *trial, bool is_armed)
{
	struct host *host = &suite.host;
	struct stage_request request =
	    ways_request(trial->way, &trees[trial->phase == PHASE_CHANGED]);
	int differences = 0;
	char fail[64];

	turns++;
	prepare(trial);
	counters_read(host->region, trial->before);
	snprintf(
	    fail, sizeof(fail), "%s:%u:%d", trial->fault->call, trial->turn, trial->fault->error);
	fault_set(is_armed ? fail : NULL);
	int rc = stage_and_look(trial, request, &differences);
	trial->struck += fault_struck();
	bool has_struck = trial->struck > 0;
	fault_set(NULL);
	counters_read(host->region, trial->after);
	uint64_t told = rc == 0 ? host->report.fallbacks : 0;
	if (rc != 0)
		check_refused(trial, rc);
	if (differences != 0)
		wrong(trial, "another tree");
	if (rc == 0 && is_armed)
		check_counters(trial, told);
	if (rc == 0 && is_armed && told <= trial->usual.fallbacks &&
	    !is_as_usual(trial, &host->report))
		wrong(trial, "another way, in silence");
	if (!is_armed) {
		trial->usual = host->report;
		plans_note(&suite, &host->report);
	}
	if (host->sandbox.number != 0 && host->sandbox.rootfd >= 0)
		give_back();
	if (host_leak(host) != NULL)
		wrong(trial, host_leak(host));
	/* The next finds nothing in its way. */
	if (has_struck) {
		rc = stage_and_look(trial, request, &differences);
		if (rc != 0 || differences != 0)
			wrong(trial, "the next is not right");
		give_back();
	}
	cache_clear();
	check_folders_empty(trial);
	return has_struck;
}

static void
count_down(const struct way *way, const struct fault *fault, enum phase phase)
{
	struct trial trial = {.way = way, .fault = fault, .phase = phase};

	ways_costs(&suite.host.probe.costs, way);
	(void)turn(&trial, false);
	if (fault->is_mount && !ways_needs_run(&trial.usual))
		return;
	trial.turn = suite_first((size_t)(way - ways));
	for (; turn(&trial, true); trial.turn += suite_stride())
		if (trial.turn > TURNS_MAX)
			wrong(&trial, "there is no end of it");
}

static void
test_every_way_at_every_call(void **state)
{
	(void)state;
	if (!FAULTS_COMPILED_IN) {
		print_message("skipped: built without faults\n");
		skip();
	}
	ways_tree(&suite.host, &trees[0], "why");
	ways_tree(&suite.host, &trees[1], "because");
	for (size_t w = 0; w < WAYS; w++) {
		if (!ways_possible(&suite, &ways[w])) {
			print_message("note: %s: cannot be had here\n", ways[w].name);
			continue;
		}
		for (size_t f = 0; f < sizeof(faults) / sizeof(faults[0]); f++)
			for (int phase = 0; phase < PHASES; phase++)
				count_down(&ways[w], &faults[f], (enum phase)phase);
	}
	print_message("note: %s: %u turns, %u refused, %u fell back\n",
	    isolation_names[suite.isolation], turns, refused, fell_back);
	assert_true(refused > 0 && fell_back > 0);
	assert_true(ways_all_met(&suite));
}

/* What the system never does, without having said so to the probe: the action is none the worse. */
static void
test_ways_that_never_work(void **state)
{
	static const struct fault never[] = {{"linkat", EPERM, false}, {"linkat", EXDEV, false},
	    {"linkat", EMLINK, false}, {"reflink", EOPNOTSUPP, false}, {"overlay", EPERM, true},
	    {"image", EINVAL, true}};

	(void)state;
	if (!FAULTS_COMPILED_IN) {
		print_message("skipped: built without faults\n");
		skip();
	}
	ways_tree(&suite.host, &trees[0], "why");
	ways_tree(&suite.host, &trees[1], "because");
	refused = fell_back = 0;
	for (size_t w = 0; w < WAYS; w++) {
		for (size_t f = 0;
		     ways_possible(&suite, &ways[w]) && f < sizeof(never) / sizeof(never[0]); f++) {
			struct trial trial = {.way = &ways[w], .fault = &never[f], .turn = 1};
			ways_costs(&suite.host.probe.costs, &ways[w]);
			for (int phase = 0; phase < PHASES; phase++) {
				trial.phase = (enum phase)phase;
				trial.for_ever = false;
				(void)turn(&trial, false);
				trial.for_ever = true;
				(void)turn(&trial, true);
			}
		}
	}
	assert_int_equal(refused, 0);
	assert_true(fell_back > 0);
}

static int
run(enum isolation isolation)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_way_at_every_call),
	    cmocka_unit_test(test_ways_that_never_work)};

	suite_open(&suite, isolation);
	int failed = cmocka_run_group_tests_name(isolation_names[isolation], tests, NULL, NULL);
	suite_close(&suite);
	return failed == 0 ? 0 : 1;
}

int
main(int argc, char **argv)
{
	return suite_main(argc, argv, run);
}
