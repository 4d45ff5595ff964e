#include "supervisor/supervisor.h"

#include <sys/param.h>
#include <sys/stat.h>

#include <errno.h>
#include <libutil.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "cas/store.h"
#include "cas/suspect.h"
#include "ipc/peer.h"
#include "supervisor/client.h"
#include "supervisor/gateway.h"
#include "supervisor/jobs.h"
#include "supervisor/process_os.h"
#include "workers/stage_policy.h"
#include "workers/ways.h"

/* Blobs older than this before the last start had time to reach the disk. */
enum { WRITEBACK_S = 120 };

void
supervisor_forget(struct supervisor *host, const struct child *child)
{
	struct client *client;

	event_reinit(host->base);
	event_base_free(host->base);
	host->base = NULL;
	if (host->listen_fd >= 0)
		close(host->listen_fd);
	if (host->ready_fd >= 0)
		close(host->ready_fd);
	pidfile_close(host->pidfile);
	pool_forget_others(host, child);
	TAILQ_FOREACH(client, &host->clients, link)
		peer_forget(client->peer);
}

static int
open_region(struct supervisor *host, enum region_origin *ret_origin, struct error_text *err)
{
	struct region_config config = {
	    .entry_count = host->config->index_entries,
	    .link_cap = host->config->link_cap,
	};

	return region_open(host->config->state_fd, &config, ret_origin, &host->region, err);
}

/* Blobs written since that second may be torn: the janitor finds the note and verifies them. */
static int
leave_note(struct supervisor *host, uint32_t since_s, struct error_text *err)
{
	char note[32];
	int len, rc;

	len =
	    snprintf(note, sizeof(note), "%u\n", since_s > WRITEBACK_S ? since_s - WRITEBACK_S : 0);
	rc = fs_write_atomic(host->config->state_fd, "verify", note, (size_t)len, 0600);
	return rc != 0 ? error_errno(err, rc, "%s/verify", host->config->state_dir) : 0;
}

/* The machine went down with the host running: the index is set aside, its trees become rubbish. */
static int
distrust(struct supervisor *host, enum region_origin *ret_origin, struct error_text *err)
{
	int state_fd = host->config->state_fd, rc;
	char aside[64];

	rc = leave_note(host, region_opened_s(host->region), err);
	if (rc != 0)
		return rc;
	region_close(host->region);
	host->region = NULL;
	snprintf(aside, sizeof(aside), "index.unclean.%lld", (long long)time(NULL));
	if (renameat(state_fd, "index", state_fd, aside) != 0)
		return error_errno(err, -errno, "%s/index", host->config->state_dir);
	log_warn(
	    "the machine went down while a host ran here: the index is set aside as %s", aside);
	return open_region(host, ret_origin, err);
}

/* Opened once before there are others: a damaged cas/usage is replaced by one process alone. */
static int
prepare_store(struct supervisor *host, struct error_text *err)
{
	struct cas *cas;
	int rc = cas_open(host->config->state_fd, true, &cas, err);

	if (rc == 0)
		cas_close(cas);
	return rc;
}

static int
on_suspect(void *arg, enum suspect_kind kind, const struct digest *digest)
{
	return 1;
}

/* What the janitor has to look at before the first action runs. */
static void
look_for_doubts(struct supervisor *host)
{
	int state_fd = host->config->state_fd;
	struct stat st;

	if (fstatat(state_fd, "verify", &st, 0) == 0) {
		host->verifying = true;
		log_warn("blobs are verified before the first action runs");
	}
	if (suspect_each(state_fd, on_suspect, NULL) != 0) {
		host->verifying = true;
		log_warn("suspected trees are looked at before the first action runs");
	}
}

static int
prepare_region(struct supervisor *host, uint32_t last_start_s, struct error_text *err)
{
	enum region_origin origin = REGION_CREATED;
	struct error_text why = {""};
	int rc;

	rc = open_region(host, &origin, &why);
	if (rc != 0)
		return error_set(err, rc, "%s", why.text);
	if (origin == REGION_SET_ASIDE)
		log_warn("the index could not be trusted and is set aside: %s", why.text);
	if (origin == REGION_WARM && region_booted_since(host->region) &&
	    region_clean_stop_s(host->region) == 0)
		rc = distrust(host, &origin, err);
	else if (origin != REGION_WARM && last_start_s != 0)
		rc = leave_note(host, last_start_s, err); /* not stopped, and nothing to ask */
	if (rc != 0)
		return rc;
	region_mark_begun(host->region);
	log_info("index: %s", origin == REGION_WARM ? "warm" : "new");
	look_for_doubts(host);
	host->slot = slot_at(host->region, SLOT_SUPERVISOR);
	slot_assign(host->region, SLOT_SUPERVISOR);
	slot_activate(host->region, SLOT_SUPERVISOR, getpid());
	COUNTER_SET(host->slot, link_gate_cap, region_link_cap(host->region));
	return 0;
}

static int
choose_ways(struct supervisor *host, struct error_text *err)
{
	char why[512] = "";
	int rc;

	probe_run(host->config, &host->probe);
	rc = probe_choose(&host->probe, host->config, &host->isolation, why, sizeof(why));
	if (rc != 0)
		return error_set(err, rc, "%s", why);
	host->stages_ahead = stage_ahead_pays(host->config, &host->probe, host->isolation);
	rc = ways_keep(host->config, &host->probe, host->isolation);
	if (rc == 0)
		rc = cost_keep(host->config->state_fd, &host->probe.costs);
	if (rc != 0)
		log_warn(
		    "costs: cannot be kept: %s (measured again at the next start)", strerror(-rc));
	log_info("%s: %u workers, isolation %s, engine %s, link cap %u, volume %s",
	    host->config->state_dir, host->config->workers, isolation_names[host->isolation],
	    engine_names[host->config->engine], region_link_cap(host->region), host->probe.volume);
	return 0;
}

static int
prepare(struct supervisor *host, uint32_t last_start_s, struct error_text *err)
{
	int rc;

	rc = prepare_region(host, last_start_s, err);
	if (rc == 0)
		rc = prepare_store(host, err);
	if (rc == 0)
		rc = choose_ways(host, err);
	if (rc != 0)
		return rc;
	host->base = event_base_new();
	if (host->base == NULL)
		return error_set(err, -ENOMEM, "cannot make an event loop");
	process_adopt_orphans();
	jobs_init(host);
	pool_init(host);
	rc = gateway_init(host, err);
	if (rc != 0)
		return rc;
	rc = control_init(host);
	if (rc != 0)
		return error_errno(err, rc, "signals");
	return client_init(host, err);
}

static void
finish(struct supervisor *host)
{
	client_fini(host);
	if (host->base != NULL) {
		jobs_fini(host);
		control_fini(host);
		event_base_free(host->base);
	}
	gateway_fini(host);
	if (host->region == NULL)
		return;
	if (host->slot != NULL && pool_is_empty(host)) {
		COUNTER_SET(host->slot, workers_configured, 0);
		slot_retire(host->region, SLOT_SUPERVISOR);
		region_mark_clean_stop(host->region);
	}
	region_close(host->region);
}

int
supervisor_run(
    struct settings *settings, struct pidfh *pidfile, uint32_t last_start_s, int ready_fd)
{
	struct error_text err = {""};
	struct supervisor *host;
	int exit_code;

	host = calloc(1, sizeof(*host));
	if (host == NULL)
		fatal("cannot start");
	host->settings = settings;
	host->config = &settings->host;
	host->pidfile = pidfile;
	host->listen_fd = -1;
	host->ready_fd = ready_fd;
	TAILQ_INIT(&host->clients);
	if (prepare(host, last_start_s, &err) != 0) {
		host->exit_code = 1;
		control_tell(host, err.text);
	} else {
		pool_start(host);
		event_base_dispatch(host->base);
	}
	finish(host);
	if (host->exit_code == 0)
		log_info("stopped");
	exit_code = host->exit_code;
	free(host);
	return exit_code;
}
