/* What an action sees, what ends it, and that nothing of it stays: workers/run.h. */
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/keyctl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "tests/cmocka_wrap.h"
#include "workers/run_internal.h"

enum { ACTION_UID = 64321 };

struct host {
	struct host_config config;
	struct runner *runner;
	struct sandbox sandbox;
	struct error_text err;
	struct run_result result;
	const char *cwd;
	uint64_t timeout_us;
	const struct stage_bind *binds;
	size_t bind_count;
	int cancel_fd;
};

static enum isolation tested;
static bool ahead; /* actions are run by inits made ahead, where those can be */

static const char *const standard_env[] = {"PATH=/usr/bin:/bin", "HOME=/nowhere", NULL};

/* Each test has a state directory and a process-wide runner of the isolation that is tested. */
static struct runner *the_runner;
static struct host_config the_config;

static int
host_setup(void **state)
{
	struct host *host = calloc(1, sizeof(*host));
	uid_t uid = geteuid() == 0 && tested != ISOLATION_USER ? ACTION_UID : geteuid();
	static int number;
	char path[128];

	host->config = the_config;
	host->runner = the_runner;
	host->cwd = "";
	host->cancel_fd = -1;
	snprintf(host->sandbox.name, sizeof(host->sandbox.name), "2.%d", ++number);
	snprintf(path, sizeof(path), "sandboxes/%s/root", host->sandbox.name);
	if (fs_mkdir_path(the_config.state_fd, path, 0755) != 0 ||
	    fs_open_beneath(the_config.state_fd, path, &host->sandbox.rootfd) != 0)
		return -1;
	path[strlen(path) - 5] = '\0';
	if (fs_open_beneath(the_config.state_fd, path, &host->sandbox.dirfd) != 0)
		return -1;
	if (geteuid() == 0 && fchown(host->sandbox.rootfd, uid, uid) != 0)
		return -1;
	*state = host;
	return 0;
}

static int
host_teardown(void **state)
{
	struct host *host = *state;
	int fd;

	close(host->sandbox.rootfd);
	close(host->sandbox.dirfd);
	if (fs_open_beneath(the_config.state_fd, "sandboxes", &fd) != 0 ||
	    fs_remove_tree(fd, host->sandbox.name) != 0)
		return -1;
	close(fd);
	free(host);
	return 0;
}

static int
host_run_argv(struct host *host, const char *const *argv, const char *const *env)
{
	struct run_request request = {.argv = (char *const *)argv,
	    .env = (char *const *)env,
	    .working_directory = host->cwd,
	    .binds = host->binds,
	    .bind_count = host->bind_count,
	    .timeout_us = host->timeout_us,
	    .cancel_fd = host->cancel_fd};

	fs_remove_tree(host->sandbox.dirfd, "stdout");
	fs_remove_tree(host->sandbox.dirfd, "stderr");
	host->err.text[0] = '\0';
	if (ahead)
		run_ready_make(host->runner);
	else
		runner_rest(host->runner);
	return run_action(host->runner, &host->sandbox, &request, &host->result, &host->err);
}

/* Runs a shell script; its exit code. */
static int
host_run(struct host *host, const char *script)
{
	const char *argv[] = {"/bin/sh", "-c", script, NULL};
	int rc = host_run_argv(host, argv, standard_env);

	if (rc != 0)
		print_message("%s\n", host->err.text);
	assert_int_equal(rc, 0);
	return host->result.exit_code;
}

static char *
host_text(struct host *host, const char *name)
{
	static char text[65536];
	uint8_t *data;
	size_t len;

	if (fs_read_file(host->sandbox.dirfd, name, sizeof(text) - 1, &data, &len) != 0) {
		text[0] = '\0';
		return text;
	}
	memcpy(text, data, len);
	text[len] = '\0';
	free(data);
	return text;
}

/* 0: the key that a test has put into its session keyring is there. */
static int
find_key(void)
{
	long key =
	    syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user", "ramet-test", 0);

	return key >= 0 ? 0 : 1;
}

static bool
namespaces(void)
{
	return tested != ISOLATION_NONE;
}

static void
test_exit_codes(void **state)
{
	struct host *host = *state;

	assert_int_equal(host_run(host, "exit 0"), 0);
	assert_int_equal(host->result.term_signal, 0);
	assert_int_equal(host_run(host, "exit 7"), 7);
	assert_int_equal(host_run(host, "exit 137"), 137);
	assert_int_equal(host->result.term_signal, 0);
	assert_int_equal(host_run(host, "kill -9 $$"), 137);
	assert_int_equal(host->result.term_signal, SIGKILL);
	assert_int_equal(host_run(host, "kill -ABRT $$"), 128 + SIGABRT);
	assert_int_equal(host->result.term_signal, SIGABRT);
	assert_false(host->result.timed_out);
	assert_false(host->result.was_cancelled);
	assert_true(host->result.setup_us > 0 && host->result.setup_us <= host->result.elapsed_us);
	assert_true(host->result.max_rss_bytes > 100000);
	assert_true(host->result.end_us >= host->result.start_us);
}

static void
test_output(void **state)
{
	struct host *host = *state;

	assert_int_equal(host_run(host, "echo out; echo err >&2; echo named >/dev/stdout"), 0);
	assert_string_equal(host_text(host, "stdout"), "out\nnamed\n");
	assert_string_equal(host_text(host, "stderr"), "err\n");
	assert_int_equal(host_run(host, ":"), 0);
	assert_int_equal(faccessat(host->sandbox.dirfd, "stdout", F_OK, 0), -1);
	assert_int_equal(host_run(host, "cat"), 0); /* stdin is empty */
}

static void
test_output_cap(void **state)
{
	struct host *host = *state;
	char *text;

	assert_int_equal(host_run(host,
			     "i=0; while [ $i -lt 3000 ]; do echo 0123456789; "
			     "i=$((i+1)); done; exit 3"),
	    3);
	text = host_text(host, "stdout");
	assert_true(host->result.stdout_cut);
	assert_false(host->result.stderr_cut);
	assert_non_null(strstr(text, "ramet: stdout cut here: 29000 more bytes thrown away"));
	assert_int_equal(strstr(text, "\nramet: ") - text, the_config.log_cap_bytes);
}

static void
test_environment_and_cwd(void **state)
{
	struct host *host = *state;
	const char *argv[] = {"env", NULL};
	const char *env[] = {"PATH=/usr/bin:/bin", "A=b c", NULL};

	setenv("RAMET_TEST_LEAK", "1", 1);
	assert_int_equal(host_run_argv(host, argv, env), 0);
	assert_string_equal(host_text(host, "stdout"), "PATH=/usr/bin:/bin\nA=b c\n");
	assert_int_equal(fs_mkdir_path(host->sandbox.rootfd, "a/b", 0755), 0);
	host->cwd = "a/b";
	assert_int_equal(host_run(host, "/bin/pwd"), 0);
	if (namespaces())
		assert_string_equal(host_text(host, "stdout"), SANDBOX_PATH "/a/b\n");
	else
		assert_non_null(strstr(host_text(host, "stdout"), "/root/a/b\n"));
	host->cwd = "a/c";
	assert_int_equal(host_run_argv(host, argv, env), -ENOENT);
	assert_non_null(strstr(host->err.text, "working directory"));
}

static void
script_put(int dirfd, const char *name, const char *text, mode_t mode)
{
	assert_int_equal(fs_write_atomic(dirfd, name, text, strlen(text), mode), 0);
}

static int
exec_code(struct host *host, const char *program, const char *path)
{
	const char *argv[] = {program, NULL};
	char variable[PATH_MAX];
	const char *env[] = {variable, NULL};

	snprintf(variable, sizeof(variable), "%s", path);
	assert_int_equal(host_run_argv(host, argv, env), 0);
	return host->result.exit_code;
}

static void
test_program_lookup(void **state)
{
	struct host *host = *state;
	int dir;

	assert_int_equal(fs_mkdir_path(host->sandbox.rootfd, "w/bin", 0755), 0);
	assert_int_equal(fs_open_beneath(host->sandbox.rootfd, "w/bin", &dir), 0);
	script_put(dir, "here", "#!/bin/sh\necho here $0\n", 0755);
	script_put(dir, "plain", "no program\n", 0644);
	script_put(host->sandbox.rootfd, "above", "#!/bin/sh\necho above $0\n", 0755);
	close(dir);
	host->cwd = "w";
	assert_int_equal(exec_code(host, "bin/here", "A=b"), 0);
	assert_string_equal(host_text(host, "stdout"), "here bin/here\n");
	assert_int_equal(exec_code(host, "./above", "A=b"), 0); /* from the input root */
	assert_int_equal(exec_code(host, "here", "PATH=/nowhere:bin"), 0);
	assert_int_equal(exec_code(host, "here", "PATH=/nowhere"), 127);
	assert_non_null(strstr(host_text(host, "stderr"), "here: No such file"));
	assert_int_equal(exec_code(host, "true", "A=b"), 127);
	assert_non_null(strstr(host_text(host, "stderr"), "sets no PATH"));
	assert_int_equal(exec_code(host, "bin/plain", "A=b"), 126);
	assert_int_equal(exec_code(host, "plain", "PATH=bin"), 126);
	assert_int_equal(exec_code(host, "bin/none", "A=b"), 127);
}

/*
 * The action's daemon holds a write end of a fifo in its sandbox: the end of the stream says that
 * nobody of the action lives.
 */
static int
witness_open(struct host *host)
{
	int fd;

	unlinkat(host->sandbox.rootfd, "witness", 0);
	assert_int_equal(mkfifoat(host->sandbox.rootfd, "witness", 0666), 0);
	assert_int_equal(fchmodat(host->sandbox.rootfd, "witness", 0666, 0), 0);
	fd = openat(host->sandbox.rootfd, "witness", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

/* Waits at most 10 s for the end of the stream. */
static bool
witness_gone(int fd)
{
	struct pollfd watch = {.fd = fd, .events = POLLIN};
	char byte[64];

	for (;;) {
		ssize_t n = read(fd, byte, sizeof(byte));

		if (n == 0)
			return true;
		if (n < 0 && errno != EAGAIN)
			return false;
		if (poll(&watch, 1, 10000) <= 0)
			return false;
	}
}

static void
witness_check(int fd)
{
	char byte[64];

	assert_true(read(fd, byte, sizeof(byte)) > 0); /* it was opened, and written to */
	assert_int_equal(read(fd, byte, sizeof(byte)), 0);
	close(fd);
}

static void
test_daemon_does_not_outlive(void **state)
{
	struct host *host = *state;
	int fd = witness_open(host);

	assert_int_equal(host_run(host,
			     "(setsid sh -c 'exec 9>witness; echo up >&9; echo up >ready; "
			     "trap \"\" TERM HUP INT; while :; do sleep 1000; done' &) & "
			     "while ! [ -s ready ]; do :; done; exit 4"),
	    4);
	witness_check(fd);
}

static void
test_background_does_not_hold_output(void **state)
{
	struct host *host = *state;
	uint64_t start_us = clock_monotonic_us();

	assert_int_equal(host_run(host, "sleep 1000 & echo done"), 0);
	assert_string_equal(host_text(host, "stdout"), "done\n");
	assert_true(clock_monotonic_us() - start_us < 60000000);
}

static void
test_timeout(void **state)
{
	struct host *host = *state;
	int fd = witness_open(host);

	host->timeout_us = 200000;
	assert_int_equal(
	    host_run(host, "exec 9>witness; echo up >&9; echo kept; sleep 1000"), 128 + SIGTERM);
	assert_true(host->result.timed_out);
	assert_int_equal(host->result.term_signal, SIGTERM);
	assert_string_equal(host_text(host, "stdout"), "kept\n");
	witness_check(fd);
}

static void
test_timeout_ignored_term(void **state)
{
	struct host *host = *state;
	uint32_t grace_ms = the_config.kill_grace_ms;
	int fd = witness_open(host);

	host->timeout_us = 1000000;
	the_config.kill_grace_ms = 1500; /* on a busy machine it needs a while to say it */
	assert_int_equal(host_run(host,
			     "trap 'echo term' TERM; exec 9>witness; echo up >&9; "
			     "while :; do sleep 1000; done"),
	    128 + SIGKILL);
	the_config.kill_grace_ms = grace_ms;
	assert_true(host->result.timed_out);
	assert_string_equal(host_text(host, "stdout"), "term\n");
	witness_check(fd);
}

static bool
say_yes(void *arg)
{
	return true;
}

static void
test_cancel(void **state)
{
	struct host *host = *state;
	const char *argv[] = {"/bin/sh", "-c", "exec 9>witness; echo up >&9; sleep 1000", NULL};
	int fds[2], fd = witness_open(host);
	struct run_request request = {.argv = (char *const *)argv,
	    .env = (char *const *)standard_env,
	    .working_directory = "",
	    .cancelled = say_yes};

	/* The action's own first words cancel it. */
	assert_int_equal(pipe(fds), 0);
	request.cancel_fd = fd;
	assert_int_equal(
	    run_action(host->runner, &host->sandbox, &request, &host->result, &host->err), 0);
	assert_true(host->result.was_cancelled);
	assert_int_equal(host->result.term_signal, SIGKILL);
	witness_check(fd);
	close(fds[0]);
	close(fds[1]);
}

static void
test_no_descriptors_leak(void **state)
{
	struct host *host = *state;
	int leak = open("/dev/null", O_RDONLY); /* without O_CLOEXEC */

	assert_true(leak >= 0);
	assert_int_equal(host_run(host, "ls /proc/self/fd"), 0);
	assert_string_equal(
	    host_text(host, "stdout"), "0\n1\n2\n3\n"); /* 3: ls reads the directory */
	close(leak);
}

static void
test_signals_are_default(void **state)
{
	struct host *host = *state;

	assert_int_equal(host_run(host, "grep -E 'Sig(Blk|Ign)' /proc/self/status"), 0);
	assert_string_equal(
	    host_text(host, "stdout"), "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

static void
test_no_rights(void **state)
{
	struct host *host = *state;
	char expected[64];

	assert_int_equal(host_run(host,
			     "umask; id -u; grep -E '(CapPrm|CapEff|NoNewPrivs)' "
			     "/proc/self/status; ulimit -c"),
	    0);
	snprintf(expected, sizeof(expected), "0022\n%u\nCapPrm:\t0000000000000000\nCapEff:\t",
	    geteuid() == 0 && tested != ISOLATION_USER ? ACTION_UID : (unsigned)geteuid());
	assert_memory_equal(host_text(host, "stdout"), expected, strlen(expected));
	assert_non_null(
	    strstr(host_text(host, "stdout"), "CapEff:\t0000000000000000\nNoNewPrivs:\t1\n0\n"));
}

static void
test_host_is_read_only(void **state)
{
	struct host *host = *state;
	char script[5 * PATH_MAX];

	if (!namespaces()) {
		print_message("skipped: there are no namespaces in isolation none\n");
		skip();
	}
	snprintf(script, sizeof(script),
	    "for d in / /usr /var/tmp /etc %s %s/sandboxes; do "
	    "if (: > $d/ramet-test-wrote) 2>/dev/null; then echo wrote $d; fi; done; "
	    "ls %s/sandboxes 2>/dev/null; ls %s 2>/dev/null; : > here",
	    the_config.state_dir, the_config.state_dir, the_config.state_dir, the_config.state_dir);
	assert_int_equal(host_run(host, script), 0);
	assert_string_equal(host_text(host, "stdout"), "");
	assert_int_equal(faccessat(host->sandbox.rootfd, "here", F_OK, 0), 0);
}

static void
test_remount_is_refused(void **state)
{
	struct host *host = *state;
	char script[PATH_MAX + 256];

	if (!namespaces()) {
		print_message("skipped: there are no namespaces in isolation none\n");
		skip();
	}
	snprintf(script, sizeof(script),
	    "mount -o remount,rw / 2>/dev/null && echo remounted; "
	    "unshare -Urm sh -c 'mount -o remount,bind,rw /usr && echo remounted; umount %s && echo bare; "
	    "umount /tmp && echo bare' 2>/dev/null; :",
	    the_config.state_dir);
	assert_int_equal(host_run(host, script), 0);
	assert_string_equal(host_text(host, "stdout"), "");
}

static void
test_inputs_are_read_only(void **state)
{
	struct host *host = *state;
	char target[] = "lib", source[] = "trees/one/sub";
	const struct stage_bind bind = {.target = target, .source = source, .is_directory = true};
	int dir;

	if (!namespaces()) {
		print_message("skipped: there are no namespaces in isolation none\n");
		skip();
	}
	assert_int_equal(fs_mkdir_path(the_config.state_fd, "trees/one/sub", 0777), 0);
	assert_int_equal(fs_open_beneath(the_config.state_fd, "trees/one/sub", &dir), 0);
	script_put(dir, "input", "bytes\n", 0666);
	fchmod(dir, 0777);
	assert_int_equal(fchmodat(dir, "input", 0666, 0), 0);
	assert_int_equal(fs_mkdir(host->sandbox.rootfd, "lib", 0755), 0);
	host->binds = &bind;
	host->bind_count = 1;
	assert_int_equal(host_run(host,
			     "cat lib/input; (echo x > lib/input) 2>/dev/null; "
			     "(echo x > lib/new) 2>/dev/null; rm -f lib/input 2>/dev/null; "
			     "chmod 777 lib/input 2>/dev/null; ln lib/input mine 2>/dev/null; "
			     "mv lib other 2>/dev/null; ls lib; ls"),
	    0);
	assert_string_equal(host_text(host, "stdout"), "bytes\ninput\nlib\n");
	close(dir);
	assert_int_equal(fs_remove_tree(the_config.state_fd, "trees"), 0);
}

static void
test_binds_stay_beneath(void **state)
{
	struct host *host = *state;
	char target[] = "a/b", source[] = "trees", other_target[] = "c", other_source[] = "../..";
	struct stage_bind bind = {.target = target, .source = source, .is_directory = true};

	if (!namespaces()) {
		print_message("skipped: there are no namespaces in isolation none\n");
		skip();
	}
	assert_int_equal(fs_mkdir(the_config.state_fd, "trees", 0755), 0);
	assert_int_equal(symlinkat("/etc", host->sandbox.rootfd, "a"), 0);
	host->binds = &bind;
	host->bind_count = 1;
	assert_int_equal(host_run_argv(host, standard_env, standard_env), -ELOOP);
	bind.target = other_target;
	bind.source = other_source;
	assert_int_equal(host_run_argv(host, standard_env, standard_env), -EXDEV);
	assert_non_null(strstr(host->err.text, "../.. at c"));
	assert_int_equal(fs_remove_tree(the_config.state_fd, "trees"), 0);
}

static void
test_private_tmp(void **state)
{
	struct host *host = *state;

	if (!namespaces()) {
		print_message("skipped: there are no namespaces in isolation none\n");
		skip();
	}
	assert_int_equal(
	    host_run(host, "ls -A /tmp /dev/shm; echo x >/tmp/file && echo x >/dev/shm/file"), 0);
	assert_string_equal(host_text(host, "stdout"), "/dev/shm:\n\n/tmp:\nramet\n");
	assert_int_equal(host_run(host, "ls -A /tmp /dev/shm"), 0);
	assert_string_equal(host_text(host, "stdout"), "/dev/shm:\n\n/tmp:\nramet\n");
}

/* Ours is open here, so that it would be there to find. */
static void
test_terminals_are_its_own(void **state)
{
	struct host *host = *state;
	int terminal;

	if (!namespaces()) {
		print_message("skipped: there are no namespaces in isolation none\n");
		skip();
	}
	terminal = posix_openpt(O_RDWR | O_NOCTTY);
	if (terminal < 0 || access("/dev/pts", F_OK) != 0) {
		print_message("skipped: no terminals here\n");
		skip();
	}
	assert_int_equal(host_run(host,
			     "ls /dev/pts; exec 3<>/dev/ptmx && ls /dev/pts; "
			     "test -c /dev/pts/ptmx"),
	    0);
	assert_string_equal(host_text(host, "stdout"), "ptmx\n0\nptmx\n");
	close(terminal);
}

static void
test_host_processes_are_hidden(void **state)
{
	struct host *host = *state;
	char script[256];

	if (!namespaces()) {
		print_message("skipped: there are no namespaces in isolation none\n");
		skip();
	}
	snprintf(script, sizeof(script),
	    "cd /proc; echo [0-9]*; kill -0 %d 2>/dev/null && echo seen; kill -9 1; kill -STOP 1; "
	    "(: </proc/1/mem) 2>/dev/null && echo opened; readlink /proc/1/exe /proc/1/fd/3; hostname",
	    (int)getpid());
	assert_int_equal(host_run(host, script), 0);
	assert_string_equal(host_text(host, "stdout"), "1 2\nlocalhost\n");
}

static void
test_run_is_hidden(void **state)
{
	struct host *host = *state;

	if (!namespaces() || access("/run/current-system", F_OK) == 0) {
		print_message("skipped: /run is the host's here\n");
		skip();
	}
	assert_int_equal(
	    host_run(host, "ls -A /run; (: >/run/new) 2>/dev/null && echo wrote; :"), 0);
	assert_string_equal(host_text(host, "stdout"), "");
}

static void
test_network_is_its_own(void **state)
{
	struct host *host = *state;

	if (!namespaces()) {
		print_message("skipped: there are no namespaces in isolation none\n");
		skip();
	}
	assert_int_equal(
	    host_run(host, "cat /proc/net/dev | grep -c :; grep -q . /sys/class/net/lo/x; :"), 0);
	assert_string_equal(host_text(host, "stdout"), "1\n");
}

static void
test_state_socket_is_out_of_reach(void **state)
{
	struct host *host = *state;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char script[PATH_MAX + 256];
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (!namespaces()) {
		print_message("skipped: there are no namespaces in isolation none\n");
		skip();
	}
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/ramet.sock",
	    the_config.state_fd);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 1), 0);
	snprintf(script, sizeof(script), "test -e %s/ramet.sock", the_config.state_dir);
	assert_int_equal(host_run(host, script), 1);
	close(fd);
	assert_int_equal(unlinkat(the_config.state_fd, "ramet.sock", 0), 0);
}

/* A key of ours is not the action's to find; the helper is this program, which the action runs. */
static void
test_keyrings_are_its_own(void **state)
{
	struct host *host = *state;
	const char *argv[] = {"./helper", "find-key", NULL};

	if (access("/proc/keys", F_OK) != 0 ||
	    syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 ||
	    syscall(SYS_add_key, "user", "ramet-test", "secret", 6, KEY_SPEC_SESSION_KEYRING) < 0) {
		print_message("skipped: no keyrings here\n");
		skip();
	}
	assert_int_equal(find_key(), 0);
	int in = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int out =
	    openat(host->sandbox.rootfd, "helper", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	assert_true(in >= 0 && out >= 0);
	assert_int_equal(fs_copy(in, out), 0);
	close(in);
	close(out);
	run_ready_drop(host->runner);
	assert_int_equal(host_run_argv(host, argv, standard_env), 0);
	assert_int_equal(host->result.exit_code, 1);
}

/* The worker is killed with SIGKILL while its action runs. */
static void
test_worker_death_ends_all(void **state)
{
	struct host *host = *state;
	const char *argv[] = {"/bin/sh", "-c",
	    "(setsid sh -c 'exec 9>witness; echo up >&9; trap \"\" TERM; while :; do sleep 1000; done' "
	    "&) & exec 9>witness; sleep 1000",
	    NULL};
	struct run_request request = {.argv = (char *const *)argv,
	    .env = (char *const *)standard_env,
	    .working_directory = "",
	    .cancel_fd = -1};
	int fd = witness_open(host), status;
	struct pollfd watch = {.fd = fd, .events = POLLIN};
	pid_t worker;

	runner_rest(host->runner); /* an init made ahead would be ours, not the worker's */
	worker = fork();
	assert_true(worker >= 0);
	if (worker == 0) {
		if (ahead)
			run_ready_make(host->runner);
		run_action(host->runner, &host->sandbox, &request, &host->result, &host->err);
		_exit(99);
	}
	assert_int_equal(poll(&watch, 1, 20000), 1);
	assert_int_equal(kill(worker, SIGKILL), 0);
	assert_int_equal(waitpid(worker, &status, 0), worker);
	assert_true(WIFSIGNALED(status));
	assert_true(witness_gone(fd));
	close(fd);
}

/* The init that waits for the next action, when all others have gone. */
static pid_t
ready_alone(const struct host *host)
{
	uint64_t start_us = clock_monotonic_us();

	while (host->runner->leaving_count > 0 && clock_monotonic_us() - start_us < 20000000) {
		run_children_reap(host->runner);
		sched_yield();
	}
	assert_int_equal(host->runner->leaving_count, 0);
	assert_true(host->runner->ready.pid > 0);
	return host->runner->ready.pid;
}

/* Since ready_alone just one init has run an action: this one? */
static bool
was_run_by(const struct host *host, pid_t pid)
{
	return host->runner->leaving_count == 1 && host->runner->leaving[0] == pid;
}

static bool
ready_possible(void)
{
	if (namespaces() && ahead)
		return true;
	print_message("skipped: no init is made ahead\n");
	return false;
}

static void
test_ready_runs_the_next(void **state)
{
	struct host *host = *state;
	char target[] = "lib", source[] = "trees/one";
	const struct stage_bind bind = {.target = target, .source = source, .is_directory = true};
	if (!ready_possible())
		skip();
	assert_int_equal(fs_mkdir_path(the_config.state_fd, "trees/one/sub", 0755), 0);
	assert_int_equal(fs_mkdir(host->sandbox.rootfd, "lib", 0755), 0);
	assert_int_equal(host_run(host, ":"), 0);
	for (int i = 0; i < 3; i++) {
		pid_t pid = ready_alone(host);

		host->binds = i == 1 ? &bind : NULL;
		host->bind_count = i == 1;
		assert_int_equal(host_run(host,
				     "ls lib; echo >mine; (: >lib/x) 2>/dev/null && "
				     "[ -e lib/sub ] && echo wrote; rm -f lib/x; :"),
		    0);
		assert_true(was_run_by(host, pid));
		assert_string_equal(host_text(host, "stdout"), i == 1 ? "sub\n" : "");
		assert_int_equal(unlinkat(host->sandbox.rootfd, "mine", 0), 0);
	}
	assert_int_equal(fs_remove_tree(the_config.state_fd, "trees"), 0);
}

static void
test_large_order_goes_directly(void **state)
{
	struct host *host = *state;
	enum { PART = 100000, PARTS = 4 };
	static char parts[PARTS][PART];
	const char *env[PARTS + 2] = {"PATH=/usr/bin:/bin"};
	const char *argv[] = {"/bin/sh", "-c", "env | wc -c", NULL};
	pid_t pid;

	if (!ready_possible())
		skip();
	for (int i = 0; i < PARTS; i++) {
		memset(parts[i], 'x', PART - 1);
		memcpy(parts[i], "A=", 2);
		parts[i][0] = (char)('A' + i);
		env[i + 1] = parts[i];
	}
	assert_int_equal(host_run(host, ":"), 0);
	pid = ready_alone(host);
	assert_int_equal(host_run_argv(host, argv, env), 0);
	assert_int_equal(host->result.exit_code, 0);
	assert_true(strtoul(host_text(host, "stdout"), NULL, 10) > (unsigned long)PART * PARTS);
	assert_false(was_run_by(host, pid));
	assert_int_equal(ready_alone(host), pid); /* it still waits */
	assert_int_equal(host_run(host, ":"), 0);
	assert_true(was_run_by(host, pid));
}

static void
test_rest_leaves_nothing(void **state)
{
	struct host *host = *state;
	uint64_t start_us = clock_monotonic_us();
	pid_t pid;

	if (!ready_possible())
		skip();
	assert_int_equal(host_run(host, ":"), 0);
	pid = host->runner->ready.pid;
	assert_true(pid > 0);
	assert_int_equal(kill(pid, 0), 0);
	assert_true(runner_rest_ms(host->runner) > 0);
	while (runner_rest_ms(host->runner) >= 0 && clock_monotonic_us() - start_us < 20000000) {
		runner_rest(host->runner);
		sched_yield();
	}
	assert_int_equal(runner_rest_ms(host->runner), -1);
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(host_run(host, "exit 3"), 3);
}

static void
test_failed_ready_is_replaced(void **state)
{
	struct host *host = *state;
	struct host_config broken = *host->runner->config;

	if (!ready_possible())
		skip();
	for (int i = 0; i < 10; i++) { /* it fails before, while, or after it is asked */
		runner_rest(host->runner);
		broken.state_dir[0] = '\0';
		host->runner->config = &broken;
		run_ready_make(host->runner);
		if (i == 0) {
			assert_int_equal(host_run_argv(host, standard_env, standard_env), -ENOENT);
			assert_non_null(strstr(host->err.text, "state directory"));
		}
		host->runner->config = &the_config;
		assert_int_equal(host_run(host, "echo ran; exit 5"), 5);
		assert_string_equal(host_text(host, "stdout"), "ran\n");
	}
}

/* Only a process that may mount can see that: root in the mount namespace that run_apart made. */
static void
test_new_mount_is_seen(void **state)
{
	struct host *host = *state;
	int dir;

	if (!ready_possible())
		skip();
	assert_int_equal(host_run(host, ":"), 0);
	assert_int_not_equal(host->runner->ready.pid, 0);
	if (mount("ramet-test", "/mnt", "tmpfs", 0, "mode=755") != 0) {
		print_message("skipped: may not mount: %s\n", strerror(errno));
		skip();
	}
	dir = open("/mnt", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	script_put(dir, "file", "new\n", 0644);
	close(dir);
	assert_int_equal(host_run(host, "cat /mnt/file"), 0);
	assert_string_equal(host_text(host, "stdout"), "new\n");
	assert_int_equal(umount("/mnt"), 0);
	assert_int_equal(host_run(host, "test -e /mnt/file"), 1);
}

/* A worker that is killed between two actions. */
static void
test_ready_dies_with_its_worker(void **state)
{
	struct host *host = *state;
	struct pollfd watch = {.events = POLLIN};
	int fds[2], status;
	pid_t worker, pid = 0;

	if (!ready_possible())
		skip();
	runner_rest(host->runner);
	assert_int_equal(pipe(fds), 0);
	worker = fork();
	assert_true(worker >= 0);
	if (worker == 0) {
		run_ready_make(host->runner);
		pid = host->runner->ready.pid;
		if (write(fds[1], &pid, sizeof(pid)) == sizeof(pid))
			pause();
		_exit(99);
	}
	assert_int_equal(read(fds[0], &pid, sizeof(pid)), sizeof(pid));
	assert_true(pid > 0);
	watch.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	assert_true(watch.fd >= 0);
	assert_int_equal(kill(worker, SIGKILL), 0);
	assert_int_equal(waitpid(worker, &status, 0), worker);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(poll(&watch, 1, 20000), 1);
	close(watch.fd);
	close(fds[0]);
	close(fds[1]);
}

static void
test_try_isolation(void **state)
{
	struct host *host = *state;
	double us = 0;

	assert_int_equal(run_try_isolation(&the_config, tested, &us, &host->err), 0);
	assert_true(us > 10 && us < 10000000);
	host->config.state_dir[0] = '\0';
	if (namespaces()) {
		assert_int_equal(
		    run_try_isolation(&host->config, tested, &us, &host->err), -ENOENT);
		assert_non_null(strstr(host->err.text, "state directory"));
	}
}

#define RUN_TEST(name) cmocka_unit_test_setup_teardown(name, host_setup, host_teardown)

static int
run_all(enum isolation isolation)
{
	const struct CMUnitTest tests[] = {
	    RUN_TEST(test_exit_codes),
	    RUN_TEST(test_output),
	    RUN_TEST(test_output_cap),
	    RUN_TEST(test_environment_and_cwd),
	    RUN_TEST(test_program_lookup),
	    RUN_TEST(test_daemon_does_not_outlive),
	    RUN_TEST(test_background_does_not_hold_output),
	    RUN_TEST(test_timeout),
	    RUN_TEST(test_timeout_ignored_term),
	    RUN_TEST(test_cancel),
	    RUN_TEST(test_no_descriptors_leak),
	    RUN_TEST(test_signals_are_default),
	    RUN_TEST(test_no_rights),
	    RUN_TEST(test_host_is_read_only),
	    RUN_TEST(test_remount_is_refused),
	    RUN_TEST(test_inputs_are_read_only),
	    RUN_TEST(test_binds_stay_beneath),
	    RUN_TEST(test_private_tmp),
	    RUN_TEST(test_terminals_are_its_own),
	    RUN_TEST(test_host_processes_are_hidden),
	    RUN_TEST(test_run_is_hidden),
	    RUN_TEST(test_network_is_its_own),
	    RUN_TEST(test_state_socket_is_out_of_reach),
	    RUN_TEST(test_keyrings_are_its_own),
	    RUN_TEST(test_worker_death_ends_all),
	    RUN_TEST(test_ready_runs_the_next),
	    RUN_TEST(test_large_order_goes_directly),
	    RUN_TEST(test_rest_leaves_nothing),
	    RUN_TEST(test_failed_ready_is_replaced),
	    RUN_TEST(test_new_mount_is_seen),
	    RUN_TEST(test_ready_dies_with_its_worker),
	    RUN_TEST(test_try_isolation),
	};
	struct error_text err;
	char name[64];
	int rc;

	tested = isolation;
	rc = runner_new(&the_config, isolation,
	    geteuid() == 0 && isolation != ISOLATION_USER ? ACTION_UID : geteuid(), NULL,
	    &the_runner, &err);
	if (rc != 0) {
		print_message("isolation %s: %s: skipped\n", isolation_names[isolation], err.text);
		return 0;
	}
	snprintf(name, sizeof(name), "%s%s", isolation_names[isolation], ahead ? ", ahead" : "");
	rc = cmocka_run_group_tests_name(name, tests, NULL, NULL);
	runner_free(the_runner);
	return rc;
}

/* Namespaces, once entered, are not left: each isolation has a process of its own. */
static int
run_apart(enum isolation isolation, bool are_ahead)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		if (unshare(CLONE_NEWNS) == 0) /* test_new_mount_is_seen's mount is nobody's */
			(void)mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
		ahead = are_ahead;
		exit(run_all(isolation) == 0 ? 0 : 1);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 1;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 1;
}

int
main(int argc, char **argv)
{
	char template[] = "/tmp/ramet-test-run.XXXXXX";
	int rc = 0;

	if (argc == 2 && strcmp(argv[1], "find-key") == 0)
		return find_key();

	if (mkdtemp(template) == NULL || chmod(template, 0711) != 0)
		return 1;
	snprintf(the_config.state_dir, sizeof(the_config.state_dir), "%s", template);
	the_config.state_fd = open(template, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	the_config.action_uid_base = ACTION_UID;
	the_config.kill_grace_ms = 300;
	the_config.log_cap_bytes = 4000;
	if (fs_mkdir(the_config.state_fd, "sandboxes", 0711) != 0)
		return 1;
	for (int i = 0; i < 2; i++) {
		if (geteuid() == 0)
			rc |= run_apart(ISOLATION_ROOT, i == 1);
		rc |= run_apart(ISOLATION_USER, i == 1);
	}
	rc |= run_apart(ISOLATION_NONE, false);
	close(the_config.state_fd);
	if (fs_remove_tree(AT_FDCWD, template) != 0)
		rc = 1;
	return rc;
}
