/* What becomes of a subtree: by what it costs, by what is cached, by what lay there before. */
#include <sys/resource.h>

#include "base/clock.h"
#include "cas/suspect.h"
#include "shm/wanted.h"
#include "tests/cmocka_wrap.h"
#include "tests/unit/workers/stage_host.h"
#include "workers/stage_internal.h"

static struct host the_host;

static int
setup(void **state)
{
	*state = &the_host;
	host_start(&the_host, "/tmp");
	return 0;
}

static int
teardown(void **state)
{
	host_stop(*state);
	return 0;
}

/* As root, whose actions have another uid: links are safe, binds work, and images do if told so. */
static void
stager_of(struct host *host, enum engine engine, bool image)
{
	host->probe.ways[PLACE_IMAGE].works = image;
	host_stager(host, engine, ISOLATION_ROOT, geteuid() + 1);
}

/* `count` files, told apart by `mark`. */
static void
add_files(struct host *host, ReapiDirectory *dir, unsigned count, const char *mark)
{
	char name[32], text[64];

	for (unsigned i = 0; i < count; i++) {
		snprintf(name, sizeof name, "f%u", i);
		snprintf(text, sizeof text, "%s %u", mark, i);
		dir_add_file(host, dir, name, text, i % 7 == 0);
	}
}

static struct digest
flat(struct host *host, unsigned count, const char *mark)
{
	ReapiDirectory *dir = dir_new(host);

	add_files(host, dir, count, mark);
	return dir_put(host, dir);
}

/* in/{a,b,c,d,e}/{p,q,r}, each of ten files; those of in/b/q are marked. */
static struct digest
deep(struct host *host, const char *mark, const char *renamed)
{
	static const char *const outer[] = {"a", "b", "c", "d", "e"},
				 *const inner[] = {"p", "q", "r"};
	ReapiDirectory *root = dir_new(host), *in = dir_new(host);

	for (size_t i = 0; i < 5; i++) {
		ReapiDirectory *dir = dir_new(host);
		for (size_t j = 0; j < 3; j++) {
			char text[32];
			snprintf(text, sizeof text, "%s/%s", outer[i], inner[j]);
			bool marked = i == 1 && j == 1;
			/* (Ten files of other bytes: more than the directory is worth.) */
			struct digest leaf = flat(host, 10, marked ? mark : text);
			dir_add_dir(
			    host, dir, marked && renamed != NULL ? renamed : inner[j], &leaf);
		}
		struct digest digest = dir_put(host, dir);
		dir_add_dir(host, in, outer[i], &digest);
	}
	struct digest digest = dir_put(host, in);
	dir_add_dir(host, root, "in", &digest);
	return dir_put(host, root);
}

static struct digest
below(struct host *host, const char *name, struct digest digest)
{
	ReapiDirectory *root = dir_new(host);

	dir_add_dir(host, root, name, &digest);
	return dir_put(host, root);
}

static void
stage(struct host *host, const struct digest *root)
{
	if (host_stage_root(host, root) != 0)
		fail_msg("%s", host->err.text);
}

static void
release(struct host *host)
{
	assert_int_equal(host_release(host), 0);
	assert_null(host_leak(host));
}

static uint64_t
counted(struct host *host, enum counter counter)
{
	uint64_t counters[COUNTER_COUNT];

	counters_read(host->region, counters);
	return counters[counter];
}

static void
test_cold_is_what_costs_less(void **state)
{
	struct host *host = *state;
	struct digest first = below(host, "in", flat(host, 200, "first"));
	struct digest second = below(host, "in", flat(host, 200, "second"));

	stager_of(host, ENGINE_AUTO, true);
	stage(host, &first);
	assert_non_null(host->report.image);
	assert_int_equal(host->report.bind_count, 1);
	assert_true(host->report.binds[0].in_image);
	assert_int_equal(host->report.files[PLACE_IMAGE], 200);
	assert_int_equal(host->report.files[PLACE_HARDLINK], 0);
	assert_int_equal(host->report.files_placed, 200);
	release(host);
	/* An image that costs more than all the links is none. */
	host->probe.costs.ns[COST_IMAGE] = 100000000;
	stager_of(host, ENGINE_AUTO, true);
	stage(host, &second);
	assert_null(host->report.image);
	assert_int_equal(host->report.files[PLACE_HARDLINK], 200);
	assert_int_equal(host->report.subtrees_built, 1);
	release(host);
	assert_int_equal(counted(host, COUNTER_images_built), 1);
	assert_int_equal(counted(host, COUNTER_trees_built), 1);
}

static void
test_without_images_there_are_none(void **state)
{
	struct host *host = *state;
	struct digest root = below(host, "in", flat(host, 200, "x"));

	stager_of(host, ENGINE_AUTO, false);
	stage(host, &root);
	assert_null(host->report.image);
	assert_int_equal(host->report.subtrees_built, 1);
	release(host);
	stager_of(host, ENGINE_BIND, true); /* forced: nothing else */
	root = below(host, "in", flat(host, 200, "y"));
	stage(host, &root);
	assert_null(host->report.image);
	release(host);
}

/* What would not be cheaper even when it is bound is no tree. */
static void
test_tiny_is_placed_by_itself(void **state)
{
	struct host *host = *state;
	struct digest root = below(host, "in", flat(host, 1, "x"));

	host->probe.costs.ns[COST_BIND] = 100000;
	stager_of(host, ENGINE_AUTO, false);
	stage(host, &root);
	assert_int_equal(host->report.bind_count, 0);
	assert_int_equal(host->report.subtrees_built, 0);
	assert_int_equal(host->report.files[PLACE_HARDLINK], 1);
	release(host);
	host->probe.costs.ns[COST_BIND] = 1000;
	stager_of(host, ENGINE_AUTO, false);
	root = below(host, "in", flat(host, 1, "y"));
	stage(host, &root);
	assert_int_equal(host->report.bind_count, 1);
	release(host);
}

static void
test_seen_again_is_wished_for(void **state)
{
	struct host *host = *state;
	struct digest tree = flat(host, 200, "x"), root = below(host, "in", tree), wished;

	stager_of(host, ENGINE_AUTO, true);
	stage(host, &root);
	release(host);
	assert_int_equal(wanted_take(host->region, HOST_SLOT, &wished), -ENOENT);
	stage(host, &root);
	assert_non_null(host->report.image); /* the same one */
	release(host);
	assert_int_equal(counted(host, COUNTER_images_built), 1);
	assert_int_equal(wanted_take(host->region, HOST_SLOT, &wished), 0);
	assert_true(digest_equal(&wished, &tree));
	assert_int_equal(wanted_take(host->region, HOST_SLOT, &wished), -ENOENT);
	/* In another image too. */
	ReapiDirectory *dir = dir_new(host);
	struct digest other = flat(host, 200, "other");
	dir_add_dir(host, dir, "one", &tree);
	dir_add_dir(host, dir, "two", &other);
	root = dir_put(host, dir);
	stage(host, &root);
	release(host);
	assert_int_equal(counted(host, COUNTER_images_built), 2);
	assert_int_equal(wanted_take(host->region, HOST_SLOT, &wished), 0);
	assert_true(digest_equal(&wished, &tree));
	assert_int_equal(wanted_take(host->region, HOST_SLOT, &wished), -ENOENT);
}

/* One part for two places; the same parts elsewhere are the same image. */
static void
test_an_image_knows_no_places(void **state)
{
	struct host *host = *state;
	struct digest tree = flat(host, 200, "x");
	ReapiDirectory *dir = dir_new(host);

	dir_add_dir(host, dir, "one", &tree);
	dir_add_dir(host, dir, "two", &tree);
	struct digest twice = dir_put(host, dir), elsewhere = below(host, "elsewhere", tree);
	stager_of(host, ENGINE_AUTO, true);
	stage(host, &twice);
	assert_int_equal(host->report.bind_count, 2);
	assert_string_equal(host->report.binds[0].source, host->report.binds[1].source);
	release(host);
	stage(host, &elsewhere);
	assert_non_null(host->report.image);
	release(host);
	assert_int_equal(counted(host, COUNTER_images_built), 1);
}

static void
test_a_missing_blob_is_found_before(void **state)
{
	struct host *host = *state;
	struct digest root = below(host, "in", flat(host, 200, "x")), lost;

	stager_of(host, ENGINE_AUTO, true);
	stage(host, &root);
	release(host);
	assert_int_equal(hash_bytes("x 5", 3, &lost), 0);
	for (int again = 0; again < 2; again++) {
		cas_drop(host->cas, &lost);
		assert_int_equal(host_stage_root(host, &root), -ENOENT);
		assert_int_equal(host->report.missing_count, 1);
		assert_true(digest_equal(&host->report.missing[0], &lost));
		assert_null(host_leak(host));
		assert_int_equal(
		    sandbox_release(host->config.state_fd, host->slot, &host->sandbox), 0);
		host_put(host, "x 5", 3);
		stage(host, &root);
		release(host);
	}
}

/* Ramet knows what it has taken away; what somebody else has, is found when the action failed. */
static void
test_a_blob_that_somebody_took(void **state)
{
	struct host *host = *state;
	struct digest root = below(host, "in", flat(host, 200, "x")), lost;
	char name[CAS_NAME_SIZE];

	stager_of(host, ENGINE_AUTO, true);
	assert_int_equal(hash_bytes("x 5", 3, &lost), 0);
	assert_int_equal(unlinkat(cas_dirfd(host->cas), cas_blob_name(&lost, false, name), 0), 0);
	stage(host, &root);
	assert_int_equal(stage_look_for_missing(host->stager, &host->report, &host->err), -ENOENT);
	assert_int_equal(host->report.missing_count, 1);
	assert_true(digest_equal(&host->report.missing[0], &lost));
	release(host);
	/* From now on it is known to be away. */
	assert_int_equal(host_stage_root(host, &root), -ENOENT);
	assert_int_equal(host->report.missing_count, 1);
	assert_int_equal(sandbox_release(host->config.state_fd, host->slot, &host->sandbox), 0);
	host_put(host, "x 5", 3);
	stage(host, &root);
	assert_int_equal(stage_look_for_missing(host->stager, &host->report, &host->err), 0);
	release(host);
}

/* One file of a large directory, and one of another mode. */
static void
test_one_file_differs(void **state)
{
	struct host *host = *state;
	ReapiDirectory *dirs[2] = {dir_new(host), dir_new(host)};
	struct digest roots[2];

	for (int i = 0; i < 2; i++) {
		add_files(host, dirs[i], 300, "same");
		dir_add_file(host, dirs[i], "one", i == 0 ? "old" : "new", false);
		dir_add_file(host, dirs[i], "two", "program", i != 0);
		roots[i] = below(host, "in", dir_put(host, dirs[i]));
	}
	stager_of(host, ENGINE_BIND, false);
	stage(host, &roots[0]);
	release(host);
	stage(host, &roots[1]);
	assert_int_equal(host->report.bind_count, 3);
	assert_string_equal(host->report.binds[0].target, "in");
	assert_true(host->report.binds[0].is_directory);
	assert_string_equal(host->report.binds[1].target, "in/one");
	assert_string_equal(host->report.binds[2].target, "in/two");
	assert_false(host->report.binds[1].is_directory || host->report.binds[2].is_directory);
	assert_non_null(strstr(host->report.binds[2].source, ".x"));
	assert_int_equal(host->report.subtrees_built, 0);
	assert_int_equal(host->report.files_placed, 302);
	release(host);
	/* An empty file has no blob that could be bound. */
	ReapiDirectory *dir = dir_new(host);
	add_files(host, dir, 300, "same");
	dir_add_file(host, dir, "one", "", false);
	dir_add_file(host, dir, "two", "program", false);
	struct digest root = below(host, "in", dir_put(host, dir));
	stage(host, &root);
	assert_int_equal(host->report.bind_count, 1);
	release(host);
}

static void
test_like_what_lay_there(void **state)
{
	struct host *host = *state;
	struct digest old = deep(host, "old", NULL), new = deep(host, "new", NULL);

	stager_of(host, ENGINE_BIND, false);
	stage(host, &old);
	assert_int_equal(host->report.bind_count, 1);
	release(host);
	stage(host, &new);
	assert_int_equal(host->report.bind_count, 2);
	assert_string_equal(host->report.binds[0].target, "in");
	assert_string_equal(host->report.binds[1].target, "in/b/q");
	assert_int_equal(host->report.subtrees_built, 1);
	assert_int_equal(host->report.files_placed, 150);
	release(host);
}

/* A mount needs a directory of that name to be mounted on. */
static void
test_other_names_are_composed(void **state)
{
	struct host *host = *state;
	struct digest old = deep(host, "old", NULL), renamed = deep(host, "old", "other");

	stager_of(host, ENGINE_BIND, false);
	stage(host, &old);
	release(host);
	stage(host, &renamed);
	/* in/b differs itself, and is bound over the old one as a whole. */
	assert_int_equal(host->report.bind_count, 2);
	assert_string_equal(host->report.binds[1].target, "in/b");
	release(host);
}

/* in/{a,b,...}, ten of a hundred files each, of which the first `others` are marked. */
static struct digest
wide(struct host *host, unsigned others, const char *mark)
{
	ReapiDirectory *root = dir_new(host), *in = dir_new(host);
	char name[2] = "a", text[32];

	for (unsigned i = 0; i < 10; i++, name[0]++) {
		snprintf(text, sizeof text, "%s/%s", i < others ? mark : "same", name);
		struct digest leaf = flat(host, 100, text);
		dir_add_dir(host, in, name, &leaf);
	}
	struct digest digest = dir_put(host, in);
	dir_add_dir(host, root, "in", &digest);
	return dir_put(host, root);
}

/* Where nothing of the old tree would be left, the new one is one tree, not as many as it has
 * parts. */
static void
test_mostly_other_is_built_whole(void **state)
{
	struct host *host = *state;
	struct digest old = wide(host, 0, ""), one = wide(host, 1, "one"),
		      all = wide(host, 10, "all");

	stager_of(host, ENGINE_BIND, false);
	stage(host, &old);
	release(host);
	stage(host, &one);
	assert_int_equal(host->report.bind_count, 2);
	assert_string_equal(host->report.binds[1].target, "in/a");
	assert_int_equal(host->report.subtrees_built, 1);
	release(host);
	stage(host, &all);
	assert_int_equal(host->report.bind_count, 1);
	assert_int_equal(host->report.subtrees_built, 1);
	release(host);
}

/* When the detours have cost what building it would, it is built. */
static void
test_at_last_it_is_built(void **state)
{
	struct host *host = *state;
	struct digest old = deep(host, "old", NULL), new = deep(host, "new", NULL);
	unsigned rounds = 0;

	stager_of(host, ENGINE_BIND, false);
	stage(host, &old);
	release(host);
	do {
		stage(host, &new);
		rounds++;
		size_t binds = host->report.bind_count;
		release(host);
		if (binds == 1)
			break;
	} while (rounds < 1000);
	assert_in_range(rounds, 5, 200);
	assert_int_equal(counted(host, COUNTER_trees_built), 3);
}

/* A cached leaf is not read, so its Directory may have left the store. */
static void
test_a_cached_leaf_stays_unread(void **state)
{
	struct host *host = *state;
	struct digest old = deep(host, "old", NULL), new = deep(host, "new", NULL);
	struct digest leaf = flat(host, 10, "new"), alone = below(host, "alone", leaf);

	stager_of(host, ENGINE_BIND, false);
	stage(host, &old);
	release(host);
	stage(host, &alone);
	release(host);
	cas_drop(host->cas, &leaf);
	stage(host, &new);
	assert_int_equal(host->report.bind_count, 2);
	assert_string_equal(host->report.binds[1].target, "in/b/q");
	release(host);
}

/* An image's key is ours: no client's digest can be one. */
static void
test_a_key_is_no_digest(void **state)
{
	struct host *host = *state;
	struct digest root = below(host, "in", flat(host, 200, "x")), digest;
	char text[INDEX_LOCATION_SIZE];

	stager_of(host, ENGINE_AUTO, true);
	stage(host, &root);
	strlcpy(text, strchr(host->report.image, '/') + 1, sizeof text);
	release(host);
	assert_int_equal(digest_from_text(text, &digest), 0);
	ReapiDirectory *dir = dir_new(host);
	struct digest key = index_image_key(&digest);
	dir_add_dir(host, dir, "in", &key);
	root = dir_put_raw(host, dir);
	assert_int_equal(host_stage_root(host, &root), -EINVAL);
	assert_int_equal(sandbox_release(host->config.state_fd, host->slot, &host->sandbox), 0);
}

/* More than an image holds: by links, in parts or at all. */
static void
test_too_many_for_an_image(void **state)
{
	struct host *host = *state;
	ReapiDirectory *in = dir_new(host);
	struct digest leaf = flat(host, 1000, "x");
	char name[16];

	for (unsigned i = 0; i < 550; i++) {
		snprintf(name, sizeof name, "d%u", i);
		dir_add_dir(host, in, name, &leaf);
	}
	struct digest root = below(host, "in", dir_put(host, in));
	host->probe.ways[PLACE_HARDLINK].works = true;
	stager_of(host, ENGINE_AUTO, true);
	struct error_text err;
	struct planner planner;
	struct stage_ways ways;
	struct stager_config config = {.host = &host->config,
	    .probe = &host->probe,
	    .isolation = ISOLATION_ROOT,
	    .uid_differs = true};
	struct stage_request request = {.root = root, .working_directory = ""};
	struct tree_loader loader;
	struct plan_seen *seen = calloc(PLAN_SEEN, sizeof *seen);
	struct plan_node *node;
	struct spine *spine;

	/* Planned and not placed: half a million links take their time. */
	stage_ways_choose(&config, false, false, &ways);
	tree_loader_start(&loader, host->cas, host->arena);
	stage_planner_init(&planner, &ways, &host->probe.costs, false);
	planner.region = host->region;
	planner.loader = &loader;
	planner.arena = host->arena;
	planner.seen = seen;
	planner.look_only = true;
	assert_int_equal(spine_new(host->arena, &request, &spine, &err), 0);
	assert_int_equal(plan_make(&planner, &root, spine, &node, &err), 0);
	assert_int_equal(planner.cold.count, 1);
	assert_null(planner.image);
	tree_loader_free(&loader);
	free(seen);
}

/* What could not be read at first counts once. */
static void
test_loaded_once_more(void **state)
{
	struct host *host = *state;
	struct digest first = flat(host, 20, "x"), second = flat(host, 30, "y"), digest;
	ReapiDirectory *dir = dir_new(host);
	struct tree_loader loader;
	struct tree_dir *loaded;
	struct rlimit limit, none;

	dir_add_dir(host, dir, "a", &first);
	dir_add_dir(host, dir, "b", &second);
	digest = dir_put(host, dir);
	tree_loader_start(&loader, host->cas, host->arena);
	assert_int_equal(tree_load_one(&loader, &digest, &loaded, &host->err), 0);
	assert_int_equal(tree_load(&loader, &first, 0, &loaded, &host->err), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){.rlim_cur = 0, .rlim_max = limit.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	int rc = tree_load(&loader, &digest, 0, &loaded, &host->err);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(rc, -EMFILE);
	assert_int_equal(tree_load(&loader, &digest, 0, &loaded, &host->err), 0);
	assert_int_equal(loaded->totals.files, 50);
	assert_int_equal(loaded->totals.directories, 3);
	tree_loader_free(&loader);
}

/* Thousands of outputs: those that the input has, as what it has them. */
static void
test_many_outputs(void **state)
{
	enum { OUTPUTS = 20000 };
	struct host *host = *state;
	ReapiDirectory *dir = dir_new(host), *root = dir_new(host);
	const char **paths = arena_alloc(host->arena, OUTPUTS * sizeof(char *));
	struct stage_request request = {
	    .working_directory = "", .output_paths = paths, .output_count = OUTPUTS};
	struct digest leaf = flat(host, 3, "x");
	struct stat st;

	for (int i = 0; i < OUTPUTS; i++)
		paths[i] = arena_printf(host->arena, "out/d%d/o", i);
	dir_add_dir(host, dir, "d7", &leaf);
	dir_add_symlink(host, dir, "d8", "d7");
	leaf = dir_put(host, dir);
	dir_add_dir(host, root, "out", &leaf);
	request.root = dir_put(host, root);
	/* A plain user gives no folder to another. */
	host_stager(host, ENGINE_AUTO, ISOLATION_ROOT, geteuid());
	uint64_t start = clock_monotonic_us();
	assert_int_equal(host_stage(host, &request), 0);
	assert_in_range(clock_monotonic_us() - start, 0, 5000000);
	for (int i = 0; i < OUTPUTS; i += 1111) {
		char path[32];
		snprintf(path, sizeof path, "out/d%d", i);
		assert_int_equal(fstatat(host->sandbox.rootfd, path, &st, AT_SYMLINK_NOFOLLOW), 0);
		assert_true(S_ISDIR(st.st_mode));
	}
	assert_int_equal(fstatat(host->sandbox.rootfd, "out/d8", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(host_release(host), 0);
}

/* Nothing can be placed over a bound tree but a bind. */
static void
test_a_patch_that_cannot_be_built(void **state)
{
	struct host *host = *state;
	struct digest old = deep(host, "old", NULL), new = deep(host, "new", NULL);
	struct digest leaf = flat(host, 10, "new");
	struct index_claim claim;

	stager_of(host, ENGINE_BIND, false);
	stage(host, &old);
	release(host);
	/* Somebody builds it, and does not come to an end. */
	slot_assign(host->region, HOST_SLOT + 1);
	slot_activate(host->region, HOST_SLOT + 1, getpid());
	struct slot *other = slot_at(host->region, HOST_SLOT + 1);
	assert_int_equal(index_claim(host->region, other, &leaf, &claim), 0);
	stage(host, &new);
	for (size_t i = 0; i < host->report.bind_count; i++)
		assert_string_not_equal(host->report.binds[i].target, "in/b/q");
	assert_int_equal(host->report.files[PLACE_HARDLINK], 10);
	release(host);
	index_abandon(host->region, other, &claim);
}

static void
test_forced_images_take_everything(void **state)
{
	struct host *host = *state;
	struct digest root = deep(host, "x", NULL), tiny = below(host, "in", flat(host, 1, "x"));

	stager_of(host, ENGINE_BIND, true);
	stage(host, &root);
	release(host);
	stager_of(host, ENGINE_IMAGE, true);
	stage(host, &root); /* its tree is cached */
	assert_non_null(host->report.image);
	assert_int_equal(host->report.files[PLACE_IMAGE], 150);
	release(host);
	stage(host, &tiny);
	assert_int_equal(host->report.files[PLACE_IMAGE], 1);
	release(host);
	assert_int_equal(counted(host, COUNTER_trees_wished), 0);
}

/* Three refusals in a row, and this worker tries no more. */
static void
test_refused_by_the_kernel(void **state)
{
	struct host *host = *state;

	stager_of(host, ENGINE_AUTO, true);
	for (unsigned i = 0; i < 4; i++) {
		char mark[16];
		snprintf(mark, sizeof mark, "round %u", i);
		struct digest root = below(host, "in", flat(host, 200, mark));
		stage(host, &root);
		assert_int_equal(host->report.image != NULL, i < 3);
		if (host->report.image != NULL)
			stage_mount_failed(host->stager, &host->report, PLACE_IMAGE, EPERM);
		release(host);
	}
	assert_int_equal(counted(host, COUNTER_stage_image_fallbacks), 3);
	assert_int_equal(counted(host, COUNTER_stage_image_fallbacks_eperm), 3);
}

static void
test_overlays_refused_by_the_kernel(void **state)
{
	struct host *host = *state;
	struct digest root = below(host, "in", flat(host, 200, "x"));
	struct stage_request request = {.root = root, .working_directory = "", .guard_off = true};

	host->probe.ways[PLACE_OVERLAY].works = true;
	/* A plain user gives no folder to another. */
	host_stager(host, ENGINE_AUTO, ISOLATION_ROOT, geteuid());
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(host_stage(host, &request), 0);
		assert_int_equal(host->report.has_overlay, i < 4);
		if (i == 0) /* mounted: what failed before is forgotten */
			stage_mounted(host->stager, &host->report);
		else if (host->report.has_overlay)
			stage_mount_failed(host->stager, &host->report, PLACE_OVERLAY, EPERM);
		release(host);
	}
	assert_int_equal(counted(host, COUNTER_stage_overlay_fallbacks), 3);
}

/* A cached tree that somebody took away: told, and staged without what is cached. */
static void
test_a_tree_that_somebody_took(void **state)
{
	struct host *host = *state;
	struct digest tree = flat(host, 200, "x"), other = flat(host, 100, "y");
	struct digest root = below(host, "in", tree), second = below(host, "in", other);
	struct stage_request request = {.root = root, .working_directory = "", .no_cached = true};
	char name[DIGEST_TEXT_SIZE], path[128];
	int state_fd = host->config.state_fd;

	stager_of(host, ENGINE_AUTO, false);
	stage(host, &second);
	release(host);
	stage(host, &root);
	assert_int_equal(host->report.bind_count, 1);
	release(host);
	snprintf(path, sizeof path, "trees/%s", index_tree_name(&tree, name));
	assert_int_equal(renameat(state_fd, path, state_fd, "taken"), 0);

	for (int round = 0; round < 4; round++) {
		stage(host, &root);
		assert_int_equal(host->report.bind_count, 1);
		stage_mount_failed(host->stager, &host->report, PLACE_BIND, ENOENT);
		assert_true(suspect_is_noted(state_fd, SUSPECT_TREE, &tree));
		release(host);
		assert_int_equal(host_stage(host, &request), 0);
		assert_int_equal(host->report.bind_count, 0);
		assert_int_equal(host_compare(host, &root, NULL), 0);
		release(host);
	}
	assert_false(suspect_is_noted(state_fd, SUSPECT_TREE, &other));
	assert_int_equal(counted(host, COUNTER_stage_bind_fallbacks), 4);
	assert_int_equal(renameat(state_fd, "taken", state_fd, path), 0);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_cold_is_what_costs_less),
	    TEST(test_without_images_there_are_none),
	    TEST(test_tiny_is_placed_by_itself),
	    TEST(test_seen_again_is_wished_for),
	    TEST(test_an_image_knows_no_places),
	    TEST(test_a_missing_blob_is_found_before),
	    TEST(test_a_blob_that_somebody_took),
	    TEST(test_one_file_differs),
	    TEST(test_like_what_lay_there),
	    TEST(test_other_names_are_composed),
	    TEST(test_mostly_other_is_built_whole),
	    TEST(test_at_last_it_is_built),
	    TEST(test_a_cached_leaf_stays_unread),
	    TEST(test_a_key_is_no_digest),
	    TEST(test_too_many_for_an_image),
	    TEST(test_loaded_once_more),
	    TEST(test_many_outputs),
	    TEST(test_a_patch_that_cannot_be_built),
	    TEST(test_forced_images_take_everything),
	    TEST(test_refused_by_the_kernel),
	    TEST(test_overlays_refused_by_the_kernel),
	    TEST(test_a_tree_that_somebody_took),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
