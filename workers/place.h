/*
 * Placing one file, one directory's entries, or a whole loaded tree, file by file.
 *
 * Worker or janitor, private to staging; a placer is one thread's.  It is made once for many trees;
 * a policy says what may be done: which ways, in which order, with which modes and owner.  The
 * cursor walks directories with a few descriptors, however deep.  Every call that places a file is
 * made through the link gate.
 *
 * A way that the volume or the system refuses (EXDEV, EPERM, EACCES, EOPNOTSUPP, ENOSYS, EINVAL,
 * and EMLINK where no second inode can be minted) is followed by the policy's next way: counted by
 * way and errno, and said once in the log.  Anything else ends it.
 *
 * Errors: -ENOENT a blob is missing (ask tree_find_missing_files which); -EINVAL two names that are
 * one on this volume; -ENAMETOOLONG; others from the system.  placer_error makes the words, with
 * the path below where the placing began.  On error what was placed stays: whoever owns the
 * directory throws it away whole.
 */
#ifndef WORKERS_PLACE_H
#define WORKERS_PLACE_H

#include <sys/types.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error_text.h"
#include "cas/reapi.h"
#include "cas/store.h"
#include "cas/tree_loader.h"
#include "shm/counters.h"
#include "shm/region.h"
#include "shm/slot.h"

enum { PLACE_ORDER_MAX = 4, PLACE_PATH_SIZE = 1024, CURSOR_KEEP = 16 };

struct place_policy {
	enum place_way order[PLACE_ORDER_MAX];
	unsigned count;
	bool is_writable; /* private files 0644/0755 instead of 0444/0555 */
	uid_t owner; /* of what is made anew; (uid_t)-1: ours */
	bool record; /* remember each hard link, for placer_check_links */
	bool building; /* a cached tree: the crash points of building apply */
};

struct place_tally {
	uint64_t files[PLACE_WAY_COUNT], bytes[PLACE_WAY_COUNT];
	uint64_t files_all, bytes_all, private_bytes;
	uint64_t directories, symlinks, empty_files, exec_variants, fallbacks;
};

struct placed_link; /* place_check.c */

struct placer {
	struct region *region;
	struct slot *slot;
	struct cas *cas;
	struct usage *usage;
	int cas_fd;
	uint32_t now_s; /* set before each action */
	unsigned cores, link_threads; /* of the machine; that may place one tree, 0 or 1: no more */
	struct placer *lead; /* a thread's: of what is shared, under the lock; else NULL */
	pthread_mutex_t *lock;
	struct place_tally tally;
	struct placed_link *links; /* recorded, malloc'ed */
	size_t link_count, link_room;
	uint64_t changed_before; /* blobs found changed on this host when placer_watch was called */
	char path[PLACE_PATH_SIZE]; /* of what failed, built from its end while unwinding */
	const char *failed; /* what was tried */
	uint64_t said[PLACE_WAY_COUNT]; /* errnos of each way already logged, a bit each */
};

/* A place in a directory tree that we are making. */
struct place_cursor {
	int fd; /* of the current directory */
	unsigned depth;
	int kept[CURSOR_KEEP];
};
void cursor_init(struct place_cursor *cursor, int fd); /* fd stays the caller's */
int cursor_down(struct place_cursor *cursor, const char *name);
int cursor_up(struct place_cursor *cursor);
void cursor_fini(struct place_cursor *cursor);

void placer_init(struct placer *placer, struct region *region, struct slot *slot, struct cas *cas);
void placer_fini(struct placer *placer);
void placer_start(struct placer *placer); /* of an action: tally, clock, recorded links */

int place_file(
    struct placer *placer, const struct place_policy *policy, int dirfd, const ReapiFileNode *file);
/* Its own mtime or unix_mode: placed by reflink or copy, whatever the order says. */
bool place_has_properties(const ReapiFileNode *file);
int place_symlink(struct placer *placer, int dirfd, const ReapiSymlinkNode *symlink);
int place_directory(struct placer *placer, uid_t owner, int dirfd, const char *name);
/* An empty directory or file for something to be mounted on (sandbox.h has the modes). */
int place_mount_directory(struct placer *placer, int dirfd, const char *name);
int place_mount_point(struct placer *placer, int dirfd, const char *name);
/*
 * Everything in `dir` and below it, into the cursor's directory; the cursor ends where it began.
 * A large tree by several threads (place_parallel.h).
 */
int place_tree(struct placer *placer, const struct place_policy *policy,
    struct place_cursor *cursor, const struct tree_dir *dir);

/* The two halves of that, by this thread: files and symlinks; directories and all below them. */
int place_entries(struct placer *placer, const struct place_policy *policy, int dirfd,
    const ReapiDirectory *message);
int place_directories(struct placer *placer, const struct place_policy *policy,
    struct place_cursor *cursor, const struct tree_dir *dir);

/* While unwinding: the failure lies below `name`. */
int placer_below(struct placer *placer, int rc, const char *name);
int placer_failed(struct placer *placer, int rc, const char *what, const char *name);
int placer_error(const struct placer *placer, int rc, const char *where, struct error_text *err);

/* Counts and logs a fall-back from `way`. */
void placer_fell_back(struct placer *placer, enum place_way way, int error, const char *then);
bool place_may_fall_back(int error);

/*
 * Blobs linked by this action that are no longer what their digests say: noted as suspects, then
 * made anew from a good copy or dropped; -EBADMSG and words.  The same where another action was
 * found to have changed one while ours had it.
 */
int placer_check_links(struct placer *placer, struct error_text *err);
/* What was just linked as `name` in dirfd. */
int placer_record_link(struct placer *placer, int dirfd, const char *name,
    const struct digest *digest, bool executable);
/* Before the first link of an action whose links are recorded. */
void placer_watch(struct placer *placer);

#endif
