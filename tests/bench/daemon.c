#include "tests/bench/daemon.h"

#include <sys/wait.h>

#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/fs.h"
#include "ipc/channel.h"

enum { START_TRIES = 1000, REPLY_MS_MAX = 30000 };

struct daemon {
	pid_t pid;
	int state_fd;
	struct channel *channel;
};

static pid_t running; /* what atexit kills */

static void
kill_running(void)
{
	if (running > 0)
		kill(running, SIGKILL);
}

_Noreturn static void
exec_daemon(const char *rametd, const char *state_dir, unsigned workers, bool gateway)
{
	char count[16], log[4200];
	int fd;

	snprintf(count, sizeof(count), "%u", workers);
	snprintf(log, sizeof(log), "%s/rametd.log", state_dir);
	fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
	if (fd >= 0) {
		dup2(fd, STDOUT_FILENO);
		dup2(fd, STDERR_FILENO);
	}
	execl(rametd, "rametd", "--state", state_dir, "--workers", count, "--foreground",
	    "--isolation", geteuid() == 0 ? "root" : "user", gateway ? "--listen" : (char *)NULL,
	    "grpc://127.0.0.1:0", (char *)NULL);
	warn("%s", rametd);
	_exit(127);
}

/* It listens once its state directory is made and its probes are done. */
static struct channel *
connect_to(int state_fd, pid_t pid)
{
	struct timespec pause = {.tv_nsec = 10000000};
	struct channel *channel;
	int i;

	for (i = 0; i < START_TRIES; i++) {
		if (channel_connect(state_fd, "ramet.sock", &channel) == 0)
			return channel;
		if (waitpid(pid, NULL, WNOHANG) == pid) {
			running = 0;
			errx(1, "rametd ended at once: see rametd.log in its state directory");
		}
		nanosleep(&pause, NULL);
	}
	errx(1, "rametd does not listen");
}

static struct daemon *
start(const char *rametd, const char *state_dir, unsigned workers, bool gateway)
{
	struct message hello = {.type = MSG_hello};
	struct daemon *daemon = calloc(1, sizeof(*daemon));
	int rc;

	if (daemon == NULL)
		err(1, "daemon");
	daemon->state_fd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (daemon->state_fd < 0)
		err(1, "%s", state_dir);
	daemon->pid = fork();
	if (daemon->pid < 0)
		err(1, "fork");
	if (daemon->pid == 0)
		exec_daemon(rametd, state_dir, workers, gateway);
	running = daemon->pid;
	atexit(kill_running);
	daemon->channel = connect_to(daemon->state_fd, daemon->pid);
	hello.hello.pid = (uint64_t)getpid();
	hello.hello.program = msg_text("bench " RAMET_VERSION);
	rc = channel_send_wait(daemon->channel, &hello, REPLY_MS_MAX);
	if (rc < 0)
		errx(1, "hello: %s", strerror(-rc));
	return daemon;
}

struct daemon *
daemon_start(const char *rametd, const char *state_dir, unsigned workers)
{
	return start(rametd, state_dir, workers, false);
}

static bool
listening_read(const struct daemon *daemon, char target[DAEMON_TARGET_SIZE])
{
	static const char before[] = "grpc://";
	uint8_t *text;
	size_t len;
	char *line;

	if (fs_read_file(daemon->state_fd, "listening", 4096, &text, &len) != 0)
		return false;
	line = (char *)text;
	line[strcspn(line, "\n")] = '\0';
	if (strncmp(line, before, strlen(before)) != 0 ||
	    strlcpy(target, line + strlen(before), DAEMON_TARGET_SIZE) >= DAEMON_TARGET_SIZE)
		errx(1, "rametd listens at %s", line);
	free(text);
	return true;
}

struct daemon *
daemon_start_gateway(
    const char *rametd, const char *state_dir, unsigned workers, char target[DAEMON_TARGET_SIZE])
{
	struct daemon *daemon = start(rametd, state_dir, workers, true);
	struct timespec pause = {.tv_nsec = 10000000};

	for (int i = 0; !listening_read(daemon, target); i++) {
		if (i == START_TRIES)
			errx(1, "the gateway does not listen: see rametd.log");
		nanosleep(&pause, NULL);
	}
	return daemon;
}

void
daemon_stop(struct daemon *daemon)
{
	int status;

	channel_free(daemon->channel);
	kill(daemon->pid, SIGTERM);
	if (waitpid(daemon->pid, &status, 0) < 0 || status != 0)
		warnx("rametd did not stop cleanly");
	running = 0;
	close(daemon->state_fd);
	free(daemon);
}

pid_t
daemon_pid(const struct daemon *daemon)
{
	return daemon->pid;
}

void
daemon_submit(struct daemon *daemon, uint64_t job, const struct digest *action)
{
	struct message message = {.type = MSG_submit};
	int rc;

	message.submit.job = job;
	message.submit.action = *action;
	message.submit.skip_cache_lookup = true;
	message.submit.has_skip_cache_lookup = true;
	rc = channel_send_wait(daemon->channel, &message, REPLY_MS_MAX);
	if (rc < 0)
		errx(1, "submit: %s", strerror(-rc));
}

uint64_t
daemon_finish(struct daemon *daemon)
{
	struct message message;
	char words[1100];
	int rc;

	for (;;) {
		rc = channel_receive(daemon->channel, &message, REPLY_MS_MAX);
		if (rc < 0)
			errx(1, "no answer from rametd: %s", strerror(-rc));
		if (message.type == MSG_refused)
			errx(1, "refused: %s",
			    msg_text_copy(message.refused.message, words, sizeof(words)));
		if (message.type != MSG_done)
			continue;
		if (message.done.status != JOB_OK || message.done.exit_code != 0)
			errx(1, "an action failed: %s",
			    msg_text_copy(message.done.message, words, sizeof(words)));
		return message.done.job;
	}
}
