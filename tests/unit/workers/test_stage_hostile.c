/*
 * An action that writes to, chmods, links, renames, replaces and deletes whatever it finds: by
 * every engine and plan, under guard and without.  The cache is the same before and after, and the
 * next action sees what was put in.
 */
#include "tests/unit/workers/stage_cache.h"
#include "tests/unit/workers/stage_plans.h"
#include "tests/unit/workers/stage_random.h"

static struct suite suite;
static unsigned attacks;

struct attack {
	enum plans_preset preset;
	enum engine engine;
	bool guard_off;
	const char *words;
};

static void
wrong(const struct attack *attack, const char *what)
{
	fail_msg("engine %s, %s, guard %s, %s: %s (%s)", engine_names[attack->engine],
	    plans_presets[attack->preset], attack->guard_off ? "off" : "on", attack->words, what,
	    suite.host.err.text);
}

/* Links that were forced where the action is who we are: what it did is found, said and dropped. */
static bool
is_unguarded(const struct attack *attack)
{
	return attack->engine == ENGINE_HARDLINK && !suite_uid_differs(&suite) &&
	    !attack->guard_off;
}

static void
sandbox_done(void)
{
	struct host *host = &suite.host;

	HOST_TRY("sandbox", sandbox_release(host->config.state_fd, host->slot, &host->sandbox));
}

static void
spoil(struct attack *attack, const struct stage_request *request)
{
	struct host *host = &suite.host;
	size_t before_len, after_len;

	if (suite_stage(&suite, request) != 0)
		wrong(attack, "cannot be staged");
	plans_note(&suite, &host->report);
	char *before = cache_picture(host, &before_len);
	if (suite_run(&suite, "spoil") != 0)
		wrong(attack, "the action failed");
	int rc = stage_release(host->stager, &host->report, &host->err);
	stage_keep(host->stager, &host->sandbox); /* for the next, as it was left */
	sandbox_done();
	if (host_leak(host) != NULL)
		wrong(attack, host_leak(host));
	if (rc != (is_unguarded(attack) ? -EBADMSG : 0))
		wrong(attack, "what it did was not told");
	char *after = cache_picture(host, &after_len);
	if (!is_unguarded(attack) &&
	    (before_len != after_len || memcmp(before, after, before_len) != 0))
		wrong(attack, "the cache has changed");
	if (is_unguarded(attack) && cache_check_blobs(host) != 0)
		wrong(attack, "a blob has changed");
	free(before);
	free(after);
	attacks++;
}

static void
look(struct attack *attack, const struct stage_request *request)
{
	struct host *host = &suite.host;

	if (suite_stage(&suite, request) != 0)
		wrong(attack, "the next cannot be staged");
	plans_note(&suite, &host->report);
	if (suite_look(&suite) != 0)
		wrong(attack, "the next action sees another tree");
	if (stage_release(host->stager, &host->report, &host->err) != 0)
		wrong(attack, "an action that only looked is said to have changed something");
	stage_keep(host->stager, &host->sandbox);
	sandbox_done();
}

static struct random_node *
named(struct random_trees *trees, struct random_node *node, const char *name)
{
	node->name = arena_strdup(trees->host->arena, name);
	return node;
}

static struct random_node *
files_make(struct random_trees *trees, const char *name, int count)
{
	struct random_node *dir = named(trees, random_directory(trees, 0), name);
	char file[16];

	dir->count = 0;
	for (int i = 0; i < count; i++) {
		snprintf(file, sizeof(file), "n%d", i);
		struct random_node *node = named(trees, random_file(trees), file);
		node->has_mode = node->has_mtime = count > 50 && node->has_mode;
		random_add(trees, dir, node);
	}
	return dir;
}

/* Some inputs are outputs too, some directories lead to one; a large file, a flat directory. */
static struct random_node *
tree_make(struct random_trees *trees)
{
	struct random_node *root = random_root(trees, 3), *large, *er, *deep;
	char *text = arena_alloc(trees->host->arena, 100001);

	random_add(trees, root, files_make(trees, "flat", 55));
	er = files_make(trees, "er", 3);
	random_add(trees, er, files_make(trees, "est", 3));
	deep = files_make(trees, "deep", 3);
	random_add(trees, deep, er);
	random_add(trees, deep, files_make(trees, "beside", 12));
	random_add(trees, root, deep);
	large = named(trees, random_file(trees), "large");
	large->text = memset(text, 'L', 100000);
	large->has_mode = large->has_mtime = false;
	random_add(trees, root, large);
	random_add(trees, root, named(trees, random_file(trees), "output"));
	return root;
}

/* Another file of that name in a directory, and all above it new. */
static struct random_node *
edit_in(struct random_trees *trees, const struct random_node *tree, const char *path,
    const char *name, const char *text)
{
	struct random_node *root = random_copy(trees, tree), *dir = root;

	while (*path != '\0') {
		size_t len = strcspn(path, "/"), i = 0;
		while (
		    strncmp(dir->kids[i]->name, path, len) != 0 || dir->kids[i]->name[len] != '\0')
			i++;
		dir = dir->kids[i] = random_copy(trees, dir->kids[i]);
		path += len + (path[len] == '/');
	}
	for (size_t i = 0; i < dir->count; i++)
		if (strcmp(dir->kids[i]->name, name) == 0)
			random_remove(dir, i);
	struct random_node *file = named(trees, random_file(trees), name);
	file->text = text;
	file->has_mode = file->has_mtime = false;
	random_add(trees, dir, file);
	return root;
}

/* Cold, warm, and with changes, which are composed or patched where that is worth it. */
static void
attack_by(struct attack *attack)
{
	struct random_trees dice_of = {.host = &suite.host, .seed = 1}, *trees = &dice_of;
	static const char *const outputs[] = {"flat/o", "output"},
				 *const directories[] = {"made/d"};
	struct stage_request request = {.working_directory = "flat",
	    .output_paths = outputs,
	    .output_count = 2,
	    .output_directories = directories,
	    .output_directory_count = 1,
	    .guard_off = attack->guard_off};
	struct host *host = &suite.host;
	struct random_node *tree = tree_make(trees);

	suite_stager(&suite, attack->engine);
	for (int i = 0; i < 4; i++) {
		static const struct {
			const char *words, *path, *name; /* of what is changed afterwards */
		} rounds[] = {{"cold", "deep/er/est", "new"}, {"a new file", "deep/beside", "n3"},
		    {"another file", "deep", "new"}, {"a new file above", "", "new"}};
		request.root = random_store(host, tree);
		attack->words = rounds[i].words;
		/* What is patched has its patch from an image, where there are any. */
		bool may_image = attack->preset == PLANS_COMPOSED && i == 1;
		struct cost_model costs;
		plans_costs(&costs, may_image ? PLANS_IMAGE : attack->preset);
		suite_set_costs(host, &costs);
		spoil(attack, &request);
		if (is_unguarded(attack)) /* what was dropped comes again */
			request.root = random_store(host, tree);
		look(attack, &request);
		attack->words = "warm";
		spoil(attack, &request);
		if (is_unguarded(attack))
			request.root = random_store(host, tree);
		look(attack, &request);
		tree = edit_in(trees, tree, rounds[i].path, rounds[i].name, rounds[i].words);
	}
	if (cache_check_blobs(host) != 0)
		wrong(attack, "a blob has changed");
	if (cache_check(&suite) != 0)
		wrong(attack, "a cached tree is not its digest's");
	(void)cache_evict(host, &trees->seed, 100, CACHE_EVICTED);
	cache_empty_trash(host);
	arena_reset(host->arena);
}

static void
test_no_attack_changes_the_cache(void **state)
{
	(void)state;
	for (int engine = 0; engine < ENGINE_COUNT; engine++) {
		for (int preset = 0; preset < PLANS_PRESETS; preset++) {
			struct attack attack = {
			    .preset = (enum plans_preset)preset, .engine = (enum engine)engine};
			bool weighs =
			    engine == ENGINE_AUTO || (engine == ENGINE_BIND && suite_stride() == 1);
			if (!suite_allows(&suite, attack.engine) || (preset > 0 && !weighs))
				continue;
			attack_by(&attack);
			attack.guard_off = true;
			if (preset == 0)
				attack_by(&attack);
		}
	}
	for (int i = 0; i < MET_COUNT; i++) {
		if (!plans_expects(&suite, (enum met)i) || plans_met[i] != 0)
			continue;
		fail_msg("never met: %s", plans_names[i]);
	}
	print_message("note: %s: %u attacks\n", isolation_names[suite.isolation], attacks);
}

static int
run(enum isolation isolation)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_no_attack_changes_the_cache)};

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
