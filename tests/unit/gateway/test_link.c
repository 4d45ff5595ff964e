/* The gateway's connection to the supervisor: what any thread sends goes in order, once. */
#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/link.h"
#include "ipc/channel.h"
#include "tests/cmocka_wrap.h"

enum { SENDERS = 4, MESSAGES = 500 };

static struct {
	struct event_base *base;
	struct link *link;
	struct channel *far;
	unsigned came, lost;
	enum msg_type last;
	int answer; /* what on_message says */
} test;

static int
on_message(void *arg, const struct message *message)
{
	assert_ptr_equal(arg, &test);
	test.came++;
	test.last = message->type;
	return test.answer;
}

static void
on_lost(void *arg)
{
	test.lost++;
}

static int
open_link(void **state)
{
	static const struct link_ops ops = {on_message, on_lost};
	int fd;

	memset(&test, 0, sizeof(test));
	test.base = event_base_new();
	if (test.base == NULL || channel_pair(&test.far, &fd) != 0)
		return -1;
	return link_open(test.base, fd, &ops, &test, &test.link);
}

static int
close_link(void **state)
{
	link_close(test.link);
	channel_free(test.far);
	event_base_free(test.base);
	return 0;
}

static void
loop(void)
{
	assert_true(event_base_loop(test.base, EVLOOP_NONBLOCK) >= 0);
}

static void
forget(uint64_t job)
{
	struct message message = {.type = MSG_forget};

	message.forget.job = job;
	link_send(test.link, &message);
}

/* The next message at the far end, while this one's loop sends. */
static struct message
receive(void)
{
	struct message message;
	int rc;

	for (int i = 0; (rc = channel_receive(test.far, &message, 1)) == -ETIMEDOUT && i < 5000;
	     i++)
		loop();
	assert_int_equal(rc, 0);
	return message;
}

/* Nothing of a message need live on once it is sent. */
static void
in_order_and_by_value(void **state)
{
	struct message message = {.type = MSG_refused};
	char why[] = "before";

	message.refused.message = msg_text(why);
	link_send(test.link, &message);
	memset(why, 'x', sizeof(why) - 1);
	for (uint64_t job = 0; job < 100; job++)
		forget(job);
	assert_int_equal(channel_receive(test.far, &message, 0), -ETIMEDOUT); /* the loop sends */
	message = receive();
	assert_int_equal(message.type, MSG_refused);
	assert_memory_equal(message.refused.message.data, "before", 6);
	for (uint64_t job = 0; job < 100; job++)
		assert_int_equal(receive().forget.job, job);
}

static void
flushed_without_the_loop(void **state)
{
	struct message message;

	forget(7);
	link_flush(test.link);
	assert_int_equal(channel_receive(test.far, &message, 1000), 0);
	assert_int_equal(message.forget.job, 7);
	loop();
	forget(8);
	assert_int_equal(receive().forget.job, 8);
}

static void *
send_many(void *arg)
{
	const unsigned *number = arg;

	for (uint64_t i = 0; i < MESSAGES; i++)
		forget(*number * MESSAGES + i);
	return NULL;
}

static void
from_many_threads(void **state)
{
	unsigned numbers[SENDERS], next[SENDERS] = {0};
	pthread_t threads[SENDERS];

	for (unsigned i = 0; i < SENDERS; i++) {
		numbers[i] = i;
		assert_int_equal(pthread_create(&threads[i], NULL, send_many, &numbers[i]), 0);
	}
	for (unsigned i = 0; i < SENDERS * MESSAGES; i++) {
		uint64_t job = receive().forget.job;

		assert_true(job / MESSAGES < SENDERS);
		assert_int_equal(job % MESSAGES, next[job / MESSAGES]++);
	}
	for (unsigned i = 0; i < SENDERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
}

static void
what_arrives(void **state)
{
	const struct message listen = {.type = MSG_listen}, draining = {.type = MSG_draining};

	assert_int_equal(channel_send_wait(test.far, &listen, 1000), 0);
	assert_int_equal(channel_send_wait(test.far, &draining, 1000), 0);
	for (int i = 0; test.came < 2 && i < 5000; i++)
		loop();
	assert_int_equal(test.came, 2);
	assert_int_equal(test.last, MSG_draining);
	assert_int_equal(test.lost, 0);
}

/* Lost once; what is sent then goes nowhere. */
static void
expect_lost(void)
{
	for (int i = 0; test.lost == 0 && i < 5000; i++)
		loop();
	assert_int_equal(test.lost, 1);
	forget(1);
	loop();
	link_flush(test.link);
	assert_int_equal(test.lost, 1);
}

static void
lost_at_the_end_of_the_stream(void **state)
{
	channel_free(test.far);
	test.far = NULL;
	expect_lost();
}

static void
lost_by_what_came(void **state)
{
	const struct message listen = {.type = MSG_listen};

	test.answer = -EPROTO;
	assert_int_equal(channel_send_wait(test.far, &listen, 1000), 0);
	assert_int_equal(channel_send_wait(test.far, &listen, 1000), 0);
	expect_lost();
	assert_int_equal(test.came, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_link, close_link)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(in_order_and_by_value),
	    TEST(flushed_without_the_loop),
	    TEST(from_many_threads),
	    TEST(what_arrives),
	    TEST(lost_at_the_end_of_the_stream),
	    TEST(lost_by_what_came),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
