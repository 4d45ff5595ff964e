#include "cas/suspect.h"
#include "tests/unit/cas/tree_fixture.h"
#include "tests/unit/janitor/janitor_host.h"

static struct fixture *f;
static struct janitor_host host;

static int
open_host(void **state)
{
	char path[sizeof(f->path) + 16];

	if (fixture_setup(state) != 0)
		return -1;
	f = *state;
	snprintf(path, sizeof(path), "%s/state", f->path);
	if (host_open(&host, path) != 0)
		return -1;
	return cas_open(host.config.state_fd, true, &host.janitor.cas, NULL);
}

static int
close_host(void **state)
{
	unsigned breaches = index_check(host.region, NULL, NULL);

	free(host.janitor.condemned);
	host_close(&host);
	return fixture_teardown(state) != 0 || breaches > 0 ? -1 : 0;
}

/* On disk and in the index, not pinned. */
static void
cache(const struct digest *digest)
{
	struct index_tree tree = {.files = 1};
	struct index_claim claim;
	struct index_pin pin;

	assert_int_equal(index_claim(host.region, host.worker, digest, &claim), 0);
	place_tree_of(f, digest, false);
	assert_int_equal(index_publish(host.region, host.worker, &claim, &tree, &pin), 0);
	index_unpin(host.region, host.worker, &pin);
}

/* A Directory with one file. */
static struct digest
cache_file(const char *name, const char *text)
{
	ReapiDirectory *top = REAPI_NEW(f->arena, directory);
	struct digest digest;

	add_file(f, top, name, text, false);
	digest = store_directory(f, top);
	cache(&digest);
	return digest;
}

static void
spoil(const struct digest *digest, const char *path, const char *text)
{
	int at = tree_open(f, digest);

	overwrite(at, path, text, true);
	close(at);
}

static bool
is_cached(const struct digest *digest)
{
	char path[16 + DIGEST_TEXT_SIZE] = "trees/";
	struct index_pin pin;
	bool known = index_pin(host.region, host.worker, digest, &pin) == 0;

	if (known)
		index_unpin(host.region, host.worker, &pin);
	index_tree_name(digest, path + 6);
	assert_int_equal(host_has(&host, path), known);
	return known;
}

static void
note(enum suspect_kind kind, const struct digest *digest)
{
	assert_int_equal(suspect_note(host.config.state_fd, kind, digest), 0);
}

static bool
is_noted(enum suspect_kind kind, const struct digest *digest)
{
	return suspect_is_noted(host.config.state_fd, kind, digest);
}

static uint64_t
counter(enum counter counter)
{
	uint64_t values[COUNTER_COUNT];

	counters_read(host.region, values);
	return values[counter];
}

static void
a_damaged_tree_goes(void **state)
{
	struct digest bad = cache_file("a", "text"), good = cache_file("b", "other");

	spoil(&bad, "a", "TEXT");
	note(SUSPECT_TREE, &bad);
	note(SUSPECT_TREE, &good);
	note(SUSPECT_TREE, &digest_empty); /* nobody knows it */
	assert_int_equal(suspects_look(&host.janitor), 0);
	assert_false(is_cached(&bad));
	assert_true(is_cached(&good));
	assert_int_equal(folder_count(f->state_fd, "suspect"), 0);
	assert_int_equal(counter(COUNTER_trees_damaged), 1);
	assert_int_equal(counter(COUNTER_trees_dropped), 1);
	assert_int_equal(counter(COUNTER_index_trees), 1);
	assert_false(host.janitor.suspects_left);
}

static void
one_in_use_goes_when_it_is_free(void **state)
{
	struct digest bad = cache_file("a", "text");
	struct index_pin pin, again;
	struct index_claim claim;

	spoil(&bad, "a", "longer than before");
	assert_int_equal(index_pin(host.region, host.worker, &bad, &pin), 0);
	note(SUSPECT_TREE, &bad);
	for (int look = 0; look < 3; look++) {
		assert_int_equal(suspects_look(&host.janitor), 0);
		/* Who has it keeps it; who wants it goes without. */
		assert_int_equal(index_pin(host.region, host.worker, &bad, &again), -ENOENT);
		assert_int_equal(index_claim(host.region, host.worker, &bad, &claim), -EAGAIN);
		close(tree_open(f, &bad));
		assert_true(is_noted(SUSPECT_TREE, &bad));
		assert_int_equal(host.janitor.condemned_count, 1);
	}
	index_unpin(host.region, host.worker, &pin);
	assert_int_equal(suspects_look(&host.janitor), 0);
	assert_false(is_cached(&bad));
	assert_false(is_noted(SUSPECT_TREE, &bad));
	assert_int_equal(host.janitor.condemned_count, 0);
	assert_int_equal(counter(COUNTER_trees_damaged), 1);
	assert_int_equal(counter(COUNTER_trees_dropped), 1);
	put_text(f->cas, "text"); /* the blob itself had been changed */
	cache(&bad);
	assert_true(is_cached(&bad));
}

/* What the one before left half done, the next one does again. */
static void
the_janitor_ends_meanwhile(void **state)
{
	struct digest bad = cache_file("a", "text");
	struct index_pin pin;

	spoil(&bad, "a", "TEXT");
	assert_int_equal(index_pin(host.region, host.worker, &bad, &pin), 0);
	note(SUSPECT_TREE, &bad);
	assert_int_equal(suspects_look(&host.janitor), 0);
	slot_retire(host.region, SLOT_JANITOR);
	slot_assign(host.region, SLOT_JANITOR);
	slot_activate(host.region, SLOT_JANITOR, getpid());
	host.janitor.condemned_count = 0;
	index_unpin(host.region, host.worker, &pin);
	assert_true(is_cached(&bad));
	assert_int_equal(suspects_look(&host.janitor), 0);
	assert_false(is_cached(&bad));
	assert_false(is_noted(SUSPECT_TREE, &bad));
}

static void
a_blob_takes_its_trees_along(void **state)
{
	struct digest one = cache_file("a", "text"), two = cache_file("b", "text"),
		      other = cache_file("c", "other"), blob = digest_of("text", 4);
	bool made;

	for (int has_twin = 0; has_twin <= 1; has_twin++) {
		if (has_twin)
			assert_int_equal(cas_ensure(f->cas, &blob, true, &made), 0);
		spoil(&one, "a", "TEXT");
		note(SUSPECT_BLOB, &blob);
		assert_int_equal(suspects_look(&host.janitor), 0);
		assert_false(is_cached(&one));
		assert_false(is_cached(&two));
		assert_true(is_cached(&other));
		assert_false(is_noted(SUSPECT_BLOB, &blob));
		assert_int_equal(cas_has(f->cas, &blob), has_twin);
		assert_int_equal(counter(COUNTER_cas_healed), has_twin);
		assert_int_equal(counter(COUNTER_cas_corrupt), 1);
		assert_int_equal(counter(COUNTER_trees_dropped), 2 * (has_twin + 1));
		if (!has_twin) {
			put_text(f->cas, "text");
			cache(&one);
			cache(&two);
		}
	}
}

/* One tree was named; its blob is found out, and with it who else has it. */
static void
a_tree_gives_its_blob_away(void **state)
{
	struct digest one = cache_file("a", "text"), two = cache_file("b", "text"),
		      other = cache_file("c", "other"), blob = digest_of("text", 4);

	spoil(&one, "a", "TEXT");
	note(SUSPECT_TREE, &one);
	assert_int_equal(suspects_look(&host.janitor), 0);
	assert_false(is_cached(&one));
	assert_false(is_cached(&two));
	assert_true(is_cached(&other));
	assert_int_equal(cas_has(f->cas, &blob), 0);
	assert_int_equal(folder_count(f->state_fd, "suspect"), 0);
}

/* It stays where it is, and nobody gets it. */
static void
it_cannot_be_moved(void **state)
{
	struct digest bad = cache_file("a", "text");
	struct index_pin pin;

	spoil(&bad, "a", "TEXT");
	note(SUSPECT_TREE, &bad);
	assert_int_equal(renameat(f->state_fd, "trash", f->state_fd, "elsewhere"), 0);
	host_make_file(&host, "trash");
	for (int look = 0; look < 2; look++) {
		assert_int_equal(suspects_look(&host.janitor), 0);
		assert_int_equal(index_pin(host.region, host.worker, &bad, &pin), -ENOENT);
		assert_int_equal(host.janitor.condemned_count, 1);
		assert_true(is_noted(SUSPECT_TREE, &bad));
	}
	assert_int_equal(unlinkat(f->state_fd, "trash", 0), 0);
	assert_int_equal(renameat(f->state_fd, "elsewhere", f->state_fd, "trash"), 0);
	assert_int_equal(suspects_look(&host.janitor), 0);
	assert_false(is_cached(&bad));
	assert_int_equal(host.janitor.condemned_count, 0);
}

/* A folder that cannot be read is no reason to leave all else undone. */
static void
no_notes_can_be_read(void **state)
{
	host_make_file(&host, "suspect");
	assert_int_equal(suspects_look(&host.janitor), 0);
	assert_true(host.janitor.suspects_left);
	assert_int_equal(unlinkat(f->state_fd, "suspect", 0), 0);
	assert_int_equal(suspects_look(&host.janitor), 0);
	assert_false(host.janitor.suspects_left);
}

static void
one_tree_a_round(void **state)
{
	struct digest trees[3] = {cache_file("a", "1"), cache_file("b", "2"), cache_file("c", "3")};
	int at = tree_open(f, &trees[1]);

	assert_int_equal(unlinkat(at, "b", 0), 0);
	close(at);
	assert_int_equal(suspects_scrub(&host.janitor), 0);
	assert_int_equal(counter(COUNTER_trees_checked), 1);
	assert_int_equal(suspects_scrub(&host.janitor), 0);
	assert_int_equal(suspects_scrub(&host.janitor), 0);
	assert_int_equal(counter(COUNTER_trees_checked), 3);
	assert_true(is_cached(&trees[0]));
	assert_false(is_cached(&trees[1]));
	assert_true(is_cached(&trees[2]));
	assert_int_equal(suspects_scrub(&host.janitor), 0);
	assert_int_equal(counter(COUNTER_trees_checked), 4);
}

/* As long as somebody holds its entry nobody else is given what is not there. */
static void
a_tree_that_is_not_there(void **state)
{
	struct digest lost = cache_file("a", "text");
	char path[16 + DIGEST_TEXT_SIZE] = "trees/";
	struct index_pin pin, again;

	assert_int_equal(index_pin(host.region, host.worker, &lost, &pin), 0);
	index_tree_name(&lost, path + 6);
	assert_int_equal(fs_remove_tree(f->state_fd, path), 0);
	assert_int_equal(clean_entries(&host.janitor), 0);
	assert_int_equal(index_pin(host.region, host.worker, &lost, &again), -ENOENT);
	index_unpin(host.region, host.worker, &pin);
	assert_int_equal(suspects_look(&host.janitor), 0);
	assert_int_equal(counter(COUNTER_index_trees), 0);
	assert_false(is_noted(SUSPECT_TREE, &lost));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(a_damaged_tree_goes, open_host, close_host),
	    cmocka_unit_test_setup_teardown(one_in_use_goes_when_it_is_free, open_host, close_host),
	    cmocka_unit_test_setup_teardown(the_janitor_ends_meanwhile, open_host, close_host),
	    cmocka_unit_test_setup_teardown(a_blob_takes_its_trees_along, open_host, close_host),
	    cmocka_unit_test_setup_teardown(a_tree_gives_its_blob_away, open_host, close_host),
	    cmocka_unit_test_setup_teardown(it_cannot_be_moved, open_host, close_host),
	    cmocka_unit_test_setup_teardown(no_notes_can_be_read, open_host, close_host),
	    cmocka_unit_test_setup_teardown(one_tree_a_round, open_host, close_host),
	    cmocka_unit_test_setup_teardown(a_tree_that_is_not_there, open_host, close_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
