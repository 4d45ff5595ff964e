/* The janitor's scan, and what goes. */
#include "cas/evict.h"

#include <sys/stat.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cas/file_times.h"
#include "cas/internal.h"
#include "cas/scan.h"
#include "shm/usage.h"

struct item {
	struct digest digest; /* with the size of the file */
	uint32_t stamp;
	bool executable;
};

struct sweep {
	struct cas *cas;
	const struct evict_policy *policy;
	uint32_t bound_s; /* last used before this: may go, unless a job needs it */
	struct item *items;
	size_t count, room;
	struct evict_stats stats;
};

static bool
is_needed(const struct sweep *sweep, uint32_t stamp)
{
	const struct evict_policy *policy = sweep->policy;
	uint32_t since_s = policy->needed_since_s == NULL ? 0 : policy->needed_since_s(policy->arg);

	return since_s != 0 && stamp >= since_s;
}

static int
sweep_see(void *arg, const struct scan_entry *entry)
{
	struct sweep *sweep = arg;
	struct item item = {.digest = entry->digest, .executable = entry->executable};

	item.digest.size_bytes = entry->st.st_size;
	item.stamp = usage_stamp(sweep->cas->usage, &item.digest);
	sweep->stats.blobs++;
	sweep->stats.bytes += (uint64_t)entry->st.st_size;
	if (item.stamp >= sweep->bound_s || is_needed(sweep, item.stamp))
		return 0;
	if (entry->st.st_nlink > 1) {
		sweep->stats.linked_bytes += (uint64_t)entry->st.st_size;
		return 0;
	}
	if (sweep->count == sweep->room) {
		size_t room = sweep->room == 0 ? 1024 : 2 * sweep->room;
		struct item *items = reallocarray(sweep->items, room, sizeof(*items));

		if (items == NULL)
			return -ENOMEM;
		sweep->items = items;
		sweep->room = room;
	}
	sweep->items[sweep->count++] = item;
	return 0;
}

/* Oldest first; a blob's two names are neighbours. */
static int
item_compare(const void *a, const void *b)
{
	const struct item *left = a, *right = b;

	if (left->stamp != right->stamp)
		return left->stamp < right->stamp ? -1 : 1;
	return memcmp(left->digest.hash, right->digest.hash, sizeof(left->digest.hash));
}

/* Under the claim: a tree may have linked to it since the scan. */
static void
item_remove(struct sweep *sweep, const struct item *item)
{
	char name[CAS_NAME_SIZE];
	struct stat st;

	cas_blob_name(&item->digest, item->executable, name);
	if (fstatat(sweep->cas->cas_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || st.st_nlink > 1)
		return;
	CRASH_POINT(blob_evicting);
	if (unlinkat(sweep->cas->cas_fd, name, 0) != 0)
		return;
	CRASH_POINT(blob_evicted);
	sweep->stats.evicted_blobs++;
	sweep->stats.evicted_bytes += (uint64_t)st.st_size;
	sweep->stats.blobs--;
	sweep->stats.bytes -= (uint64_t)st.st_size;
	usage_add(sweep->cas->usage, -1, -(int64_t)st.st_size);
}

/* One claim for both names; returns how many items it covered. */
static size_t
pair_remove(struct sweep *sweep, size_t at)
{
	const struct item *items = &sweep->items[at];
	size_t count = 1;

	while (at + count < sweep->count &&
	    memcmp(items[0].digest.hash, items[count].digest.hash, DIGEST_HASH_BYTES) == 0)
		count++;
	if (usage_evict_begin(sweep->cas->usage, &items[0].digest, items[0].stamp) != 0)
		return count;
	for (size_t i = 0; i < count && !is_needed(sweep, items[0].stamp); i++)
		item_remove(sweep, &items[i]);
	usage_evict_end(sweep->cas->usage, &items[0].digest);
	return count;
}

static uint32_t
policy_bound(const struct evict_policy *policy)
{
	uint32_t from = policy->now_s != 0 ? policy->now_s : clock_realtime_s();

	return from > policy->grace_s ? from - policy->grace_s : 0;
}

int
evict_run(struct cas *cas, const struct evict_policy *policy, struct evict_stats *ret_stats)
{
	struct sweep sweep = {.cas = cas, .policy = policy, .bound_s = policy_bound(policy)};
	int64_t blobs = usage_blobs(cas->usage), bytes = usage_bytes(cas->usage);
	uint64_t limit = policy->limit_bytes, target = limit / 10 * 9;
	int rc = cas_usable(cas, true);

	if (rc == 0)
		rc = scan_blobs(cas, sweep_see, &sweep);
	if (rc == 0) {
		/* By difference, so that what was put during the scan is not lost. */
		usage_add(cas->usage, (int64_t)sweep.stats.blobs - blobs,
		    (int64_t)sweep.stats.bytes - bytes);
		if (limit != 0 && sweep.stats.bytes > limit) {
			if (sweep.count > 1)
				qsort(sweep.items, sweep.count, sizeof(*sweep.items), item_compare);
			for (size_t i = 0; i < sweep.count && sweep.stats.bytes > target;)
				i += pair_remove(&sweep, i);
		}
		sweep.stats.over_limit = limit != 0 && sweep.stats.bytes > limit;
		*ret_stats = sweep.stats;
	}
	free(sweep.items);
	return rc;
}

struct verify {
	struct cas *cas;
	uint32_t since_s;
	uint64_t checked, dropped;
};

static int
verify_see(void *arg, const struct scan_entry *entry)
{
	struct verify *verify = arg;

	/* The change time: an output keeps the modification time that its action gave it. */
	if (file_ctime_ns(&entry->st) / 1000000000 < (int64_t)verify->since_s)
		return 0;
	verify->checked++;
	if (blob_purge(verify->cas, &entry->digest))
		verify->dropped++;
	return 0;
}

int
evict_verify_since(struct cas *cas, uint32_t since_s, uint64_t *ret_checked, uint64_t *ret_dropped)
{
	struct verify verify = {.cas = cas, .since_s = since_s};
	int rc = cas_usable(cas, true);

	if (rc == 0)
		rc = scan_blobs(cas, verify_see, &verify);
	if (rc != 0)
		return rc;
	*ret_checked = verify.checked;
	*ret_dropped = verify.dropped;
	return 0;
}
