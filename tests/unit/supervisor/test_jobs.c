#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "ipc/peer.h"
#include "supervisor/client.h"
#include "supervisor/jobs.h"
#include "supervisor/supervisor.h"
#include "tests/cmocka_wrap.h"

/* A host without processes: its workers are states only, its client is a socket. */
static struct {
	struct settings settings;
	struct supervisor *host;
	struct client client;
	struct channel *far;
} test;

static int
on_message(void *arg, const struct message *message)
{
	return 0;
}

static void
on_lost(void *arg, int error)
{
}

static int
open_client(void)
{
	static const struct peer_ops ops = {on_message, on_lost};
	struct channel *near;
	int fd;

	memset(&test.client, 0, sizeof(test.client));
	test.client.host = test.host;
	RB_INIT(&test.client.jobs);
	if (channel_pair(&near, &fd) != 0 || channel_new(fd, &test.far) != 0)
		return -1;
	return peer_open(test.host->base, near, &ops, &test.client, &test.client.peer);
}

static int
open_host(void **state)
{
	struct host_config *config = &test.settings.host;
	enum region_origin origin;

	config_defaults(&test.settings);
	strlcpy(config->state_dir, "/tmp/ramet-jobs.XXXXXX", sizeof(config->state_dir));
	if (mkdtemp(config->state_dir) == NULL)
		return -1;
	config->state_fd = open(config->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	test.host = calloc(1, sizeof(*test.host));
	test.host->settings = &test.settings;
	test.host->config = config;
	test.host->trusted = true;
	test.host->base = event_base_new();
	if (region_open(config->state_fd, &(struct region_config){.entry_count = 64}, &origin,
		&test.host->region, NULL) != 0)
		return -1;
	slot_assign(test.host->region, SLOT_SUPERVISOR);
	slot_activate(test.host->region, SLOT_SUPERVISOR, getpid());
	test.host->slot = slot_at(test.host->region, SLOT_SUPERVISOR);
	jobs_init(test.host);
	pool_init(test.host);
	if (control_init(test.host) != 0)
		return -1;
	return open_client();
}

static int
close_host(void **state)
{
	jobs_cancel_all(test.host, "the test is over");
	peer_close(test.client.peer);
	channel_free(test.far);
	control_fini(test.host);
	event_base_free(test.host->base);
	region_close(test.host->region);
	fs_remove_tree(AT_FDCWD, test.settings.host.state_dir);
	close(test.settings.host.state_fd);
	free(test.host);
	return 0;
}

static int
submit(uint64_t number, int64_t priority)
{
	struct msg_submit message = {.job = number, .priority = priority};

	return jobs_submit(test.host, &test.client, &message);
}

static void
expect(struct message *message, enum msg_type type)
{
	assert_int_equal(channel_receive(test.far, message, 1000), 0);
	assert_int_equal(message->type, type);
}

static void
expect_nothing(void)
{
	struct message message;

	assert_int_equal(channel_receive(test.far, &message, 0), -ETIMEDOUT);
}

static struct child *
idle(unsigned i)
{
	test.host->workers[i].state = CHILD_IDLE;
	return &test.host->workers[i];
}

static uint64_t
counter(enum counter counter)
{
	uint64_t values[COUNTER_COUNT];

	counters_read(test.host->region, values);
	return values[counter];
}

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
