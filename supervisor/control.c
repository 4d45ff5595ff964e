#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "supervisor/gateway.h"
#include "supervisor/jobs.h"
#include "supervisor/supervisor.h"

enum { SWEEP_SOON_US = 100000, SWEEP_EACH_S = 60, STOP_LATE_S = 20 };

/* Once: to whoever started us, if they wait. */
void
control_tell(struct supervisor *host, const char *failure)
{
	char line[1200];
	int len;

	if (failure != NULL)
		log_error("%s", failure);
	else
		log_info("ready");
	if (host->ready_fd < 0)
		return;
	len = snprintf(line, sizeof(line), "%s\n", failure == NULL ? "ok" : failure);
	if (write(host->ready_fd, line, (size_t)len) < 0)
		log_debug("nobody waits for the start any more");
	close(host->ready_fd);
	host->ready_fd = -1;
}

void
control_started(struct supervisor *host, const char *failure)
{
	if (host->ready || host->stopping)
		return;
	control_tell(host, failure);
	host->ready = failure == NULL;
	if (failure != NULL) {
		host->exit_code = 1;
		control_stop(host);
	}
}

void
control_sweep(struct supervisor *host, bool urgent)
{
	struct message message = {.type = MSG_sweep};

	if (host->janitor.state != CHILD_IDLE)
		return;
	event_del(&host->sweep_soon);
	message.sweep.urgent = message.sweep.has_urgent = urgent;
	jobs_say_needed(host);
	child_send(&host->janitor, &message);
}

void
control_sweep_soon(struct supervisor *host)
{
	static const struct timeval wait = {0, SWEEP_SOON_US};

	if (!evtimer_pending(&host->sweep_soon, NULL))
		event_add(&host->sweep_soon, &wait);
}

static void
on_sweep_soon(evutil_socket_t fd, short what, void *arg)
{
	control_sweep(arg, false);
}

void
control_settle(struct supervisor *host)
{
	control_sweep_soon(host);
	event_active(&host->settle, 0, 0);
}

static void
on_settle(evutil_socket_t fd, short what, void *arg)
{
	struct supervisor *host = arg;

	if (host->draining && !host->stopping && TAILQ_EMPTY(&host->jobs))
		control_stop(host);
	if (host->stopping && pool_is_empty(host))
		event_base_loopbreak(host->base);
}

void
control_drain(struct supervisor *host)
{
	if (host->draining)
		return;
	host->draining = true;
	log_info("draining: %u running, %u queued", host->running, host->queue.count);
	gateway_say_draining(host);
	control_settle(host);
}

void
control_stop(struct supervisor *host)
{
	static const struct timeval late = {STOP_LATE_S, 0};

	if (host->stopping)
		return;
	log_info("stopping");
	host->draining = host->stopping = true;
	jobs_cancel_all(host, "the host is stopping");
	pool_halt(host);
	event_add(&host->stop_late, &late);
	control_settle(host);
}

static void
on_stop_late(evutil_socket_t fd, short what, void *arg)
{
	struct supervisor *host = arg;

	log_error("some processes do not end: left behind");
	host->exit_code = 1;
	event_base_loopbreak(host->base);
}

void
control_resize(struct supervisor *host, unsigned workers)
{
	if (workers == host->config->workers)
		return;
	log_info("%u workers instead of %u", workers, host->config->workers);
	host->settings->host.workers = workers;
	pool_resize(host, workers);
}

/* What the file says now wins over what the flags said at start: it is the newer word. */
static void
reread_config(struct supervisor *host)
{
	struct settings fresh = *host->settings;
	struct error_text err = {""};

	if (host->settings->config_file[0] == '\0') {
		log_info("SIGHUP: there is no -c FILE to read again");
		return;
	}
	if (config_read_file(&fresh, host->settings->config_file, &err) != 0) {
		log_error("%s: nothing changed", err.text);
		return;
	}
	log_info("%s: read again", host->settings->config_file);
	if (fresh.host.link_cap != host->config->link_cap) {
		host->settings->host.link_cap = fresh.host.link_cap;
		region_set_link_cap(host->region, fresh.host.link_cap);
		COUNTER_SET(host->slot, link_gate_cap, fresh.host.link_cap);
	}
	control_resize(host, fresh.host.workers);
}

static void
on_signal(evutil_socket_t number, short what, void *arg)
{
	struct supervisor *host = arg;

	switch (number) {
	case SIGHUP:
		if (!host->stopping)
			reread_config(host);
		break;
	case SIGCHLD:
		pool_reap(host);
		break;
	default:
		log_info("%s: %s", number == SIGINT ? "SIGINT" : "SIGTERM",
		    host->draining ? "stopping now" : "draining; a second one stops now");
		if (host->draining)
			control_stop(host);
		else
			control_drain(host);
	}
}

int
control_init(struct supervisor *host)
{
	static const int numbers[SIGNAL_COUNT] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD};
	static const struct timeval minute = {SWEEP_EACH_S, 0};
	unsigned i;

	signal(SIGPIPE, SIG_IGN);
	for (i = 0; i < SIGNAL_COUNT; i++) {
		evsignal_assign(&host->signals[i], host->base, numbers[i], on_signal, host);
		if (event_add(&host->signals[i], NULL) != 0)
			return -ENOMEM;
	}
	evtimer_assign(&host->sweep_soon, host->base, on_sweep_soon, host);
	event_assign(&host->each_minute, host->base, -1, EV_PERSIST, on_sweep_soon, host);
	evtimer_assign(&host->settle, host->base, on_settle, host);
	evtimer_assign(&host->stop_late, host->base, on_stop_late, host);
	return event_add(&host->each_minute, &minute) == 0 ? 0 : -ENOMEM;
}

void
control_fini(struct supervisor *host)
{
	unsigned i;

	for (i = 0; i < SIGNAL_COUNT; i++)
		event_del(&host->signals[i]);
	event_del(&host->sweep_soon);
	event_del(&host->each_minute);
	event_del(&host->settle);
	event_del(&host->stop_late);
}
