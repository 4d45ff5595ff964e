/*
 * A user's directory becomes a Merkle tree in the store.
 *
 * Command-line tool (and tests).  Files are reflinked or copied in and hashed by `threads` threads
 * (0: one per core).  An unchanged tree is fast to ingest again: a cache beside the store
 * (ingest/<hash of the path>) maps (path, inode, size, mtime, ctime) to digest; entries younger
 * than 2 s at the time of the scan are not believed (a file can change twice within one tick); a
 * believed digest whose blob has gone is put again.  Sockets, fifos and devices are errors;
 * symlinks are kept as given.  `excludes` are names or paths relative to the root, fnmatch(3)
 * patterns.
 *
 * Errors: -errno, with the path in err.  After a crash: blobs without a tree (evicted in time).
 */
#ifndef CAS_INGEST_H
#define CAS_INGEST_H

#include <stddef.h>
#include <stdint.h>

#include "base/error_text.h"
#include "cas/store.h"

struct ingest_options {
	unsigned threads;
	const char *const *excludes; /* NULL-terminated, or NULL */
	int64_t now_s; /* 0: the clock's; a test of the 2 s rule need not wait */
};
struct ingest_stats {
	uint64_t files, directories, symlinks, bytes;
	uint64_t files_hashed; /* the others were known */
	uint64_t bytes_stored; /* new to the store */
	uint64_t elapsed_us;
};

int ingest_tree(struct cas *cas, const char *path, const struct ingest_options *options,
    struct digest *ret_root, struct ingest_stats *ret_stats, struct error_text *err);

/*
 * The other way: writes a tree or a file out below a directory the user owns, modes 0777 and 0666
 * less the umask.  `name` is one component; for export_tree also ".", the directory itself.  A
 * directory that is there is written into, a file or symlink that is there is replaced, nothing
 * else is touched, and no symlink is followed.  Bytes are verified: -EBADMSG.  In a directory made
 * here, a name that is there already is a clash of case: -EEXIST.  -ENOENT: a missing blob.
 * -EINVAL: a tree of more than TREE_ENTRIES_MAX entries (directory.h); then, and where a Directory
 * is missing, nothing is written.  On another error, and after a crash: what was written so far
 * stays, and perhaps a ".ramet.*".
 */
int export_tree(struct cas *cas, const struct digest *root, int dirfd, const char *name,
    struct error_text *err);
int export_file(struct cas *cas, const struct digest *digest, bool executable, int dirfd,
    const char *name, struct error_text *err);

#endif
