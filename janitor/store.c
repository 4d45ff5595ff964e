#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "cas/action_kinds.h"
#include "cas/evict.h"
#include "janitor/internal.h"
#include "shm/counters.h"
#include "shm/usage.h"

enum {
	TEMP_AGE_S = 60,
	ACTION_CACHE_AGE_S = 90 * 86400,
	KINDS_AGE_S = 90 * 86400,
	EVICT_ROUNDS = 8,
	NOTE_SIZE_MAX = 64,
};

static void
note_stats(struct janitor *janitor, const struct evict_stats *stats)
{
	COUNTER_SET(janitor->slot, cas_blobs, stats->blobs);
	COUNTER_SET(janitor->slot, cas_bytes, stats->bytes);
	COUNTER_ADD(janitor->slot, cas_evicted_blobs, stats->evicted_blobs);
	COUNTER_ADD(janitor->slot, cas_evicted_bytes, stats->evicted_bytes);
	if (stats->evicted_blobs > 0)
		log_info("store: %llu blobs (%llu bytes) evicted, %llu bytes held",
		    (unsigned long long)stats->evicted_blobs,
		    (unsigned long long)stats->evicted_bytes, (unsigned long long)stats->bytes);
}

static void
say_full(struct janitor *janitor, const struct evict_stats *stats, uint64_t limit)
{
	if (!janitor->said_full && stats->over_limit)
		log_warn(
		    "store: %llu bytes held, %llu wanted: all the rest is in use or was used less "
		    "than cas-grace ago",
		    (unsigned long long)stats->bytes, (unsigned long long)limit);
	janitor->said_full = stats->over_limit;
}

/* Trees hold inodes of blobs: the least recently used give way, and their blobs can go then. */
static int
let_go_of_trees(struct janitor *janitor, uint64_t bytes, bool *ret_some)
{
	struct evict_need need = {.bytes = bytes};
	struct evict_done done;
	int rc;

	rc = evict_trees(janitor, &need, &done);
	if (rc != 0)
		return rc;
	*ret_some = done.trees > 0;
	return trash_empty(janitor);
}

static uint32_t
needed_since_s(void *region)
{
	return region_needed_since(region);
}

int
store_evict(struct janitor *janitor)
{
	uint64_t limit = janitor->config->cas_size_bytes, held;
	struct evict_policy policy = {
	    .grace_s = janitor->config->cas_grace_s,
	    .needed_since_s = needed_since_s,
	    .arg = janitor->region,
	};
	struct evict_stats stats;
	bool some = true;
	int rc, round;

	held = (uint64_t)(usage_bytes(cas_usage(janitor->cas)) > 0
		? usage_bytes(cas_usage(janitor->cas))
		: 0);
	if (janitor->pressed && held > 0 && (limit == 0 || limit >= held))
		limit = held - 1; /* the disk is full before the store is: a tenth goes */
	policy.limit_bytes = limit;
	for (round = 0; some && round < EVICT_ROUNDS; round++) {
		rc = evict_run(janitor->cas, &policy, &stats);
		if (rc != 0)
			return rc;
		note_stats(janitor, &stats);
		some = false;
		if (stats.over_limit && stats.linked_bytes > 0)
			rc = let_go_of_trees(janitor, stats.bytes - limit, &some);
		if (rc != 0)
			return rc;
	}
	say_full(janitor, &stats, limit);
	return janitor_attend(janitor);
}

int
store_clean(struct janitor *janitor)
{
	uint64_t removed = 0;
	int rc;

	rc = evict_clean_temp(janitor->cas, TEMP_AGE_S);
	if (rc == 0)
		rc = evict_action_cache(janitor->cas, ACTION_CACHE_AGE_S, &removed);
	if (rc == 0)
		rc = action_kinds_clean(janitor->config->state_fd, KINDS_AGE_S);
	if (removed > 0)
		log_info("action cache: %llu old results dropped", (unsigned long long)removed);
	return rc != 0 ? rc : janitor_attend(janitor);
}

int
store_verify(struct janitor *janitor)
{
	int rc, state_fd = janitor->config->state_fd;
	uint64_t checked = 0, dropped = 0;
	unsigned long since;
	uint8_t *note;
	size_t len;

	rc = fs_read_file(state_fd, "verify", NOTE_SIZE_MAX, &note, &len);
	if (rc == -ENOENT)
		return 0;
	if (rc != 0)
		return rc;
	note[len > 0 ? len - 1 : 0] = '\0';
	since = strtoul((char *)note, NULL, 10); /* damaged: 0, and all is verified */
	free(note);
	log_info("verifying the blobs written since %lu", since);
	rc = evict_verify_since(janitor->cas, (uint32_t)since, &checked, &dropped);
	if (rc != 0)
		return rc;
	COUNTER_ADD(janitor->slot, cas_corrupt, dropped);
	log_info("%llu blobs verified, %llu dropped", (unsigned long long)checked,
	    (unsigned long long)dropped);
	return unlinkat(state_fd, "verify", 0) != 0 && errno != ENOENT ? -errno : 0;
}
