#include "cas/entry_check.h"
#include "tests/unit/cas/tree_fixture.h"

enum { WORKER = SLOT_WORKER_FIRST };

/* An index beside the store, with the tree in it and what lies inside. */
struct indexed {
	struct fixture *f;
	struct region *region;
	struct slot *worker, *janitor;
	struct tree_digests digests;
	uint32_t entry; /* of the tree */
	int pauses;
	void (*at_pause)(struct indexed *indexed); /* once, at the first pause */
};

static void
publish(struct indexed *indexed)
{
	struct index_tree tree = {.files = 6};
	struct index_claim claim;
	struct index_pin pin;
	struct slot *slot = indexed->worker;

	assert_int_equal(index_claim(indexed->region, slot, &indexed->digests.top, &claim), 0);
	place_tree_of(indexed->f, &indexed->digests.top, false);
	assert_int_equal(index_publish(indexed->region, slot, &claim, &tree, &pin), 0);
	assert_int_equal(
	    index_add_inside(indexed->region, slot, &pin, &indexed->digests.sub, "sub", &tree), 0);
	assert_int_equal(index_add_inside(indexed->region, slot, &pin, &indexed->digests.deep,
			     "sub/deep", &tree),
	    0);
	indexed->entry = pin.entry;
	index_unpin(indexed->region, slot, &pin);
}

static struct indexed
start(struct fixture *f)
{
	struct region_config config = {.entry_count = 256, .link_cap = 4};
	struct indexed indexed = {.f = f};
	enum region_origin origin;

	assert_int_equal(region_open(f->state_fd, &config, &origin, &indexed.region, NULL), 0);
	slot_assign(indexed.region, WORKER);
	slot_activate(indexed.region, WORKER, getpid());
	slot_assign(indexed.region, SLOT_JANITOR);
	slot_activate(indexed.region, SLOT_JANITOR, getpid());
	indexed.worker = slot_at(indexed.region, WORKER);
	indexed.janitor = slot_at(indexed.region, SLOT_JANITOR);
	indexed.digests = store_tree(f);
	publish(&indexed);
	return indexed;
}

static int
on_pause(void *arg)
{
	struct indexed *indexed = arg;
	void (*at_pause)(struct indexed *) = indexed->at_pause;

	indexed->pauses++;
	indexed->at_pause = NULL;
	if (at_pause != NULL)
		at_pause(indexed);
	return 0;
}

/* The one tree, as the list read before `at_pause` has it. */
static enum entry_verdict
check(struct indexed *indexed, bool deep, struct entry_report *ret_report)
{
	struct entry_check_config config = {.region = indexed->region,
	    .cas = indexed->f->cas,
	    .deep = deep,
	    .pause = on_pause,
	    .arg = indexed};
	struct entry_checker *checker;
	struct entry_list list;

	assert_int_equal(entry_list_read(indexed->region, NULL, &list), 0);
	assert_int_equal(list.tree_count, 1);
	assert_int_equal(entry_checker_new(&config, &checker), 0);
	assert_int_equal(entry_check(checker, &list, &list.trees[0], ret_report), 0);
	entry_checker_free(checker);
	entry_list_fini(&list);
	return ret_report->verdict;
}

static void
expect(struct indexed *indexed, bool deep, enum entry_verdict verdict, const char *says)
{
	struct entry_report report;

	assert_int_equal(check(indexed, deep, &report), verdict);
	if (says == NULL)
		assert_int_equal(report.fault_count, 0);
	else if (strstr(report.faults[0], says) == NULL)
		fail_msg("'%s' is not in: %s", says, report.faults[0]);
	entry_report_fini(&report);
}

static void
test_whole(void **state)
{
	struct indexed indexed = start(*state);

	expect(&indexed, false, ENTRY_WHOLE, NULL);
	expect(&indexed, true, ENTRY_WHOLE, NULL);
	assert_true(indexed.pauses >= 8);
	cas_drop(indexed.f->cas, &indexed.digests.sub);
	expect(&indexed, false, ENTRY_UNCOMPARED, NULL);
	expect(&indexed, true, ENTRY_WHOLE, NULL);
	region_close(indexed.region);
}

static void
test_faulty(void **state)
{
	struct indexed indexed = start(*state);
	int at = tree_open(indexed.f, &indexed.digests.top);
	struct digest two = digest_of("bytes 2", 7);
	struct entry_report report;

	overwrite(at, "sub/two", "BYTES", true);
	expect(&indexed, false, ENTRY_WHOLE, NULL);
	assert_int_equal(check(&indexed, true, &report), ENTRY_FAULTY);
	assert_int_equal(report.fault_count, 1);
	assert_int_equal(report.damaged_count, 1);
	assert_true(digest_equal(&report.damaged[0], &two));
	entry_report_fini(&report);
	/* More faults than a report keeps are counted all the same. */
	for (int i = 0; i < 3 * ENTRY_FAULTS_KEPT; i++) {
		char name[32];

		snprintf(name, sizeof(name), "sub/extra%d", i);
		file_text(at, name, "x");
	}
	assert_int_equal(check(&indexed, true, &report), ENTRY_FAULTY);
	assert_int_equal(report.fault_count, 3 * ENTRY_FAULTS_KEPT + 1);
	entry_report_fini(&report);
	close(at);
	assert_int_equal(fs_remove_tree(indexed.f->state_fd, "trees"), 0);
	expect(&indexed, false, ENTRY_FAULTY, "its folder is not there");
	region_close(indexed.region);
}

static void
add_inside(struct indexed *indexed, const char *path, const struct digest *digest)
{
	struct index_tree tree = {.files = 1};
	struct index_pin pin;

	assert_int_equal(
	    index_pin(indexed->region, indexed->worker, &indexed->digests.top, &pin), 0);
	assert_int_equal(
	    index_add_inside(indexed->region, indexed->worker, &pin, digest, path, &tree), 0);
	index_unpin(indexed->region, indexed->worker, &pin);
}

/* The tree is whole, but not what the index says of it. */
static void
test_inside(void **state)
{
	struct indexed indexed = start(*state);
	struct digest a = digest_of("a", 1), b = digest_of("b", 1);

	add_inside(&indexed, "sub", &a);
	expect(&indexed, false, ENTRY_FAULTY, "sub: the index says that ");
	region_close(indexed.region);
	unlinkat(indexed.f->state_fd, "index", 0);

	indexed = start(*state);
	add_inside(&indexed, "sub/now\nhere", &b);
	expect(&indexed, false, ENTRY_FAULTY, "sub/now?here: the index says that ");
	expect(&indexed, true, ENTRY_FAULTY, "knows no such path");
	/* What lies below a message that is gone cannot be said to be no path. */
	cas_drop(indexed.f->cas, &indexed.digests.sub);
	expect(&indexed, false, ENTRY_UNCOMPARED, NULL);
	region_close(indexed.region);
}

static void
evict(struct indexed *indexed)
{
	char path[16 + DIGEST_TEXT_SIZE] = "trees/";
	struct digest seen;

	assert_int_equal(
	    index_evict_begin(indexed->region, indexed->janitor, indexed->entry, &seen), 0);
	index_tree_name(&seen, path + 6);
	assert_int_equal(fs_remove_tree(indexed->f->state_fd, path), 0);
	index_evict_finish(indexed->region, indexed->janitor, indexed->entry);
}

static void
evict_and_build(struct indexed *indexed)
{
	evict(indexed);
	publish(indexed);
}

static void
evict_and_spoil(struct indexed *indexed)
{
	int at;

	evict_and_build(indexed);
	at = tree_open(indexed->f, &indexed->digests.top);
	file_text(at, "sub/evil", "evil");
	close(at);
}

/* A tree that leaves while it is looked at is no fault; one that comes again is looked at again. */
static void
test_it_changes_meanwhile(void **state)
{
	struct indexed indexed = start(*state);

	indexed.at_pause = evict_and_build;
	expect(&indexed, true, ENTRY_WHOLE, NULL);
	indexed.at_pause = evict_and_spoil;
	expect(&indexed, true, ENTRY_FAULTY, "sub/evil");
	indexed.at_pause = evict;
	expect(&indexed, true, ENTRY_GONE, NULL);
	region_close(indexed.region);
}

static void
test_one_of_many(void **state)
{
	struct indexed indexed = start(*state);
	struct digest other = digest_of("other", 5);
	struct index_tree tree = {.files = 1};
	struct entry_list list;
	struct index_claim claim;
	struct index_pin pin;

	assert_int_equal(index_claim(indexed.region, indexed.worker, &other, &claim), 0);
	assert_int_equal(entry_list_read(indexed.region, NULL, &list), 0);
	assert_int_equal(list.tree_count, 1); /* that one is not READY */
	entry_list_fini(&list);
	assert_int_equal(index_publish(indexed.region, indexed.worker, &claim, &tree, &pin), 0);
	assert_int_equal(entry_list_read(indexed.region, NULL, &list), 0);
	assert_int_equal(list.tree_count, 2);
	assert_int_equal(list.inside_count, 2);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(list.trees[i].inside_count,
		    digest_equal(&list.trees[i].directory, &other) ? 0 : 2);
	entry_list_fini(&list);
	assert_int_equal(entry_list_read(indexed.region, &indexed.digests.top, &list), 0);
	assert_int_equal(list.tree_count, 1);
	assert_int_equal(list.inside_count, 2);
	assert_string_equal(list.insides[0].path, "sub");
	assert_string_equal(list.insides[1].path, "sub/deep");
	entry_list_fini(&list);
	region_close(indexed.region);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_whole, fixture_setup, fixture_teardown),
	    cmocka_unit_test_setup_teardown(test_faulty, fixture_setup, fixture_teardown),
	    cmocka_unit_test_setup_teardown(test_inside, fixture_setup, fixture_teardown),
	    cmocka_unit_test_setup_teardown(
		test_it_changes_meanwhile, fixture_setup, fixture_teardown),
	    cmocka_unit_test_setup_teardown(test_one_of_many, fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
