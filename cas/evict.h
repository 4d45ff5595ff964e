/*
 * Keeping the store within its size: the janitor's part of cas/.
 *
 * One process, the janitor.  evict_run counts what is there when asked to (a scan), and, where the
 * store holds more than `limit_bytes`, removes blobs in order of last use until it holds
 * 90 % of it.  Never removed: a blob whose stamp is younger than min(now, oldest live job) - grace;
 * a blob with further links (a cached tree holds its inode: removing the name would free nothing;
 * the index's own eviction lets go of it first).  A blob counts once, however many trees link to
 * it; its executable twin counts as a second inode, which it is.
 *
 * Before each removal usage_evict_begin claims the stamp; see usage.h for the race it closes.
 * After a crash: run again; nothing is half removed.
 */
#ifndef CAS_EVICT_H
#define CAS_EVICT_H

#include <stdbool.h>
#include <stdint.h>

#include "cas/store.h"

struct evict_policy {
	uint64_t limit_bytes; /* 0: no limit */
	uint32_t grace_s;
	uint32_t now_s; /* 0: the clock's; a test of the grace time need not wait */
	/* Asked before each removal: blobs used at that second (CLOCK_REALTIME) or later may be
	 * needed by a live job; 0: there is none.  NULL: nobody has jobs. */
	uint32_t (*needed_since_s)(void *arg);
	void *arg;
};
struct evict_stats {
	uint64_t blobs, bytes; /* held now */
	uint64_t evicted_blobs, evicted_bytes;
	uint64_t linked_bytes; /* old enough to go, but a tree holds them */
	bool over_limit; /* still too much: the trees must give way */
};

int evict_run(struct cas *cas, const struct evict_policy *policy, struct evict_stats *ret_stats);

/*
 * Removes from cas/tmp what dead processes left, whatever its age, and what names no process once
 * it is older than age_s.  A writer in another pid namespace would look dead: the store is
 * for the processes of one.
 */
int evict_clean_temp(struct cas *cas, uint32_t age_s);

/* Drops entries of ac/ not used for age_s. */
int evict_action_cache(struct cas *cas, uint32_t age_s, uint64_t *ret_removed);

/*
 * After the machine (not just the host) went down: blobs written after `since_s` may be torn, for
 * nothing here waits for the disk.  Verifies those and drops what does not match.
 */
int evict_verify_since(
    struct cas *cas, uint32_t since_s, uint64_t *ret_checked, uint64_t *ret_dropped);

#endif
