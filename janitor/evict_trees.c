#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "janitor/internal.h"
#include "shm/counters.h"

enum { SCAN_EACH_US = 2000000 };

/* A tree of its own that could go. */
struct candidate {
	uint32_t entry, last_used_s;
	uint64_t bytes, private_bytes;
};

struct scan {
	struct candidate *candidates;
	size_t count;
	uint64_t trees, private_bytes;
};

static void
note_entry(uint32_t entry, const struct index_info *info, struct scan *scan)
{
	if (info->state != INDEX_READY || info->inside)
		return;
	scan->trees++;
	scan->private_bytes += info->tree.private_bytes;
	if (info->pins > 0)
		return;
	scan->candidates[scan->count++] = (struct candidate){
	    .entry = entry,
	    .last_used_s = info->last_used_s,
	    .bytes = info->tree.bytes,
	    .private_bytes = info->tree.private_bytes,
	};
}

static int
by_last_use(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	if (x->last_used_s != y->last_used_s)
		return x->last_used_s < y->last_used_s ? -1 : 1;
	return x->entry < y->entry ? -1 : x->entry > y->entry;
}

/* The caller frees the candidates: the least recently used first. */
static int
scan_index(const struct region *region, struct scan *ret_scan)
{
	uint32_t count = region_entry_count(region), entry;
	struct scan scan = {NULL, 0, 0, 0};
	struct index_info info;

	scan.candidates = calloc(count, sizeof(*scan.candidates));
	if (scan.candidates == NULL)
		return -ENOMEM;
	for (entry = 0; entry < count; entry++)
		if (index_read(region, entry, &info) == 0)
			note_entry(entry, &info, &scan);
	qsort(scan.candidates, scan.count, sizeof(*scan.candidates), by_last_use);
	*ret_scan = scan;
	return 0;
}

/* The tree of a LEAVING entry of ours.  An entry whose tree stays where it is becomes READY again.
 */
static int
move_out(struct janitor *janitor, uint32_t entry, const struct digest *directory)
{
	const char *folder = index_folder(directory);
	char name[DIGEST_TEXT_SIZE];
	int rc;

	CRASH_POINT(evict_leaving);
	rc = trash_put(janitor, folder, index_tree_name(directory, name));
	if (rc != 0 && rc != -ENOENT) {
		index_evict_cancel(janitor->region, janitor->slot, entry);
		log_warn("%s/%s: cannot be put into the trash: %s", folder, name, strerror(-rc));
		return rc;
	}
	CRASH_POINT(evict_renamed);
	index_evict_finish(janitor->region, janitor->slot, entry);
	return 0;
}

static bool
is_enough(const struct evict_need *need, const struct evict_done *done)
{
	return done->trees >= need->trees && done->bytes >= need->bytes &&
	    done->private_bytes >= need->private_bytes;
}

int
evict_trees(struct janitor *janitor, const struct evict_need *need, struct evict_done *ret_done)
{
	struct evict_done done = {0};
	struct digest directory;
	struct scan scan;
	size_t i;
	int rc;

	rc = scan_index(janitor->region, &scan);
	if (rc != 0)
		return rc;
	done.held_trees = scan.trees;
	done.held_private_bytes = scan.private_bytes;
	for (i = 0; rc == 0 && i < scan.count && !is_enough(need, &done); i++) {
		const struct candidate *candidate = &scan.candidates[i];

		if (index_evict_begin(
			janitor->region, janitor->slot, candidate->entry, &directory) != 0)
			continue; /* used again, or gone */
		if (move_out(janitor, candidate->entry, &directory) == 0) {
			done.trees++;
			done.bytes += candidate->bytes;
			done.private_bytes += candidate->private_bytes;
		}
		rc = janitor_attend(janitor);
	}
	free(scan.candidates);
	*ret_done = done;
	return rc;
}

/* What is over, and a tenth of the limit more, so that not every new tree means a scan. */
static uint64_t
excess(uint64_t held, uint64_t limit)
{
	return limit == 0 || held <= limit ? 0 : held - limit + limit / 10;
}

int
evict_trees_to_limits(struct janitor *janitor)
{
	uint64_t now = clock_monotonic_us(), limit = region_entry_count(janitor->region) / 4 * 3;
	uint64_t counters[COUNTER_COUNT];
	struct evict_need need = {0};
	struct evict_done done;
	struct scan scan;
	int rc;

	counters_read(janitor->region, counters);
	if (janitor->config->index_bytes == 0 && counters[COUNTER_index_trees] <= limit)
		return 0;
	if (janitor->scanned_us != 0 && now - janitor->scanned_us < SCAN_EACH_US &&
	    !janitor->pressed)
		return 0;
	janitor->scanned_us = now;
	rc = scan_index(janitor->region, &scan);
	if (rc != 0)
		return rc;
	free(scan.candidates);
	need.trees = excess(counters[COUNTER_index_trees], limit);
	need.private_bytes = excess(scan.private_bytes, janitor->config->index_bytes);
	return evict_trees(janitor, &need, &done);
}

int
evict_trees_resume(struct janitor *janitor)
{
	struct digest directory;
	uint32_t entry = 0;

	while (index_evict_resume(janitor->region, janitor->slot, &entry, &directory) == 0)
		move_out(janitor, entry++, &directory);
	return 0;
}
