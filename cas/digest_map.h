/*
 * Digests already seen, each with a number: what a walk over shared subtrees needs to be linear.
 *
 * One thread; grows as needed.  digest_map_add returns the place of the digest's number, which is
 * valid until the next add, and whether it is new (its number is then 0).
 */
#ifndef CAS_DIGEST_MAP_H
#define CAS_DIGEST_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"

struct digest_map_cell {
	struct digest digest;
	uint32_t number;
	bool used;
};
struct digest_map {
	struct digest_map_cell *cells;
	size_t size, used; /* size is 0 or a power of two */
	uint64_t seed;
};

void digest_map_fini(struct digest_map *map); /* a zeroed map is an empty one */
void digest_map_reserve(struct digest_map *map, size_t count); /* room for so many */
uint32_t *digest_map_add(struct digest_map *map, const struct digest *digest, bool *ret_new);
uint32_t *digest_map_find(const struct digest_map *map, const struct digest *digest);

/* For tables of other things: a hash of all of a digest, and of a seed that nobody else knows. */
uint64_t digest_mix(uint64_t seed, const struct digest *digest);

#endif
