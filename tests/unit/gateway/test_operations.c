#include <pthread.h>

#include "tests/cmocka_wrap.h"
#include "tests/unit/gateway/gateway_host.h"

static const struct rpc_method method = {.path = "/test/Watch"};
static struct rpc_call *calls[8];
static struct operation *watched[8]; /* by which call what */

static int
open_host(void **state)
{
	for (size_t i = 0; i < 8; i++)
		calls[i] = call_new(&host.gateway, &method);
	return host_open_bare(state);
}

static void
leave(struct operation *operation, unsigned call, bool delivered)
{
	assert_ptr_equal(watched[call], operation);
	watched[call] = NULL;
	operation_leave(host.gateway.operations, operation, calls[call], delivered);
}

static int
close_host(void **state)
{
	for (unsigned i = 0; i < 8; i++) {
		if (watched[i] != NULL)
			leave(watched[i], i, false);
		call_free(calls[i]);
	}
	return host_close(state);
}

static struct operation_wish
wish_of(uint8_t action)
{
	struct operation_wish wish = {.instance = "", .label = ""};

	memset(wish.action.hash, action, sizeof(wish.action.hash));
	wish.action.size_bytes = 100;
	return wish;
}

static struct operation *
start(const struct operation_wish *wish, unsigned call, bool expect_merged)
{
	bool merged;
	struct operation *operation =
	    operations_join_or_start(host.gateway.operations, wish, calls[call], &merged);

	assert_non_null(operation);
	assert_int_equal(merged, expect_merged);
	assert_null(watched[call]);
	return watched[call] = operation;
}

static struct operation_view
look(struct operation *operation)
{
	struct operation_view view;

	operation_look(host.gateway.operations, operation, &view);
	return view;
}

static struct message
expect(enum msg_type type)
{
	struct message message;

	if (!link_next(&message))
		fail_msg("no %s was sent", message_name(type));
	assert_int_equal(message.type, type);
	return message;
}

static void
expect_nothing(void)
{
	struct message message;

	if (link_next(&message))
		fail_msg("%s was sent", message_name(message.type));
}

static void
done(uint64_t job, enum job_status status)
{
	struct message message = {.type = MSG_done};

	message.done.job = job;
	message.done.status = status;
	message.done.message = msg_text("how it went");
	message.done.has_message = true;
	assert_int_equal(operations_on_done(host.gateway.operations, &message), 0);
}

static bool
tick(void)
{
	return operations_tick(host.gateway.operations);
}

static struct operation *
join(const char *name, unsigned call)
{
	return watched[call] = operations_join(host.gateway.operations, name, calls[call]);
}

static void
one_from_wish_to_end(void **state)
{
	struct operation_wish wish = wish_of(1);
	struct msg_started started = {.worker = 3, .attempt = 1, .number = 77};
	struct operation *operation;
	struct message message;
	char name[OPERATION_NAME_SIZE];

	wish.instance = "a/b";
	wish.label = "CppCompile //x";
	wish.priority = -5;
	wish.has_cache_key = true;
	memset(wish.cache_key.hash, 9, sizeof(wish.cache_key.hash));
	operation = start(&wish, 0, false);
	message = expect(MSG_submit);
	assert_true(digest_equal(&message.submit.action, &wish.action));
	assert_true(message.submit.has_cache_key);
	assert_true(digest_equal(&message.submit.cache_key, &wish.cache_key));
	assert_int_equal(message.submit.priority, -5);
	assert_false(message.submit.alone);
	msg_text_copy(message.submit.operation, name, sizeof(name));
	assert_string_equal(name, operation_name(operation));
	assert_memory_equal(name, "a/b/operations/", 15);
	assert_string_equal(name + 15, operation_id(operation));
	msg_text_copy(message.submit.label, name, sizeof(name));
	assert_string_equal(name, "CppCompile //x");
	assert_false(look(operation).is_started);
	assert_true(look(operation).queued_us > 0);

	started.job = message.submit.job;
	operations_on_started(host.gateway.operations, &started);
	assert_int_equal(calls[0]->wakes, 1);
	assert_true(look(operation).is_started);
	assert_int_equal(look(operation).worker, 3);
	assert_int_equal(look(operation).number, 77);
	assert_int_equal(operations_live(host.gateway.operations), 1);

	done(message.submit.job, JOB_OK);
	assert_int_equal(calls[0]->wakes, 2);
	assert_true(look(operation).is_done);
	assert_int_equal(look(operation).done->status, JOB_OK);
	assert_memory_equal(look(operation).done->message.data, "how it went", 11);
	assert_int_equal(look(operation).version, 3);
	assert_int_equal(operations_live(host.gateway.operations), 0);
	done(message.submit.job, JOB_FAILED); /* once only */
	assert_int_equal(look(operation).done->status, JOB_OK);
	leave(operation, 0, true);
	expect_nothing();
}

/* What nobody asked for changes nothing. */
static void
news_of_strangers(void **state)
{
	struct msg_started started = {.job = 4711};
	struct msg_refused refused = {.job = 4711, .has_job = true};

	operations_on_started(host.gateway.operations, &started);
	operations_on_refused(host.gateway.operations, &refused);
	done(4711, JOB_OK);
	assert_false(tick());
	expect_nothing();
}

static void
the_same_action_runs_once(void **state)
{
	struct operation_wish wish = wish_of(1), other = wish_of(1), third = wish_of(2);
	struct operation *operation = start(&wish, 0, false);
	uint64_t job = expect(MSG_submit).submit.job;

	assert_ptr_equal(start(&wish, 1, true), operation);
	expect_nothing();
	other.instance = "other";
	assert_ptr_not_equal(start(&other, 2, false), operation);
	assert_ptr_not_equal(start(&third, 3, false), operation);
	(void)expect(MSG_submit);
	(void)expect(MSG_submit);
	done(job, JOB_OK);
	assert_int_equal(calls[0]->wakes, 1);
	assert_int_equal(calls[1]->wakes, 1);
	assert_int_equal(calls[2]->wakes, 0);
	/* what has ended is not joined */
	assert_ptr_not_equal(start(&wish, 4, false), operation);
	leave(operation, 0, true);
	leave(operation, 1, true);
	for (unsigned i = 2; i < 5; i++)
		assert_int_equal(calls[i]->holds, 1);
}

static void
alone_is_alone(void **state)
{
	struct operation_wish wish = wish_of(1);
	struct operation *first, *second;

	wish.alone = true;
	first = start(&wish, 0, false);
	second = start(&wish, 1, false);
	assert_ptr_not_equal(first, second);
	assert_true(expect(MSG_submit).submit.alone);
	(void)expect(MSG_submit);
	wish.alone = false;
	assert_ptr_not_equal(start(&wish, 2, false), first);
	/* nor is what others wait for given to one who wants his own */
	wish.alone = true;
	assert_ptr_not_equal(start(&wish, 3, false), watched[2]);
}

/* A result made before may not be the answer to one that asks for a new one; the other way it may.
 */
static void
skip_cache_lookup(void **state)
{
	struct operation_wish plain = wish_of(1), fresh = wish_of(1);
	struct operation *first = start(&plain, 0, false), *second;

	assert_false(expect(MSG_submit).submit.skip_cache_lookup);
	fresh.skip_cache_lookup = true;
	second = start(&fresh, 1, false);
	assert_ptr_not_equal(second, first);
	assert_true(expect(MSG_submit).submit.skip_cache_lookup);
	assert_ptr_equal(start(&fresh, 2, true), second);
	assert_ptr_equal(start(&plain, 3, true), second); /* the latest that fits */
}

/* Lower runs sooner: only who wants it sooner changes anything. */
static void
whoever_is_in_a_hurry(void **state)
{
	struct operation_wish wish = wish_of(1);
	struct message message;
	uint64_t job;

	wish.priority = 5;
	start(&wish, 0, false);
	job = expect(MSG_submit).submit.job;
	wish.priority = 6;
	start(&wish, 1, true);
	expect_nothing();
	wish.priority = -2;
	start(&wish, 2, true);
	message = expect(MSG_hurry);
	assert_int_equal(message.hurry.job, job);
	assert_int_equal(message.hurry.priority, -2);
	start(&wish, 3, true);
	expect_nothing();
}

static void
nobody_waits_any_more(void **state)
{
	struct operation_wish wish = wish_of(1);
	struct operation *operation = start(&wish, 0, false);
	uint64_t job = expect(MSG_submit).submit.job;
	char name[OPERATION_NAME_SIZE];

	strlcpy(name, operation_name(operation), sizeof(name));
	start(&wish, 1, true);
	leave(operation, 0, false);
	assert_false(tick()); /* one is left */
	leave(operation, 1, false);
	assert_true(tick()); /* in its grace */
	expect_nothing();
	assert_ptr_equal(join(name, 2), operation); /* somebody comes back */
	host.gateway.limits.orphan_grace_ms = 0;
	assert_false(tick());
	expect_nothing();
	leave(operation, 2, false);
	tick();
	assert_int_equal(expect(MSG_cancel).cancel.job, job);
	assert_false(tick()); /* once */
	expect_nothing();
	assert_int_equal(host_counter(COUNTER_operations_orphaned), 1);
	/* nobody joins one that is being cancelled, but its end can be asked for */
	assert_null(join(name, 3));
	assert_ptr_not_equal(start(&wish, 4, false), operation);
	done(job, JOB_CANCELLED);
	assert_ptr_equal(join(name, 3), operation);
	assert_true(look(operation).is_cancelled);
}

/* Who only reads the output keeps nothing alive, and is woken by each tick. */
static void
followers(void **state)
{
	struct operation_wish wish = wish_of(1);
	struct operation *operation = start(&wish, 0, false);
	uint64_t job = expect(MSG_submit).submit.job;
	struct operations *operations = host.gateway.operations;

	assert_null(operations_follow(operations, "", "no such id", calls[1]));
	assert_null(operations_follow(operations, "x", operation_id(operation), calls[1]));
	watched[1] = operations_follow(operations, "", operation_id(operation), calls[1]);
	assert_ptr_equal(watched[1], operation);
	assert_true(tick());
	assert_int_equal(calls[1]->wakes, 1);
	assert_int_equal(calls[0]->wakes, 0);
	leave(operation, 0, false);
	host.gateway.limits.orphan_grace_ms = 0;
	tick();
	assert_int_equal(expect(MSG_cancel).cancel.job, job);
	done(job, JOB_CANCELLED);
	assert_int_equal(calls[1]->wakes, 3);
	leave(operation, 1, false);
}

/* What has ended stays for whoever comes back, and costs nothing meanwhile. */
static void
ended_ones_stay_for_a_while(void **state)
{
	struct operation_wish wish = wish_of(1);
	struct operation *operation = start(&wish, 0, false);
	char name[OPERATION_NAME_SIZE];

	strlcpy(name, operation_name(operation), sizeof(name));
	done(expect(MSG_submit).submit.job, JOB_OK);
	leave(operation, 0, true);
	assert_false(tick());
	assert_ptr_equal(join(name, 1), operation);
	assert_true(look(operation).is_done);
	leave(operation, 1, true);
	expect_nothing();
}

/* More than there is room for: the oldest go, with their watchers none the worse. */
static void
ended_ones_are_bounded(void **state)
{
	struct operation_wish wish = wish_of(1);
	struct operation *first = start(&wish, 0, false), *operation;
	uint64_t first_job = expect(MSG_submit).submit.job;
	char name[OPERATION_NAME_SIZE];

	strlcpy(name, operation_name(first), sizeof(name));
	done(first_job, JOB_OK);
	wish.alone = true; /* no other is looked for, which takes its time */
	for (unsigned i = 0; i < OPERATIONS_ENDED_MAX - 1; i++) {
		operation = start(&wish, 1, false);
		done(expect(MSG_submit).submit.job, JOB_OK);
		leave(operation, 1, true);
	}
	expect_nothing();
	operation = start(&wish, 1, false);
	done(expect(MSG_submit).submit.job, JOB_OK);
	leave(operation, 1, true);
	assert_int_equal(expect(MSG_forget).forget.job, first_job);
	assert_true(look(first).is_done);
	assert_null(join(name, 2));
	leave(first, 0, true);
}

static struct msg_adopt
adopt_of(uint64_t job, const char *name)
{
	struct msg_adopt adopt = {
	    .job = job, .operation = msg_text(name), .queued_us = 5, .priority = 3};

	adopt.action = wish_of((uint8_t)job).action;
	return adopt;
}

#define ID "01234567-89ab-4cde-8f01-23456789abcd"

static void
a_new_gateway_adopts(void **state)
{
	struct operation_wish wish = wish_of(9);
	struct msg_adopt adopt = adopt_of(9, "a/b/operations/" ID);
	struct operation *operation;

	adopt.has_worker = true;
	adopt.worker = 2;
	adopt.attempt = 1;
	adopt.number = 1000;
	assert_int_equal(operations_on_adopt(host.gateway.operations, &adopt), 0);
	adopt = adopt_of(4, "operations/" ID);
	assert_int_equal(operations_on_adopt(host.gateway.operations, &adopt), 0);
	done(4, JOB_TIMEOUT);
	assert_int_equal(host_counter(COUNTER_operations_adopted), 2);
	assert_int_equal(operations_live(host.gateway.operations), 1);

	operation = join("a/b/operations/" ID, 0);
	assert_non_null(operation);
	assert_string_equal(operation_instance(operation), "a/b");
	assert_string_equal(operation_id(operation), ID);
	assert_true(look(operation).is_started);
	assert_int_equal(look(operation).worker, 2);
	assert_int_equal(look(operation).number, 1000);
	assert_int_equal(look(operation).queued_us, 5);
	wish.instance = "a/b";
	assert_ptr_equal(
	    start(&wish, 1, true), operation); /* joined like any other, and in a hurry */
	assert_int_equal(expect(MSG_hurry).hurry.job, 9);

	operation = join("operations/" ID, 2);
	assert_string_equal(operation_instance(operation), "");
	assert_int_equal(look(operation).done->status, JOB_TIMEOUT);
	/* new ones have numbers of their own */
	wish = wish_of(1);
	start(&wish, 3, false);
	assert_int_equal(expect(MSG_submit).submit.job, 10);
}

/* One that nobody comes back for is an orphan like any other. */
static void
adopted_ones_are_orphans_at_first(void **state)
{
	struct msg_adopt adopt = adopt_of(9, "operations/" ID);

	assert_int_equal(operations_on_adopt(host.gateway.operations, &adopt), 0);
	assert_true(tick());
	expect_nothing();
	host.gateway.limits.orphan_grace_ms = 0;
	tick();
	assert_int_equal(expect(MSG_cancel).cancel.job, 9);
}

static void
what_cannot_be_adopted(void **state)
{
	static const char *const bad[] = {
	    "", ID, "operations/", "operations/short", "operations/" ID "0", "operations/" ID "/"};
	char name[OPERATION_NAME_SIZE];
	struct operation *operation;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct msg_adopt adopt = adopt_of(1, bad[i]);

		if (operations_on_adopt(host.gateway.operations, &adopt) != -EPROTO)
			fail_msg("'%s' was adopted", bad[i]);
	}
	/* the longest name there can be comes back whole */
	for (int len = INSTANCE_MAX - 1; len <= INSTANCE_MAX; len++) {
		struct operation_wish wish = wish_of((uint8_t)len);
		char instance[INSTANCE_MAX + 1];

		snprintf(instance, sizeof(instance), "%0*d", len, 0);
		wish.instance = instance;
		operation = start(&wish, 0, false);
		msg_text_copy(expect(MSG_submit).submit.operation, name, sizeof(name));
		assert_string_equal(name, operation_name(operation));
		leave(operation, 0, false);
	}
}

static void
refused_by_the_supervisor(void **state)
{
	struct operation_wish wish = wish_of(1);
	struct operation *operation = start(&wish, 0, false);
	struct msg_refused refused = {.message = msg_text("the queue is full"), .has_job = true};

	refused.job = expect(MSG_submit).submit.job;
	operations_on_refused(host.gateway.operations, &refused);
	assert_int_equal(calls[0]->wakes, 1);
	assert_true(look(operation).is_done);
	assert_false(look(operation).is_cancelled); /* not by its client: it may try again */
	assert_int_equal(look(operation).done->status, JOB_CANCELLED);
	assert_memory_equal(look(operation).done->message.data, "the queue is full", 17);
	leave(operation, 0, true);
}

/* Clients come, join, look and go while the supervisor speaks and time passes. */
struct client {
	pthread_t thread;
	unsigned call, rounds;
};

static atomic_bool stop;

static void *
come_and_go(void *arg)
{
	struct client *client = arg;

	for (client->rounds = 0; client->rounds < 300; client->rounds++) {
		struct operation_wish wish = wish_of((uint8_t)(client->rounds % 7));
		struct operation *operation;
		struct operation_view view;
		bool merged;

		wish.priority = (int32_t)client->call;
		operation = operations_join_or_start(
		    host.gateway.operations, &wish, calls[client->call], &merged);
		operation_look(host.gateway.operations, operation, &view);
		if (view.is_done)
			assert_int_equal(view.done->status, JOB_OK);
		operation_leave(
		    host.gateway.operations, operation, calls[client->call], view.is_done);
	}
	return NULL;
}

static void *
speak(void *arg)
{
	for (uint64_t job = 1; !atomic_load(&stop); job = job % 2100 + 1) {
		struct message message = {.type = MSG_done};
		struct msg_started started = {.job = job};

		operations_on_started(host.gateway.operations, &started);
		message.done.job = job;
		operations_on_done(host.gateway.operations, &message);
		if (job % 50 == 0)
			operations_tick(host.gateway.operations);
	}
	return NULL;
}

static void
threads(void **state)
{
	struct client clients[4];
	pthread_t speaker;

	atomic_store(&stop, false);
	assert_int_equal(pthread_create(&speaker, NULL, speak, NULL), 0);
	for (unsigned i = 0; i < 4; i++) {
		clients[i].call = i;
		assert_int_equal(
		    pthread_create(&clients[i].thread, NULL, come_and_go, &clients[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_join(clients[i].thread, NULL), 0);
	atomic_store(&stop, true);
	assert_int_equal(pthread_join(speaker, NULL), 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(calls[i]->holds, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_host, close_host)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(one_from_wish_to_end),
	    TEST(news_of_strangers),
	    TEST(the_same_action_runs_once),
	    TEST(alone_is_alone),
	    TEST(skip_cache_lookup),
	    TEST(whoever_is_in_a_hurry),
	    TEST(nobody_waits_any_more),
	    TEST(followers),
	    TEST(ended_ones_stay_for_a_while),
	    TEST(ended_ones_are_bounded),
	    TEST(a_new_gateway_adopts),
	    TEST(adopted_ones_are_orphans_at_first),
	    TEST(what_cannot_be_adopted),
	    TEST(refused_by_the_supervisor),
	    TEST(threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
