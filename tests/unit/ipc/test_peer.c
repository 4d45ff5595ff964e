#include <sys/socket.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "ipc/peer.h"
#include "tests/cmocka_wrap.h"

/* One end is the peer under test, the other is spoken to by hand. */
struct pair {
	struct event_base *base;
	struct peer *peer;
	struct channel *far;
	unsigned messages, losses;
	int loss, answer;
	bool close_on_message;
};

static int
on_message(void *arg, const struct message *message)
{
	struct pair *pair = arg;

	assert_int_equal(message->type, MSG_ready);
	pair->messages++;
	if (pair->close_on_message) {
		peer_close(pair->peer);
		pair->peer = NULL;
	}
	return pair->answer;
}

static void
on_lost(void *arg, int error)
{
	struct pair *pair = arg;

	pair->losses++;
	pair->loss = error;
	peer_close(pair->peer);
	pair->peer = NULL;
}

static int
pair_open(void **state)
{
	static const struct peer_ops ops = {on_message, on_lost};
	static struct pair pair;
	struct channel *near;
	int fd;

	pair = (struct pair){.base = event_base_new()};
	if (pair.base == NULL || channel_pair(&near, &fd) != 0 || channel_new(fd, &pair.far) != 0)
		return -1;
	*state = &pair;
	return peer_open(pair.base, near, &ops, &pair, &pair.peer);
}

static int
pair_close(void **state)
{
	struct pair *pair = *state;

	peer_close(pair->peer);
	channel_free(pair->far);
	event_base_free(pair->base);
	return 0;
}

static void
say_ready(struct pair *pair, unsigned times)
{
	struct message message = {.type = MSG_ready, .ready.pid = 1};

	while (times-- > 0)
		assert_int_equal(channel_send_wait(pair->far, &message, 1000), 0);
}

static void
turn(struct pair *pair, unsigned times)
{
	while (times-- > 0)
		event_base_loop(pair->base, EVLOOP_NONBLOCK);
}

static void
messages_arrive_and_the_end_is_told_once(void **state)
{
	struct pair *pair = *state;

	say_ready(pair, 3);
	channel_free(pair->far);
	pair->far = NULL;
	turn(pair, 5);
	assert_int_equal(pair->messages, 3);
	assert_int_equal(pair->losses, 1);
	assert_int_equal(pair->loss, -ECONNRESET);
}

static void
a_peer_may_be_closed_by_its_own_message(void **state)
{
	struct pair *pair = *state;

	pair->close_on_message = true;
	say_ready(pair, 3);
	turn(pair, 5);
	assert_int_equal(pair->messages, 1);
	assert_int_equal(pair->losses, 0);
	assert_null(pair->peer);
}

static void
a_refused_message_loses_the_peer(void **state)
{
	struct pair *pair = *state;

	pair->answer = -EPROTO;
	say_ready(pair, 2);
	turn(pair, 5);
	assert_int_equal(pair->messages, 1);
	assert_int_equal(pair->losses, 1);
	assert_int_equal(pair->loss, -EPROTO);
}

static void
rubbish_loses_the_peer(void **state)
{
	static const uint8_t rubbish[] = {0, 0, 0, 5, 0xdd, 0xff, 0xff, 0xff, 0xff};
	struct pair *pair = *state;

	say_ready(pair, 1);
	assert_int_equal(write(channel_fd(pair->far), rubbish, sizeof(rubbish)), sizeof(rubbish));
	turn(pair, 5);
	assert_int_equal(pair->messages, 1);
	assert_int_equal(pair->loss, -EPROTO);
}

static void
who_does_not_read_is_lost_from_the_loop_only(void **state)
{
	struct message message = {.type = MSG_ok};
	struct pair *pair = *state;
	char text[257];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	message.ok.message = msg_text(text);
	message.ok.has_message = true;
	for (unsigned i = 0; i < 200000; i++)
		peer_send(pair->peer, &message);
	assert_int_equal(pair->losses, 0);
	turn(pair, 2);
	assert_int_equal(pair->losses, 1);
	assert_int_equal(pair->loss, -ENOBUFS);
}

/* What a process said before it died is still taken, and its end is left to the caller. */
static void
draining_takes_what_was_said(void **state)
{
	struct pair *pair = *state;

	say_ready(pair, 2);
	channel_free(pair->far);
	pair->far = NULL;
	peer_drain(pair->peer);
	assert_int_equal(pair->messages, 2);
	assert_int_equal(pair->losses, 0);
	peer_close(pair->peer);
	pair->peer = NULL;
	turn(pair, 2);
	assert_int_equal(pair->losses, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		messages_arrive_and_the_end_is_told_once, pair_open, pair_close),
	    cmocka_unit_test_setup_teardown(
		a_peer_may_be_closed_by_its_own_message, pair_open, pair_close),
	    cmocka_unit_test_setup_teardown(
		a_refused_message_loses_the_peer, pair_open, pair_close),
	    cmocka_unit_test_setup_teardown(rubbish_loses_the_peer, pair_open, pair_close),
	    cmocka_unit_test_setup_teardown(
		who_does_not_read_is_lost_from_the_loop_only, pair_open, pair_close),
	    cmocka_unit_test_setup_teardown(draining_takes_what_was_said, pair_open, pair_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
