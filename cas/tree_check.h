/*
 * Comparing a cached tree on disk with the Directory messages that its digest names.
 *
 * Tool and janitor; a checker is one thread's.  It only reads, never through a symlink, and follows
 * the messages: what is on disk leads nowhere.  Names, kinds, modes, owners, sizes, symlink
 * targets, times where the tree gives a file one; nothing missing, nothing more.  Deep: every
 * file's bytes too, each inode once.  Else a file's bytes are hashed where something speaks against
 * it:
 *   - since the tree was built its bytes, its directory or (where it is no blob's) its inode was
 *     changed;
 *   - it has further links and is not the inode that the store has under its digest;
 *   - its size is not its digest's, or its blob is a suspect.
 * Times only say what is hashed, never what is wrong; who can set them can hide from all but deep.
 *
 * Where a Directory message is gone from the store, what lies below cannot be compared; deep makes
 * the message anew from what is there and compares the digest.  A tree that gives times or modes to
 * its files cannot be told from a changed one then, and counts as changed: it is a copy, and it is
 * cheaper to build it again than to trust it.
 *
 * The store handle is best one that only reads: what is looked at then keeps its last use, and a
 * corrupt message is reported and not dropped.
 *
 * tree_check: 0, TREE_FAULTY or TREE_UNCOMPARED (nothing wrong, but a message is gone); -errno: it
 * could not go on (no descriptors, no memory), or what `pause` returned.
 */
#ifndef CAS_TREE_CHECK_H
#define CAS_TREE_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "cas/digest_map.h"
#include "cas/store.h"

enum { TREE_WHOLE = 0, TREE_FAULTY, TREE_UNCOMPARED };

enum tree_fault_kind {
	TREE_FAULT_TREE, /* the tree is not what its digest says */
	TREE_FAULT_BLOB, /* likewise: and the inode is the store's own, under the blob's name */
	TREE_FAULT_MESSAGE, /* the store's copy of a Directory message; the tree may be whole */
};
struct tree_fault {
	enum tree_fault_kind kind;
	const char *path; /* in the tree, "" for its top; no control characters */
	const char *what;
	const struct digest *blob; /* NULL for the first kind */
};

struct tree_check_stats {
	uint64_t directories, files, symlinks, hashed_files, hashed_bytes;
};

struct tree_check_config {
	struct cas *cas;
	bool deep;
	const struct digest_map *suspects; /* blobs whose files are hashed; NULL: none */
	/* Between two directories and now and then while hashing; other than 0 ends it.  NULL */
	int (*pause)(void *arg);
	void (*on_fault)(void *arg, const struct tree_fault *fault);
	/* What the digest says lies at each path of the tree, "" first.  NULL */
	void (*on_directory)(void *arg, const char *path, const struct digest *digest);
	void *arg;
};

struct tree_checker;

int tree_checker_new(const struct tree_check_config *config, struct tree_checker **ret_checker);
void tree_checker_free(struct tree_checker *checker);

/*
 * dirfd: the folder of the trees; its owner and root may own what is in them, nobody else.
 * built_ns: CLOCK_REALTIME when the tree was complete; what was changed later is looked at closely.
 */
int tree_check(struct tree_checker *checker, int dirfd, const char *name,
    const struct digest *directory, int64_t built_ns);

/* An error that says nothing of what is looked at: no descriptors, no memory. */
bool tree_check_must_end(int rc);

/* Of all trees so far. */
const struct tree_check_stats *tree_checker_stats(const struct tree_checker *checker);

#endif
