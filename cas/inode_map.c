#include "cas/inode_map.h"

#include <stdint.h>
#include <stdlib.h>

#include "cas/file_times.h"

enum { CELLS_MIN = 1024, CELLS_MAX = 1 << 20 };

struct inode_cell {
	bool used;
	dev_t dev;
	ino_t ino;
	int64_t mtime_ns;
	struct digest digest; /* its size is the file's */
};

void
inode_map_fini(struct inode_map *map)
{
	free(map->cells);
	*map = (struct inode_map){0};
}

static struct inode_cell *
cell_find(const struct inode_map *map, dev_t dev, ino_t ino)
{
	uint64_t mixed = ((uint64_t)ino ^ (uint64_t)dev << 32) * UINT64_C(0x9e3779b97f4a7c15);

	for (size_t i = (size_t)(mixed >> 32);; i++) {
		struct inode_cell *cell = &map->cells[i & (map->size - 1)];

		if (!cell->used || (cell->dev == dev && cell->ino == ino))
			return cell;
	}
}

/* No memory for a larger one: it begins anew, or stays without any. */
static void
map_grow(struct inode_map *map)
{
	struct inode_map larger = {.size = map->size == 0 ? CELLS_MIN : 2 * map->size};

	if (larger.size <= CELLS_MAX)
		larger.cells = calloc(larger.size, sizeof(*larger.cells));
	for (size_t i = 0; larger.cells != NULL && i < map->size; i++)
		if (map->cells[i].used)
			*cell_find(&larger, map->cells[i].dev, map->cells[i].ino) = map->cells[i];
	larger.used = map->used;
	inode_map_fini(map);
	if (larger.cells != NULL)
		*map = larger;
}

const struct digest *
inode_map_find(const struct inode_map *map, const struct stat *st)
{
	const struct inode_cell *cell =
	    map->size == 0 ? NULL : cell_find(map, st->st_dev, st->st_ino);

	if (cell == NULL || !cell->used || cell->mtime_ns != file_mtime_ns(st) ||
	    cell->digest.size_bytes != st->st_size)
		return NULL;
	return &cell->digest;
}

void
inode_map_put(struct inode_map *map, const struct stat *st, const struct digest *digest)
{
	struct inode_cell *cell;

	if (2 * map->used >= map->size)
		map_grow(map);
	if (map->size == 0)
		return;
	cell = cell_find(map, st->st_dev, st->st_ino);
	map->used += !cell->used;
	*cell = (struct inode_cell){.used = true,
	    .dev = st->st_dev,
	    .ino = st->st_ino,
	    .mtime_ns = file_mtime_ns(st),
	    .digest = *digest};
}
