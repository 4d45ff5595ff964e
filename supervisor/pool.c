#include <sys/wait.h>

#include <errno.h>

#include "base/log.h"
#include "ipc/peer.h"
#include "supervisor/ahead.h"
#include "supervisor/gateway.h"
#include "supervisor/jobs.h"
#include "supervisor/process_os.h"
#include "supervisor/supervisor.h"

enum { DEATHS_BEFORE_READY_MAX = 3 };

void
pool_init(struct supervisor *host)
{
	uint32_t i;

	child_init(&host->janitor, host, SLOT_JANITOR);
	child_init(&host->gateway, host, SLOT_GATEWAY);
	for (i = 0; i < SLOT_WORKERS_MAX; i++)
		child_init(&host->workers[i], host, SLOT_WORKER_FIRST + i);
}

static bool
is_alive(const struct child *child)
{
	return child->pid != 0 && child->state != CHILD_KILLED;
}

unsigned
pool_alive(const struct supervisor *host)
{
	unsigned i, alive = 0;

	for (i = 0; i < SLOT_WORKERS_MAX; i++)
		alive += is_alive(&host->workers[i]);
	return alive;
}

bool
pool_is_empty(const struct supervisor *host)
{
	unsigned i;

	if (host->janitor.state != CHILD_FREE || host->gateway.state != CHILD_FREE)
		return false;
	for (i = 0; i < SLOT_WORKERS_MAX; i++)
		if (host->workers[i].state != CHILD_FREE)
			return false;
	return true;
}

static void
set_levels(struct supervisor *host)
{
	COUNTER_SET(host->slot, workers_alive, pool_alive(host));
}

void
pool_resize(struct supervisor *host, unsigned workers)
{
	struct child *child;
	unsigned i;

	for (i = 0; i < SLOT_WORKERS_MAX; i++) {
		child = &host->workers[i];
		child->wanted = i < workers;
		child_raise(child, child->wanted ? CHILD_WANTED : CHILD_UNWANTED);
	}
	COUNTER_SET(host->slot, workers_configured, workers);
	set_levels(host);
}

void
pool_start(struct supervisor *host)
{
	host->janitor.wanted = true;
	child_raise(&host->janitor, CHILD_WANTED);
	pool_resize(host, host->config->workers);
	if (gateway_is_wanted(host)) {
		host->gateway.wanted = true;
		child_raise(&host->gateway, CHILD_WANTED);
	}
}

void
pool_halt(struct supervisor *host)
{
	unsigned i;

	for (i = 0; i < SLOT_WORKERS_MAX; i++) {
		host->workers[i].wanted = false;
		child_raise(&host->workers[i], CHILD_HALT);
	}
	host->janitor.wanted = host->gateway.wanted = false;
	child_raise(&host->janitor, CHILD_HALT);
	child_raise(&host->gateway, CHILD_HALT);
}

static struct child *
idle_worker(struct supervisor *host)
{
	unsigned i;

	for (i = 0; i < SLOT_WORKERS_MAX; i++)
		if (host->workers[i].state == CHILD_IDLE && !host->workers[i].dying)
			return &host->workers[i];
	return NULL;
}

void
pool_dispatch(struct supervisor *host)
{
	struct child *child;
	struct job *job;

	if (!host->trusted || host->stopping)
		return;
	while (queue_first(&host->queue) != NULL && (child = idle_worker(host)) != NULL) {
		job = ahead_choose(host, child);
		child_give(child, job);
	}
	ahead_look(host);
}

static bool
is_coming(const struct child *child)
{
	return child->state == CHILD_STARTING || child->state == CHILD_WAITING;
}

static bool
all_ready(const struct supervisor *host)
{
	unsigned i;

	for (i = 0; i < host->config->workers; i++)
		if (is_coming(&host->workers[i]))
			return false;
	return !is_coming(&host->gateway) && (host->trusted || host->verifying);
}

void
pool_child_ready(struct supervisor *host, struct child *child)
{
	if (child->role == CHILD_IS_JANITOR) {
		host->trusted = true;
		host->verifying = false;
		control_sweep(host, false);
	}
	set_levels(host);
	if (!host->ready && all_ready(host))
		control_started(host, NULL);
	pool_dispatch(host);
}

/* Buried, or dead and waiting.  Starts it again or lets it go, whichever is wanted now. */
void
pool_child_gone(struct supervisor *host, struct child *child)
{
	bool died = child->state == CHILD_WAITING; /* and was not let go */

	set_levels(host);
	if (child->state == CHILD_FREE && child->wanted)
		child_raise(child, CHILD_WANTED);
	else if (child->state == CHILD_WAITING && !child->wanted)
		child_raise(child, CHILD_UNWANTED);
	if (!host->ready && died && ++host->deaths_before_ready >= DEATHS_BEFORE_READY_MAX)
		control_started(host, "its processes die as soon as they start: see ramet.log");
	control_sweep_soon(host);
	pool_dispatch(host);
	control_settle(host);
}

static struct child *
find_child(struct supervisor *host, pid_t pid)
{
	unsigned i;

	if (host->janitor.pid == pid)
		return &host->janitor;
	if (host->gateway.pid == pid)
		return &host->gateway;
	for (i = 0; i < SLOT_WORKERS_MAX; i++)
		if (host->workers[i].pid == pid)
			return &host->workers[i];
	return NULL;
}

bool
pool_knows(void *host, pid_t pid)
{
	return find_child(host, pid) != NULL;
}

/* An orphan's own children become ours when it goes, so each one reaped means another look. */
void
pool_reap(struct supervisor *host)
{
	struct child *child;
	bool strays = false;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		child = find_child(host, pid);
		if (child != NULL)
			child_reaped(child, status);
		else
			strays = true;
	}
	if (strays)
		process_kill_strays(pool_knows, host, 0);
}

void
pool_forget_others(struct supervisor *host, const struct child *child)
{
	unsigned i;

	if (child != &host->janitor)
		peer_forget(host->janitor.peer);
	if (child != &host->gateway)
		peer_forget(host->gateway.peer);
	for (i = 0; i < SLOT_WORKERS_MAX; i++)
		if (child != &host->workers[i])
			peer_forget(host->workers[i].peer);
}
