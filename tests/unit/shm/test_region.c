#include <sys/mman.h>
#include <sys/stat.h>

#include <dirent.h>

#include "base/fs.h"
#include "tests/unit/shm/shm_test.h"

enum {
	ENTRIES = 64,
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
	GARBAGE_ROUNDS = 60,
#else
	GARBAGE_ROUNDS = 200,
#endif
};

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	fixture_dir(f);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	fixture_close(f);
	free(f);
	return 0;
}

static bool
has_file(const struct fixture *f, const char *prefix)
{
	DIR *dir = opendir(f->path);
	struct dirent *entry;
	bool found = false;

	assert_non_null(dir);
	while ((entry = readdir(dir)) != NULL)
		found = found || strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
	closedir(dir);
	return found;
}

static void
test_create_and_warm(void **state)
{
	struct fixture *f = *state;
	struct digest digest = test_digest(1, 1), inner = test_digest(2, 2);
	struct index_tree tree = {.bytes = 3};
	struct index_pin pin;
	struct slot *slot;
	uint64_t instance;

	assert_int_equal(fixture_open(f, ENTRIES, 0), REGION_CREATED);
	assert_false(has_file(f, ".tmp."));
	assert_int_equal(region_link_cap(f->region), 64);
	assert_int_equal(region_entry_count(f->region), ENTRIES);
	assert_true(region_booted_since(f->region)); /* nothing has begun yet */
	assert_int_equal(region_clean_stop_s(f->region), 0);
	region_mark_begun(f->region);
	instance = region_instance(f->region);
	slot = fixture_slot(f, 2);
	pin = test_publish(f->region, slot, &digest, 77);
	assert_int_equal(index_add_inside(f->region, slot, &pin, &inner, "a/b", &tree), 0);
	region_mark_clean_stop(f->region);
	region_close(f->region);

	assert_int_equal(fixture_open(f, ENTRIES, 5), REGION_WARM);
	assert_true(region_clean_stop_s(f->region) > 0);
	assert_true(region_opened_s(f->region) > 0);
	region_mark_begun(f->region);
	assert_int_equal(region_instance(f->region), instance);
	assert_int_equal(region_link_cap(f->region), 5);
	assert_int_equal(test_counter(f->region, COUNTER_index_trees), 1);
	assert_int_equal(test_counter(f->region, COUNTER_index_bytes), 77);
	assert_int_equal(test_counter(f->region, COUNTER_trees_built), 1);
	slot = fixture_slot(f, 3);
	assert_int_equal(index_pin(f->region, slot, &inner, &pin), 0);
	index_unpin(f->region, slot, &pin);
	assert_int_equal(index_check(f->region, test_report, NULL), 0);
	region_close(f->region);

	/* Not stopped cleanly this time. */
	assert_int_equal(fixture_open(f, ENTRIES, 5), REGION_WARM);
	assert_int_equal(region_clean_stop_s(f->region), 0);
}

static void
test_attach(void **state)
{
	struct fixture *f = *state;
	struct error_text err = {""};
	struct digest digest = test_digest(1, 1);
	struct region *view;
	struct index_info info;
	uint32_t entry;

	assert_int_equal(region_attach(f->fd, &view, &err), -ENOENT);
	fixture_open(f, ENTRIES, 0);
	test_publish(f->region, fixture_slot(f, 2), &digest, 1);
	assert_int_equal(region_attach(f->fd, &view, &err), 0);
	assert_false(region_is_writable(view));
	assert_true(region_is_writable(f->region));
	assert_int_equal(index_find(view, &digest, &entry), 0);
	assert_int_equal(index_read(view, entry, &info), 0);
	assert_int_equal(info.pins, 1);
	assert_int_equal(index_read(view, ENTRIES, &info), -ENOENT);
	assert_int_equal(index_check(view, test_report, NULL), 0);
	region_close(view);
}

static void
poke(const struct fixture *f, off_t at, const void *data, size_t len)
{
	int fd = openat(f->fd, "index", O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, data, len, at), (ssize_t)len);
	close(fd);
}

/* Opened by a host it is set aside with a reason; attached by a tool it is refused. */
static void
expect_set_aside(struct fixture *f, const char *reason)
{
	struct region_config config = {.entry_count = ENTRIES};
	struct error_text err = {""};
	enum region_origin origin;
	struct region *view;

	assert_int_equal(region_attach(f->fd, &view, &err), -EPROTO);
	if (strstr(err.text, reason) == NULL)
		fail_msg("%s: not about %s", err.text, reason);
	err.text[0] = '\0';
	assert_int_equal(region_open(f->fd, &config, &origin, &f->region, &err), 0);
	assert_int_equal(origin, REGION_SET_ASIDE);
	assert_non_null(strstr(err.text, reason));
	assert_non_null(strstr(err.text, "index.bad."));
	assert_true(has_file(f, "index.bad."));
	assert_int_equal(region_attach(f->fd, &view, &err), 0);
	region_close(view);
	region_close(f->region);
	f->region = NULL;
}

static void
test_bad_headers(void **state)
{
	static const struct {
		size_t at;
		const char *reason;
	} fields[] = {
	    {offsetof(struct layout_header, magic), "not an index"},
	    {offsetof(struct layout_header, version), "version"},
	    {offsetof(struct layout_header, fingerprint), "fingerprint"},
	    {offsetof(struct layout_header, ready), "never finished"},
	    {offsetof(struct layout_header, entry_count), "entries"},
	    {offsetof(struct layout_header, file_size), "truncated"},
	    {offsetof(struct layout_header, slots_offset), "offset"},
	    {offsetof(struct layout_header, cold_offset), "offset"},
	    {offsetof(struct layout_header, slot_count), "offset"},
	};
	struct fixture *f = *state;
	const uint32_t bad = 0x5a5a5a5b;

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		fixture_open(f, ENTRIES, 0);
		region_close(f->region);
		poke(f, (off_t)fields[i].at, &bad, sizeof(bad));
		expect_set_aside(f, fields[i].reason);
		unlinkat(f->fd, "index", 0);
	}
}

static void
test_bad_files(void **state)
{
	struct fixture *f = *state;
	struct stat st;
	int fd;

	fixture_open(f, ENTRIES, 0);
	region_close(f->region);
	assert_int_equal(fstatat(f->fd, "index", &st, 0), 0);
	fd = openat(f->fd, "index", O_WRONLY | O_CLOEXEC);
	assert_int_equal(ftruncate(fd, st.st_size - 4096), 0);
	close(fd);
	expect_set_aside(f, "truncated");
	fd = openat(f->fd, "index", O_WRONLY | O_TRUNC | O_CLOEXEC);
	assert_int_equal(write(fd, "hello\n", 6), 6);
	close(fd);
	expect_set_aside(f, "not an index");
	fd = openat(f->fd, "index", O_WRONLY | O_TRUNC | O_CLOEXEC);
	close(fd);
	expect_set_aside(f, "not an index");
}

static void
test_other_size_is_set_aside(void **state)
{
	struct fixture *f = *state;
	struct region_config config = {.entry_count = 2 * ENTRIES};
	struct error_text err = {""};
	enum region_origin origin;

	fixture_open(f, ENTRIES, 0);
	region_close(f->region);
	f->region = NULL;
	assert_int_equal(region_open(f->fd, &config, &origin, &f->region, &err), 0);
	assert_int_equal(origin, REGION_SET_ASIDE);
	assert_non_null(strstr(err.text, "configured"));
	assert_int_equal(region_entry_count(f->region), 2 * ENTRIES);
}

static void
read_everything(const struct region *view)
{
	uint64_t values[COUNTER_COUNT];
	struct index_info info;
	struct slot_info slot;
	uint32_t entry;

	for (uint32_t n = 0; n < region_entry_count(view) + 2; n++) {
		if (index_read(view, n, &info) == 0)
			index_find(view, &info.directory, &entry);
	}
	for (uint32_t n = 0; n < SLOT_COUNT_MAX; n++)
		slot_read(view, n, &slot);
	counters_read(view, values);
	gate_in_flight(view);
}

/*
 * Whatever the bytes: a tool reads without harm, and a host that opens the file repairs it to one
 * in which every rule holds.
 */
static void
test_garbage(void **state)
{
	struct fixture *f = *state;
	struct region_config config = {.entry_count = 16, .link_cap = 4};
	struct digest digest = test_digest(0, 1), inner = test_digest(0, 2);
	struct error_text err;
	enum region_origin origin;
	struct region *view;
	struct index_pin pin;
	struct stat st;
	unsigned short seed[3] = {1, 2, 3};

	for (int round = 0; round < GARBAGE_ROUNDS; round++) {
		int fd;

		assert_int_equal(region_open(f->fd, &config, &origin, &f->region, &err), 0);
		pin = test_publish(f->region, fixture_slot(f, 2), &digest, 1);
		index_add_inside(
		    f->region, slot_at(f->region, 2), &pin, &inner, "p", &(struct index_tree){0});
		region_close(f->region);
		fd = openat(f->fd, "index", O_RDWR | O_CLOEXEC);
		assert_int_equal(fstat(fd, &st), 0);
		for (int i = 0; i < 200; i++) {
			/* The header now and then, slots, gate and table always. */
			off_t at = round % 4 == 0 && i < 4
			    ? nrand48(seed) % 256
			    : 4096 + nrand48(seed) % (st.st_size - 4104);
			uint32_t value =
			    i % 3 == 0 ? (uint32_t)(nrand48(seed) % 300) : (uint32_t)jrand48(seed);

			assert_int_equal(pwrite(fd, &value, 4, at & ~(off_t)3), 4);
		}
		/* The table is small in the file, so hit it on purpose. */
		for (int i = 0; i < 60; i++) {
			off_t table = st.st_size - 16 * 512 - 256;
			uint32_t value = (uint32_t)jrand48(seed) & (i % 2 ? 7 : ~0u);

			assert_int_equal(
			    pwrite(fd, &value, 4, (table + nrand48(seed) % 2300) & ~(off_t)3), 4);
		}
		close(fd);
		if (region_attach(f->fd, &view, &err) == 0) {
			read_everything(view);
			region_close(view);
		}
		assert_int_equal(region_open(f->fd, &config, &origin, &f->region, &err), 0);
		read_everything(f->region);
		if (index_check(f->region, test_report, NULL) != 0)
			fail_msg("round %d", round);
		region_close(f->region);
		unlinkat(f->fd, "index", 0);
	}
	f->region = NULL;
}

/* A host that was killed: everything is given back by the next open. */
static void
test_repair_at_open(void **state)
{
	struct fixture *f = *state;
	struct digest kept = test_digest(1, 1), building = test_digest(2, 2);
	struct index_claim claim;
	struct index_pin pin;
	struct slot *slot;

	fixture_open(f, ENTRIES, 2);
	slot = fixture_slot(f, 2);
	test_publish(f->region, slot, &kept, 5);
	assert_int_equal(index_claim(f->region, slot, &building, &claim), 0);
	gate_enter(f->region, slot);
	region_close(f->region);
	assert_int_equal(fixture_open(f, ENTRIES, 2), REGION_WARM);
	assert_int_equal(gate_in_flight(f->region), 0);
	slot = fixture_slot(f, 5);
	assert_int_equal(index_pin(f->region, slot, &kept, &pin), 0);
	assert_int_equal(index_claim(f->region, slot, &building, &claim), 0);
	index_abandon(f->region, slot, &claim);
	index_unpin(f->region, slot, &pin);
	assert_int_equal(index_check(f->region, test_report, NULL), 0);
	assert_int_equal(test_counter(f->region, COUNTER_index_trees), 1);
}

static void
test_boot_is_noticed(void **state)
{
	struct fixture *f = *state;
	const uint64_t other = 12345;

	fixture_open(f, ENTRIES, 0);
	region_close(f->region);
	poke(f, offsetof(struct layout_header, boot_id), &other, sizeof(other));
	assert_int_equal(fixture_open(f, ENTRIES, 0), REGION_WARM);
	assert_true(region_booted_since(f->region));
	region_close(f->region);

	/* A start that ended before it had done anything about it leaves the question open. */
	assert_int_equal(fixture_open(f, ENTRIES, 0), REGION_WARM);
	assert_true(region_booted_since(f->region));
	region_mark_begun(f->region);
	region_close(f->region);
	assert_int_equal(fixture_open(f, ENTRIES, 0), REGION_WARM);
	assert_false(region_booted_since(f->region));
}

/* A process that inherited nothing finds the same file, writes its own slot, and repairs nothing.
 */
static void
test_join(void **state)
{
	struct fixture *f = *state;
	struct error_text err = {""};
	struct region *joined;
	struct slot_info info;
	uint64_t instance;

	fixture_open(f, ENTRIES, 0);
	instance = region_instance(f->region);
	slot_assign(f->region, SLOT_GATEWAY);
	fixture_slot(f, SLOT_WORKER_FIRST);
	assert_int_equal(region_join(f->fd, instance, &joined, &err), 0);
	assert_true(region_is_writable(joined));
	assert_int_equal(region_instance(joined), instance);
	assert_int_equal(region_entry_count(joined), region_entry_count(f->region));
	slot_activate(joined, SLOT_GATEWAY, getpid());
	COUNTER_ADD(slot_at(joined, SLOT_GATEWAY), calls, 7);
	assert_int_equal(test_counter(f->region, COUNTER_calls), 7);
	slot_read(f->region, SLOT_GATEWAY, &info);
	assert_int_equal(info.state, SLOT_ACTIVE);
	slot_read(joined, SLOT_WORKER_FIRST, &info);
	assert_int_equal(info.state, SLOT_ACTIVE); /* not given back, as an open would */
	region_close(joined);
	slot_read(f->region, SLOT_GATEWAY, &info);
	assert_int_equal(info.state, SLOT_ACTIVE);
}

static void
test_join_of_another(void **state)
{
	struct fixture *f = *state;
	struct error_text err = {""};
	struct region *joined = NULL;
	uint64_t instance;

	assert_int_equal(region_join(f->fd, 1, &joined, &err), -ENOENT);
	fixture_open(f, ENTRIES, 0);
	instance = region_instance(f->region);
	assert_int_equal(region_join(f->fd, instance + 1, &joined, &err), -ESTALE);
	assert_non_null(strstr(err.text, "another"));
	/* a host that was started anew beside this one has put another file there */
	assert_int_equal(unlinkat(f->fd, "index", 0), 0);
	region_close(f->region);
	fixture_open(f, ENTRIES, 0);
	assert_int_equal(region_join(f->fd, instance, &joined, &err), -ESTALE);
	assert_null(joined);
	assert_int_equal(unlinkat(f->fd, "index", 0), 0);
	assert_int_equal(fs_write_atomic(f->fd, "index", "rubbish", 7, 0600), 0);
	assert_int_equal(region_join(f->fd, instance, &joined, &err), -EPROTO);
	assert_null(joined);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_create_and_warm, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_attach, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_bad_headers, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_bad_files, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_other_size_is_set_aside, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_garbage, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_repair_at_open, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_boot_is_noticed, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_join, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_join_of_another, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
