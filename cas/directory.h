/*
 * Directory messages: reading one from the store, checked, and walking a Merkle tree of them.
 *
 * Any process with a store handle.  directory_load reads, verifies and decodes; directory_check
 * refuses what no tree may hold: names that are not one path component (fs_name_check: '/', NUL,
 * "",
 * ".", "..", over 255 bytes), a name twice (whatever its kinds), broken or absent digests, symlinks
 * without a target or with a NUL in it.  The order of entries is not checked.  The empty Directory
 * (zero bytes) is never looked up.
 *
 * Errors: -ENOENT the blob is missing; -EBADMSG its bytes do not match; -EINVAL a bad Directory,
 * with the name of the thing in err.
 */
#ifndef CAS_DIRECTORY_H
#define CAS_DIRECTORY_H

#include "base/error_text.h"
#include "cas/reapi.h"
#include "cas/store.h"

int directory_load(struct cas *cas, struct arena *arena, const struct digest *digest,
    ReapiDirectory **ret_directory, struct error_text *err);
int directory_check(const ReapiDirectory *directory, struct error_text *err);

/*
 * Visits every Directory of a tree once for each *distinct digest*, parents first, and every file
 * of each.  Depth is bounded (TREE_DEPTH_MAX).  A missing Directory, or a corrupt
 * one (dropped by then), is given to on_missing (NULL:
 * ends the walk with -ENOENT) and skipped.  Callbacks return 0 or -errno, which ends the walk.
 */
enum {
	TREE_DEPTH_MAX = 512,
	/* Entries a tree may have once written out: a few shared Directories can name 2^200 of
	   them. */
	TREE_ENTRIES_MAX = 4 << 20,
};
struct tree_visitor {
	void *arg;
	int (*on_directory)(
	    void *arg, const struct digest *digest, const ReapiDirectory *directory);
	int (*on_missing)(void *arg, const struct digest *digest);
};
int tree_walk(struct cas *cas, const struct digest *root, const struct tree_visitor *visitor,
    struct error_text *err);

/*
 * How many files, symlinks and directories lie below the root once it is written out: at most
 * TREE_ENTRIES_MAX, else -EINVAL.  A missing Directory is -ENOENT.
 */
int tree_count(
    struct cas *cas, const struct digest *root, uint32_t *ret_entries, struct error_text *err);

/*
 * All blobs (Directories and files) below the root that the store lacks, each once, in
 * *ret_missing (caller frees).  Touches those present.  0 also when some are missing.
 */
int tree_missing(struct cas *cas, const struct digest *root, struct digest **ret_missing,
    size_t *ret_count, struct error_text *err);

/*
 * Building a Directory: the entries sorted by name as the API wants, then encoded and stored.
 * Used by ingest, by output collection (which also makes Tree messages) and by the tool.
 */
void directory_sort(ReapiDirectory *directory);
int directory_store(
    struct cas *cas, struct arena *arena, ReapiDirectory *directory, struct digest *ret_digest);

/*
 * The root of `base` with `path` (a file or directory node below it) added or replaced; parents are
 * made.  For merging one action's outputs into another's input root.
 * -EINVAL a bad path or one grafted twice; -ENOTDIR a file or symlink on the way.
 */
struct tree_graft {
	const char *path;
	enum { GRAFT_FILE, GRAFT_DIRECTORY, GRAFT_SYMLINK } kind;
	struct digest digest;
	bool executable;
	const char *target;
};
int tree_graft(struct cas *cas, const struct digest *base, const struct tree_graft *grafts,
    size_t count, struct digest *ret_root, struct error_text *err);

#endif
