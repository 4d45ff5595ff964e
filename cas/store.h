/*
 * The content-addressed store: blobs as files, named by their SHA-256.
 *
 *   cas/ab/<hash>     the bytes, mode 0444      cas/ab/<hash>.x   the same at 0555, a second inode
 *   cas/tmp/          being written             cas/usage         last-use stamps and totals
 *
 * Workers, janitor, command-line tool; a handle is one thread's (handles are cheap;
 * threads of one process open one each with cas_dup).  A blob appears by rename and is whole when
 * its name appears.  A blob's inode is shared with cached trees and sandboxes: nobody changes its
 * bytes, mode or times, ever.  The zero-byte blob is always present and never stored: cas_has says
 * yes, cas_open_blob gives an empty descriptor.
 *
 * Every call that finds, puts or opens a blob also touches its stamp: what was found, uploaded or
 * served stays for the grace time (evict.h).
 *
 * Errors: -errno.  -ENOENT: no such blob.  -EBADMSG: the bytes do not match the digest (the blob
 * has been dropped, counted by the caller).  -ENOSPC, -EDQUOT: nothing was left behind. After a
 * crash: perhaps a file in cas/tmp, removed by the janitor.
 */
#ifndef CAS_STORE_H
#define CAS_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/error_text.h"

enum { CAS_NAME_SIZE = 3 + DIGEST_HEX_SIZE + 2 }; /* "ab/<hash>.x" */
enum { CAS_MESSAGE_MAX = 64 << 20 }; /* largest REAPI message read whole */

struct cas;
struct usage;

/* Makes cas/, ac/, their 256 folders each and cas/tmp where missing (writable only). */
int cas_open(int state_fd, bool writable, struct cas **ret_cas, struct error_text *err);
int cas_dup(const struct cas *cas, struct cas **ret_cas);
void cas_close(struct cas *cas);

int cas_dirfd(const struct cas *cas); /* cas/, for linkat with cas_blob_name */
int cas_ac_dirfd(const struct cas *cas); /* ac/ */
int cas_state_fd(const struct cas *cas);
struct usage *cas_usage(const struct cas *cas);
char *cas_blob_name(const struct digest *digest, bool executable, char *name);

/*
 * Present, with the right size?  1, 0 or -errno.  Touches.  A file of another size is hashed, and
 * dropped if it does not match its name; a mistaken size in the digest costs nobody a good blob.
 */
int cas_has(struct cas *cas, const struct digest *digest);
void cas_touch(struct cas *cas, const struct digest *digest);

/* O_RDONLY.  Does not verify the bytes, only the size. */
int cas_open_blob(struct cas *cas, const struct digest *digest, int *ret_fd);

/* Reads it whole and verifies its bytes; the caller frees.  -EFBIG above max. */
int cas_read(
    struct cas *cas, const struct digest *digest, size_t max, uint8_t **ret_data, size_t *ret_len);

int cas_put_bytes(struct cas *cas, const void *data, size_t len, struct digest *ret_digest);
/* Only if they are the blob of that digest: else -EBADMSG, and nothing is stored. */
int cas_put_expected(struct cas *cas, const void *data, size_t len, const struct digest *expected);

/*
 * A user's file: its bytes are reflinked or copied in, never linked.  What is stored is hashed, not
 * what is at the source (which may change meanwhile).
 */
int cas_put_fd(struct cas *cas, int fd, struct digest *ret_digest);

/*
 * An action's output, moved in by rename; then its owner becomes ours and its mode 0444 (0555 and
 * the name ".x" when executable).  The caller vouches that nobody can write to it any more.  A file
 * with several links, or on another volume, is copied instead.  The source name is gone afterwards
 * in the first case and left in the second; *ret_moved tells.  -EINVAL: not a regular file (no
 * symlink is followed).
 */
int cas_put_move(struct cas *cas, int dirfd, const char *name, bool executable,
    struct digest *ret_digest, bool *ret_moved);

/*
 * A stream of bytes.  commit verifies against `expected` when given: -EBADMSG, nothing stored.  A
 * writer is one thread's at a time, any thread's; its handle has to stay open as long, and may be
 * shared by many writers and nothing else.
 */
struct cas_writer;
int cas_writer_open(struct cas *cas, const struct digest *expected, struct cas_writer **ret_writer);
int cas_writer_write(struct cas_writer *writer, const void *data, size_t len);
int cas_writer_commit(struct cas_writer *writer, struct digest *ret_digest); /* frees the writer */
void cas_writer_abort(struct cas_writer *writer);

/*
 * Makes sure that the blob's file with the wanted mode exists (the ".x" twin is made on first need;
 * either name alone is enough for the blob to be present).  *ret_made: it had to be made.  -EINVAL
 * for the zero-byte blob, which has no file.
 */
int cas_ensure(struct cas *cas, const struct digest *digest, bool executable, bool *ret_made);

/* Replaces the name's inode by a fresh copy, when the old one has no link left (EMLINK). */
int cas_mint(struct cas *cas, const struct digest *digest, bool executable);

/* Out of the store with it: into trash/, both names. */
void cas_drop(struct cas *cas, const struct digest *digest);

/*
 * Somebody may have written to it: bytes and modes of both names are looked at.  A name that is not
 * as it should be is replaced by a fresh copy of one whose bytes are right (its twin, or itself
 * where only the mode is wrong); where there is none, it goes into trash/.  Whoever links to the
 * old inode keeps that.  -EROFS: it is damaged, and the handle only reads.
 */
enum cas_health { CAS_ABSENT, CAS_WHOLE, CAS_HEALED, CAS_DROPPED };
int cas_heal(struct cas *cas, const struct digest *digest, enum cas_health *ret_health);

#endif
