/* What the tests of shm/ share: a state directory, a region in it, digests, children. */
#ifndef TESTS_UNIT_SHM_SHM_TEST_H
#define TESTS_UNIT_SHM_SHM_TEST_H

#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shm/gate.h"
#include "shm/index.h"
#include "shm/internal.h"
#include "shm/region.h"
#include "shm/slot.h"
#include "tests/cmocka_wrap.h"

struct fixture {
	char path[64];
	int fd;
	struct region *region;
};

static inline int
test_remove(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static inline void
fixture_dir(struct fixture *f)
{
	strlcpy(f->path, "/tmp/ramet-shm-XXXXXX", sizeof(f->path));
	assert_non_null(mkdtemp(f->path));
	f->fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(f->fd >= 0);
	f->region = NULL;
}

static inline enum region_origin
fixture_open(struct fixture *f, uint32_t entries, uint32_t cap)
{
	struct region_config config = {.entry_count = entries, .link_cap = cap};
	struct error_text err = {""};
	enum region_origin origin;
	int rc = region_open(f->fd, &config, &origin, &f->region, &err);

	if (rc != 0)
		fail_msg("region_open: %s", err.text);
	return origin;
}

static inline void
fixture_close(struct fixture *f)
{
	region_close(f->region);
	close(f->fd);
	nftw(f->path, test_remove, 8, FTW_DEPTH | FTW_PHYS);
}

static inline struct slot *
fixture_slot(struct fixture *f, uint32_t number)
{
	slot_assign(f->region, number);
	slot_activate(f->region, number, getpid());
	return slot_at(f->region, number);
}

/* Digest number n; those with the same `bucket` share one (of at most 256). */
static inline struct digest
test_digest(uint8_t bucket, uint32_t n)
{
	struct digest digest = {.size_bytes = 100 + n};

	digest.hash[0] = bucket;
	memcpy(digest.hash + 4, &n, sizeof(n));
	digest.hash[9] = 7;
	return digest;
}

static inline void
test_report(void *arg, const char *text)
{
	fprintf(stderr, "%s%s\n", arg == NULL ? "" : (const char *)arg, text);
}

static inline void
test_report_quiet(void *arg, const char *text)
{
	(void)arg;
	(void)text;
}

static inline uint64_t
test_counter(const struct region *region, enum counter counter)
{
	uint64_t values[COUNTER_COUNT];

	counters_read(region, values);
	return values[counter];
}

/* Claims and publishes a tree of `bytes`; pinned. */
static inline struct index_pin
test_publish(struct region *region, struct slot *slot, const struct digest *digest, uint64_t bytes)
{
	struct index_tree tree = {.files = 3, .directories = 2, .bytes = bytes, .build_us = 5};
	struct index_claim claim;
	struct index_pin pin;

	assert_int_equal(index_claim(region, slot, digest, &claim), 0);
	assert_int_equal(index_publish(region, slot, &claim, &tree, &pin), 0);
	return pin;
}

/* A child that exited with 0. */
static inline void
test_child_ok(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

#endif
