/*
 * Recycling: where nothing can be bound, a finished action's sandbox becomes the next one's.
 *
 * Worker, one thread, private to staging.  A worker keeps a few input roots of actions that have
 * ended (recycled/<slot>.<n>/<m>), and of each what it needs to tell a change: a stat of every
 * entry that the action could have touched.  Calling sequence, for each action:
 *
 *   recycle_try      the nearest kept root by Merkle difference becomes sandbox->rootfd, if what
 *                    that costs is less than to place all: what the action left is removed, what
 *                    it could have harmed is looked at, the difference is applied
 *   recycle_note     after staging, either way: what is needed to recycle this sandbox later
 *   (the action runs and ends, its outputs are collected)
 *   recycle_keep     root/ goes from the sandbox to the kept ones; the rest of it is released
 *
 * What an action can touch: its spine, which belongs to it, and with a uid of its own (or under a
 * profile that keeps it from its inputs) nothing else: those subtrees are *sealed* and not looked
 * at. Without, everything is *exposed*.  A directory's entries are compared by inode, size, times,
 * mode and owner; ctime, which nobody can set, only where the inode is private, since every link
 * made elsewhere changes it.  A ctime so fresh that a write at once could have left it the same is
 * no proof (on volumes whose clock is coarse; tried once), that file is placed again.
 *
 * Never a wrong tree: whatever is odd, or fails, ends it; the kept root goes to trash/, the sandbox
 * gets a new root, recycle_try returns 1, and everything is placed as if nothing had been kept.
 *
 * What holds after a crash: the folder's number stands in the slot before it is made
 * (slot_set_kept), so the supervisor, or else the janitor, gives it to the trash
 * (sandbox_discard_kept); a root is always either in that folder or in the sandbox, by rename.
 */
#ifndef WORKERS_RECYCLE_H
#define WORKERS_RECYCLE_H

#include <stdbool.h>
#include <stdint.h>

#include "workers/stage_internal.h"

/* What a worker may keep. */
struct recycle_limits {
	unsigned roots;
	uint64_t entries, private_bytes; /* of all of them together */
	uint32_t unused_s; /* one that was not used for so long goes */
	uint64_t files_min; /* below that a sandbox is not worth it */
};
extern const struct recycle_limits recycle_limits_default;

struct recycle;

int recycle_new(struct stager *stager, struct recycle **ret_recycle);
void recycle_free(struct recycle *recycle); /* and all that is kept */
/*
 * Two stagers of a worker keep their finished sandboxes together; each notes one of its own.
 * recycle_use says whose turn it is, before any of the calls below; recycle_leave: the second goes.
 */
void recycle_use(struct recycle *recycle, struct stager *stager);
void recycle_leave(struct recycle *recycle, const struct stager *second);

/* What these ways of staging leave can be recycled. */
bool recycle_applies(const struct stager_config *config, const struct stage_ways *ways);
/*
 * Asked once an action: false when nothing that was kept has been of use for some actions; then
 * only each eighth is looked at and noted, so that it costs next to nothing where no two trees are
 * alike.
 */
bool recycle_takes_part(struct recycle *recycle);
bool recycle_has_kept(const struct recycle *recycle);

/*
 * root: planned, its subtrees may be unread.  0: staged; 1: not, nothing is in the sandbox.  On
 * errors too the sandbox is to be released; err has words.
 */
int recycle_try(struct recycle *recycle, const struct stage_ways *ways,
    const struct plan_node *root, struct sandbox *sandbox, struct stage_report *report,
    struct error_text *err);
void recycle_note(struct recycle *recycle, const struct stage_ways *ways,
    const struct plan_node *root, const struct sandbox *sandbox, uint64_t files);
void recycle_forget(struct recycle *recycle); /* what was noted */
void recycle_keep(struct recycle *recycle, struct sandbox *sandbox);
void recycle_drop_all(struct recycle *recycle);
/* Drops what was not used for long; in so many seconds there may be more, or -1. */
int recycle_rest(struct recycle *recycle);

#endif
