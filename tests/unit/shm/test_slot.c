#include <signal.h>

#include "base/check.h"
#include "tests/unit/shm/shm_test.h"

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	fixture_dir(f);
	fixture_open(f, 64, 2);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;
	unsigned breaches = index_check(f->region, test_report, NULL);

	fixture_close(f);
	free(f);
	return breaches == 0 ? 0 : -1;
}

static void
test_life(void **state)
{
	struct fixture *f = *state;
	struct digest action = test_digest(7, 7);
	struct slot_info info;
	struct slot *slot;
	char label[SLOT_LABEL_SIZE + 20];

	slot_read(f->region, 4, &info);
	assert_int_equal(info.state, SLOT_UNUSED);
	slot_assign(f->region, 4);
	slot_read(f->region, 4, &info);
	assert_int_equal(info.state, SLOT_ASSIGNED);
	slot_activate(f->region, 4, getpid());
	slot = slot_at(f->region, 4);
	assert_int_equal(slot_number(f->region, slot), 4);
	memset(label, 'l', sizeof(label));
	label[sizeof(label) - 1] = '\0';
	slot_set_phase(slot, SLOT_RUNNING);
	slot_set_action(slot, &action, label, 2);
	slot_set_sandbox(slot, 99);
	slot_set_action_pid(slot, 1234);
	slot_read(f->region, 4, &info);
	assert_int_equal(info.state, SLOT_ACTIVE);
	assert_int_equal(info.phase, SLOT_RUNNING);
	assert_int_equal(info.pid, getpid());
	assert_int_equal(info.action_pid, 1234);
	assert_int_equal(info.attempt, 2);
	assert_int_equal(info.sandbox, 99);
	assert_true(digest_equal(&info.action, &action));
	assert_int_equal(strlen(info.label), SLOT_LABEL_SIZE - 1);
	assert_true(info.phase_since_us > 0 && info.action_since_us > 0);
	assert_true(atom_load_relaxed(&slot->start) != 0);
	slot_clear_action(slot);
	slot_read(f->region, 4, &info);
	assert_string_equal(info.label, "");
	slot_retire(f->region, 4);
	slot_read(f->region, 4, &info);
	assert_int_equal(info.state, SLOT_UNUSED);
	slot_assign(f->region, 4);
	slot_activate(f->region, 4, getpid());
	slot_retire(f->region, 4);
}

static void
test_retire_gives_back(void **state)
{
	struct fixture *f = *state;
	struct slot *slot = fixture_slot(f, 4);
	struct digest digest = test_digest(1, 1), other = test_digest(2, 2);
	struct index_claim claim;

	test_publish(f->region, slot, &digest, 1);
	assert_int_equal(index_claim(f->region, slot, &other, &claim), 0);
	gate_enter(f->region, slot);
	slot_retire(f->region, 4);
	assert_int_equal(gate_in_flight(f->region), 0);
	slot = fixture_slot(f, 4);
	assert_int_equal(index_claim(f->region, slot, &other, &claim), 0);
	index_abandon(f->region, slot, &claim);
}

static void
test_last_words(void **state)
{
	struct fixture *f = *state;
	struct slot_repaired repaired;
	int status;
	pid_t child;

	slot_assign(f->region, 4);
	child = fork();
	if (child == 0) {
		if (freopen("/dev/null", "w", stderr) == NULL)
			_exit(1);
		slot_activate(f->region, 4, getpid());
		check_last_words(slot_words(slot_at(f->region, 4)), SLOT_WORDS_SIZE);
		slot_set_sandbox(slot_at(f->region, 4), 17);
		slot_set_action_pid(slot_at(f->region, 4), 4321);
		signal(SIGABRT, SIG_DFL);
		CHECK(1 + 1 == 3);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	slot_repair(f->region, 4, &repaired);
	assert_non_null(strstr(repaired.words, "1 + 1 == 3"));
	assert_int_equal(repaired.sandbox, 17);
	assert_int_equal(repaired.action_pid, 4321);
	slot_repair(f->region, 4, &repaired);
	assert_string_equal(repaired.words, "");
	assert_int_equal(test_counter(f->region, COUNTER_slot_repairs), 1);
}

/* The child does everything, in a loop, until it is killed. */
static void
child_loop(struct region *region, uint32_t number, int tell_fd)
{
	struct slot *slot = slot_at(region, number);
	struct index_tree tree = {.bytes = 10};

	slot_activate(region, number, getpid());
	for (uint32_t i = 0;; i++) {
		struct digest digest = test_digest((uint8_t)(i % 3), i % 30), seen;
		struct index_claim claim;
		struct index_pin pin;
		uint32_t permit = gate_enter(region, slot);

		if (index_pin(region, slot, &digest, &pin) == 0)
			index_unpin(region, slot, &pin);
		else if (index_claim(region, slot, &digest, &claim) == 0 && i % 7 == 0)
			index_abandon(region, slot, &claim);
		else if (slot->builds.value != 0 &&
		    index_publish(region, slot, &claim, &tree, &pin) == 0)
			index_unpin(region, slot, &pin);
		gate_leave(region, slot, permit);
		if (index_evict_begin(region, slot, i % region_entry_count(region), &seen) == 0)
			index_evict_finish(region, slot, i % region_entry_count(region));
		if (i == 100 && write(tell_fd, "x", 1) != 1)
			_exit(1);
	}
}

/* Cleared LEAVING entries wait for the janitor: here nothing is on disk, so all are finished. */
static void
finish_leaving(struct region *region)
{
	struct slot *janitor = slot_at(region, SLOT_JANITOR);
	struct digest digest;
	uint32_t entry = 0;

	while (index_evict_resume(region, janitor, &entry, &digest) == 0)
		index_evict_finish(region, janitor, entry);
}

static void
test_kill_and_repair(void **state)
{
	struct fixture *f = *state;
	int fds[2];

	fixture_slot(f, SLOT_JANITOR);
	assert_int_equal(pipe(fds), 0);
	for (int round = 0; round < 60; round++) {
		struct slot_repaired repaired;
		uint64_t spins = (uint64_t)(round * 7919 % 20000);
		pid_t pids[2];
		char byte;
		int status;

		for (int i = 0; i < 2; i++) {
			slot_assign(f->region, 4 + (uint32_t)i);
			pids[i] = fork();
			if (pids[i] == 0)
				child_loop(f->region, 4 + (uint32_t)i, fds[1]);
			assert_true(pids[i] > 0);
		}
		for (int i = 0; i < 2; i++)
			assert_int_equal(read(fds[0], &byte, 1), 1);
		for (volatile uint64_t spin = 0; spin < spins; spin++)
			;
		for (int i = 0; i < 2; i++) {
			assert_int_equal(kill(pids[i], SIGKILL), 0);
			assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
			assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
			/* The first is repaired while the second still runs. */
			slot_repair(f->region, 4 + (uint32_t)i, &repaired);
		}
		finish_leaving(f->region);
		assert_int_equal(gate_in_flight(f->region), 0);
		if (index_check(f->region, test_report, NULL) != 0)
			fail_msg("round %d", round);
	}
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(test_counter(f->region, COUNTER_slot_repairs), 120);
}

/* Only while its owner runs just that job is a sandbox the job's. */
static void
test_sandbox_of_job(void **state)
{
	struct fixture *f = *state;
	struct slot *slot = fixture_slot(f, SLOT_WORKER_FIRST);
	struct slot_repaired repaired;

	assert_int_equal(slot_sandbox_of_job(f->region, SLOT_WORKER_FIRST, 0), 0);
	assert_int_equal(slot_sandbox_of_job(f->region, SLOT_WORKER_FIRST, 5), 0);
	slot_set_job(slot, 5);
	assert_int_equal(slot_sandbox_of_job(f->region, SLOT_WORKER_FIRST, 5), 0);
	slot_set_sandbox(slot, 99);
	assert_int_equal(slot_sandbox_of_job(f->region, SLOT_WORKER_FIRST, 5), 99);
	assert_int_equal(slot_sandbox_of_job(f->region, SLOT_WORKER_FIRST, 4), 0);
	assert_int_equal(slot_sandbox_of_job(f->region, SLOT_WORKER_FIRST, 0), 0);
	assert_int_equal(slot_sandbox_of_job(f->region, SLOT_WORKER_FIRST + 1, 5), 0);
	slot_set_sandbox(slot, 0);
	assert_int_equal(slot_sandbox_of_job(f->region, SLOT_WORKER_FIRST, 5), 0);
	slot_set_sandbox(slot, 100);
	slot_clear_action(slot);
	assert_int_equal(slot_sandbox_of_job(f->region, SLOT_WORKER_FIRST, 5), 0);
	/* one that was killed at its job leaves nothing to be found */
	slot_set_job(slot, 6);
	slot_repair(f->region, SLOT_WORKER_FIRST, &repaired);
	assert_int_equal(repaired.sandbox, 100);
	fixture_slot(f, SLOT_WORKER_FIRST);
	slot_set_sandbox(slot, 101);
	assert_int_equal(slot_sandbox_of_job(f->region, SLOT_WORKER_FIRST, 6), 0);
	slot_set_sandbox(slot, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_life, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_retire_gives_back, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_last_words, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_kill_and_repair, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_sandbox_of_job, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
