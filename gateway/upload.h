/*
 * Blobs on their way in: what ByteStream.Write has brought so far, kept between calls.
 *
 * Gateway, any thread; a table with a lock, and a lock in each upload.  An upload is named by the
 * client (its id and the blob's digest).  One call at a time writes to it; a later call of the same
 * name takes it over, for the client may know before us that a connection is dead, and the earlier
 * one is told -ECANCELED.  When its call ends an upload stays, to be gone on with at exactly the
 * byte where it stopped, until it has lain UPLOAD_IDLE_S, or UPLOADS_IDLE_MAX others were left
 * later.
 *
 *   upload_take -> upload_write ... -> upload_commit -> upload_leave
 *
 * `committed` is the offset that the next message must have.  In a zstd upload it is, as the API
 * has it, a mixture: a call begins at an offset in the blob, with a stream of its own, and goes on
 * by the bytes of that stream.
 *
 * Errors: -EBADMSG the bytes are not the digest's, or more than it says, or no zstd stream (the
 * upload is gone then); -ECANCELED another call has it; -ESPIPE not where it stands; -ENOSPC and
 * others of the store. A crash leaves a file in cas/tmp, which the janitor removes: uploads end
 * with their process.
 */
#ifndef GATEWAY_UPLOAD_H
#define GATEWAY_UPLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cas/store.h"
#include "gateway/resource_name.h"

enum { UPLOAD_IDLE_S = 600, UPLOADS_IDLE_MAX = 256 };

struct upload;
struct uploads;

struct uploads *uploads_new(struct cas *cas);
void uploads_free(struct uploads *uploads);
void uploads_expire(struct uploads *uploads, uint32_t idle_s); /* the main loop, now and then */

/* The upload of that name, made if there is none; *ret_turn is this call's right to it. */
int upload_take(struct uploads *uploads, const struct resource_name *name,
    struct upload **ret_upload, uint64_t *ret_turn);
int64_t upload_committed(struct upload *upload);
/* Back to its beginning. */
int upload_restart(struct upload *upload, uint64_t turn);
int upload_write(
    struct upload *upload, uint64_t turn, int64_t offset, const void *data, size_t len);
/* Into the store with it; whatever comes out, the upload is gone from the table. */
int upload_commit(struct upload *upload, uint64_t turn);
/* The call is over. */
void upload_leave(struct uploads *uploads, struct upload *upload, uint64_t turn);

/* How many bytes of its blob an upload of that name has: where a call may go on; -ENOENT: none. */
int uploads_find(struct uploads *uploads, const struct resource_name *name, int64_t *ret_stored);

#endif
