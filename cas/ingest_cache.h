/*
 * What the last ingest of a directory found: path -> stat and digest, in ingest/<hash of the path>.
 *
 * ingest.c only.  A cache is loaded whole, checked (its own SHA-256 ends the file), and never
 * trusted further than its digests being in the store.  A missing, damaged or foreign one is an
 * empty one. Entries belong to the loaded cache.
 */
#ifndef CAS_INGEST_CACHE_H
#define CAS_INGEST_CACHE_H

#include <sys/stat.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"

struct file_identity {
	uint64_t inode;
	int64_t size_bytes, mtime_ns, ctime_ns;
};
struct ingest_known {
	const char *path; /* relative to the root */
	struct file_identity identity;
	struct digest digest;
};

struct ingest_cache {
	uint8_t *data;
	struct ingest_known *entries; /* sorted by path */
	size_t count;
};

void file_identity_get(const struct stat *st, struct file_identity *ret_identity);
bool file_identity_equal(const struct file_identity *a, const struct file_identity *b);

void ingest_cache_load(int state_fd, const char *root, struct ingest_cache *ret_cache);
void ingest_cache_fini(struct ingest_cache *cache);
const struct ingest_known *ingest_cache_find(const struct ingest_cache *cache, const char *path);

/* Sorts the entries.  Failing to save costs time at the next ingest, nothing else. */
int ingest_cache_save(int state_fd, const char *root, struct ingest_known *entries, size_t count);

#endif
