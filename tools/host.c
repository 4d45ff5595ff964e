#include "tools/host.h"

#include <sys/file.h>
#include <sys/wait.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/self.h"

enum { HELLO_WAIT_MS = 30000, REQUEST_WAIT_MS = 60000, TELL_WAIT_MS = 5000 };

static int signal_pipe[2] = {-1, -1};
static volatile sig_atomic_t signal_caught;

void
host_program(char *path, size_t size)
{
	if (self_beside("rametd", path, size) != 0)
		strlcpy(path, "rametd", size);
}

static void
host_start(struct tool *tool)
{
	char program[PATH_MAX];
	char *argv[] = {program, (char *)"--state", tool->state, NULL};
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int rc, status;

	host_program(program, sizeof(program));
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, 2, 1);
	rc = posix_spawnp(&pid, program, &actions, NULL, argv, self_environ());
	posix_spawn_file_actions_destroy(&actions);
	if (rc != 0)
		die("cannot start %s: %s (is rametd installed beside ramet?)", program,
		    strerror(rc));
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			die("%s: %s", program, strerror(errno));
	if (WIFSIGNALED(status))
		die("%s --state %s: ended by signal %d", program, tool->state, WTERMSIG(status));
	if (WEXITSTATUS(status) != 0)
		die("%s --state %s: could not start (exit status %d, see above)", program,
		    tool->state, WEXITSTATUS(status));
}

/*
 * Two who find no host at once must not both start one: the second waits here for the first, and
 * then finds it.  Returns the descriptor whose closing lets the next one go.
 */
static int
starters_lock(struct tool *tool)
{
	int fd = openat(tool->state_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		die("%s: %s", tool->state, strerror(errno));
	while (flock(fd, LOCK_EX) != 0)
		if (errno != EINTR)
			die("%s: cannot lock: %s", tool->state, strerror(errno));
	return fd;
}

/* True if it had to be started. */
static bool
host_start_once(struct tool *tool, struct channel **ret_channel)
{
	int lock = starters_lock(tool);
	bool started = false;
	int rc = channel_connect(tool->state_fd, "ramet.sock", ret_channel);

	if (rc == -ENOENT || rc == -ECONNREFUSED) {
		host_start(tool);
		started = true;
		rc = channel_connect(tool->state_fd, "ramet.sock", ret_channel);
	}
	close(lock);
	if (rc != 0)
		die("%s/ramet.sock: cannot connect to the host just started: %s", tool->state,
		    strerror(-rc));
	return started;
}

static struct message
hello_make(const struct tool *tool)
{
	struct message message = {.type = MSG_hello};

	message.hello.pid = (uint64_t)getpid();
	message.hello.program = msg_text("ramet " RAMET_VERSION);
	message.hello.seen_s = tool->started_s;
	return message;
}

static int64_t
host_hello(struct tool *tool, struct channel *channel)
{
	struct message message = hello_make(tool);
	int rc;

	rc = channel_send_wait(channel, &message, HELLO_WAIT_MS);
	if (rc == 0)
		rc = channel_receive(channel, &message, HELLO_WAIT_MS);
	if (rc == -ETIMEDOUT)
		die("%s: the host does not answer (is it stopped? see ramet ps)", tool->state);
	if (rc != 0)
		die("%s: the host does not talk to us: %s", tool->state, strerror(-rc));
	if (message.type == MSG_refused)
		die("%s: the host refused us: %.*s", tool->state, (int)message.refused.message.len,
		    message.refused.message.data);
	if (message.type != MSG_hello)
		die("%s: the host sent %s instead of hello: is it another version? (ramet stop)",
		    tool->state, message_name(message.type));
	return (int64_t)message.hello.pid;
}

struct channel *
host_connect(struct tool *tool, bool start, int64_t *ret_pid)
{
	struct channel *channel = NULL;
	bool started = false;
	int64_t pid;
	int rc;

	rc = channel_connect(tool->state_fd, "ramet.sock", &channel);
	if ((rc == -ENOENT || rc == -ECONNREFUSED) && start) {
		started = host_start_once(tool, &channel);
		rc = 0;
	}
	if (rc == -ENOENT || rc == -ECONNREFUSED)
		die("%s: no host runs there", tool->state);
	if (rc != 0)
		die("%s/ramet.sock: cannot connect: %s", tool->state, strerror(-rc));
	pid = host_hello(tool, channel);
	if (started)
		warnx("started a host in %s (pid %lld)", tool->state, (long long)pid);
	if (ret_pid != NULL)
		*ret_pid = pid;
	return channel;
}

static void
on_signal(int number)
{
	int kept = errno;

	if (signal_caught != 0) /* asked twice: now */
		_exit(128 + number);
	signal_caught = number;
	(void)!write(signal_pipe[1], "", 1);
	errno = kept;
}

void
host_catch_signals(void)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction action = {.sa_handler = on_signal};

	if (pipe(signal_pipe) != 0)
		die("pipe: %s", strerror(errno));
	for (int i = 0; i < 2; i++)
		if (fcntl(signal_pipe[i], F_SETFD, FD_CLOEXEC) != 0 ||
		    fcntl(signal_pipe[i], F_SETFL, O_NONBLOCK) != 0)
			die("pipe: %s", strerror(errno));
	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		sigaction(numbers[i], &action, NULL);
}

int
host_interrupted(void)
{
	return signal_caught;
}

static int
wait_ready(struct channel *channel, int timeout_ms)
{
	struct pollfd fds[2] = {
	    {.fd = channel_fd(channel), .events = POLLIN},
	    {.fd = signal_pipe[0], .events = POLLIN},
	};
	int n;

	if (channel_wants_write(channel))
		fds[0].events |= POLLOUT;
	n = poll(fds, 2, timeout_ms);
	if (n < 0 && errno != EINTR)
		return -errno;
	if (signal_caught != 0)
		return -EINTR;
	if (n == 0)
		return -ETIMEDOUT;
	return n > 0 && (fds[0].revents & POLLOUT) != 0 ? channel_flush(channel) : 0;
}

int
host_wait(struct channel *channel, struct message *ret_message, int timeout_ms)
{
	int rc;

	for (;;) {
		rc = channel_next(channel, ret_message);
		if (rc != -EAGAIN)
			return rc;
		rc = channel_fill(channel);
		if (rc == -EAGAIN)
			rc = wait_ready(channel, timeout_ms);
		if (rc != 0 && rc != -ECONNRESET)
			return rc;
		if (rc == -ECONNRESET) { /* what it said last may lie here still */
			(void)channel_fill(channel);
			rc = channel_next(channel, ret_message);
			return rc == -EAGAIN ? -ECONNRESET : rc;
		}
	}
}

void
host_request(struct channel *channel, const struct message *request)
{
	struct message answer;
	int rc = channel_send_wait(channel, request, REQUEST_WAIT_MS);

	if (rc == 0)
		rc = channel_receive(channel, &answer, REQUEST_WAIT_MS);
	if (rc != 0)
		die("%s: the host did not answer: %s", message_name(request->type), strerror(-rc));
	if (answer.type == MSG_refused)
		die("%s: refused: %.*s", message_name(request->type),
		    (int)answer.refused.message.len, answer.refused.message.data);
	if (answer.type != MSG_ok)
		die("%s: the host sent %s", message_name(request->type), message_name(answer.type));
}

static int
exchange(struct channel *channel, const struct message *request, unsigned wanted)
{
	struct message answer;
	int rc = channel_send_wait(channel, request, TELL_WAIT_MS);

	if (rc == 0)
		rc = channel_receive(channel, &answer, TELL_WAIT_MS);
	if (rc != 0)
		return rc;
	if (answer.type == MSG_refused)
		return -EPERM;
	return answer.type == wanted ? 0 : -EPROTO;
}

int
host_tell(struct tool *tool, const struct message *request)
{
	struct message hello = hello_make(tool);
	struct channel *channel = NULL;
	int rc = channel_connect(tool->state_fd, "ramet.sock", &channel);

	if (rc != 0)
		return rc;
	hello.hello.seen_s = 0; /* we need no blobs */
	rc = exchange(channel, &hello, MSG_hello);
	if (rc == 0)
		rc = exchange(channel, request, MSG_ok);
	channel_free(channel);
	return rc;
}
