#include "cas/digest_map.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

enum { MAP_SIZE_MIN = 64 };

void
digest_map_fini(struct digest_map *map)
{
	free(map->cells);
	*map = (struct digest_map){0};
}

/*
 * Digests come from clients, who may make up what they like: ten thousand that begin with the same
 * bytes, say.  So all of a digest counts, and with it a number that only one table knows.
 */
uint64_t
digest_mix(uint64_t seed, const struct digest *digest)
{
	uint64_t words[DIGEST_HASH_BYTES / sizeof(uint64_t)], mixed = seed;

	memcpy(words, digest->hash, sizeof(words));
	/* After each word every bit depends on every other: a product moves bits up, a shift down.
	 */
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		mixed ^= words[i];
		mixed = (mixed ^ (mixed >> 32)) * UINT64_C(0xd6e8feb86659fd93);
		mixed = (mixed ^ (mixed >> 32)) * UINT64_C(0xd6e8feb86659fd93);
		mixed ^= mixed >> 32;
	}
	return mixed;
}

static struct digest_map_cell *
cell_find(const struct digest_map *map, const struct digest *digest)
{
	uint64_t start = digest_mix(map->seed, digest);
	size_t mask = map->size - 1;

	for (size_t i = (size_t)start & mask;; i = (i + 1) & mask)
		if (!map->cells[i].used || digest_equal(&map->cells[i].digest, digest))
			return &map->cells[i];
}

static void
map_grow(struct digest_map *map, size_t size)
{
	struct digest_map larger = {.used = map->used, .size = size};

	arc4random_buf(&larger.seed, sizeof(larger.seed));
	larger.cells = calloc(larger.size, sizeof(*larger.cells));
	CHECK(larger.cells != NULL);
	for (size_t i = 0; i < map->size; i++)
		if (map->cells[i].used)
			*cell_find(&larger, &map->cells[i].digest) = map->cells[i];
	free(map->cells);
	*map = larger;
}

void
digest_map_reserve(struct digest_map *map, size_t count)
{
	size_t size = MAP_SIZE_MIN;

	while (size / 2 < count)
		size *= 2;
	if (size > map->size)
		map_grow(map, size);
}

uint32_t *
digest_map_add(struct digest_map *map, const struct digest *digest, bool *ret_new)
{
	struct digest_map_cell *cell;

	if (2 * map->used >= map->size)
		map_grow(map, map->size == 0 ? MAP_SIZE_MIN : 2 * map->size);
	cell = cell_find(map, digest);
	*ret_new = !cell->used;
	if (!cell->used) {
		*cell = (struct digest_map_cell){.digest = *digest, .used = true};
		map->used++;
	}
	return &cell->number;
}

uint32_t *
digest_map_find(const struct digest_map *map, const struct digest *digest)
{
	struct digest_map_cell *cell = map->size == 0 ? NULL : cell_find(map, digest);

	return cell == NULL || !cell->used ? NULL : &cell->number;
}
