/*
 * A whole loaded tree, placed by several threads: directories first, level by level, by the caller;
 * files behind it, each directory's by one thread.
 *
 * Worker or janitor, private to staging.  place_tree calls it; the threads are there no longer than
 * the call, and block all signals.  Each has a placer of its own, whose tally goes to the caller's
 * at the end.  What cannot be shared, the store's handle and what has been logged, is used under
 * one lock, by the few files that need it.  Links are made under the gate as ever, so that all
 * workers' threads together stay below the host's bound.
 *
 * Several threads in one directory would only wait for each other (its inode has one lock): a flat
 * tree gains nothing.  Where threads do not help at all (btrfs) the cost model says so.
 *
 * Errors, and what they leave: as place_tree.  A directory's comes before a file's; of several
 * files that fail the first in that order is named, whichever thread met it first. Crash: as
 * place_tree; permits are taken back whichever thread held them.
 */
#ifndef WORKERS_PLACE_PARALLEL_H
#define WORKERS_PLACE_PARALLEL_H

#include "workers/place.h"

enum { PLACE_PARALLEL_FILES_MIN = 512, PLACE_PARALLEL_DIRECTORIES_MIN = 8 };

/*
 * A tree for several threads: large, by hard link, without anything to be remembered of each link,
 * where threads help at all (placer->link_threads).
 */
bool place_parallel_fits(
    const struct placer *placer, const struct place_policy *policy, const struct tree_dir *dir);

/*
 * How many would place it soonest now; running: cores_running().  1 where no core is idle: the tree
 * would wait for threads that have not begun.  Else one more than there are idle cores, because a
 * new thread does not always begin on one.
 */
unsigned place_parallel_threads(const struct placer *placer, unsigned running);

/*
 * Into dirfd.  threads: the caller included; fewer where the system has no more.  1: nothing was
 * done, for want of memory.
 */
int place_parallel(struct placer *placer, const struct place_policy *policy, int dirfd,
    const struct tree_dir *dir, unsigned threads);

#endif
