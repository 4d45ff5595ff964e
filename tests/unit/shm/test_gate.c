#include <sys/mman.h>

#include <sched.h>
#include <signal.h>

#include "tests/unit/shm/shm_test.h"

enum { CAP = 3 };

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	fixture_dir(f);
	fixture_open(f, 64, CAP);
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

static void
test_enter_leave(void **state)
{
	struct fixture *f = *state;
	struct slot *slot = fixture_slot(f, 2);
	uint32_t permits[CAP];

	for (uint32_t i = 0; i < CAP; i++) {
		permits[i] = gate_enter(f->region, slot);
		assert_int_equal(gate_in_flight(f->region), i + 1);
		assert_int_equal(test_counter(f->region, COUNTER_link_gate_high_water), i + 1);
	}
	for (uint32_t i = 0; i < CAP; i++)
		gate_leave(f->region, slot, permits[i]);
	assert_int_equal(gate_in_flight(f->region), 0);
	assert_int_equal(test_counter(f->region, COUNTER_link_gate_high_water), CAP);
	assert_int_equal(test_counter(f->region, COUNTER_link_gate_cap), CAP);
	assert_int_equal(test_counter(f->region, COUNTER_link_gate_waits), 0);
}

static void
test_cap_changes(void **state)
{
	struct fixture *f = *state;
	struct slot *slot = fixture_slot(f, 2);
	uint32_t high;

	region_set_link_cap(f->region, 0);
	assert_int_equal(region_link_cap(f->region), 1);
	region_set_link_cap(f->region, LINK_CAP_MAX + 5);
	assert_int_equal(region_link_cap(f->region), LINK_CAP_MAX);
	for (int i = 0; i < 40; i++)
		high = gate_enter(f->region, slot);
	assert_int_equal(test_counter(f->region, COUNTER_link_gate_high_water), 40);
	region_set_link_cap(f->region, 2);
	gate_leave(f->region, slot, high);
	slot_retire(f->region, 2);
	slot = fixture_slot(f, 2);
	gate_leave(f->region, slot, gate_enter(f->region, slot));
	assert_in_range(test_counter(f->region, COUNTER_link_gate_high_water), 1, 2);
}

/* What the gate itself says is not asked: the children count themselves, in memory of the test's.
 */
struct tally {
	_Atomic unsigned in_flight, most, over;
};

static void
child_links(struct region *region, uint32_t number, struct tally *tally)
{
	struct slot *slot = slot_at(region, number);

	slot_activate(region, number, getpid());
	for (int i = 0; i < 20000; i++) {
		uint32_t permit = gate_enter(region, slot);
		unsigned now = atomic_fetch_add(&tally->in_flight, 1) + 1, most = tally->most;

		while (now > most && !atomic_compare_exchange_weak(&tally->most, &most, now))
			;
		if (now > CAP)
			atomic_fetch_add(&tally->over, 1);
		if (i % 64 == 0)
			sched_yield();
		atomic_fetch_sub(&tally->in_flight, 1);
		gate_leave(region, slot, permit);
	}
	_exit(0);
}

static void
test_bound_across_processes(void **state)
{
	struct fixture *f = *state;
	struct tally *tally =
	    mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pids[8];

	assert_ptr_not_equal(tally, MAP_FAILED);
	for (uint32_t i = 0; i < 8; i++) {
		slot_assign(f->region, 2 + i);
		pids[i] = fork();
		if (pids[i] == 0)
			child_links(f->region, 2 + i, tally);
	}
	for (int i = 0; i < 8; i++)
		test_child_ok(pids[i]);
	assert_int_equal(tally->over, 0);
	assert_in_range(tally->most, 1, CAP);
	assert_int_equal(gate_in_flight(f->region), 0);
	assert_in_range(test_counter(f->region, COUNTER_link_gate_high_water), tally->most, CAP);
	munmap(tally, sizeof(*tally));
}

/* A holder is killed while others wait: its permits come back and the waiter gets one. */
static void
test_killed_holder(void **state)
{
	struct fixture *f = *state;
	struct slot_repaired repaired;
	pid_t holder, waiter;
	int fds[2], status;
	char byte;

	assert_int_equal(pipe(fds), 0);
	slot_assign(f->region, 2);
	slot_assign(f->region, 3);
	holder = fork();
	if (holder == 0) {
		slot_activate(f->region, 2, getpid());
		for (int i = 0; i < CAP; i++)
			gate_enter(f->region, slot_at(f->region, 2));
		if (write(fds[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(fds[0], &byte, 1), 1);
	waiter = fork();
	if (waiter == 0) {
		slot_activate(f->region, 3, getpid());
		gate_leave(
		    f->region, slot_at(f->region, 3), gate_enter(f->region, slot_at(f->region, 3)));
		_exit(0);
	}
	while (test_counter(f->region, COUNTER_link_gate_waits) == 0)
		sched_yield();
	kill(holder, SIGKILL);
	assert_int_equal(waitpid(holder, &status, 0), holder);
	slot_repair(f->region, 2, &repaired);
	assert_int_equal(repaired.permits, CAP);
	test_child_ok(waiter);
	assert_int_equal(gate_in_flight(f->region), 0);
	assert_int_equal(test_counter(f->region, COUNTER_link_gate_reclaimed), CAP);
	assert_int_equal(test_counter(f->region, COUNTER_link_gate_waits), 1);
	close(fds[0]);
	close(fds[1]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_enter_leave, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_cap_changes, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_bound_across_processes, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_killed_holder, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
