/* A throwaway host's cache: evicted as the janitor does it, and looked through. */
#ifndef TESTS_STAGE_CACHE_H
#define TESTS_STAGE_CACHE_H

#include "shm/internal.h"
#include "tests/unit/workers/stage_suite.h"

/* How far the janitor gets with each tree. */
enum cache_eviction { CACHE_EVICTED, CACHE_LEAVING, CACHE_MOVED };

static inline struct slot *
cache_janitor(struct host *host)
{
	return slot_at(host->region, SLOT_JANITOR);
}

static inline void
cache_discard(struct host *host, const struct digest *key)
{
	char path[8 + DIGEST_TEXT_SIZE], name[DIGEST_TEXT_SIZE], to[64];

	snprintf(path, sizeof(path), "%s/%s", index_folder(key), index_tree_name(key, name));
	snprintf(to, sizeof(to), "trash/evicted.%" PRIu64, sandbox_next_number());
	HOST_TRY("trash", fs_mkdir(host->config.state_fd, "trash", 0755));
	if (renameat(host->config.state_fd, path, host->config.state_fd, to) != 0 &&
	    errno != ENOENT)
		HOST_TRY(path, -errno);
}

/* Of a hundred trees and images that nobody holds, so many; how many that were. */
static inline unsigned
cache_evict(struct host *host, uint64_t *seed, uint32_t percent, enum cache_eviction how)
{
	unsigned count = 0;

	for (uint32_t entry = 0; entry < host->region->entry_count; entry++) {
		struct digest key;
		if (percent < 100 && dice(seed, 100) >= percent)
			continue;
		if (index_evict_begin(host->region, cache_janitor(host), entry, &key) != 0)
			continue;
		count++;
		if (how == CACHE_LEAVING)
			continue;
		cache_discard(host, &key);
		if (how == CACHE_EVICTED)
			index_evict_finish(host->region, cache_janitor(host), entry);
	}
	return count;
}

/* The next janitor, after one that got no further. */
static inline void
cache_resume(struct host *host)
{
	struct digest key;

	for (uint32_t entry = 0;
	     index_evict_resume(host->region, cache_janitor(host), &entry, &key) == 0; entry++) {
		cache_discard(host, &key);
		index_evict_finish(host->region, cache_janitor(host), entry);
	}
}

/* What it has thrown away; the folder stays. */
static inline void
cache_empty_trash(struct host *host)
{
	size_t count;
	int fd;

	HOST_TRY("trash", fs_mkdir(host->config.state_fd, "trash", 0755));
	HOST_TRY("trash", fs_open_beneath(host->config.state_fd, "trash", &fd));
	char **names = action_list(fd, &count);
	for (size_t i = 0; i < count; i++) {
		HOST_TRY(names[i], fs_remove_tree(fd, names[i]));
		free(names[i]);
	}
	free(names);
	close(fd);
}

static inline void
cache_say(void *arg, const char *words)
{
	fprintf(stderr, "index: %s\n", words);
}

/* Every tree that is given out is the tree of its digest; how many things are wrong. */
static inline int
cache_check(struct suite *suite)
{
	struct host *host = &suite->host;
	int wrong = (int)index_check(host->region, cache_say, NULL);

	for (uint32_t entry = 0; entry < host->region->entry_count; entry++) {
		char path[INDEX_LOCATION_SIZE], name[DIGEST_TEXT_SIZE];
		struct index_info info;
		if (index_read(host->region, entry, &info) != 0 || info.state != INDEX_READY ||
		    index_is_image(&info.directory) || info.inside)
			continue;
		snprintf(path, sizeof(path), "trees/%s", index_tree_name(&info.directory, name));
		int differences = suite_compare_cached(suite, path, &info.directory);
		if (differences != 0)
			fprintf(stderr, "%s: %d differences\n", path, differences);
		wrong += differences != 0;
	}
	return wrong;
}

static inline bool
cache_is_whole(int dirfd, const char *name)
{
	mode_t mode = strchr(name, '.') == NULL ? 0444 : 0555;
	int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	char hex[DIGEST_HEX_SIZE] = "";
	struct digest digest;
	struct stat st = {0};

	if (fd < 0)
		return false;
	int rc = fstat(fd, &st) != 0 ? -errno : hash_fd(fd, &digest);
	if (rc == 0)
		digest_to_hex(&digest, hex);
	close(fd);
	if (strncmp(hex, name, DIGEST_HEX_SIZE - 1) == 0 && (st.st_mode & 07777) == mode)
		return true;
	fprintf(stderr, "cas: %s: mode %o, %lld bytes, of %s\n", name, (unsigned)st.st_mode,
	    (long long)st.st_size, hex);
	return false;
}

/* Every blob holds what its name says, read-only; how many do not, or some of them. */
static inline int
cache_check_blobs(struct host *host)
{
	int cas_fd = cas_dirfd(host->cas), wrong = 0;

	for (unsigned i = 0; i < 256; i++) {
		char folder[4];
		size_t count = 0;
		snprintf(folder, sizeof(folder), "%02x", i);
		int fd = openat(cas_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		char **names = fd < 0 ? NULL : action_list(fd, &count);
		for (size_t j = 0; names != NULL && j < count; j++) {
			if (wrong < 5)
				wrong += !cache_is_whole(fd, names[j]);
			free(names[j]);
		}
		free(names);
		if (fd >= 0)
			close(fd);
	}
	return wrong;
}

/* All of the cache that an action could harm, but what it is used for anew; the caller frees it. */
static inline char *
cache_picture(struct host *host, size_t *ret_len)
{
	char *data = NULL;
	FILE *out = open_memstream(&data, ret_len);
	static const char *const folders[] = {"cas", "trees", "images"};

	HOST_TRY("memory", out == NULL ? -ENOMEM : 0);
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		int fd;
		size_t count = 0;
		HOST_TRY(folders[i], fs_open_beneath(host->config.state_fd, folders[i], &fd));
		char **names = action_list(fd, &count);
		for (size_t j = 0; j < count; j++) {
			if (strcmp(names[j], "usage") != 0 && strcmp(names[j], "tmp") != 0)
				HOST_TRY(names[j], action_walk_entry(fd, names[j], 1, out));
			free(names[j]);
		}
		free(names);
		close(fd);
	}
	fclose(out);
	return data;
}

#endif
