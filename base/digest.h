/*
 * A digest names a blob: the SHA-256 of its bytes and their number.
 *
 * Any process, any thread.  Plain values; nothing here allocates or calls the system.  Hashing is
 * in cas/hash.h.  Text forms: "<64 hex>/<size>" (the Remote Execution API's) and "<64 hex>-<size>"
 * (file names).  Parsing accepts both, in lower case only, and nothing after them.
 */
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include <stdbool.h>
#include <stdint.h>

enum {
	DIGEST_HASH_BYTES = 32,
	DIGEST_HEX_SIZE = 65, /* with the NUL */
	DIGEST_TEXT_SIZE = 85, /* hex, separator, 19 digits, NUL */
};

/* No blob is larger: beyond it a size's bits are ours (index_image_key). */
#define DIGEST_SIZE_MAX (INT64_C(1) << 61)

struct digest {
	uint8_t hash[DIGEST_HASH_BYTES];
	int64_t size_bytes;
};

/* The zero-byte blob: always present, never stored, never looked up. */
extern const struct digest digest_empty;

bool digest_equal(const struct digest *a, const struct digest *b);
int digest_compare(const struct digest *a, const struct digest *b);
bool digest_is_empty(const struct digest *digest);

/* Both return `text`, which has DIGEST_HEX_SIZE or DIGEST_TEXT_SIZE bytes. */
char *digest_to_hex(const struct digest *digest, char *text);
char *digest_to_text(const struct digest *digest, char separator, char *text);

/* 0, or -EINVAL with *ret_digest untouched.  from_hex leaves the size alone. */
int digest_from_text(const char *text, struct digest *ret_digest);
int digest_hash_from_hex(const char *hex, uint8_t *ret_hash);

#endif
