#include "supervisor/child.h"

#include <sys/wait.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "ipc/peer.h"
#include "janitor/janitor.h"
#include "supervisor/ahead.h"
#include "supervisor/gateway.h"
#include "supervisor/jobs.h"
#include "supervisor/process_os.h"
#include "supervisor/supervisor.h"
#include "workers/sandbox.h"
#include "workers/worker.h"

enum { START_MS_MAX = 60000, STOP_MS_MAX = 5000, CANCEL_MS_MAX = 30000, SETTLED_US = 10000000 };

static void
set_timer(struct child *child, unsigned ms)
{
	struct timeval wait = {ms / 1000, (suseconds_t)(ms % 1000) * 1000};

	event_add(&child->timer, &wait);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	child_raise(arg, CHILD_TIMER);
}

void
child_init(struct child *child, struct supervisor *host, uint32_t slot)
{
	memset(child, 0, sizeof(*child));
	child->host = host;
	child->slot = slot;
	child->role = slot == SLOT_JANITOR ? CHILD_IS_JANITOR
	    : slot == SLOT_GATEWAY         ? CHILD_IS_GATEWAY
					   : CHILD_IS_WORKER;
	if (child->role != CHILD_IS_WORKER)
		strlcpy(child->name, child->role == CHILD_IS_JANITOR ? "janitor" : "gateway",
		    sizeof(child->name));
	else
		snprintf(child->name, sizeof(child->name), "worker %u", slot - SLOT_WORKER_FIRST);
	evtimer_assign(&child->timer, host->base, on_timer, child);
}

static int
on_done(struct child *child, const struct msg_done *done)
{
	if (done->status >= JOB_STATUS_COUNT)
		return -EPROTO;
	if (child->job == NULL || child->job->number != done->job)
		return -EPROTO;
	jobs_done(child->host, child->job, done);
	child_raise(child, CHILD_DONE);
	return 0;
}

static int
on_message(void *arg, const struct message *message)
{
	struct child *child = arg;

	switch (message->type) {
	case MSG_ready:
		if (child->role == CHILD_IS_GATEWAY)
			gateway_ready(child->host, &message->ready);
		child_raise(child, CHILD_READY);
		return 0;
	case MSG_disk_full:
		control_sweep(child->host, true);
		return 0;
	case MSG_started:
		return 0;
	case MSG_done:
		if (child->role == CHILD_IS_WORKER)
			return on_done(child, &message->done);
		return -EPROTO;
	default:
		return child->role == CHILD_IS_GATEWAY ? gateway_message(child->host, message)
						       : -EPROTO;
	}
}

static void
child_disconnect(struct child *child)
{
	peer_close(child->peer);
	child->peer = NULL;
	if (child->role == CHILD_IS_GATEWAY)
		gateway_lost(child->host);
}

static void
on_lost(void *arg, int error)
{
	struct child *child = arg;

	if (error == -EPROTO || error == -E2BIG) {
		COUNTER_ADD(child->host->slot, peers_dropped, 1);
		log_error("%s (pid %d) sent a malformed message", child->name, (int)child->pid);
	}
	child_disconnect(child);
	child_raise(child, CHILD_LOST);
}

static const struct peer_ops child_ops = {on_message, on_lost};

/* The child's side of fork: signals stay blocked until it has no handler of ours any more. */
static _Noreturn void
child_run(struct child *child, int fd, pid_t parent)
{
	struct supervisor *host = child->host;
	static const int ours[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD};
	sigset_t none;
	size_t i;

	if (process_die_with_parent(parent) != 0)
		_exit(0);
	supervisor_forget(host, child);
	for (i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		signal(ours[i], SIG_DFL);
	setpgid(0, 0); /* a terminal's ^C is the supervisor's to handle */
	log_name("%s", child->name);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (child->role == CHILD_IS_GATEWAY)
		gateway_exec(host, fd);
	if (child->role == CHILD_IS_JANITOR) {
		janitor_main(&(struct janitor_start){
		    .config = host->config,
		    .probe = &host->probe,
		    .region = host->region,
		    .socket_fd = fd,
		    .is_first = !host->trusted,
		});
	}
	worker_main(&(struct worker_start){
	    .config = host->config,
	    .probe = &host->probe,
	    .isolation = host->isolation,
	    .region = host->region,
	    .slot_number = child->slot,
	    .socket_fd = fd,
	});
}

static int
fork_quietly(void)
{
	sigset_t all, before;
	pid_t pid;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid = fork();
	if (pid != 0) /* the child takes its signals once it has handlers of its own */
		sigprocmask(SIG_SETMASK, &before, NULL);
	return pid < 0 ? -errno : pid;
}

static int
child_fork(struct child *child)
{
	struct supervisor *host = child->host;
	struct channel *channel;
	pid_t parent = getpid();
	int fd, pid, rc;

	rc = channel_pair(&channel, &fd);
	if (rc != 0)
		return rc;
	slot_assign(host->region, child->slot);
	pid = fork_quietly();
	if (pid == 0) {
		close(channel_fd(channel));
		child_run(child, fd, parent);
	}
	close(fd);
	if (pid < 0) {
		channel_free(channel);
		return pid;
	}
	child->pid = pid;
	child->started_us = clock_monotonic_us();
	return peer_open(host->base, channel, &child_ops, child, &child->peer);
}

static void
count_restart(const struct child *child)
{
	static const enum counter counters[] = {
	    COUNTER_worker_restarts, COUNTER_janitor_restarts, COUNTER_gateway_restarts};

	counter_add(child->host->slot, counters[child->role], 1);
}

static void
child_start(struct child *child)
{
	int rc;

	child->status = 0;
	child->has_worked = false;
	if (child->backoff_ms != 0)
		count_restart(child);
	if (child->role != CHILD_IS_JANITOR || !child->host->verifying) /* else it takes its time */
		set_timer(child, START_MS_MAX);
	rc = child_fork(child);
	if (rc == 0 && child->role == CHILD_IS_GATEWAY)
		gateway_greet(child->host);
	if (rc == 0)
		return;
	log_error("%s cannot be started: %s", child->name, strerror(-rc));
	child_raise(child, child->pid == 0 ? CHILD_EXITED : CHILD_LOST);
}

/* The gateway has to have read the ends of its jobs first; the others need no word. */
static void
child_close(struct child *child)
{
	static const struct message stop = {.type = MSG_stop};

	if (child->role == CHILD_IS_GATEWAY)
		child_send(child, &stop);
	else
		child_disconnect(child);
	set_timer(child, STOP_MS_MAX);
}

static void
child_kill(struct child *child)
{
	event_del(&child->timer);
	child_disconnect(child);
	if (child->pid > 0)
		kill(child->pid, SIGKILL);
}

/* What ended it, for people: "was killed by signal 9 while staging". */
static void
describe_end(const struct child *child, const struct slot_info *info, const char *words, char *text,
    size_t size)
{
	const char *phase = "starting";
	int used;

	if (child->pid == 0) {
		snprintf(text, size, "%s could not be forked", child->name);
		return;
	}
	if (info->state == SLOT_ACTIVE && info->phase < SLOT_PHASE_COUNT)
		phase = slot_phase_names[info->phase];
	if (WIFSIGNALED(child->status))
		used = snprintf(text, size, "%s (pid %d) was killed by signal %d while %s",
		    child->name, (int)child->pid, WTERMSIG(child->status), phase);
	else
		used = snprintf(text, size, "%s (pid %d) exited with %d while %s", child->name,
		    (int)child->pid, WEXITSTATUS(child->status), phase);
	if (words[0] != '\0' && used > 0 && (size_t)used < size)
		snprintf(text + used, size - (size_t)used, ": %s", words);
}

static void
sandbox_give_back(const struct child *child, uint64_t number)
{
	int rc =
	    number == 0 ? 0 : sandbox_discard(child->host->config->state_fd, child->slot, number);

	if (rc != 0 && rc != -ENOENT)
		log_warn("sandboxes/%u.%llu: cannot be put into the trash: %s", child->slot,
		    (unsigned long long)number, strerror(-rc));
}

/* Everything a dead process held is given back.  Returns its action's pid. */
static pid_t
child_repair(struct child *child, char *how, size_t size)
{
	struct supervisor *host = child->host;
	struct slot_repaired repaired;
	struct slot_info info;
	int rc;

	memset(&repaired, 0, sizeof(repaired));
	slot_read(host->region, child->slot, &info);
	CRASH_POINT(supervisor_worker_reaped);
	slot_repair(host->region, child->slot, &repaired);
	describe_end(child, &info, repaired.words, how, size);
	if (repaired.kept != 0) {
		rc = sandbox_discard_kept(host->config->state_fd, child->slot, repaired.kept);
		if (rc != 0)
			log_warn("recycled/%u.%llu: cannot be put into the trash: %s", child->slot,
			    (unsigned long long)repaired.kept, strerror(-rc));
	}
	sandbox_give_back(child, repaired.sandbox);
	if (repaired.ahead != repaired.sandbox)
		sandbox_give_back(child, repaired.ahead);
	return repaired.action_pid;
}

static void
child_ended(struct child *child, char *how, size_t size)
{
	pid_t action_pid;
	unsigned strays;

	event_del(&child->timer);
	ahead_worker_gone(child);
	child_disconnect(child);
	action_pid = child_repair(child, how, size);
	child->pid = 0;
	strays = process_kill_strays(pool_knows, child->host, action_pid);
	if (strays > 0)
		log_info("%s left %u processes, killed", child->name, strays);
}

static void
child_death(struct child *child)
{
	struct supervisor *host = child->host;
	bool settled = child->has_worked ||
	    (child->pid != 0 && clock_monotonic_us() - child->started_us >= SETTLED_US);
	struct job *job = child->job;
	char how[512];

	child_ended(child, how, sizeof(how));
	child->backoff_ms = child_backoff_next(settled ? 0 : child->backoff_ms);
	set_timer(child, child->backoff_ms);
	log_warn("%s; started again in %u ms", how, child->backoff_ms);
	if (child->role == CHILD_IS_WORKER)
		COUNTER_ADD(host->slot, worker_deaths, 1);
	if (job != NULL)
		jobs_worker_lost(host, job, how);
	pool_child_gone(host, child);
}

static void
child_bury(struct child *child)
{
	char how[512];

	child_ended(child, how, sizeof(how));
	log_debug("%s", how);
	child->backoff_ms = 0;
	pool_child_gone(child->host, child);
}

static void
child_do(struct child *child, enum child_do action)
{
	switch (action) {
	case CHILD_DO_FORK:
		child_start(child);
		break;
	case CHILD_DO_GREET:
		event_del(&child->timer);
		pool_child_ready(child->host, child);
		break;
	case CHILD_DO_TAKE:
		event_del(&child->timer);
		child->has_worked = true;
		pool_dispatch(child->host);
		break;
	case CHILD_DO_RETIRE:
	case CHILD_DO_CLOSE:
		child_close(child);
		break;
	case CHILD_DO_KILL:
		child_kill(child);
		break;
	case CHILD_DO_DEATH:
		child_death(child);
		break;
	case CHILD_DO_BURY:
		child_bury(child);
		break;
	case CHILD_DO_FORGET:
		event_del(&child->timer);
		child->backoff_ms = 0;
		break;
	case CHILD_DO_NOTHING:
	case CHILD_DO_GIVE:
		break;
	case CHILD_DO_UNSET:
	case CHILD_DO_BUG:
		CHECK(action != CHILD_DO_BUG);
		CHECK(action != CHILD_DO_UNSET);
	}
}

void
child_raise(struct child *child, enum child_event event)
{
	const struct child_rule *rule = &child_rules[child->state][event];

	log_debug("%s: %s + %s -> %s", child->name, child_state_names[child->state],
	    child_event_names[event], child_state_names[rule->next]);
	if (rule->action == CHILD_DO_BUG)
		log_error("%s: %s cannot come when %s", child->name, child_event_names[event],
		    child_state_names[child->state]);
	child->state = rule->next;
	child_do(child, rule->action);
}

/* What it sent before it died counts: a `done` among it spares the job another try. */
void
child_reaped(struct child *child, int status)
{
	child->dying = true;
	child->status = status;
	if (child->peer != NULL)
		peer_drain(child->peer);
	child_raise(child, CHILD_EXITED);
	child->dying = false;
}

void
child_give(struct child *child, struct job *job)
{
	child_raise(child, CHILD_GIVEN);
	jobs_given(job, child);
}

void
child_send(struct child *child, const struct message *message)
{
	if (child->peer != NULL)
		peer_send(child->peer, message);
}

void
child_cancel(struct child *child, const struct message *message)
{
	child_send(child, message);
	set_timer(child, child->host->config->kill_grace_ms + CANCEL_MS_MAX);
}
