#include <errno.h>

#include "tests/unit/supervisor/jobs_host.h"

static void
jobs_go_to_idle_workers_in_order(void **state)
{
	struct message message;

	assert_int_equal(submit(10, 0), 0);
	assert_int_equal(submit(11, 0), 0);
	assert_int_equal(submit(12, -1), 0);
	assert_int_equal(submit(12, 0), -EEXIST);
	assert_int_equal(counter(COUNTER_actions_queued), 3);
	idle(4);
	idle(2);
	pool_dispatch(test.host);
	expect(&message, MSG_started);
	assert_int_equal(message.started.job, 12);
	assert_int_equal(message.started.worker, 2);
	assert_int_equal(message.started.attempt, 1);
	expect(&message, MSG_started);
	assert_int_equal(message.started.job, 10);
	expect_nothing();
	assert_int_equal(test.host->workers[2].state, CHILD_BUSY);
	assert_int_equal(counter(COUNTER_actions_queued), 1);
	assert_int_equal(counter(COUNTER_actions_running), 2);
}

static void
done_is_passed_on_under_the_clients_number(void **state)
{
	struct msg_done done = {.status = JOB_OK, .exit_code = 3, .has_exit_code = true};
	struct message message;
	struct child *worker = idle(0);

	assert_int_equal(submit(77, 0), 0);
	pool_dispatch(test.host);
	expect(&message, MSG_started);
	done.job = worker->job->number;
	jobs_done(test.host, worker->job, &done);
	expect(&message, MSG_done);
	assert_int_equal(message.done.job, 77);
	assert_int_equal(message.done.exit_code, 3);
	assert_int_equal(message.done.attempt, 1);
	assert_null(worker->job);
	assert_true(TAILQ_EMPTY(&test.host->jobs));
	assert_int_equal(submit(77, 0), 0); /* the number is free again */
}

static void
three_tries_and_the_reason(void **state)
{
	struct message message;
	struct child *worker = idle(0);

	assert_int_equal(submit(1, 0), 0);
	assert_int_equal(submit(2, 0), 0);
	for (unsigned try = 1; try <= JOB_ATTEMPTS; try++) {
		worker->state = CHILD_IDLE;
		pool_dispatch(test.host);
		expect(&message, MSG_started);
		assert_int_equal(message.started.job, 1); /* first again, before the other */
		assert_int_equal(message.started.attempt, try);
		worker->state = CHILD_WAITING;
		jobs_worker_lost(test.host, worker->job, "worker 0 (pid 5) was killed");
		assert_null(worker->job);
	}
	expect(&message, MSG_done);
	assert_int_equal(message.done.job, 1);
	assert_int_equal(message.done.status, JOB_WORKER_LOST);
	assert_memory_equal(message.done.message.data, "worker 0 (pid 5) was killed; 3 tries", 36);
	assert_int_equal(counter(COUNTER_actions_retried), 2);
	assert_int_equal(counter(COUNTER_actions_given_up), 1);
	assert_int_equal(counter(COUNTER_actions_done), 1);
	assert_int_equal(counter(COUNTER_actions_queued), 1);
}

static void
cancelling(void **state)
{
	struct message message;
	struct child *worker = idle(0);

	assert_int_equal(submit(1, 0), 0);
	assert_int_equal(submit(2, 0), 0);
	pool_dispatch(test.host);
	expect(&message, MSG_started);
	jobs_cancel(test.host, queue_first(&test.host->queue)); /* queued: at once */
	expect(&message, MSG_done);
	assert_int_equal(message.done.job, 2);
	assert_int_equal(message.done.status, JOB_CANCELLED);
	jobs_cancel(test.host, worker->job); /* running: when its worker says so */
	expect_nothing();
	worker->state = CHILD_WAITING;
	jobs_worker_lost(test.host, worker->job, "x"); /* and not tried again */
	expect(&message, MSG_done);
	assert_int_equal(message.done.status, JOB_CANCELLED);
	assert_int_equal(counter(COUNTER_actions_retried), 0);
	assert_int_equal(counter(COUNTER_actions_cancelled), 2);
	assert_int_equal(counter(COUNTER_actions_done), 2);
}

static void
nothing_is_given_out_before_the_store_is_trusted(void **state)
{
	struct message message;

	test.host->trusted = false;
	idle(0);
	assert_int_equal(submit(1, 0), 0);
	pool_dispatch(test.host);
	expect_nothing();
	test.host->trusted = true;
	pool_dispatch(test.host);
	expect(&message, MSG_started);
}

static void
the_queue_has_a_limit(void **state)
{
	for (unsigned i = 0; i < JOBS_QUEUED_MAX; i++)
		if (submit(i, 0) != 0)
			fail_msg("job %u refused", i);
	assert_int_equal(submit(JOBS_QUEUED_MAX, 0), -EBUSY);
}

/* What a client saw before it asked is needed until its job has ended. */
static void
the_janitor_is_told_what_is_needed(void **state)
{
	struct msg_submit early = {.job = 1, .seen_s = 1000, .has_seen_s = true};
	struct msg_submit late = {.job = 2, .seen_s = 2000, .has_seen_s = true};

	assert_int_equal(region_needed_since(test.host->region), 0);
	assert_int_equal(jobs_submit(test.host, &test.client, &late), 0);
	assert_int_equal(region_needed_since(test.host->region), 2000);
	assert_int_equal(jobs_submit(test.host, &test.client, &early), 0);
	assert_int_equal(region_needed_since(test.host->region), 1000);
	jobs_cancel(test.host, TAILQ_NEXT(queue_first(&test.host->queue), arrival_link));
	jobs_say_needed(test.host);
	assert_int_equal(region_needed_since(test.host->region), 2000);
	jobs_cancel(test.host, queue_first(&test.host->queue));
	jobs_say_needed(test.host);
	assert_int_equal(region_needed_since(test.host->region), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		jobs_go_to_idle_workers_in_order, open_host, close_host),
	    cmocka_unit_test_setup_teardown(
		done_is_passed_on_under_the_clients_number, open_host, close_host),
	    cmocka_unit_test_setup_teardown(three_tries_and_the_reason, open_host, close_host),
	    cmocka_unit_test_setup_teardown(cancelling, open_host, close_host),
	    cmocka_unit_test_setup_teardown(
		nothing_is_given_out_before_the_store_is_trusted, open_host, close_host),
	    cmocka_unit_test_setup_teardown(the_queue_has_a_limit, open_host, close_host),
	    cmocka_unit_test_setup_teardown(
		the_janitor_is_told_what_is_needed, open_host, close_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
