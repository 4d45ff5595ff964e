#include <stdlib.h>

#include "supervisor/queue.h"
#include "tests/cmocka_wrap.h"

enum { MANY = 2000 };

static void
arrival_order_within_a_priority(void **state)
{
	struct job jobs[6] = {
	    {.number = 1, .priority = 5},
	    {.number = 2},
	    {.number = 3, .priority = -1},
	    {.number = 4, .priority = 5},
	    {.number = 5},
	    {.number = 6, .priority = -1},
	};
	static const uint64_t order[] = {3, 6, 2, 5, 1, 4};
	struct queue queue;

	queue_init(&queue);
	for (size_t i = 0; i < 6; i++)
		queue_put(&queue, &jobs[i]);
	assert_int_equal(queue.count, 6);
	for (size_t i = 0; i < 6; i++) {
		struct job *job = queue_first(&queue);

		assert_int_equal(job->number, order[i]);
		queue_remove(&queue, job);
		assert_false(job->queued);
	}
	assert_null(queue_first(&queue));
	assert_int_equal(queue.count, 0);
}

static void
a_job_tried_again_is_first_of_its_priority(void **state)
{
	struct job urgent = {.number = 9, .priority = -3}, first = {.number = 1},
		   second = {.number = 2};
	struct queue queue;

	queue_init(&queue);
	queue_put(&queue, &first);
	queue_put(&queue, &second);
	queue_remove(&queue, &first);
	queue_put(&queue, &urgent);
	queue_put(&queue, &first);
	assert_ptr_equal(queue_first(&queue), &urgent);
	queue_remove(&queue, &urgent);
	assert_ptr_equal(queue_first(&queue), &first);
}

static void
removal_from_the_middle_keeps_the_order(void **state)
{
	struct job *jobs = calloc(MANY, sizeof(*jobs));
	struct queue queue;
	uint64_t last = 0;
	int64_t priority = INT64_MIN;
	unsigned seen = 0;

	assert_non_null(jobs);
	queue_init(&queue);
	srandom(7);
	for (unsigned i = 0; i < MANY; i++) {
		jobs[i].number = i + 1;
		jobs[i].priority = random() % 3 - 1;
		queue_put(&queue, &jobs[i]);
	}
	for (unsigned i = 0; i < MANY; i += 3)
		queue_remove(&queue, &jobs[i]);
	for (struct job *job; (job = queue_first(&queue)) != NULL; seen++) {
		assert_true(job->priority >= priority);
		if (job->priority > priority)
			last = 0;
		assert_true(job->number > last);
		assert_int_not_equal((job->number - 1) % 3, 0);
		last = job->number;
		priority = job->priority;
		queue_remove(&queue, job);
	}
	assert_int_equal(seen, MANY - (MANY + 2) / 3);
	free(jobs);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(arrival_order_within_a_priority),
	    cmocka_unit_test(a_job_tried_again_is_first_of_its_priority),
	    cmocka_unit_test(removal_from_the_middle_keeps_the_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
