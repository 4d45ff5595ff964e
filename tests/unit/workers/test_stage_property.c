/*
 * Any plan gives the same tree: random trees and changes of them, outputs, costs, engines and
 * guards, by two workers that share one cache, from which a janitor takes trees away at random;
 * after each staging an action looks around, and what it sees is compared with the Merkle tree.
 *
 * RAMET_TEST_SEED=n: that sequence alone.  RAMET_TEST_S=n: so many seconds of random ones, after
 * those that are the same each time and have to meet every kind of plan.
 */
#include "shm/wanted.h"
#include "tests/unit/workers/stage_cache.h"
#include "tests/unit/workers/stage_plans.h"
#include "tests/unit/workers/stage_random.h"

enum { SEEDS_FIXED = 30, STEPS = 7, OTHER_SLOT = HOST_SLOT + 1 };

static struct suite suite;
static struct host other; /* another worker of the same host */
static unsigned engines_met[ENGINE_COUNT], stagings, refused, missing;

struct sequence {
	struct random_trees trees;
	struct random_node *root;
	const char *words; /* what is being done, for who reads of a failure */
	uint64_t seed;
	enum engine engine;
	bool is_calm; /* as builds go: small changes far down, of a tree that stays cached */
};

/* Each in its turn, so that a few sequences have them all. */
static enum engine
random_engine(struct sequence *sequence)
{
	enum engine engine = (enum engine)(sequence->seed / 2 % ENGINE_COUNT);

	if (sequence->is_calm && suite_allows(&suite, ENGINE_BIND))
		return roll(&sequence->trees, 2) == 0 ? ENGINE_AUTO : ENGINE_BIND;
	while (!suite_allows(&suite, engine))
		engine = (enum engine)((engine + 1) % ENGINE_COUNT);
	return engine;
}

/* As measured, or wild, or such that one way is worth nearly anything. */
static void
random_costs(struct random_trees *trees, bool is_calm, struct cost_model *costs)
{
	static const enum cost_item cheap[] = {
	    COST_IMAGE, COST_OVERLAY, COST_BIND, COST_LINK, COST_COPY, COST_TREE};
	enum cost_item item;

	if (is_calm) {
		plans_costs(costs, roll(trees, 2) == 0 ? PLANS_IMAGE : PLANS_COMPOSED);
		return;
	}
	cost_default(costs);
	switch (roll(trees, 4)) {
	case 0:
		return;
	case 1:
		for (int i = 0; i < COST_COUNT; i++)
			costs->ns[i] = (uint32_t)1 << roll(trees, 32);
		return;
	default:
		item = cheap[roll(trees, 6)];
		costs->ns[item] = 1;
		if (item == COST_IMAGE) {
			costs->ns[COST_IMAGE_FILE] = costs->ns[COST_TOUCH_IMAGE] = 1;
			costs->ns[COST_LINK] = 10000000;
			return;
		}
		if (item == COST_OVERLAY)
			costs->ns[COST_TOUCH_OVERLAY] = 1;
		if (roll(trees, 4) == 0)
			costs->ns[COST_BIND] = 4000000000u;
		else if (roll(trees, 3) != 0) /* so that composing and patching pay */
			costs->ns[COST_LINK] = 10000000;
	}
}

/* Each worker has its own stager; the probe's word may be taken back. */
static void
random_workers(struct sequence *sequence)
{
	struct random_trees *trees = &sequence->trees;
	struct probe_way *ways = suite.host.probe.ways;
	static const struct {
		enum place_way way;
		enum engine forced;
	} optional[] = {{PLACE_OVERLAY, ENGINE_OVERLAY}, {PLACE_IMAGE, ENGINE_IMAGE},
	    {PLACE_REFLINK, ENGINE_REFLINK}, {PLACE_HARDLINK, ENGINE_HARDLINK}};
	bool works[PLACE_WAY_COUNT];

	sequence->is_calm = sequence->seed % 2 == 0;
	sequence->engine = random_engine(sequence);
	engines_met[sequence->engine]++;
	random_costs(trees, sequence->is_calm, &suite.host.probe.costs);
	for (int way = 0; way < PLACE_WAY_COUNT; way++)
		works[way] = ways[way].works;
	for (size_t i = 0; i < sizeof(optional) / sizeof(optional[0]); i++)
		if (roll(trees, 6) == 0 && sequence->engine != optional[i].forced)
			ways[optional[i].way].works = false;
	suite.host.probe.clone_is_native = roll(trees, 8) == 0;
	suite_stager(&suite, sequence->engine);
	stager_free(other.stager);
	other.stager = NULL;
	other.probe = suite.host.probe;
	random_costs(trees, sequence->is_calm, &other.probe.costs);
	host_stager(&other, roll(trees, 2) == 0 ? ENGINE_AUTO : random_engine(sequence),
	    suite.isolation, suite.uid);
	for (int way = 0; way < PLACE_WAY_COUNT; way++)
		ways[way].works = works[way];
}

static void
random_request(struct sequence *sequence, struct stage_request *request)
{
	static const char *const calm_outputs[] = {"made9/o"};
	struct random_trees *trees = &sequence->trees;
	const struct random_node *in_way;

	*request = (struct stage_request){.working_directory = ""};
	request->root = random_store(&suite.host, sequence->root);
	if (sequence->is_calm) {
		request->output_paths = calm_outputs;
		request->output_count = 1;
		return;
	}
	request->guard_off = roll(trees, 5) == 0;
	request->no_overlay = roll(trees, 8) == 0;
	request->no_image = roll(trees, 8) == 0;
	if (roll(trees, 3) == 0)
		return;
	request->output_paths =
	    random_paths(trees, sequence->root, 3, RANDOM_FILE, &request->output_count);
	request->output_directories = random_paths(
	    trees, sequence->root, 1, RANDOM_DIRECTORY, &request->output_directory_count);
	const char *path = random_path(trees, sequence->root, RANDOM_DIRECTORY);
	const struct random_node *node = random_at(trees, sequence->root, path, &in_way);
	/* A working directory below a symlink leads wherever the symlink does. */
	if (in_way == NULL && (node == NULL || node->kind != RANDOM_SYMLINK) &&
	    strcmp(path, ACTION_PROGRAM) != 0)
		request->working_directory = path;
}

/* A file where a directory has to be. */
static bool
is_in_way(struct sequence *sequence, const char *path)
{
	const struct random_node *in_way;
	const struct random_node *node = random_at(&sequence->trees, sequence->root, path, &in_way);

	if (in_way != NULL)
		return in_way->kind == RANDOM_FILE;
	return node != NULL && node->kind == RANDOM_FILE;
}

static bool
must_refuse(struct sequence *sequence, const struct stage_request *request)
{
	const struct random_node *in_way;

	if (is_in_way(sequence, request->working_directory))
		return true;
	for (size_t i = 0; i < request->output_directory_count; i++)
		if (is_in_way(sequence, request->output_directories[i]))
			return true;
	for (size_t i = 0; i < request->output_count; i++) {
		(void)random_at(
		    &sequence->trees, sequence->root, request->output_paths[i], &in_way);
		if (in_way != NULL && in_way->kind == RANDOM_FILE)
			return true;
	}
	return false;
}

static void
wrong(const struct sequence *sequence, const struct host *host, const char *what)
{
	const struct stage_request *request = &suite.request;
	char text[DIGEST_TEXT_SIZE];

	fprintf(stderr, "RAMET_TEST_SEED=%" PRIu64 ": %s: %s (%s)\n", sequence->seed,
	    sequence->words, what, host->err.text);
	fprintf(stderr, "  engine %s, isolation %s, guard %s, root %s, in \"%s\"\n",
	    engine_names[host->config.engine], isolation_names[suite.isolation],
	    request->guard_off ? "off" : "on", digest_to_text(&request->root, '/', text),
	    request->working_directory);
	for (size_t i = 0; i < request->output_count; i++)
		fprintf(stderr, "  output %s\n", request->output_paths[i]);
	for (size_t i = 0; i < request->output_directory_count; i++)
		fprintf(stderr, "  output directory %s\n", request->output_directories[i]);
	for (size_t i = 0; i < host->report.bind_count && i < 40; i++)
		fprintf(stderr, "  bind %s%s at %s\n",
		    host->report.binds[i].in_image ? "in the image " : "",
		    host->report.binds[i].source, host->report.binds[i].target);
	fail();
}

/* `has_run`: an action has; then the sandbox may be used again. */
static void
release(struct sequence *sequence, struct host *host, bool has_run)
{
	int rc = stage_release(host->stager, &host->report, &host->err);

	if (rc != 0)
		wrong(sequence, host, "an input was changed");
	if (has_run && roll(&sequence->trees, 4) != 0)
		stage_keep(host->stager, &host->sandbox);
	HOST_TRY("release", sandbox_release(host->config.state_fd, host->slot, &host->sandbox));
	if (host_leak(host) != NULL)
		wrong(sequence, host, host_leak(host));
}

/* By an action that cannot harm the cache, in a sandbox that is perhaps used again. */
static bool
may_be_spoilt(const struct host *host)
{
	return suite.isolation == ISOLATION_NONE &&
	    (host->config.engine != ENGINE_HARDLINK || suite_uid_differs(&suite));
}

/* Staged and looked at. */
static void
stage_right(struct sequence *sequence, struct host *host, const struct stage_request *request)
{
	int rc = suite_stage_by(&suite, host, request);

	stagings++;
	if (rc == -EINVAL && must_refuse(sequence, request)) {
		refused++;
		if (host->err.text[0] == '\0')
			wrong(sequence, host, "refused without a word");
	} else if (rc != 0) {
		wrong(sequence, host, strerror(-rc));
	} else if (must_refuse(sequence, request)) {
		wrong(sequence, host, "a file is where a directory has to be");
	} else {
		plans_note(&suite, &host->report);
		if (suite_look_by(&suite, host) != 0)
			wrong(sequence, host, "another tree");
		if (may_be_spoilt(host) && roll(&sequence->trees, 3) == 0)
			(void)suite_run_by(&suite, host, "spoil");
	}
	release(sequence, host, rc == 0);
}

/* A file of the tree whose blob can be lost; NULL: none was found. */
static const struct random_node *
random_blob(struct sequence *sequence)
{
	for (int tries = 0; tries < 10; tries++) {
		const struct random_node *in_way,
		    *node = random_at(&sequence->trees, sequence->root,
			random_path(&sequence->trees, sequence->root, RANDOM_FILE), &in_way);
		if (node != NULL && node->kind == RANDOM_FILE && node->text[0] != '\0')
			return node;
	}
	return NULL;
}

/* A blob of the tree that is gone: said, or not needed, because what it is in is cached. */
static void
stage_without(struct sequence *sequence, const struct stage_request *request)
{
	const struct random_node *file = random_blob(sequence);
	struct host *host = &suite.host;
	struct digest lost;

	if (file == NULL)
		return;
	HOST_TRY("hash", hash_bytes(file->text, strlen(file->text), &lost));
	cas_drop(host->cas, &lost);
	int rc = suite_stage(&suite, request);
	bool is_said = rc == -ENOENT && host->report.missing_count == 1 &&
	    digest_equal(&host->report.missing[0], &lost);
	(void)host_put(host, file->text, strlen(file->text));
	stagings++;
	missing += is_said;
	if (rc == 0 && suite_look(&suite) != 0)
		wrong(sequence, host, "another tree");
	if (rc != 0 && !is_said && !(rc == -EINVAL && must_refuse(sequence, request)))
		wrong(sequence, host, "not said what is missing");
	release(sequence, host, rc == 0);
}

/* As the janitor does for what was wished for. */
static void
grant_wishes(void)
{
	struct host *host = &other;
	struct digest digest;

	while (wanted_take(suite.host.region, HOST_SLOT, &digest) == 0) {
		struct stage_request request = {.working_directory = "", .no_image = true};
		ReapiDirectory *root = dir_new(&suite.host);
		dir_add_dir(&suite.host, root, "wished", &digest);
		request.root = dir_put(&suite.host, root);
		(void)suite_stage_by(&suite, host, &request);
		(void)stage_release(host->stager, &host->report, &host->err);
		HOST_TRY(
		    "release", sandbox_release(host->config.state_fd, host->slot, &host->sandbox));
	}
}

static void
step(struct sequence *sequence)
{
	struct random_trees *trees = &sequence->trees;
	struct stage_request request;
	struct cost_model costs;

	if (roll(trees, sequence->is_calm ? 12 : 3) == 0)
		(void)cache_evict(&suite.host, &trees->seed, roll(trees, 110),
		    (enum cache_eviction)roll(trees, 3));
	if (roll(trees, 2) == 0)
		cache_resume(&suite.host);
	if (roll(trees, 3) == 0) {
		random_costs(trees, sequence->is_calm, &costs);
		suite_set_costs(&suite.host, &costs);
	}
	if (roll(trees, 3) == 0)
		grant_wishes();
	random_request(sequence, &request);
	sequence->words = "by the other worker";
	if (roll(trees, 4) == 0)
		stage_right(sequence, &other, &request);
	sequence->words = "with a blob missing";
	if (roll(trees, 8) == 0)
		stage_without(sequence, &request);
	sequence->words = "staged";
	stage_right(sequence, &suite.host, &request);
	sequence->words = "staged again";
	if (roll(trees, 3) == 0)
		stage_right(sequence, &suite.host, &request);
	struct random_node *next = random_copy(trees, sequence->root);
	bool is_deep = sequence->is_calm && random_edit_deep(trees, next);
	sequence->root = is_deep ? next : random_edit(trees, sequence->root);
}

static void
run_sequence(uint64_t seed)
{
	struct host *host = &suite.host;
	struct sequence sequence = {
	    .trees = {.host = host, .seed = random_seed(seed)}, .seed = seed};

	random_workers(&sequence);
	sequence.root = random_root(&sequence.trees, 2);
	for (int i = 0; i < STEPS; i++)
		step(&sequence);
	cache_resume(host);
	if (cache_check(&suite) != 0)
		wrong(&sequence, host, "the cache is not what it says");
	cache_empty_trash(host);
	(void)cache_evict(host, &sequence.trees.seed, 100, CACHE_EVICTED);
	cache_empty_trash(host);
	arena_reset(host->arena);
}

/* What this system allows has to have come up, or the test has not tested it. */
static void
check_met(void)
{
	bool missed = false;

	for (int i = 0; i < MET_COUNT; i++) {
		if (!plans_expects(&suite, (enum met)i) || plans_met[i] != 0)
			continue;
		print_message("never met: %s\n", plans_names[i]);
		missed = true;
	}
	for (int i = 0; i < ENGINE_COUNT; i++) {
		if (!suite_allows(&suite, (enum engine)i) || engines_met[i] != 0)
			continue;
		print_message("never met: engine %s\n", engine_names[i]);
		missed = true;
	}
	assert_false(missed || refused == 0 || missing == 0);
}

static void
test_any_plan_gives_the_same_tree(void **state)
{
	const char *seed = getenv("RAMET_TEST_SEED"), *seconds = getenv("RAMET_TEST_S");
	uint64_t start = clock_monotonic_us();
	uint64_t budget_us = (seconds == NULL ? 3 : strtoull(seconds, NULL, 10)) * 1000000;
	uint64_t random = clock_realtime_us();
	unsigned sequences = 0;

	(void)state;
	if (seed != NULL) {
		run_sequence(strtoull(seed, NULL, 10));
		return;
	}
	for (uint64_t i = 1; i <= SEEDS_FIXED; i++)
		run_sequence(i);
	check_met();
	print_message("note: %s: random sequences from RAMET_TEST_SEED=%" PRIu64 " on\n",
	    isolation_names[suite.isolation], random);
	for (; clock_monotonic_us() - start < budget_us; sequences++)
		run_sequence(random + sequences);
	print_message(
	    "note: %s: %u stagings in %u sequences, %.1f s:", isolation_names[suite.isolation],
	    stagings, SEEDS_FIXED + sequences, (double)(clock_monotonic_us() - start) / 1e6);
	for (int i = 0; i < MET_COUNT; i++)
		print_message(" %s %u,", plans_names[i], plans_met[i]);
	print_message(" refused %u, missing %u\n", refused, missing);
}

static int
run(enum isolation isolation)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_any_plan_gives_the_same_tree)};

	suite_open(&suite, isolation);
	other = suite.host;
	other.stager = NULL;
	other.slot = slot_at(suite.host.region, OTHER_SLOT);
	slot_assign(suite.host.region, OTHER_SLOT);
	slot_activate(suite.host.region, OTHER_SLOT, getpid());
	int failed = cmocka_run_group_tests_name(isolation_names[isolation], tests, NULL, NULL);
	stager_free(other.stager);
	suite_close(&suite);
	return failed == 0 ? 0 : 1;
}

int
main(int argc, char **argv)
{
	return suite_main(argc, argv, run);
}
