/* Frames over real sockets: order, bounds, malformed input, a peer that goes or does not read. */
#include <sys/socket.h>
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/channel.h"
#include "tests/cmocka_wrap.h"

struct pair {
	struct channel *a, *b;
};

static int
pair_setup(void **state)
{
	struct pair *pair = calloc(1, sizeof(*pair));
	int fd = -1;

	assert_int_equal(channel_pair(&pair->a, &fd), 0);
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(channel_new(fd, &pair->b), 0);
	*state = pair;
	return 0;
}

static int
pair_teardown(void **state)
{
	struct pair *pair = *state;

	channel_free(pair->a);
	channel_free(pair->b);
	free(pair);
	return 0;
}

static struct message
started(uint64_t job)
{
	struct message message = {.type = MSG_started, .seq = (uint32_t)job};

	message.started.job = job;
	return message;
}

/* Raw bytes to b, as a peer without manners would send them. */
static void
raw_send(struct pair *pair, const void *data, size_t len)
{
	assert_int_equal(write(channel_fd(pair->a), data, len), len);
}

static void
test_many_in_order(void **state)
{
	struct pair *pair = *state;
	struct message got;

	for (uint64_t job = 1; job <= 500; job++) {
		struct message message = started(job);

		assert_int_equal(channel_send(pair->a, &message), 0);
	}
	for (uint64_t job = 1; job <= 500; job++) {
		assert_int_equal(channel_flush(pair->a), 0);
		assert_int_equal(channel_receive(pair->b, &got, 1000), 0);
		assert_int_equal(got.type, MSG_started);
		assert_int_equal(got.started.job, job);
	}
	assert_int_equal(channel_receive(pair->b, &got, 0), -ETIMEDOUT);
	assert_int_equal(channel_receive(pair->b, &got, 20), -ETIMEDOUT);
}

static void
test_byte_by_byte(void **state)
{
	struct pair *pair = *state;
	static uint8_t frame[IPC_FRAME_MAX + 4];
	struct message message = started(7), got;
	size_t len;

	assert_int_equal(message_encode(&message, frame, &len), 0);
	for (size_t i = 0; i < len; i++) {
		assert_int_equal(channel_next(pair->b, &got), -EAGAIN);
		raw_send(pair, frame + i, 1);
		assert_int_equal(channel_fill(pair->b), 0);
	}
	assert_int_equal(channel_next(pair->b, &got), 0);
	assert_int_equal(got.started.job, 7);
	assert_int_equal(channel_fill(pair->b), -EAGAIN);
}

static void
test_largest_frame(void **state)
{
	struct pair *pair = *state;
	static char bytes[49152];
	struct message message = {.type = MSG_done}, got;

	message.done.result = (struct msg_text){bytes, sizeof(bytes)};
	for (int i = 0; i < 20; i++) {
		message.seq = (uint32_t)i;
		bytes[0] = (char)i;
		assert_int_equal(channel_send(pair->a, &message), 0);
	}
	for (int i = 0; i < 20; i++) {
		assert_int_equal(channel_flush(pair->a), 0);
		assert_int_equal(channel_receive(pair->b, &got, 1000), 0);
		assert_int_equal(got.seq, i);
		assert_int_equal(got.done.result.len, sizeof(bytes));
		assert_int_equal(got.done.result.data[0], i);
	}
	assert_false(channel_wants_write(pair->a));
}

static void
test_bad_length(void **state)
{
	struct pair *pair = *state;
	struct message got;

	raw_send(pair, "\x00\x01\x00\x01", 4); /* IPC_FRAME_MAX + 1 */
	assert_int_equal(channel_receive(pair->b, &got, 1000), -EPROTO);
	raw_send(pair, "\x00\x00\x00\x05", 4);
	assert_int_equal(channel_receive(pair->b, &got, 1000), -EPROTO); /* and stays so */
}

static void
test_zero_length(void **state)
{
	struct pair *pair = *state;
	struct message got;

	raw_send(pair, "\0\0\0\0", 4);
	assert_int_equal(channel_receive(pair->b, &got, 1000), -EPROTO);
}

static void
test_bad_body_after_good(void **state)
{
	struct pair *pair = *state;
	struct message message = started(1), got;

	assert_int_equal(channel_send(pair->a, &message), 0);
	raw_send(pair, "\0\0\0\1\xc0", 5);
	assert_int_equal(channel_receive(pair->b, &got, 1000), 0);
	assert_int_equal(got.started.job, 1);
	assert_int_equal(channel_receive(pair->b, &got, 1000), -EPROTO);
}

static void
test_unknown_type_skipped(void **state)
{
	struct pair *pair = *state;
	struct message message = started(2), got;
	int fd = -1;

	raw_send(pair, "\0\0\0\6\x94\x01\x7f\x00\x81\x01", 10);
	raw_send(pair, "\0\0\0\5\x94\x01\x7f\x00\x80", 9);
	assert_int_equal(channel_receive(pair->b, &got, 1000), -EPROTO); /* the first: cut short */
	channel_free(pair->b);
	channel_free(pair->a);
	assert_int_equal(channel_pair(&pair->a, &fd), 0);
	assert_int_equal(channel_new(fd, &pair->b), 0);
	raw_send(pair, "\0\0\0\5\x94\x01\x7f\x00\x80", 9);
	assert_int_equal(channel_send(pair->a, &message), 0);
	assert_int_equal(channel_receive(pair->b, &got, 1000), 0);
	assert_int_equal(got.started.job, 2);
}

static void
test_peer_gone(void **state)
{
	struct pair *pair = *state;
	struct message message = started(3), got;
	int rc;

	/* b dies having sent; a's writing fails (no SIGPIPE), what b sent is still read. */
	assert_int_equal(channel_send(pair->b, &message), 0);
	channel_free(pair->b);
	pair->b = NULL;
	do
		rc = channel_send(pair->a, &message);
	while (rc == 0);
	assert_int_equal(rc, -ECONNRESET);
	assert_int_equal(channel_send(pair->a, &message), -ECONNRESET);
	assert_int_equal(channel_receive(pair->a, &got, 1000), 0);
	assert_int_equal(got.started.job, 3);
	assert_int_equal(channel_receive(pair->a, &got, 1000), -ECONNRESET);
}

static void
test_end_within_frame(void **state)
{
	struct pair *pair = *state;
	struct message got;

	raw_send(pair, "\0\0\0\x10half", 8);
	channel_free(pair->a);
	pair->a = NULL;
	assert_int_equal(channel_receive(pair->b, &got, 1000), -ECONNRESET);
}

static void
test_slow_reader(void **state)
{
	struct pair *pair = *state;
	static char bytes[40000];
	struct message message = {.type = MSG_done}, got;
	unsigned sent = 0, received = 0;
	int rc;

	message.done.result = (struct msg_text){bytes, sizeof(bytes)};
	for (;;) {
		message.done.job = sent;
		rc = channel_send(pair->a, &message);
		if (rc != 0)
			break;
		sent++;
		assert_true(sent * sizeof(bytes) < 64u << 20);
	}
	assert_int_equal(rc, -ENOBUFS);
	assert_true(sent * sizeof(bytes) > CHANNEL_QUEUE_MAX / 2);
	assert_true(channel_wants_write(pair->a));
	/* Nothing that was taken is lost, nothing that was refused arrives. */
	while (received < sent) {
		assert_int_equal(channel_flush(pair->a), 0);
		assert_int_equal(channel_receive(pair->b, &got, 1000), 0);
		assert_int_equal(got.done.job, received);
		received++;
	}
	assert_int_equal(channel_receive(pair->b, &got, 0), -ETIMEDOUT);
	assert_int_equal(channel_send(pair->a, &message), 0);
}

static void
test_send_wait_times_out(void **state)
{
	struct pair *pair = *state;
	static char bytes[40000];
	struct message message = {.type = MSG_done};
	int rc;

	message.done.result = (struct msg_text){bytes, sizeof(bytes)};
	do
		rc = channel_send_wait(pair->a, &message, 10);
	while (rc == 0);
	assert_int_equal(rc, -ETIMEDOUT);
}

static void
test_refused_message_sends_nothing(void **state)
{
	struct pair *pair = *state;
	struct message message = {.type = (enum msg_type)9999}, got;

	assert_int_equal(channel_send(pair->a, &message), -ENOMSG);
	assert_int_equal(channel_receive(pair->b, &got, 0), -ETIMEDOUT);
	message = started(4);
	assert_int_equal(channel_send(pair->a, &message), 0);
	assert_int_equal(channel_receive(pair->b, &got, 1000), 0);
}

/* A directory whose path is far longer than sun_path. */
static int
deep_directory(char *root)
{
	char name[64];
	int dirfd;

	memset(name, 'd', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_non_null(mkdtemp(root));
	dirfd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < 4; i++) {
		int below;

		assert_int_equal(mkdirat(dirfd, name, 0700), 0);
		below = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(below >= 0);
		close(dirfd);
		dirfd = below;
	}
	return dirfd;
}

static void
remove_all(const char *root)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", root);
	assert_int_equal(system(command), 0);
}

static void
test_listen_and_connect(void **state)
{
	char root[] = "/tmp/ramet-channel.XXXXXX";
	int dirfd = deep_directory(root);
	struct message message = started(5), got;
	struct channel *client = NULL, *server = NULL;
	struct error_text err;
	struct stat st;
	uint32_t uid = 12345;
	int32_t pid = 0;
	int listen_fd = -1, fd = -1;

	assert_int_equal(channel_connect(dirfd, "ramet.sock", &client), -ENOENT);
	assert_int_equal(channel_listen(dirfd, "ramet.sock", &listen_fd, &err), 0);
	close(listen_fd);
	assert_int_equal(channel_connect(dirfd, "ramet.sock", &client), -ECONNREFUSED);
	assert_int_equal(
	    channel_listen(dirfd, "ramet.sock", &listen_fd, &err), 0); /* the dead one */
	assert_int_equal(fstatat(dirfd, "ramet.sock", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(channel_accept(listen_fd, &fd), -EAGAIN);
	assert_int_equal(channel_connect(dirfd, "ramet.sock", &client), 0);
	assert_int_equal(channel_accept(listen_fd, &fd), 0);
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(channel_peer(fd, &uid, &pid), 0);
	assert_int_equal(uid, getuid());
	assert_int_equal(pid, getpid());
	assert_int_equal(channel_new(fd, &server), 0);
	assert_int_equal(channel_send(client, &message), 0);
	assert_int_equal(channel_receive(server, &got, 1000), 0);
	assert_int_equal(got.started.job, 5);
	channel_free(client);
	channel_free(server);
	close(listen_fd);
	close(dirfd);
	remove_all(root);
}

static void
test_listen_keeps_files(void **state)
{
	char root[] = "/tmp/ramet-channel.XXXXXX";
	int dirfd = deep_directory(root);
	struct error_text err = {""};
	int fd, listen_fd = -1;

	fd = openat(dirfd, "ramet.sock", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(channel_listen(dirfd, "ramet.sock", &listen_fd, &err), -EEXIST);
	assert_non_null(strstr(err.text, "ramet.sock"));
	assert_int_equal(listen_fd, -1);
	assert_int_equal(faccessat(dirfd, "ramet.sock", F_OK, 0), 0);
	close(dirfd);
	remove_all(root);
}

#define PAIR_TEST(name) cmocka_unit_test_setup_teardown(name, pair_setup, pair_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    PAIR_TEST(test_many_in_order),
	    PAIR_TEST(test_byte_by_byte),
	    PAIR_TEST(test_largest_frame),
	    PAIR_TEST(test_bad_length),
	    PAIR_TEST(test_zero_length),
	    PAIR_TEST(test_bad_body_after_good),
	    PAIR_TEST(test_unknown_type_skipped),
	    PAIR_TEST(test_peer_gone),
	    PAIR_TEST(test_end_within_frame),
	    PAIR_TEST(test_slow_reader),
	    PAIR_TEST(test_send_wait_times_out),
	    PAIR_TEST(test_refused_message_sends_nothing),
	    cmocka_unit_test(test_listen_and_connect),
	    cmocka_unit_test(test_listen_keeps_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
