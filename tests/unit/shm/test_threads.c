/*
 * The shared algorithms with threads, each with a slot of its own, for ThreadSanitizer (which sees
 * nothing across processes), and the same work with processes.
 */
#include <sys/mman.h>

#include <pthread.h>

#include "tests/unit/shm/shm_test.h"

enum {
	ACTORS = 4,
	CAP = 2,
	ENTRIES = 64,
#if defined(__SANITIZE_THREAD__)
	ROUNDS = 4000,
#else
	ROUNDS = 6000,
#endif
	TREES = 40
};

/* What the disk would hold, kept by the actors themselves. */
struct model {
	_Atomic int exists[TREES];
	_Atomic unsigned in_flight, over, lost, decided;
};

struct work {
	struct region *region;
	struct model *model;
	uint32_t number;
};

static struct digest
tree_digest(uint32_t n)
{
	return test_digest((uint8_t)(n % 2), n);
}

static void
enter_and_leave(const struct work *work, struct slot *slot)
{
	uint32_t permit = gate_enter(work->region, slot);

	if (atomic_fetch_add(&work->model->in_flight, 1) + 1 > CAP)
		atomic_fetch_add(&work->model->over, 1);
	atomic_fetch_sub(&work->model->in_flight, 1);
	gate_leave(work->region, slot, permit);
}

static void
build(const struct work *work, struct slot *slot, uint32_t n)
{
	struct digest digest = tree_digest(n), inner = test_digest(2, n);
	struct index_tree tree = {.bytes = n};
	struct index_claim claim;
	struct index_pin pin;
	int rc = index_claim(work->region, slot, &digest, &claim);

	if (rc == -EBUSY)
		index_wait(work->region, &digest, 1000);
	if (rc != 0)
		return;
	if (n % 5 == 0) {
		index_abandon(work->region, slot, &claim);
		return;
	}
	enter_and_leave(work, slot);
	work->model->exists[n] = 1;
	index_publish(work->region, slot, &claim, &tree, &pin);
	index_add_inside(work->region, slot, &pin, &inner, "in/side", &tree);
	index_unpin(work->region, slot, &pin);
}

static void
use(const struct work *work, struct slot *slot, uint32_t n, bool inside)
{
	struct digest digest = inside ? test_digest(2, n) : tree_digest(n);
	char location[INDEX_LOCATION_SIZE];
	struct index_pin pin;
	int rc = index_pin(work->region, slot, &digest, &pin);

	if (rc == 0 || rc == -ENOENT)
		atomic_fetch_add(&work->model->decided, 1);
	if (rc == -ENOENT && !inside)
		build(work, slot, n);
	if (rc != 0)
		return;
	/* An inside pin lies in the host that was built from the same n, or it is a tree of its
	 * own. */
	index_location(work->region, &pin, location);
	if (work->model->exists[n] == 0 || (pin.host != pin.entry) != inside ||
	    (inside && strcmp(location + strlen(location) - 7, "in/side") != 0))
		atomic_fetch_add(&work->model->lost, 1);
	index_unpin(work->region, slot, &pin);
}

static void
evict(const struct work *work, struct slot *slot, uint32_t entry)
{
	struct digest digest;

	if (index_evict_begin(work->region, slot, entry, &digest) != 0)
		return;
	work->model->exists[digest.size_bytes - 100] = 0;
	index_evict_finish(work->region, slot, entry);
}

static void *
work_run(void *arg)
{
	const struct work *work = arg;
	struct slot *slot = slot_at(work->region, work->number);
	unsigned short seed[3] = {(unsigned short)work->number, 2, 3};
	struct index_info info;

	for (int i = 0; i < ROUNDS; i++) {
		uint32_t n = (uint32_t)nrand48(seed) % TREES;

		use(work, slot, n, i % 3 == 0);
		if (i % 4 == 0)
			enter_and_leave(work, slot);
		if (i % 8 == 0)
			evict(work, slot, (uint32_t)nrand48(seed) % ENTRIES);
		if (i % 16 == 0)
			index_read(work->region, (uint32_t)nrand48(seed) % ENTRIES, &info);
	}
	return NULL;
}

static void
verify(struct fixture *f, const struct model *model)
{
	uint64_t trees = 0;

	for (int n = 0; n < TREES; n++)
		trees += (uint64_t)model->exists[n];
	assert_int_equal(model->over, 0);
	assert_int_equal(model->lost, 0);
	assert_int_equal(index_check(f->region, test_report, NULL), 0);
	assert_int_equal(gate_in_flight(f->region), 0);
	assert_int_equal(test_counter(f->region, COUNTER_index_trees), trees);
	assert_int_equal(test_counter(f->region, COUNTER_index_hits) +
		test_counter(f->region, COUNTER_index_misses),
	    model->decided);
	assert_int_equal(test_counter(f->region, COUNTER_trees_built) -
		test_counter(f->region, COUNTER_trees_evicted),
	    trees);
	assert_true(test_counter(f->region, COUNTER_link_gate_high_water) <= CAP);
	assert_true(test_counter(f->region, COUNTER_index_hits) > 0);
	assert_true(test_counter(f->region, COUNTER_trees_evicted) > 0);
}

static void
test_threads(void **state)
{
	struct fixture f;
	struct work work[ACTORS];
	pthread_t threads[ACTORS];
	struct model *model = calloc(1, sizeof(*model));

	(void)state;
	fixture_dir(&f);
	fixture_open(&f, ENTRIES, CAP);
	for (uint32_t i = 0; i < ACTORS; i++) {
		fixture_slot(&f, 2 + i);
		work[i] = (struct work){.region = f.region, .model = model, .number = 2 + i};
	}
	for (int i = 0; i < ACTORS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, work_run, &work[i]), 0);
	for (int i = 0; i < ACTORS; i++)
		pthread_join(threads[i], NULL);
	verify(&f, model);
	free(model);
	fixture_close(&f);
}

static void
test_processes(void **state)
{
	struct fixture f;
	pid_t pids[ACTORS];
	struct model *model =
	    mmap(NULL, sizeof(*model), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	(void)state;
	assert_ptr_not_equal(model, MAP_FAILED);
	fixture_dir(&f);
	fixture_open(&f, ENTRIES, CAP);
	for (uint32_t i = 0; i < ACTORS; i++) {
		slot_assign(f.region, 2 + i);
		pids[i] = fork();
		if (pids[i] == 0) {
			struct work work = {.region = f.region, .model = model, .number = 2 + i};

			slot_activate(f.region, 2 + i, getpid());
			work_run(&work);
			_exit(0);
		}
	}
	for (int i = 0; i < ACTORS; i++)
		test_child_ok(pids[i]);
	verify(&f, model);
	munmap(model, sizeof(*model));
	fixture_close(&f);
}

/* Threads of one slot may share the gate and the counters. */
static void *
share_run(void *arg)
{
	const struct work *work = arg;

	for (int i = 0; i < ROUNDS; i++)
		enter_and_leave(work, slot_at(work->region, 2));
	for (int i = 0; i < ROUNDS; i++)
		COUNTER_ADD(slot_at(work->region, 2), outputs_moved, 1);
	return NULL;
}

static void
test_threads_of_one_slot(void **state)
{
	struct fixture f;
	struct work work;
	pthread_t threads[ACTORS];
	struct model *model = calloc(1, sizeof(*model));

	(void)state;
	fixture_dir(&f);
	fixture_open(&f, ENTRIES, CAP);
	fixture_slot(&f, 2);
	work = (struct work){.region = f.region, .model = model, .number = 2};
	for (int i = 0; i < ACTORS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, share_run, &work), 0);
	for (int i = 0; i < ACTORS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(model->over, 0);
	assert_int_equal(gate_in_flight(f.region), 0);
	assert_int_equal(test_counter(f.region, COUNTER_outputs_moved), ACTORS * ROUNDS);
	free(model);
	fixture_close(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_threads),
	    cmocka_unit_test(test_threads_of_one_slot),
	    cmocka_unit_test(test_processes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
