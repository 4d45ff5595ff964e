/* Jobs of the gateway: they outlive it, and stay with their end until it forgets them. */
#include <errno.h>

#include "supervisor/gateway.h"
#include "tests/unit/supervisor/jobs_host.h"

static int
open_gateway(void **state)
{
	int rc = open_host(state);

	test.client.keeps_ended = true;
	test.host->gateway_client = &test.client;
	return rc;
}

static int
close_gateway(void **state)
{
	jobs_cancel_all(test.host, "the test is over");
	jobs_fini(test.host);
	return close_host(state);
}

static int
say(const struct message *message)
{
	return gateway_message(test.host, message);
}

static void
submit_named(uint64_t job, const char *operation)
{
	struct message message = {.type = MSG_submit};

	message.submit.job = job;
	memset(message.submit.action.hash, (int)job, sizeof(message.submit.action.hash));
	message.submit.operation = msg_text(operation);
	message.submit.has_operation = true;
	message.submit.priority = (int64_t)job;
	message.submit.skip_cache_lookup = job % 2 == 1;
	message.submit.alone = job % 3 == 0;
	assert_int_equal(say(&message), 0);
}

static int
forget(uint64_t job)
{
	struct message message = {.type = MSG_forget};

	message.forget.job = job;
	return say(&message);
}

static void
cancel(uint64_t job)
{
	struct message message = {.type = MSG_cancel};

	message.cancel.job = job;
	assert_int_equal(say(&message), 0);
}

/* The worker's job ends; what the gateway hears of it. */
static void
finish(struct child *worker, int64_t exit_code)
{
	struct msg_done done = {.status = JOB_OK, .exit_code = exit_code, .has_exit_code = true};

	done.job = worker->job->number;
	jobs_done(test.host, worker->job, &done);
	worker->state = CHILD_IDLE;
}

/* The gateway dies and another one takes its place. */
static void
replace_gateway(void)
{
	struct client jobs = test.client;

	peer_close(test.client.peer);
	channel_free(test.far);
	assert_int_equal(open_client(), 0);
	test.client.jobs = jobs.jobs;
	test.client.keeps_ended = true;
}

static void
expect_name(const struct message *adopt, const char *operation)
{
	assert_int_equal(adopt->adopt.operation.len, strlen(operation));
	assert_memory_equal(adopt->adopt.operation.data, operation, strlen(operation));
}

/* One queued, one that runs, one that has ended, in the order of their numbers. */
static void
the_next_one_is_told_everything(void **state)
{
	struct child *worker = idle(4);
	struct message message;

	submit_named(1, "a/operations/one");
	expect(&message, MSG_started);
	finish(worker, 3);
	expect(&message, MSG_done);
	submit_named(2, "operations/two");
	expect(&message, MSG_started);
	submit_named(3, "operations/three");
	expect_nothing();

	replace_gateway();
	jobs_adopt(&test.client);
	expect(&message, MSG_adopt);
	expect_name(&message, "a/operations/one");
	assert_int_equal(message.adopt.job, 1);
	assert_true(message.adopt.skip_cache_lookup);
	assert_int_equal(message.adopt.priority, 1);
	assert_int_equal(message.adopt.action.hash[5], 1);
	assert_false(message.adopt.has_worker);
	expect(&message, MSG_done);
	assert_int_equal(message.done.job, 1);
	assert_int_equal(message.done.exit_code, 3);
	assert_int_equal(message.done.worker, 4);
	expect(&message, MSG_adopt);
	expect_name(&message, "operations/two");
	assert_int_equal(message.adopt.job, 2);
	assert_true(message.adopt.has_worker);
	assert_int_equal(message.adopt.worker, 4);
	assert_int_equal(message.adopt.attempt, 1);
	assert_int_equal(message.adopt.number, worker->job->number);
	assert_true(message.adopt.queued_us > 0);
	expect(&message, MSG_adopt);
	expect_name(&message, "operations/three");
	assert_true(message.adopt.alone);
	assert_false(message.adopt.has_worker);
	expect_nothing();

	finish(worker, 0); /* goes on as if nothing had been */
	expect(&message, MSG_done);
	assert_int_equal(message.done.job, 2);
}

/* What ends while there is none is not lost. */
static void
ended_between_two(void **state)
{
	struct child *worker = idle(0);
	struct message message;

	submit_named(1, "operations/one");
	peer_close(test.client.peer);
	test.client.peer = NULL;
	finish(worker, 9);
	assert_int_equal(test.host->ended_count, 1);
	assert_true(TAILQ_EMPTY(&test.host->jobs));
	replace_gateway();
	jobs_adopt(&test.client);
	expect(&message, MSG_adopt);
	expect(&message, MSG_done);
	assert_int_equal(message.done.exit_code, 9);
	expect_nothing();
}

static void
kept_until_it_is_forgotten(void **state)
{
	struct child *worker = idle(0);
	struct message message;

	submit_named(1, "operations/one");
	expect(&message, MSG_started);
	assert_int_equal(forget(1), -EPROTO); /* it lives */
	finish(worker, 0);
	expect(&message, MSG_done);
	submit_named(1, "operations/another"); /* the number is not free */
	expect(&message, MSG_refused);
	assert_int_equal(message.refused.job, 1);
	assert_int_equal(test.host->ended_count, 1);
	assert_int_equal(forget(1), 0);
	assert_int_equal(test.host->ended_count, 0);
	assert_int_equal(forget(1), 0); /* of what is not there, nothing */
	assert_int_equal(forget(4711), 0);
	submit_named(1, "operations/another");
	expect(&message, MSG_started);
}

static void
ended_ones_are_bounded(void **state)
{
	struct child *worker = idle(0);
	struct message message;

	for (uint64_t job = 1; job <= JOBS_ENDED_MAX + 2; job++) {
		submit_named(job, "operations/x");
		expect(&message, MSG_started);
		finish(worker, 0);
		expect(&message, MSG_done);
	}
	assert_int_equal(test.host->ended_count, JOBS_ENDED_MAX);
	assert_null(client_find_job(&test.client, 2));
	assert_non_null(client_find_job(&test.client, 3));
}

/* The gateway's cancel may cross the end of its job. */
static void
cancelled_after_its_end(void **state)
{
	struct child *worker = idle(0);
	struct message message;

	submit_named(1, "operations/one");
	expect(&message, MSG_started);
	submit_named(2, "operations/two");
	finish(worker, 0);
	worker->state = CHILD_WAITING; /* the others stay queued */
	expect(&message, MSG_done);
	cancel(1);
	expect_nothing();
	assert_int_equal(counter(COUNTER_actions_done), 1);
	assert_int_equal(counter(COUNTER_actions_cancelled), 0);
	assert_int_equal(test.host->ended_count, 1);
	submit_named(3, "operations/three");
	cancel(2);
	expect(&message, MSG_done);
	assert_int_equal(message.done.job, 2);
	assert_int_equal(message.done.status, JOB_CANCELLED);
	cancel(2);
	cancel(4711);
	expect_nothing();
	assert_int_equal(test.host->ended_count, 2);
	assert_ptr_equal(TAILQ_FIRST(&test.host->jobs), client_find_job(&test.client, 3));
	assert_ptr_equal(TAILQ_LAST(&test.host->jobs, job_list), client_find_job(&test.client, 3));
	assert_int_equal(forget(1), 0);
	assert_int_equal(forget(2), 0);
}

static void
hurried(void **state)
{
	struct message message = {.type = MSG_hurry};
	struct child *worker;

	submit_named(1, "operations/one");
	submit_named(2, "operations/two");
	submit_named(3, "operations/three");
	message.hurry.job = 3;
	message.hurry.priority = -1;
	assert_int_equal(say(&message), 0);
	message.hurry.job = 4711;
	assert_int_equal(say(&message), 0);
	worker = idle(0);
	pool_dispatch(test.host);
	expect(&message, MSG_started);
	assert_int_equal(message.started.job, 3);
	message = (struct message){.type = MSG_hurry};
	message.hurry.job = 3; /* it runs: too late to matter */
	assert_int_equal(say(&message), 0);
	finish(worker, 0);
	expect(&message, MSG_done);
	message = (struct message){.type = MSG_hurry};
	message.hurry.job = 3; /* it has ended */
	assert_int_equal(say(&message), 0);
	pool_dispatch(test.host);
	expect(&message, MSG_started);
	assert_int_equal(message.started.job, 1);
}

static void
a_drained_host_takes_nothing(void **state)
{
	struct message message;

	idle(0);
	submit_named(1, "operations/one");
	expect(&message, MSG_started);
	control_drain(test.host);
	expect(&message, MSG_draining);
	submit_named(2, "operations/two");
	expect(&message, MSG_refused);
	assert_int_equal(message.refused.job, 2);
	assert_null(client_find_job(&test.client, 2));
	expect_nothing();
}

/* Its worker dies each time: the end is kept like any other. */
static void
lost_with_its_worker(void **state)
{
	struct child *worker = idle(0);
	struct message message;

	submit_named(1, "operations/one");
	for (unsigned try = 1; try <= JOB_ATTEMPTS; try++) {
		expect(&message, MSG_started);
		assert_int_equal(message.started.attempt, try);
		worker->state = CHILD_WAITING;
		jobs_worker_lost(test.host, worker->job, "it died");
		worker->state = CHILD_IDLE;
		pool_dispatch(test.host);
	}
	expect(&message, MSG_done);
	assert_int_equal(message.done.status, JOB_WORKER_LOST);
	assert_int_equal(test.host->ended_count, 1);
}

static void
what_it_may_not_say(void **state)
{
	static const enum msg_type types[] = {MSG_hello, MSG_stop, MSG_resize, MSG_adopt, MSG_serve,
	    MSG_listen, MSG_run, MSG_started};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		struct message message = {.type = types[i]};

		assert_int_equal(say(&message), -EPROTO);
	}
}

/* First what to serve, then the jobs, then to listen; where it listens is kept for the next one. */
static void
greeted(void **state)
{
	struct msg_ready ready = {.listen = msg_text("grpc://127.0.0.1:4711"), .has_listen = true};
	struct message message;

	strlcpy(test.settings.gateway.listen, "grpc://127.0.0.1:0",
	    sizeof(test.settings.gateway.listen));
	submit_named(1, "operations/one");
	test.host->gateway.peer = test.client.peer;
	test.host->draining = true;
	gateway_greet(test.host);
	expect(&message, MSG_serve);
	assert_memory_equal(message.serve.listen.data, "grpc://127.0.0.1:0", 18);
	assert_false(message.serve.has_http);
	assert_int_equal(message.serve.instance, region_instance(test.host->region));
	assert_int_equal(message.serve.message_max, 16 << 20);
	expect(&message, MSG_adopt);
	expect(&message, MSG_draining);
	expect(&message, MSG_listen);
	gateway_ready(test.host, &ready);
	assert_string_equal(test.settings.gateway.listen, "grpc://127.0.0.1:4711");
	test.host->gateway.peer = NULL;
	test.host->gateway_client->peer = test.client.peer;
}

/* What the far end has been sent, while this one's loop sends it. */
static void
expect_sent(struct message *message, enum msg_type type)
{
	int rc;

	for (int i = 0; (rc = channel_receive(test.far, message, 1)) == -ETIMEDOUT && i < 5000; i++)
		event_base_loop(test.host->base, EVLOOP_NONBLOCK);
	assert_int_equal(rc, 0);
	assert_int_equal(message->type, type);
}

/* However much there is: the next gateway cannot read before it has been started. */
static void
a_great_deal_to_tell(void **state)
{
	enum { JOBS = 300, RESULT = 40000 };
	struct child *worker = idle(0);
	char *result = calloc(1, RESULT);
	struct message message;

	for (uint64_t job = 1; job <= JOBS; job++) {
		struct msg_done done = {.status = JOB_OK, .has_result = true};

		submit_named(job, "operations/x");
		expect(&message, MSG_started);
		done.result = (struct msg_text){result, RESULT};
		jobs_done(test.host, worker->job, &done);
		worker->state = CHILD_IDLE;
		expect_sent(&message, MSG_done);
	}
	free(result);
	replace_gateway();
	test.host->gateway.peer = test.client.peer;
	gateway_greet(test.host);
	expect_sent(&message, MSG_serve);
	for (uint64_t job = 1; job <= JOBS; job++) {
		expect_sent(&message, MSG_adopt);
		expect_sent(&message, MSG_done);
		assert_int_equal(message.done.job, job);
		assert_int_equal(message.done.result.len, RESULT);
	}
	expect_sent(&message, MSG_listen);
	test.host->gateway.peer = NULL;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_gateway, close_gateway)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(the_next_one_is_told_everything),
	    TEST(ended_between_two),
	    TEST(kept_until_it_is_forgotten),
	    TEST(ended_ones_are_bounded),
	    TEST(cancelled_after_its_end),
	    TEST(hurried),
	    TEST(a_drained_host_takes_nothing),
	    TEST(lost_with_its_worker),
	    TEST(what_it_may_not_say),
	    TEST(greeted),
	    TEST(a_great_deal_to_tell),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
