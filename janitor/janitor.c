#include "janitor/janitor.h"

#include <sys/statvfs.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "janitor/internal.h"
#include "shm/counters.h"
#include "shm/usage.h"

enum {
	CLEAN_EACH_US = 55 * 1000000,
	VOLUME_FREE_PART = 50,
	AGAIN_MS_FIRST = 200,
	AGAIN_MS_MAX = 10000,
};

static int
take_message(struct janitor *janitor, const struct message *message)
{
	if (message->type == MSG_stop)
		return -ECONNRESET;
	if (message->type != MSG_sweep)
		return -EPROTO;
	janitor->sweep = true;
	janitor->urgent = janitor->urgent || message->sweep.urgent;
	return 0;
}

/* All that has come; waits for the first only when asked to. */
static int
receive(struct janitor *janitor, int timeout_ms)
{
	struct message message;
	int rc;

	for (;;) {
		rc = channel_receive(janitor->channel, &message, timeout_ms);
		if (rc == 0)
			rc = take_message(janitor, &message);
		if (rc == -ETIMEDOUT)
			return 0;
		if (rc != 0 && rc != -ENOMSG)
			return rc;
		timeout_ms = 0;
	}
}

int
janitor_attend(struct janitor *janitor)
{
	return janitor->channel == NULL ? 0 : receive(janitor, 0);
}

/* The whole round is due each minute, and when somebody has died. */
static bool
is_round_due(struct janitor *janitor)
{
	uint64_t counters[COUNTER_COUNT], now = clock_monotonic_us();

	counters_read(janitor->region, counters);
	if (janitor->cleaned_us != 0 && now - janitor->cleaned_us < CLEAN_EACH_US &&
	    counters[COUNTER_slot_repairs] == janitor->repairs && !janitor->pressed)
		return false;
	janitor->cleaned_us = now;
	janitor->repairs = counters[COUNTER_slot_repairs];
	return true;
}

/* Each minute, and not when somebody has died: it is slow to what is urgent then. */
static bool
is_scrub_due(struct janitor *janitor)
{
	uint64_t now = clock_monotonic_us();

	if (now - janitor->scrubbed_us < CLEAN_EACH_US)
		return false;
	janitor->scrubbed_us = now;
	return true;
}

/*
 * An action that fills the volume fails by itself, and nobody reports it.  So each round looks;
 * only then, for what fills the volume may be somebody else's, and the store is not to pay for it
 * at once.
 */
static void
look_at_volume(struct janitor *janitor)
{
	struct statvfs volume;

	if (fstatvfs(janitor->config->state_fd, &volume) != 0)
		return;
	if (volume.f_bavail >= volume.f_blocks / VOLUME_FREE_PART) {
		janitor->said_volume = false;
		return;
	}
	if (!janitor->said_volume)
		log_warn("the volume is nearly full: old blobs are evicted, a tenth a minute");
	janitor->said_volume = true;
	janitor->pressed = true;
}

static bool
is_store_full(const struct janitor *janitor)
{
	int64_t held = usage_bytes(cas_usage(janitor->cas));

	return janitor->pressed ||
	    (janitor->config->cas_size_bytes != 0 && held > 0 &&
		(uint64_t)held > janitor->config->cas_size_bytes);
}

/* A worker says that a job is done before it lets go of the job's sandbox. */
static bool
is_letting_go(const struct janitor *janitor)
{
	struct slot_info info;
	uint32_t number;

	for (number = SLOT_WORKER_FIRST; number < SLOT_COUNT_MAX; number++) {
		slot_read(janitor->region, number, &info);
		if (info.state == SLOT_ACTIVE && info.sandbox != 0 &&
		    (info.phase == SLOT_COLLECTING || info.phase == SLOT_CLEANING))
			return true;
	}
	return false;
}

static int
janitor_sweep(struct janitor *janitor)
{
	bool round, full;
	int rc = 0;

	janitor->pressed = janitor->urgent; /* what comes from now on is for the next */
	janitor->sweep = janitor->urgent = false;
	round = is_round_due(janitor);
	if (round)
		look_at_volume(janitor);
	full = is_store_full(janitor);
	/* Before the trash: what comes there after we have looked is still on its way now. */
	janitor->letting_go = is_letting_go(janitor);
	setproctitle("janitor: sweeping");
	/* Wrong bytes before all else, but for a full disk. */
	if (!janitor->pressed)
		rc = suspects_look(janitor);
	if (rc == 0 && round)
		rc = clean_sandboxes(janitor);
	if (rc == 0 && round)
		rc = clean_trees(janitor);
	if (rc == 0 && round)
		rc = clean_entries(janitor);
	if (rc == 0 && round)
		rc = clean_leftovers(janitor);
	if (rc == 0)
		rc = evict_trees_to_limits(janitor);
	if (rc == 0)
		rc = trash_empty(janitor);
	if (rc == 0 && (round || full))
		rc = store_evict(janitor);
	if (rc == 0 && round)
		rc = store_clean(janitor);
	if (rc == 0 && !janitor->pressed)
		rc = grant_wishes(janitor);
	if (rc == 0 && janitor->pressed)
		rc = suspects_look(janitor);
	else if (rc == 0 && is_scrub_due(janitor))
		rc = suspects_scrub(janitor);
	setproctitle("janitor");
	return rc;
}

/* What is not yet gone, or about to come, is looked at again soon, then less and less often. */
static void
choose_when(struct janitor *janitor)
{
	if (!janitor->trash_stays && !janitor->letting_go && !janitor->suspects_left &&
	    janitor->condemned_count == 0)
		janitor->again_ms = -1;
	else if (janitor->again_ms < 0)
		janitor->again_ms = AGAIN_MS_FIRST;
	else if (janitor->again_ms < AGAIN_MS_MAX)
		janitor->again_ms *= 2;
}

static int
janitor_start(struct janitor *janitor, bool is_first)
{
	struct message message = {.type = MSG_ready};
	int rc;

	usage_recover(cas_usage(janitor->cas));
	if (is_first)
		usage_forget_present(cas_usage(janitor->cas));
	rc = evict_trees_resume(janitor);
	if (rc == 0)
		rc = clean_entries(janitor);
	if (rc == 0)
		rc = store_verify(janitor);
	if (rc == 0 && is_first)
		rc = suspects_look(janitor);
	if (rc != 0)
		return rc;
	message.ready.pid = (uint64_t)getpid();
	return channel_send_wait(janitor->channel, &message, -1);
}

static int
janitor_loop(struct janitor *janitor)
{
	int rc;

	for (;;) {
		rc = janitor->sweep ? 0 : receive(janitor, janitor->again_ms);
		if (rc == 0 && (janitor->sweep || janitor->again_ms >= 0))
			rc = janitor_sweep(janitor);
		choose_when(janitor);
		if (rc == -ECONNRESET || rc == -EPIPE || rc == -EPROTO)
			return rc;
		if (rc != 0) /* a full disk, a broken folder: the next sweep may do better */
			log_error("sweep: %s", strerror(-rc));
	}
}

_Noreturn void
janitor_main(const struct janitor_start *start)
{
	struct janitor janitor = {.config = start->config,
	    .region = start->region,
	    .probe = start->probe,
	    .again_ms = -1};
	struct error_text err = {""};
	int rc;

	slot_activate(start->region, SLOT_JANITOR, getpid());
	janitor.slot = slot_at(start->region, SLOT_JANITOR);
	check_last_words(slot_words(janitor.slot), SLOT_WORDS_SIZE);
	setproctitle("janitor");
	priority_lower();
	janitor.scrubbed_us = clock_monotonic_us();
	rc = channel_new(start->socket_fd, &janitor.channel);
	if (rc != 0)
		fatalx("socket: %s", strerror(-rc));
	if (cas_open(start->config->state_fd, true, &janitor.cas, &err) != 0)
		fatalx("%s", err.text);
	rc = janitor_start(&janitor, start->is_first);
	if (rc == 0)
		rc = janitor_loop(&janitor);
	else if (rc != -ECONNRESET && rc != -EPIPE)
		fatalx("start: %s", strerror(-rc));
	cas_close(janitor.cas);
	free(janitor.condemned);
	slot_retire(start->region, SLOT_JANITOR);
	_exit(rc == -EPROTO);
}
