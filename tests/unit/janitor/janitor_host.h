/* A state directory of a test's own, with an index, a store and a janitor that nobody talks to. */
#ifndef TESTS_JANITOR_HOST_H
#define TESTS_JANITOR_HOST_H

#include <sys/stat.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "janitor/internal.h"
#include "shm/counters.h"
#include "tests/cmocka_wrap.h"

enum { HOST_WORKER = SLOT_WORKER_FIRST, HOST_ENTRIES = 1024 };

struct janitor_host {
	struct host_config config;
	struct region *region;
	struct slot *worker;
	struct janitor janitor;
};

static inline int
host_open_region(struct janitor_host *host)
{
	struct region_config config = {.entry_count = HOST_ENTRIES, .link_cap = 4};
	enum region_origin origin;

	if (region_open(host->config.state_fd, &config, &origin, &host->region, NULL) != 0)
		return -1;
	slot_assign(host->region, SLOT_JANITOR);
	slot_activate(host->region, SLOT_JANITOR, getpid());
	slot_assign(host->region, HOST_WORKER);
	slot_activate(host->region, HOST_WORKER, getpid());
	host->worker = slot_at(host->region, HOST_WORKER);
	host->janitor.config = &host->config;
	host->janitor.region = host->region;
	host->janitor.slot = slot_at(host->region, SLOT_JANITOR);
	return 0;
}

/* path: an existing state directory, or NULL for a new one. */
static inline int
host_open(struct janitor_host *host, const char *path)
{
	static const char *const folders[] = {"trees", "trash", "sandboxes"};

	memset(host, 0, sizeof(*host));
	host->config.state_fd = -1;
	strlcpy(host->config.state_dir, path != NULL ? path : "/tmp/ramet-janitor.XXXXXX",
	    sizeof(host->config.state_dir));
	if (path == NULL && mkdtemp(host->config.state_dir) == NULL)
		return -1;
	host->config.state_fd = open(host->config.state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
		if (fs_mkdir(host->config.state_fd, folders[i], 0755) != 0)
			return -1;
	return host_open_region(host);
}

static inline void
host_close(struct janitor_host *host)
{
	cas_close(host->janitor.cas);
	region_close(host->region);
	fs_remove_tree(AT_FDCWD, host->config.state_dir);
	close(host->config.state_fd);
}

static inline struct digest
host_digest(unsigned i)
{
	struct digest digest = {.size_bytes = 100 + i};

	for (unsigned b = 0; b < DIGEST_HASH_BYTES; b++)
		digest.hash[b] = (uint8_t)((i * 2654435761u >> b % 24) + b * 7 + i);
	memcpy(digest.hash + 8, &i, sizeof(i));
	return digest;
}

static inline char *
host_tree_path(unsigned i, char *path)
{
	struct digest digest = host_digest(i);

	memcpy(path, "trees/", 6);
	index_tree_name(&digest, path + 6);
	return path;
}

static inline bool
host_has(const struct janitor_host *host, const char *path)
{
	struct stat st;

	return fstatat(host->config.state_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static inline void
host_make_file(const struct janitor_host *host, const char *path)
{
	int fd = openat(host->config.state_fd, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0444);

	assert_true(fd >= 0);
	close(fd);
}

/* A tree of one file, without an entry. */
static inline void
host_make_tree(const struct janitor_host *host, const char *path)
{
	char file[320];

	assert_int_equal(fs_mkdir(host->config.state_fd, path, 0755), 0);
	snprintf(file, sizeof(file), "%s/file", path);
	host_make_file(host, file);
}

/* A cached tree, pinned. */
static inline struct index_pin
host_publish(struct janitor_host *host, unsigned i, uint64_t bytes)
{
	struct index_tree tree = {.files = 1, .bytes = bytes, .private_bytes = bytes};
	struct digest digest = host_digest(i);
	struct index_claim claim;
	struct index_pin pin;
	char path[128];

	assert_int_equal(index_claim(host->region, host->worker, &digest, &claim), 0);
	host_make_tree(host, host_tree_path(i, path));
	assert_int_equal(index_publish(host->region, host->worker, &claim, &tree, &pin), 0);
	return pin;
}

static inline bool
host_is_cached(struct janitor_host *host, unsigned i)
{
	struct digest digest = host_digest(i);
	struct index_info info;
	uint32_t entry;
	char path[128];
	bool known;

	known = index_find(host->region, &digest, &entry) == 0 &&
	    index_read(host->region, entry, &info) == 0 && info.state == INDEX_READY;
	assert_int_equal(host_has(host, host_tree_path(i, path)), known);
	return known;
}

#endif
