/*
 * Trees at the edges, by every way: names of 255 bytes, 200 levels, 100,000 entries in a directory,
 * more links than an inode has, a message whose entries change their order, and a hostile hand in
 * images/.
 */
#include "cas/image.h"
#include "tests/unit/workers/stage_cache.h"
#include "tests/unit/workers/stage_ways.h"

#ifdef RAMET_SANITIZED
enum { ENTRIES = 10000, LINKS = 10000 };
#else
enum { ENTRIES = 100000, LINKS = 70000 };
#endif
enum { LEVELS = 200, LEVELS_TOO_LONG = 40, LINKS_A_DIRECTORY = 1000 };

static struct suite suite;

static uint64_t
counter_now(enum counter counter)
{
	uint64_t values[COUNTER_COUNT];

	counters_read(suite.host.region, values);
	return values[counter];
}

static void
clear(void)
{
	uint64_t seed = 0;

	(void)cache_evict(&suite.host, &seed, 100, CACHE_EVICTED);
	cache_empty_trash(&suite.host);
}

static void
give_back(void)
{
	struct host *host = &suite.host;

	assert_int_equal(stage_release(host->stager, &host->report, &host->err), 0);
	HOST_TRY("sandbox", sandbox_release(host->config.state_fd, host->slot, &host->sandbox));
	assert_null(host_leak(host));
}

/* Staged, looked at, given back. */
static void
stage_right(const char *what, const struct stage_request *request)
{
	if (suite_stage(&suite, request) != 0)
		fail_msg("%s: %s", what, suite.host.err.text);
	int differences =
	    ways_needs_run(&suite.host.report) ? suite_look(&suite) : suite_look_directly(&suite);
	if (differences != 0)
		fail_msg("%s: another tree", what);
	give_back();
}

static void
by_way(const struct way *way, struct stage_request request, const char *what)
{
	if (!ways_possible(&suite, way))
		return;
	ways_costs(&suite.host.probe.costs, way);
	suite_stager(&suite, way->engine);
	request.guard_off = way->guard_off;
	request.no_overlay = way->no_overlay;
	for (int again = 0; again < 2; again++)
		stage_right(arena_printf(suite.host.arena, "%s, %s", what, way->name), &request);
	clear();
}

static char *
long_name(char letter)
{
	char *name = arena_alloc(suite.host.arena, NAME_MAX + 1);

	return memset(name, letter, NAME_MAX);
}

/* Levels of 255 bytes each, a file and a symlink in each; `text` is in the deepest. */
static struct digest
deep_tree(int levels, bool has_twins, const char *text)
{
	struct host *host = &suite.host;
	struct digest digest = digest_empty;

	for (int i = 0; i < levels; i++) {
		ReapiDirectory *dir = dir_new(host);
		dir_add_file(host, dir, long_name('f'), i == 0 ? text : "deep", i % 2 == 0);
		dir_add_file(host, dir, "g", arena_printf(host->arena, "level %d", i), false);
		dir_add_symlink(host, dir, long_name('l'), long_name('f'));
		if (i > 0)
			dir_add_dir(host, dir, long_name('d'), &digest);
		if (has_twins && i > 1 && i % 50 == 0)
			dir_add_dir(host, dir, "twin", &digest);
		digest = dir_put(host, dir);
	}
	return digest;
}

static void
test_names_and_depth(void **state)
{
	struct stage_request request = {
	    .working_directory = "", .root = deep_tree(LEVELS, true, "a")};

	(void)state;
	for (size_t w = 0; w < WAYS; w++)
		by_way(&ways[w], request, "deep");
	arena_reset(suite.host.arena);
}

/* Deeper than a path can say: a change there, and what lies below where the action works. */
static void
test_paths_too_long(void **state)
{
	struct host *host = &suite.host;
	struct digest roots[2] = {
	    deep_tree(LEVELS_TOO_LONG, false, "a"), deep_tree(LEVELS_TOO_LONG, false, "b")};
	struct stage_request request = {.working_directory = ""};
	static char path[PATH_MAX];

	(void)state;
	for (size_t w = 0; w < WAYS; w++) {
		if (!ways_possible(&suite, &ways[w]))
			continue;
		ways_costs(&host->probe.costs, &ways[w]);
		suite_stager(&suite, ways[w].engine);
		for (int i = 0; i < 3; i++) {
			request.root = roots[i % 2];
			stage_right(ways[w].name, &request);
		}
		clear();
	}
	ReapiDirectory *dir = dir_new(host);
	dir_add_dir(host, dir, long_name('d'), &roots[0]);
	dir_add_dir(host, dir, "d", &roots[1]);
	request.root = dir_put(host, dir);
	char *short_name = long_name('e');
	short_name[200] = '\0';
	for (int i = 0; i < 16; i++) {
		const char *name = i == 15 ? short_name : long_name('e');
		dir = dir_new(host);
		dir_add_dir(host, dir, name, &request.root);
		request.root = dir_put(host, dir);
	}
	strlcpy(path, short_name, sizeof(path));
	for (int i = 0; i < 15; i++) {
		strlcat(path, "/", sizeof(path));
		strlcat(path, long_name('e'), sizeof(path));
	}
	request.working_directory = path;
	for (size_t w = 0; w < WAYS; w++)
		by_way(&ways[w], request, "worked in far down");
	arena_reset(suite.host.arena);
}

static void
dir_room(ReapiDirectory *dir, size_t files)
{
	dir->files = arena_alloc(suite.host.arena, files * sizeof(ReapiFileNode *));
}

static struct digest
many_files(size_t count)
{
	struct host *host = &suite.host;
	ReapiDirectory *dir = dir_new(host);
	struct digest digests[8];
	char text[32];

	for (int i = 0; i < 8; i++) {
		snprintf(text, sizeof(text), "text %d", i);
		digests[i] = host_put(host, text, strlen(text));
	}
	dir_room(dir, count);
	for (size_t i = 0; i < count; i++) {
		ReapiFileNode *file = REAPI_NEW(host->arena, file_node);
		file->name = arena_printf(host->arena, "file%zu", i);
		file->digest = reapi_digest_new(host->arena, &digests[i % 8]);
		file->is_executable = i % 16 == 0;
		dir->files[dir->n_files++] = file;
	}
	return dir_put(host, dir);
}

static void
test_many_entries(void **state)
{
	struct host *host = &suite.host;

	(void)state;
	for (size_t w = 0; w < WAYS; w++) {
		const struct way *way = &ways[w];
		/* What only links, or does nothing for each of them, is not afraid of many. */
		bool is_quick = way->engine == ENGINE_BIND || way->engine == ENGINE_IMAGE ||
		    way->preset == PLANS_FLAT || (way->guard_off && !way->no_overlay);
		struct digest digest = many_files(is_quick ? ENTRIES : ENTRIES / 20);
		ReapiDirectory *root = dir_new(host);
		dir_add_dir(host, root, "many", &digest);
		struct stage_request request = {
		    .working_directory = way->preset == PLANS_FLAT ? "many" : "",
		    .root = dir_put(host, root)};
		if (way->preset != PLANS_COMPOSED && way->preset != PLANS_IMAGE)
			by_way(way, request, "many entries");
		arena_reset(host->arena);
	}
}

/* One blob in more places than one inode can have. */
static void
test_more_links_than_there_are(void **state)
{
	struct host *host = &suite.host;
	ReapiDirectory *root = dir_new(host);
	struct digest blob = host_put(host, "everywhere", 10), executable = blob;
	struct stage_request request = {.working_directory = ""};
	uint64_t before = counter_now(COUNTER_fallback_emlink);
	char name[16], path[CAS_NAME_SIZE];
	struct stat st;

	(void)state;
	for (int i = 0; i < LINKS / LINKS_A_DIRECTORY; i++) {
		ReapiDirectory *dir = dir_new(host);
		dir_room(dir, LINKS_A_DIRECTORY);
		for (int j = 0; j < LINKS_A_DIRECTORY; j++) {
			ReapiFileNode *file = REAPI_NEW(host->arena, file_node);
			file->name = arena_printf(host->arena, "%d.%d", i, j);
			file->digest = reapi_digest_new(host->arena, j == 0 ? &executable : &blob);
			dir->files[dir->n_files++] = file;
		}
		struct digest digest = dir_put(host, dir);
		snprintf(name, sizeof(name), "d%d", i);
		dir_add_dir(host, root, name, &digest);
	}
	request.root = dir_put(host, root);
	cost_default(&host->probe.costs);
	host->probe.costs.ns[COST_IMAGE] = 4000000000u;
	suite_stager(&suite, suite.isolation == ISOLATION_NONE ? ENGINE_HARDLINK : ENGINE_BIND);
	stage_right("many links", &request);
	uint64_t minted = counter_now(COUNTER_fallback_emlink) - before;
	assert_int_equal(
	    fstatat(cas_dirfd(host->cas), cas_blob_name(&blob, false, path), &st, 0), 0);
	print_message("note: %s: %" PRIu64 " inodes minted for %d links, the last has %lu\n",
	    isolation_names[suite.isolation], minted, LINKS, (unsigned long)st.st_nlink);
	/* Whatever the volume's limit is, no link was lost for it. */
	if (minted == 0)
		assert_true(st.st_nlink > LINKS);
	else
		assert_true(st.st_nlink < LINKS);
	stage_right("many links, again", &request);
	clear();
	arena_reset(host->arena);
}

/* The same entries in another order are another Directory, with the same parts. */
static void
test_order_of_entries(void **state)
{
	struct host *host = &suite.host;
	struct digest parts[2], tops[2], roots[2];

	(void)state;
	for (int i = 0; i < 2; i++) {
		ReapiDirectory *dir = dir_new(host);
		for (int j = 0; j < 40; j++)
			dir_add_file(host, dir,
			    arena_printf(host->arena, "f%d", i == 0 ? j : 39 - j), "same", false);
		dir_add_symlink(host, dir, i == 0 ? "l1" : "l2", "f1");
		dir_add_symlink(host, dir, i == 0 ? "l2" : "l1", "f1");
		parts[i] = dir_put_raw(host, dir);
	}
	assert_false(digest_equal(&parts[0], &parts[1]));
	for (int i = 0; i < 2; i++) {
		ReapiDirectory *top = dir_new(host), *root = dir_new(host);
		dir_add_dir(host, top, i == 0 ? "a" : "b", &parts[0]);
		dir_add_dir(host, top, i == 0 ? "b" : "a", &parts[0]);
		tops[i] = dir_put_raw(host, top);
		dir_add_dir(host, root, "top", &tops[i]);
		dir_add_dir(host, root, "part", &parts[i]);
		roots[i] = dir_put(host, root);
	}
	for (size_t w = 0; w < WAYS; w++) {
		if (!ways_possible(&suite, &ways[w]))
			continue;
		ways_costs(&host->probe.costs, &ways[w]);
		suite_stager(&suite, ways[w].engine);
		for (int i = 0; i < 4; i++) {
			struct stage_request request = {.working_directory = "",
			    .root = roots[i % 2],
			    .guard_off = ways[w].guard_off,
			    .no_overlay = ways[w].no_overlay};
			stage_right(ways[w].name, &request);
		}
		clear();
	}
	arena_reset(host->arena);
}

/* The same cold subtrees make one image, in whatever order they are named. */
static void
test_order_of_parts(void **state)
{
	struct host *host = &suite.host;
	struct digest parts[2];
	uint64_t before;

	(void)state;
	if (!host->probe.ways[PLACE_IMAGE].works) {
		print_message("skipped: no images here\n");
		skip();
	}
	for (int i = 0; i < 2; i++) {
		ReapiDirectory *dir = dir_new(host);
		dir_add_file(host, dir, "f", i == 0 ? "one" : "two", false);
		parts[i] = dir_put(host, dir);
	}
	suite_stager(&suite, ENGINE_IMAGE);
	before = counter_now(COUNTER_images_built);
	for (int i = 0; i < 3; i++) {
		ReapiDirectory *root = dir_new(host);
		dir_add_dir(host, root, i == 1 ? "b" : "a", &parts[i == 1]);
		dir_add_dir(host, root, i == 1 ? "a" : "b", &parts[i != 1]);
		if (i == 2) /* the same part twice is one, too */
			dir_add_dir(host, root, "c", &parts[0]);
		struct stage_request request = {
		    .working_directory = "", .root = dir_put_raw(host, root)};
		stage_right("an image of two parts", &request);
	}
	assert_int_equal(counter_now(COUNTER_images_built) - before, 1);
	clear();
	arena_reset(host->arena);
}

/* A whole image that says by its name to be of one tree, and is of another. */
static int
forge(int fd, const struct digest *named, const struct digest *digest)
{
	struct host *host = &suite.host;
	struct tree_loader loader;
	struct tree_dir *dir, *root;
	uint8_t *bytes;
	size_t len;

	tree_loader_start(&loader, host->cas, host->arena);
	HOST_TRY("load", tree_load(&loader, digest, 0, &dir, &host->err));
	dir->digest = *named;
	HOST_TRY("root", image_root(host->arena, &dir, 1, &root));
	HOST_TRY("encode",
	    image_encode(host->arena, root, geteuid(), getegid(), &bytes, &len, &host->err));
	tree_loader_free(&loader);
	return fs_write_all(fd, bytes, len);
}

enum hostile { FIFO, SYMLINK, DIRECTORY, EMPTY, SPARSE, RUBBISH, SOCKET, FORGED, HOSTILE };

static int
plant(enum hostile how, const char *path, const struct digest *parts)
{
	int state_fd = suite.host.config.state_fd, rc = 0;

	if (how == FIFO)
		return mkfifoat(state_fd, path, 0666);
	if (how == SYMLINK)
		return symlinkat("/etc/passwd", state_fd, path);
	if (how == DIRECTORY)
		return mkdirat(state_fd, path, 0777);
	if (how == SOCKET)
		return mknodat(state_fd, path, S_IFSOCK | 0666, 0);
	int fd = openat(state_fd, path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd < 0)
		return -errno;
	if (how == SPARSE)
		rc = ftruncate(fd, 1LL << 40);
	if (how == RUBBISH)
		rc = fs_write_all(fd, &suite, 8192);
	if (how == FORGED)
		rc = forge(fd, &parts[0], &parts[1]);
	close(fd);
	return rc;
}

/* What somebody has put in the place of an image; the action sees its tree all the same. */
static void
test_hostile_images(void **state)
{
	struct host *host = &suite.host;
	ReapiDirectory *root = dir_new(host);
	struct stage_request request = {.working_directory = ""};
	char path[INDEX_LOCATION_SIZE];
	struct digest parts[2];

	(void)state;
	if (!host->probe.ways[PLACE_IMAGE].works) {
		print_message("skipped: no images here\n");
		skip();
	}
	for (int i = 0; i < 2; i++) {
		ReapiDirectory *dir = dir_new(host);
		dir_add_file(host, dir, "f", i == 0 ? "one" : "two", false);
		parts[i] = dir_put(host, dir);
	}
	dir_add_dir(host, root, "in", &parts[0]);
	request.root = dir_put(host, root);
	suite_stager(&suite, ENGINE_IMAGE);
	for (int how = 0; how < HOSTILE; how++) {
		uint64_t damaged = counter_now(COUNTER_images_damaged);
		assert_int_equal(suite_stage(&suite, &request), 0);
		if (host->report.image == NULL) {
			fail_msg("%d: no image any more", how - 1);
			return; /* for the analyzer */
		}
		strlcpy(path, host->report.image, sizeof(path));
		give_back();
		HOST_TRY(path, fs_remove_tree(host->config.state_fd, path));
		assert_int_equal(plant((enum hostile)how, path, parts), 0);
		stage_right(arena_printf(host->arena, "hostile image %d", how), &request);
		assert_int_equal(counter_now(COUNTER_images_damaged), damaged + 1);
	}
	clear();
	arena_reset(host->arena);
}

static int
run(enum isolation isolation)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_names_and_depth),
	    cmocka_unit_test(test_paths_too_long),
	    cmocka_unit_test(test_many_entries),
	    cmocka_unit_test(test_more_links_than_there_are),
	    cmocka_unit_test(test_order_of_entries),
	    cmocka_unit_test(test_order_of_parts),
	    cmocka_unit_test(test_hostile_images),
	};

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
