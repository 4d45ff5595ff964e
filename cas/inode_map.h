/*
 * Inodes already hashed, each with what came out: a blob that a hundred trees link to is hashed
 * once.
 *
 * One thread; a zeroed map is an empty one.  An inode is known by device, number, size and time of
 * its last change of bytes; its number may come again for another file, so whoever is about to
 * blame a file for what the map says hashes it again first.  Bounded: a map that is full begins
 * anew.
 */
#ifndef CAS_INODE_MAP_H
#define CAS_INODE_MAP_H

#include <sys/stat.h>

#include <stdbool.h>
#include <stddef.h>

#include "base/digest.h"

struct inode_map {
	struct inode_cell *cells;
	size_t size, used;
};

void inode_map_fini(struct inode_map *map);
/* NULL: not known. */
const struct digest *inode_map_find(const struct inode_map *map, const struct stat *st);
void inode_map_put(struct inode_map *map, const struct stat *st, const struct digest *digest);

#endif
