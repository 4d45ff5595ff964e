/* Which queued job is staged ahead by whom, and who then gets it. */
#include <string.h>

#include "supervisor/ahead.h"
#include "supervisor/child.h"
#include "supervisor/queue.h"
#include "supervisor/supervisor.h"
#include "tests/cmocka_wrap.h"

enum { JOBS = 6 };

static struct supervisor host;
static struct host_config config;
static struct job jobs[JOBS];

/* Two workers, both busy; jobs in the order of their numbers. */
static int
setup(void **state)
{
	memset(&host, 0, sizeof(host));
	memset(jobs, 0, sizeof(jobs));
	config.workers = 2;
	host.config = &config;
	host.stages_ahead = true;
	queue_init(&host.queue);
	for (unsigned i = 0; i < 2; i++) {
		host.workers[i].host = &host;
		host.workers[i].state = CHILD_BUSY;
	}
	for (unsigned i = 0; i < JOBS; i++) {
		jobs[i].number = i + 1;
		queue_put(&host.queue, &jobs[i]);
	}
	return 0;
}

static void
test_first_jobs_to_busy_workers(void **state)
{
	ahead_look(&host);
	assert_ptr_equal(jobs[0].ahead, &host.workers[0]);
	assert_ptr_equal(jobs[1].ahead, &host.workers[1]);
	assert_null(jobs[2].ahead);
	assert_ptr_equal(host.workers[0].ahead, &jobs[0]);
	ahead_look(&host); /* nothing more to give */
	assert_null(jobs[2].ahead);
}

static void
test_not_asked_for(void **state)
{
	host.stages_ahead = false;
	ahead_look(&host);
	assert_null(jobs[0].ahead);
	host.stages_ahead = true;
	host.stopping = true;
	ahead_look(&host);
	assert_null(jobs[0].ahead);
}

/* Writers, the cancelled, and those tried before stage for themselves; idle workers need no hint.
 */
static void
test_who_cannot(void **state)
{
	jobs[0].guard_off = true;
	jobs[1].cancelled = true;
	jobs[2].attempt = 1;
	jobs[3].show_writes = true;
	host.workers[0].state = CHILD_IDLE;
	ahead_look(&host);
	for (unsigned i = 0; i < 4; i++)
		assert_null(jobs[i].ahead);
	assert_ptr_equal(jobs[4].ahead, &host.workers[1]);
	assert_null(jobs[5].ahead);
}

static void
test_links_go_with_either(void **state)
{
	ahead_look(&host);
	ahead_worker_gone(&host.workers[0]);
	assert_null(jobs[0].ahead);
	ahead_forget(&jobs[1]);
	assert_null(host.workers[1].ahead);
	ahead_forget(&jobs[1]); /* twice is nothing */
	ahead_worker_gone(&host.workers[1]);
}

/* A staged job goes first, but nobody is passed over for ever. */
static void
test_passing_is_bounded(void **state)
{
	unsigned passed = 0;

	ahead_look(&host);
	assert_ptr_equal(ahead_choose(&host, &host.workers[0]), &jobs[0]);
	assert_int_equal(jobs[0].passed_over, 0);
	while (ahead_choose(&host, &host.workers[1]) == &jobs[1])
		assert_in_range(++passed, 1, 100);
	assert_int_equal(passed, 4); /* two for each worker */
	assert_ptr_equal(ahead_choose(&host, &host.workers[1]), &jobs[0]);
}

/* What is more urgent, or staged by nobody, is not passed over. */
static void
test_what_is_not_passed(void **state)
{
	ahead_look(&host);
	queue_remove(&host.queue, &jobs[1]);
	jobs[1].priority = 1;
	queue_put(&host.queue, &jobs[1]);
	assert_ptr_equal(ahead_choose(&host, &host.workers[1]), &jobs[0]);
	queue_remove(&host.queue, &jobs[1]);
	jobs[1].priority = 0;
	queue_put(&host.queue, &jobs[1]);
	assert_ptr_equal(ahead_choose(&host, &host.workers[1]), &jobs[1]);
	ahead_forget(&jobs[0]);
	assert_ptr_equal(ahead_choose(&host, &host.workers[1]), &jobs[0]);
}

static void
test_empty(void **state)
{
	for (unsigned i = 0; i < JOBS; i++)
		queue_remove(&host.queue, &jobs[i]);
	ahead_look(&host);
	assert_null(ahead_choose(&host, &host.workers[0]));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(test_first_jobs_to_busy_workers, setup),
	    cmocka_unit_test_setup(test_not_asked_for, setup),
	    cmocka_unit_test_setup(test_who_cannot, setup),
	    cmocka_unit_test_setup(test_links_go_with_either, setup),
	    cmocka_unit_test_setup(test_passing_is_bounded, setup),
	    cmocka_unit_test_setup(test_what_is_not_passed, setup),
	    cmocka_unit_test_setup(test_empty, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
