/*
 * SHA-256 through libcrypto's EVP.
 *
 * Any process; one hasher is one thread's.  hasher_new once, hasher_start for each blob.
 */
#ifndef CAS_HASH_H
#define CAS_HASH_H

#include <stddef.h>

#include "base/digest.h"

struct hasher;

int hasher_new(struct hasher **ret_hasher); /* -ENOMEM */
void hasher_free(struct hasher *hasher);
void hasher_start(struct hasher *hasher);
void hasher_update(struct hasher *hasher, const void *data, size_t len);
void hasher_finish(struct hasher *hasher, struct digest *ret_digest); /* size counted too */

/* In one go. */
int hash_bytes(const void *data, size_t len, struct digest *ret_digest);
int hash_fd(int fd, struct digest *ret_digest); /* from the start; by pread, the offset stays */

#endif
