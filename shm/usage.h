/*
 * cas/usage: when each blob was last wanted, which are there, and how much the store holds; one
 * small mapped file that every process that touches blobs writes: workers, janitor, the
 * command-line tool.
 *
 * Blobs' own times cannot say it (their inodes are shared with trees, so their times are never
 * changed).  Instead the digest picks one of 2^20 stamps (seconds, 32 bits); two blobs that share a
 * stamp only keep each other longer.  The same word closes the race between "it is here" and its
 * eviction:
 *
 *   reader:  usage_touch(), then look at the file.  What is there then stays for the grace time.
 *   janitor: usage_evict_begin(stamp seen) = 0 -> unlink -> usage_evict_end()
 *                                          = -EAGAIN: touched since
 *
 * usage_touch waits (a bounded time) for an eviction in progress, so the look is never stale.
 *
 * After a crash: a stamp left EVICTING is cleared by the next janitor (usage_recover) or by a
 * toucher that has waited 1 s; the file is then there or not, and both are true.  The totals may be
 * off by what the dead process was doing; the janitor's next count sets them right.
 * A damaged file is replaced by an empty one (all blobs count as just used).
 */
#ifndef SHM_USAGE_H
#define SHM_USAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/digest.h"

struct usage;

/* Maps cas_fd/usage, making it if need be; read-only when !writable (-ENOENT if missing then). */
int usage_open(int cas_fd, bool writable, struct usage **ret_usage);
void usage_close(struct usage *usage);

void usage_touch(struct usage *usage, const struct digest *digest, uint32_t now_s);
uint32_t usage_stamp(const struct usage *usage, const struct digest *digest);

int usage_evict_begin(struct usage *usage, const struct digest *digest, uint32_t seen_s);
void usage_evict_end(struct usage *usage, const struct digest *digest);
void usage_recover(struct usage *usage);

/*
 * What is known to be there, so that a tree of thousands of blobs need not be looked at one by one.
 * usage_present: by who has just put or seen the blob's file of mode 0444; `seen` is what
 * usage_present_look gave before that, so that what was taken away meanwhile is not believed in.
 * usage_absent: by who is about to take it away (usage_evict_begin does so itself).
 *
 * usage_is_present, after usage_touch: true, it was there and nobody of ramet has taken it away
 * since; a file that somebody else has removed is still believed in.  False means nothing.  Nothing
 * is believed over a start of the host (usage_forget_present): files may have gone with a crash of
 * the machine.
 */
uint32_t usage_present_look(const struct usage *usage, const struct digest *digest);
void usage_present(struct usage *usage, const struct digest *digest, uint32_t seen);
void usage_absent(struct usage *usage, const struct digest *digest);
bool usage_is_present(const struct usage *usage, const struct digest *digest);
void usage_forget_present(struct usage *usage);

/* Deltas may be negative. */
void usage_add(struct usage *usage, int64_t blobs, int64_t bytes);
void usage_set(struct usage *usage, int64_t blobs, int64_t bytes);
int64_t usage_blobs(const struct usage *usage);
int64_t usage_bytes(const struct usage *usage);

#endif
