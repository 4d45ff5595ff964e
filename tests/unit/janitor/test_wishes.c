/* Trees that workers wished for: built once, whatever the wish. */
#include "cas/directory.h"
#include "shm/wanted.h"
#include "tests/unit/janitor/janitor_host.h"

static struct janitor_host host;
static struct probe probe;
static struct arena *arena;

static int
open_host(void **state)
{
	if (host_open(&host, NULL) != 0 ||
	    cas_open(host.config.state_fd, true, &host.janitor.cas, NULL) != 0)
		return -1;
	probe.ways[PLACE_HARDLINK].works = probe.ways[PLACE_COPY].works = true;
	host.janitor.probe = &probe;
	arena = arena_new();
	return 0;
}

static int
close_host(void **state)
{
	arena_free(arena);
	host_close(&host);
	return 0;
}

static struct digest
tree_of(const char *text)
{
	ReapiDirectory *dir = REAPI_NEW(arena, directory);
	struct digest digest;

	assert_int_equal(cas_put_bytes(host.janitor.cas, text, strlen(text), &digest), 0);
	dir->files = arena_alloc(arena, sizeof(ReapiFileNode *));
	dir->files[0] = REAPI_NEW(arena, file_node);
	dir->files[0]->name = arena_strdup(arena, "file");
	dir->files[0]->digest = reapi_digest_new(arena, &digest);
	dir->n_files = 1;
	assert_int_equal(directory_store(host.janitor.cas, arena, dir, &digest), 0);
	return digest;
}

static bool
is_ready(const struct digest *digest)
{
	struct index_info info;
	uint32_t entry;

	return index_find(host.region, digest, &entry) == 0 &&
	    index_read(host.region, entry, &info) == 0 && info.state == INDEX_READY;
}

static uint64_t
counted(enum counter counter)
{
	uint64_t counters[COUNTER_COUNT];

	counters_read(host.region, counters);
	return counters[counter];
}

static void
test_granted(void **state)
{
	struct digest one = tree_of("one"), two = tree_of("two");
	char path[8 + DIGEST_TEXT_SIZE + 8] = "trees/";
	struct slot_info info;

	wanted_add(host.worker, &one);
	wanted_add(host.worker, &two);
	wanted_add(host.worker, &one);
	assert_int_equal(grant_wishes(&host.janitor), 0);
	assert_true(is_ready(&one) && is_ready(&two));
	assert_int_equal(counted(COUNTER_trees_granted), 2);
	assert_int_equal(counted(COUNTER_trees_built), 2);
	index_tree_name(&one, path + 6);
	strlcat(path, "/file", sizeof(path));
	assert_true(host_has(&host, path));
	slot_read(host.region, SLOT_JANITOR, &info);
	assert_int_equal(info.pins + info.permits + info.builds, 0);
	/* Wished for again: it is there. */
	wanted_add(host.worker, &one);
	assert_int_equal(grant_wishes(&host.janitor), 0);
	assert_int_equal(counted(COUNTER_trees_granted), 2);
}

static void
test_cannot_be_granted(void **state)
{
	struct digest good = tree_of("good"), unknown = host_digest(7), lost = tree_of("lost"),
		      blob;

	assert_int_equal(cas_put_bytes(host.janitor.cas, "lost", 4, &blob), 0);
	cas_drop(host.janitor.cas, &blob);
	wanted_add(host.worker, &unknown);
	wanted_add(host.worker, &lost);
	wanted_add(host.worker, &good);
	assert_int_equal(grant_wishes(&host.janitor), 0);
	assert_true(is_ready(&good));
	assert_false(is_ready(&unknown) || is_ready(&lost));
	assert_int_equal(counted(COUNTER_trees_granted), 1);
}

/* Who builds it already is not waited for in vain, nor disturbed. */
static void
test_somebody_builds_it(void **state)
{
	struct digest tree = tree_of("x");
	struct index_claim claim;

	assert_int_equal(index_claim(host.region, host.worker, &tree, &claim), 0);
	wanted_add(host.worker, &tree);
	assert_int_equal(grant_wishes(&host.janitor), 0);
	assert_int_equal(counted(COUNTER_trees_granted), 0);
	index_abandon(host.region, host.worker, &claim);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_granted, open_host, close_host),
	    cmocka_unit_test_setup_teardown(test_cannot_be_granted, open_host, close_host),
	    cmocka_unit_test_setup_teardown(test_somebody_builds_it, open_host, close_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
