#include "cas/ingest_cache.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "cas/file_times.h"
#include "cas/hash.h"

enum { CACHE_SIZE_MAX = 1 << 30, CACHE_NAME_SIZE = 16 + DIGEST_HEX_SIZE };
static const char CACHE_MAGIC[16] = "ramet ingest 1\n";

/* On disk, in this machine's byte order: magic, count, records, SHA-256 of all that. */
struct record {
	struct file_identity identity;
	uint8_t hash[DIGEST_HASH_BYTES];
	uint64_t path_size; /* with its NUL; the path follows */
};

void
file_identity_get(const struct stat *st, struct file_identity *ret_identity)
{
	*ret_identity = (struct file_identity){
	    .inode = (uint64_t)st->st_ino,
	    .size_bytes = st->st_size,
	    .mtime_ns = file_mtime_ns(st),
	    .ctime_ns = file_ctime_ns(st),
	};
}

bool
file_identity_equal(const struct file_identity *a, const struct file_identity *b)
{
	return a->inode == b->inode && a->size_bytes == b->size_bytes &&
	    a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns;
}

static int
cache_name(const char *root, char *name)
{
	char hex[DIGEST_HEX_SIZE];
	struct digest digest;
	int rc = hash_bytes(root, strlen(root), &digest);

	if (rc == 0)
		snprintf(name, CACHE_NAME_SIZE, "ingest/%s", digest_to_hex(&digest, hex));
	return rc;
}

static bool
cache_sound(const uint8_t *data, size_t len, uint64_t *ret_count)
{
	const size_t head = sizeof(CACHE_MAGIC) + sizeof(*ret_count);
	struct digest sum;

	if (len < head + DIGEST_HASH_BYTES || memcmp(data, CACHE_MAGIC, sizeof(CACHE_MAGIC)) != 0)
		return false;
	if (hash_bytes(data, len - DIGEST_HASH_BYTES, &sum) != 0 ||
	    memcmp(sum.hash, data + len - DIGEST_HASH_BYTES, DIGEST_HASH_BYTES) != 0)
		return false;
	memcpy(ret_count, data + sizeof(CACHE_MAGIC), sizeof(*ret_count));
	return *ret_count <= (len - head) / sizeof(struct record);
}

static bool
cache_parse(struct ingest_cache *cache, const uint8_t *at, size_t left, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		struct ingest_known *entry = &cache->entries[i];
		struct record record;

		if (left < sizeof(record))
			return false;
		memcpy(&record, at, sizeof(record));
		at += sizeof(record);
		left -= sizeof(record);
		if (record.path_size == 0 || record.path_size > left ||
		    at[record.path_size - 1] != '\0')
			return false;
		entry->path = (const char *)at;
		entry->identity = record.identity;
		memcpy(entry->digest.hash, record.hash, sizeof(record.hash));
		entry->digest.size_bytes = record.identity.size_bytes;
		at += record.path_size;
		left -= record.path_size;
	}
	cache->count = (size_t)count;
	return left == DIGEST_HASH_BYTES;
}

void
ingest_cache_load(int state_fd, const char *root, struct ingest_cache *ret_cache)
{
	const size_t head = sizeof(CACHE_MAGIC) + sizeof(uint64_t);
	char name[CACHE_NAME_SIZE];
	uint64_t count;
	size_t len;

	*ret_cache = (struct ingest_cache){0};
	if (cache_name(root, name) != 0 ||
	    fs_read_file(state_fd, name, CACHE_SIZE_MAX, &ret_cache->data, &len) != 0)
		return;
	if (cache_sound(ret_cache->data, len, &count)) {
		ret_cache->entries = calloc((size_t)count + 1, sizeof(*ret_cache->entries));
		if (ret_cache->entries != NULL &&
		    cache_parse(ret_cache, ret_cache->data + head, len - head, count))
			return;
	}
	ingest_cache_fini(ret_cache);
}

void
ingest_cache_fini(struct ingest_cache *cache)
{
	free(cache->entries);
	free(cache->data);
	*cache = (struct ingest_cache){0};
}

static int
known_compare(const void *a, const void *b)
{
	return strcmp(
	    ((const struct ingest_known *)a)->path, ((const struct ingest_known *)b)->path);
}

const struct ingest_known *
ingest_cache_find(const struct ingest_cache *cache, const char *path)
{
	const struct ingest_known key = {.path = path};

	if (cache->count == 0)
		return NULL;
	return bsearch(&key, cache->entries, cache->count, sizeof(key), known_compare);
}

static uint8_t *
put(uint8_t *at, const void *data, size_t len)
{
	memcpy(at, data, len);
	return at + len;
}

int
ingest_cache_save(int state_fd, const char *root, struct ingest_known *entries, size_t count)
{
	size_t size = sizeof(CACHE_MAGIC) + sizeof(uint64_t) + DIGEST_HASH_BYTES;
	uint64_t count64 = count;
	char name[CACHE_NAME_SIZE];
	struct digest sum;
	uint8_t *data, *at;
	int rc;

	for (size_t i = 0; i < count; i++)
		size += sizeof(struct record) + strlen(entries[i].path) + 1;
	if (size > CACHE_SIZE_MAX)
		return -EFBIG;
	at = data = malloc(size);
	if (data == NULL)
		return -ENOMEM;
	if (count > 1)
		qsort(entries, count, sizeof(*entries), known_compare);
	at = put(at, CACHE_MAGIC, sizeof(CACHE_MAGIC));
	at = put(at, &count64, sizeof(count64));
	for (size_t i = 0; i < count; i++) {
		struct record record = {
		    .identity = entries[i].identity, .path_size = strlen(entries[i].path) + 1};

		memcpy(record.hash, entries[i].digest.hash, sizeof(record.hash));
		at = put(at, &record, sizeof(record));
		at = put(at, entries[i].path, (size_t)record.path_size);
	}
	rc = hash_bytes(data, (size_t)(at - data), &sum);
	put(at, sum.hash, sizeof(sum.hash));
	if (rc == 0)
		rc = cache_name(root, name);
	if (rc == 0)
		rc = fs_mkdir(state_fd, "ingest", 0755);
	if (rc == 0)
		rc = fs_write_atomic(state_fd, name, data, size, 0644);
	free(data);
	return rc;
}
