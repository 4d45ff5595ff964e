#include "workers/run.h"

#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/fs.h"
#include "workers/run_internal.h"
#include "workers/run_log.h"

/* How long an init may take to end everything after it was asked to kill, before it goes itself. */
enum { KILL_PATIENCE_US = 5000000 };
/* How long an init waits for the next action: a build asks again at once. */
enum { READY_MS = 500 };

enum ending { ENDING_NONE, ENDING_TERM, ENDING_KILL, ENDING_FORCED };

/* One run_action. */
struct run {
	struct runner *runner;
	const struct sandbox *sandbox;
	const struct run_request *request;
	struct run_result *result;
	struct run_log logs[2]; /* stdout, stderr */
	const char *root_path;
	struct run_child init; /* its pipes are in the logs */
	struct run_report report; /* RUN_ENDED or RUN_FAILED, when it came */
	bool reported;
	enum ending ending;
	uint64_t start_us, deadline_us; /* CLOCK_MONOTONIC; deadline 0: none */
};

static const char *const step_words[RUN_STEP_COUNT] = {
    [RUN_STEP_STATE] = "cannot open the state directory",
    [RUN_STEP_ROOT] = "cannot clone the sandbox's mount",
    [RUN_STEP_READ_ONLY] = "cannot make the host read-only",
    [RUN_STEP_TMP] = "cannot mount a private /tmp",
    [RUN_STEP_SANDBOX] = "cannot mount the sandbox",
    [RUN_STEP_IMAGE] = "cannot mount an image of its inputs",
    [RUN_STEP_OVERLAY] = "cannot mount an overlay of the sandbox and a cached tree",
    [RUN_STEP_SOURCE] = "cannot open an input tree",
    [RUN_STEP_TARGET] = "cannot bind an input tree",
    [RUN_STEP_HIDE] = "cannot hide the state directory",
    [RUN_STEP_RUN] = "cannot hide /run",
    [RUN_STEP_SHM] = "cannot mount a private /dev/shm",
    [RUN_STEP_PTS] = "cannot mount terminals of the action's own",
    [RUN_STEP_PROC] = "cannot mount /proc",
    [RUN_STEP_CHDIR] = "cannot enter the working directory",
    [RUN_STEP_DESCRIPTORS] = "cannot arrange the action's descriptors",
    [RUN_STEP_SPAWN] = "cannot start the action's process",
};

bool
run_has_namespaces(const struct runner *runner)
{
	return runner->isolation != ISOLATION_NONE;
}

/* An exec keeps "ignored": an action must not inherit it. */
static void
ignored_find(sigset_t *set)
{
	struct sigaction action;

	sigemptyset(set);
	for (int signal_number = 1; signal_number < NSIG; signal_number++)
		if (sigaction(signal_number, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
			sigaddset(set, signal_number);
}

/* Descriptors 0 to 2 are an action's own: ours must never land there. */
static int
standard_fds_hold(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	return fd < 0 ? -errno : fd;
}

int
runner_new(const struct host_config *config, enum isolation isolation, uid_t action_uid,
    struct slot *slot, struct runner **ret_runner, struct error_text *err)
{
	struct runner *runner = calloc(1, sizeof(*runner));
	int rc;

	if (runner == NULL || (runner->log_buffer = malloc(RUN_LOG_BUFFER)) == NULL) {
		free(runner);
		return error_set(err, -ENOMEM, "no memory to run actions");
	}
	signal(SIGPIPE, SIG_IGN);
	runner->config = config;
	runner->isolation = isolation;
	runner->action_uid = action_uid;
	runner->drop_uid = isolation != ISOLATION_USER && geteuid() == 0 && action_uid != geteuid();
	runner->slot = slot;
	ignored_find(&runner->ignored);
	runner->ready = RUN_CHILD_NONE;
	runner->mounts_fd = runner->map_fd = runner->own_fd = -1;
	runner->null_fd = standard_fds_hold();
	if (runner->null_fd < 0) {
		rc = error_errno(err, runner->null_fd, "/dev/null: cannot open");
		goto out;
	}
	rc = run_os_setup(runner, err);
	if (rc == 0) {
		run_ready_open(runner);
		*ret_runner = runner;
		return 0;
	}
out:
	runner_free(runner);
	return rc;
}

void
runner_free(struct runner *runner)
{
	if (runner == NULL)
		return;
	run_ready_close(runner);
	for (unsigned i = 0; i < runner->leaving_count; i++)
		run_child_reap(runner->leaving[i]);
	int fds[] = {runner->mounts_fd, runner->null_fd, runner->map_fd, runner->own_fd};
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	free(runner->log_buffer);
	free(runner);
}

int
runner_refused(const struct runner *runner, enum place_way *ret_way)
{
	if (runner->refused_error != 0)
		*ret_way = runner->refused_way;
	return runner->refused_error;
}

static void
note_refused(struct runner *runner, enum place_way way, int error)
{
	runner->refused_way = way;
	runner->refused_error = error;
}

int
runner_rest_ms(const struct runner *runner)
{
	return runner->ready.pid != 0 || runner->leaving_count > 0 ? READY_MS : -1;
}

void
runner_rest(struct runner *runner)
{
	run_children_reap(runner);
	run_ready_drop(runner);
}

static void
ask(struct run *run, char what)
{
	if (run->init.control_fd >= 0)
		(void)!write(run->init.control_fd, &what, 1);
}

static void
end_by_force(struct run *run)
{
	uint64_t now_us = clock_monotonic_us();

	if (run->ending == ENDING_NONE || run->ending == ENDING_TERM) {
		ask(run, RUN_ASK_KILL);
		run->ending = ENDING_KILL;
		run->deadline_us = now_us + KILL_PATIENCE_US;
	} else if (run->ending == ENDING_KILL) {
		kill(run->init.pid, SIGKILL);
		run->ending = ENDING_FORCED;
		run->deadline_us = 0;
	}
}

static void
deadline_passed(struct run *run)
{
	uint32_t grace_ms = run->runner->config->kill_grace_ms;

	if (run->ending == ENDING_NONE) {
		run->result->timed_out = true;
		if (grace_ms > 0) {
			ask(run, RUN_ASK_TERM);
			run->ending = ENDING_TERM;
			run->deadline_us = clock_monotonic_us() + (uint64_t)grace_ms * 1000;
			return;
		}
	}
	end_by_force(run);
}

static int
wait_ms(const struct run *run)
{
	uint64_t now_us, left_ms;

	if (run->deadline_us == 0)
		return -1;
	now_us = clock_monotonic_us();
	if (now_us >= run->deadline_us)
		return 0;
	left_ms = (run->deadline_us - now_us + 999) / 1000;
	return left_ms > INT_MAX ? INT_MAX : (int)left_ms;
}

/* From here on the program runs, and the next action's init can be made beside it. */
static void
on_started(struct run *run, pid_t process_group)
{
	struct runner *runner = run->runner;

	if (run_has_namespaces(runner))
		run_ready_make(runner);
	else if (runner->slot != NULL)
		slot_set_action_pid(runner->slot, process_group);
	if (run->request->started != NULL)
		run->request->started(run->request->started_arg);
}

/* False at the stream's end. */
static bool
report_read(struct run *run)
{
	struct run_report report;
	size_t got = 0;

	while (got < sizeof(report)) {
		ssize_t n = read(run->init.control_fd, (char *)&report + got, sizeof(report) - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		got += (size_t)n;
	}
	if (report.kind == RUN_STARTED) {
		on_started(run, report.process_group);
		return true;
	}
	run->report = report;
	run->reported = true;
	return false;
}

static void
cancel_look(struct run *run, short revents, struct pollfd *watch)
{
	const struct run_request *request = run->request;

	if (request->cancelled == NULL || request->cancelled(request->cancelled_arg)) {
		run->result->was_cancelled = true;
		watch->fd = -1;
		end_by_force(run);
	} else if (revents & (POLLHUP | POLLERR | POLLNVAL)) {
		watch->fd = -1; /* nothing will come any more */
	}
}

/* Until the init has reported or died. */
static void
run_wait(struct run *run)
{
	struct pollfd watch[4] = {{.fd = run->init.control_fd, .events = POLLIN},
	    {.fd = run->logs[0].pipe_fd, .events = POLLIN},
	    {.fd = run->logs[1].pipe_fd, .events = POLLIN},
	    {.fd = run->request->cancel_fd, .events = POLLIN}};

	for (;;) {
		int n = poll(watch, 4, wait_ms(run));

		CHECK(n >= 0 || errno == EINTR || errno == ENOMEM);
		if (n < 0)
			continue;
		for (int i = 0; i < 2; i++) {
			if (watch[i + 1].revents != 0)
				run_log_drain(&run->logs[i], run->runner->log_buffer);
			watch[i + 1].fd = run->logs[i].pipe_fd;
		}
		if (watch[0].revents != 0 && !report_read(run))
			return;
		if (watch[3].fd >= 0 && watch[3].revents != 0)
			cancel_look(run, watch[3].revents, &watch[3]);
		if (run->deadline_us != 0 && clock_monotonic_us() >= run->deadline_us)
			deadline_passed(run);
	}
}

/*
 * Until the init is gone all of the action may not be.  Where it says that it is alone (whoever is
 * orphaned becomes its child) there is nothing to wait for: the kernel takes its namespaces down
 * meanwhile, and a later run reaps it.
 */
static void
init_reap(struct run *run)
{
	if (run->reported && run->report.kind == RUN_ENDED && run->report.alone) {
		run_child_leave(run->runner, run->init.pid);
		if (run->runner->slot != NULL)
			slot_set_action_pid(run->runner->slot, 0);
		return;
	}
	/* Without a report the init is dead or no use: never wait for it with it alive. */
	if (!run->reported)
		kill(run->init.pid, SIGKILL);
	run_child_reap(run->init.pid);
	if (!run->reported)
		run_os_end_orphans(run->runner);
	if (run->runner->slot != NULL)
		slot_set_action_pid(run->runner->slot, 0);
}

static void
result_set_status(struct run_result *result, int status)
{
	if (WIFSIGNALED(status)) {
		result->term_signal = WTERMSIG(status);
		result->exit_code = 128 + result->term_signal;
	} else {
		result->term_signal = 0;
		result->exit_code = WEXITSTATUS(status);
	}
}

static bool
is_of_bind(const struct run *run)
{
	uint32_t step = run->report.step;

	return (step == RUN_STEP_SOURCE || step == RUN_STEP_TARGET) &&
	    run->report.bind < run->request->bind_count;
}

/* What was to be bound is not there; other failures are the system's, and tell nothing of it. */
static bool
is_lost_source(const struct run *run)
{
	int error = -run->report.error;

	return is_of_bind(run) && run->report.step == RUN_STEP_SOURCE &&
	    (error == ENOENT || error == ENOTDIR || error == ELOOP);
}

/* Of what the action can be staged without. */
static void
note_refusal(struct run *run)
{
	const struct run_report *report = &run->report;

	if (report->step == RUN_STEP_OVERLAY)
		note_refused(run->runner, PLACE_OVERLAY, -report->error);
	else if (report->step == RUN_STEP_IMAGE)
		note_refused(run->runner, PLACE_IMAGE, -report->error);
	else if (is_lost_source(run))
		note_refused(run->runner,
		    run->request->binds[report->bind].in_image ? PLACE_IMAGE : PLACE_BIND,
		    -report->error);
}

static int
result_fill(struct run *run, struct error_text *err)
{
	const struct run_report *report = &run->report;
	struct run_result *result = run->result;
	const char *name = run->sandbox->name;

	result->elapsed_us = clock_monotonic_us() - run->start_us;
	result->end_us = clock_realtime_us();
	if (!run->reported) {
		if (run->ending == ENDING_NONE)
			return error_set(err, -EIO, "%s: the action's init was killed", name);
		result_set_status(result, SIGKILL);
		return 0;
	}
	if (report->kind == RUN_FAILED) {
		const char *words =
		    report->step < RUN_STEP_COUNT ? step_words[report->step] : "cannot run";
		note_refusal(run);
		if (is_of_bind(run))
			return error_errno(err, report->error, "%s: %s (%s at %s)", name, words,
			    run->request->binds[report->bind].source,
			    run->request->binds[report->bind].target);
		return error_errno(
		    err, report->error, "%s: %s (ramet doctor tells more)", name, words);
	}
	result_set_status(result, report->status);
	result->user_us = report->user_us;
	result->system_us = report->system_us;
	result->max_rss_bytes = report->max_rss_bytes;
	result->host_proc = report->host_proc != 0;
	result->bind_us = report->bind_us;
	result->overlay_us = report->overlay_us;
	result->image_us = report->image_us;
	if (report->exec_us > run->start_us)
		result->setup_us = report->exec_us - run->start_us;
	return 0;
}

static int
logs_finish(struct run *run, struct error_text *err)
{
	int rc = 0;

	for (int i = 0; i < 2; i++) {
		int one = run_log_finish(&run->logs[i], run->runner->log_buffer);

		if (one != 0 && rc == 0)
			rc = error_errno(
			    err, one, "%s/%s: cannot write", run->sandbox->name, run->logs[i].name);
	}
	run->result->stdout_cut = run->logs[0].dropped > 0;
	run->result->stderr_cut = run->logs[1].dropped > 0;
	return rc;
}

/* The pipes are the logs' from here on. */
static void
logs_open(struct run *run)
{
	for (int i = 0; i < 2; i++) {
		run->logs[i] = (struct run_log){.name = i == 0 ? "stdout" : "stderr",
		    .dirfd = run->sandbox->dirfd,
		    .pipe_fd = run->init.pipe_fds[i],
		    .file_fd = -1,
		    .cap = run->runner->config->log_cap_bytes};
		run->init.pipe_fds[i] = -1;
	}
}

/* By the init made ahead, if there is a good one and may_be_ready; else by a new one. */
static int
run_start(struct run *run, bool may_be_ready, struct error_text *err)
{
	struct runner *runner = run->runner;
	bool ready = may_be_ready && run_ready_take(runner, run->sandbox, run->request, &run->init);

	if (!ready) {
		struct run_init init = {
		    .sandbox = run->sandbox, .request = run->request, .root_path = run->root_path};
		int rc = run_child_start(runner, &init, run->sandbox->name, &run->init, err);

		if (rc != 0)
			return rc;
	}
	logs_open(run);
	if (runner->slot != NULL && run_has_namespaces(runner))
		slot_set_action_pid(runner->slot, run->init.pid);
	if (ready)
		ask(run, RUN_ASK_GO);
	return 0;
}

/* The init made ahead could not make what any action needs: nothing of this one has begun. */
static bool
run_is_refused(const struct run *run)
{
	return run->reported && run->report.kind == RUN_FAILED && !run->report.ordered &&
	    run->ending == ENDING_NONE;
}

static int
run_once(struct run *run, bool may_be_ready, struct error_text *err)
{
	int rc = run_start(run, may_be_ready, err);

	if (rc != 0)
		return rc;
	CRASH_POINT(action_started);
	run_wait(run);
	init_reap(run);
	return 0;
}

/* What an action needs to whom its inputs belong: made once, before the first. */
static int
inputs_own(struct run *run, struct error_text *err)
{
	const struct stage_overlay *overlay = run->request->overlay;
	int rc = overlay != NULL && overlay->is_owned ? run_os_own_inputs(run->runner) : 0;

	if (rc == 0)
		return 0;
	note_refused(run->runner, PLACE_OVERLAY, -rc);
	return error_errno(
	    err, rc, "%s: cannot give the action its inputs as its own", run->sandbox->name);
}

int
run_action(struct runner *runner, struct sandbox *sandbox, const struct run_request *request,
    struct run_result *ret_result, struct error_text *err)
{
	struct run_result result = {.start_us = clock_realtime_us()};
	char root_path[PATH_MAX + 128] = SANDBOX_PATH;
	struct run run = {.runner = runner,
	    .sandbox = sandbox,
	    .request = request,
	    .result = &result,
	    .root_path = root_path,
	    .init = RUN_CHILD_NONE,
	    .start_us = clock_monotonic_us()};
	int rc, log_rc;

	if (!run_has_namespaces(runner))
		snprintf(root_path, sizeof(root_path), "%s/sandboxes/%s/root",
		    runner->config->state_dir, sandbox->name);
	if (request->timeout_us != 0)
		run.deadline_us = run.start_us + request->timeout_us;
	logs_open(&run);
	runner->refused_error = 0;
	rc = inputs_own(&run, err);
	if (rc != 0)
		return rc;
	rc = run_once(&run, true, err);
	if (rc == 0 && run_is_refused(&run)) {
		(void)logs_finish(&run, NULL);
		run_child_close(&run.init);
		run.reported = false;
		rc = run_once(&run, false, err);
	}
	if (rc == 0)
		rc = result_fill(&run, err);
	run_child_close(&run.init);
	log_rc = logs_finish(&run, rc == 0 ? err : NULL);
	if (rc == 0)
		rc = log_rc;
	if (rc == 0)
		*ret_result = result;
	return rc;
}
