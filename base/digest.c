#include "base/digest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct digest digest_empty = {
    .hash = {0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f,
	0xb9, 0x24, 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78,
	0x52, 0xb8, 0x55},
    .size_bytes = 0,
};

bool
digest_equal(const struct digest *a, const struct digest *b)
{
	return a->size_bytes == b->size_bytes && memcmp(a->hash, b->hash, sizeof(a->hash)) == 0;
}

int
digest_compare(const struct digest *a, const struct digest *b)
{
	int order = memcmp(a->hash, b->hash, sizeof(a->hash));

	if (order != 0)
		return order;
	return (a->size_bytes > b->size_bytes) - (a->size_bytes < b->size_bytes);
}

bool
digest_is_empty(const struct digest *digest)
{
	return digest->size_bytes == 0 && digest_equal(digest, &digest_empty);
}

char *
digest_to_hex(const struct digest *digest, char *text)
{
	static const char digits[] = "0123456789abcdef";

	for (int i = 0; i < DIGEST_HASH_BYTES; i++) {
		text[2 * i] = digits[digest->hash[i] >> 4];
		text[2 * i + 1] = digits[digest->hash[i] & 15];
	}
	text[DIGEST_HEX_SIZE - 1] = '\0';
	return text;
}

char *
digest_to_text(const struct digest *digest, char separator, char *text)
{
	digest_to_hex(digest, text);
	snprintf(text + DIGEST_HEX_SIZE - 1, DIGEST_TEXT_SIZE - DIGEST_HEX_SIZE + 1, "%c%" PRId64,
	    separator, digest->size_bytes);
	return text;
}

/* A hex digit's value plus one, 0 for all else: no branch that depends on the digit. */
static const uint8_t hex_values[256] = {
    ['0'] = 1,
    ['1'] = 2,
    ['2'] = 3,
    ['3'] = 4,
    ['4'] = 5,
    ['5'] = 6,
    ['6'] = 7,
    ['7'] = 8,
    ['8'] = 9,
    ['9'] = 10,
    ['a'] = 11,
    ['b'] = 12,
    ['c'] = 13,
    ['d'] = 14,
    ['e'] = 15,
    ['f'] = 16,
};

int
digest_hash_from_hex(const char *hex, uint8_t *ret_hash)
{
	uint8_t hash[DIGEST_HASH_BYTES];

	for (int i = 0; i < DIGEST_HASH_BYTES; i++) {
		unsigned high = hex_values[(uint8_t)hex[2 * i]];
		unsigned low = high == 0 ? 0 : hex_values[(uint8_t)hex[2 * i + 1]];

		if (low == 0)
			return -EINVAL;
		hash[i] = (uint8_t)((high - 1) << 4 | (low - 1));
	}
	memcpy(ret_hash, hash, sizeof(hash));
	return 0;
}

int
digest_from_text(const char *text, struct digest *ret_digest)
{
	struct digest digest;
	const char *digits;
	char *end;

	if (digest_hash_from_hex(text, digest.hash) != 0)
		return -EINVAL;
	digits = text + DIGEST_HEX_SIZE - 1;
	if ((*digits != '/' && *digits != '-') || digits[1] < '0' || digits[1] > '9')
		return -EINVAL;
	errno = 0;
	digest.size_bytes = strtoll(digits + 1, &end, 10);
	if (errno != 0 || *end != '\0' || end - digits > 20)
		return -EINVAL;
	*ret_digest = digest;
	return 0;
}
