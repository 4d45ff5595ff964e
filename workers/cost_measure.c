#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/fs.h"
#include "cas/hash.h"
#include "workers/cost.h"

enum {
	DIRECTORIES = 16,
	FILES = 8,
	COPIES = 16,
	MESSAGES = 32,
	BLOB_BYTES = 4096,
	MESSAGE_BYTES = 2048
};

static uint64_t
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void
cost_begin(struct cost_samples *samples)
{
	samples->began_ns = now_ns();
}

void
cost_end(struct cost_samples *samples, unsigned steps)
{
	uint64_t ns = (now_ns() - samples->began_ns) / steps;

	if (samples->count < COST_SAMPLES_MAX)
		samples->ns[samples->count++] = ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
}

static int
by_size(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

uint32_t
cost_median(const struct cost_samples *samples)
{
	struct cost_samples sorted = *samples;

	if (sorted.count == 0)
		return 0;
	qsort(sorted.ns, sorted.count, sizeof(sorted.ns[0]), by_size);
	return sorted.ns[sorted.count / 2] == 0 ? 1 : sorted.ns[sorted.count / 2];
}

/* blobs/00/<n>: as the CAS has them. */
static int
blobs_make(int dirfd)
{
	char bytes[BLOB_BYTES] = {0}, name[80];
	int rc = fs_mkdir_path(dirfd, "blobs/00", 0755);

	for (unsigned i = 0; rc == 0 && i < DIRECTORIES * FILES; i++) {
		snprintf(name, sizeof(name), "blobs/00/%064u", i);
		int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
		if (fd < 0)
			return -errno;
		rc = fs_write_all(fd, bytes, sizeof(bytes));
		close(fd);
	}
	return rc;
}

static void
costs_set(struct cost_model *costs, enum cost_item item, const struct cost_samples *samples)
{
	if (samples->count > 0)
		costs->ns[item] = cost_median(samples);
}

static int
directories_make(int dirfd, struct cost_model *costs)
{
	int rc = fs_mkdir(dirfd, "tree", 0755);
	struct cost_samples samples = {0};
	char name[32];

	for (unsigned i = 0; rc == 0 && i < DIRECTORIES; i++) {
		snprintf(name, sizeof(name), "tree/d%u", i);
		cost_begin(&samples);
		rc = fs_mkdir(dirfd, name, 0755);
		cost_end(&samples, 1);
	}
	costs_set(costs, COST_DIRECTORY, &samples);
	return rc;
}

static int
links_make(int dirfd, struct cost_model *costs)
{
	struct cost_samples samples = {0};
	char from[80], to[32];

	for (unsigned i = 0; i < DIRECTORIES * FILES; i++) {
		snprintf(from, sizeof(from), "blobs/00/%064u", i);
		snprintf(to, sizeof(to), "tree/d%u/f%u", i / FILES, i % FILES);
		cost_begin(&samples);
		if (linkat(dirfd, from, dirfd, to, 0) != 0)
			return -errno;
		cost_end(&samples, 1);
	}
	costs_set(costs, COST_LINK, &samples);
	uint64_t part = cost_try_threads(dirfd, DIRECTORIES * FILES);
	costs->ns[COST_LINK_THREADS] =
	    (uint32_t)(costs->ns[COST_LINK] * (part == 0 ? 1000 : part) / 1000);
	return 0;
}

static int
copy_one(int dirfd, unsigned i)
{
	char from[80], to[32];

	snprintf(from, sizeof(from), "blobs/00/%064u", i);
	snprintf(to, sizeof(to), "copy%u", i);
	int in = openat(dirfd, from, O_RDONLY | O_CLOEXEC);
	int out = openat(dirfd, to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
	int rc = in < 0 || out < 0 ? -errno : fs_copy(in, out);
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
	return rc;
}

static int
copies_make(int dirfd, struct cost_model *costs)
{
	struct cost_samples copies = {0}, unlinks = {0};
	char name[32];

	for (unsigned i = 0; i < COPIES; i++) {
		cost_begin(&copies);
		int rc = copy_one(dirfd, i);
		if (rc != 0)
			return rc;
		cost_end(&copies, 1);
	}
	for (unsigned i = 0; i < COPIES; i++) {
		snprintf(name, sizeof(name), "copy%u", i);
		cost_begin(&unlinks);
		if (unlinkat(dirfd, name, 0) != 0)
			return -errno;
		cost_end(&unlinks, 1);
	}
	costs_set(costs, COST_COPY, &copies);
	costs_set(costs, COST_UNLINK, &unlinks);
	return 0;
}

static bool
message_read(int dirfd, unsigned i, struct hasher *hasher)
{
	char bytes[MESSAGE_BYTES], name[80];
	struct digest digest;

	snprintf(name, sizeof(name), "blobs/00/%064u", i);
	int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, bytes, sizeof(bytes));
	if (fd >= 0)
		close(fd);
	if (got != (ssize_t)sizeof(bytes))
		return false;
	hasher_start(hasher);
	hasher_update(hasher, bytes, sizeof(bytes));
	hasher_finish(hasher, &digest);
	return true;
}

static void
messages_read(int dirfd, struct cost_model *costs)
{
	struct cost_samples samples = {0};
	struct hasher *hasher;

	if (hasher_new(&hasher) != 0)
		return;
	for (unsigned i = 0; i < MESSAGES; i++) {
		cost_begin(&samples);
		if (!message_read(dirfd, i, hasher))
			break;
		cost_end(&samples, 1);
	}
	hasher_free(hasher);
	costs_set(costs, COST_READ, &samples);
}

uint32_t
cost_touch(int tree_fd, const struct cost_trial *trial)
{
	struct cost_samples samples = {0};
	char name[32], byte;

	for (unsigned i = 0; i < trial->directories * trial->files; i++) {
		snprintf(name, sizeof(name), "d%u/f%u", i / trial->files, i % trial->files);
		cost_begin(&samples);
		int fd = openat(tree_fd, name, O_RDONLY | O_CLOEXEC);
		ssize_t got = fd < 0 ? -1 : read(fd, &byte, 1);
		if (fd >= 0)
			close(fd);
		if (got != 1)
			return 0;
		cost_end(&samples, 1);
	}
	return cost_median(&samples);
}

void
cost_measure(int dirfd, const char *path, int can_image, struct cost_model *ret_costs)
{
	struct cost_trial trial = {.dirfd = dirfd,
	    .path = path,
	    .directories = DIRECTORIES,
	    .files = FILES,
	    .blob_bytes = BLOB_BYTES,
	    .can_image = can_image};
	struct cost_model costs;

	cost_default(&costs);
	*ret_costs = costs;
	if (blobs_make(dirfd) != 0 || directories_make(dirfd, &costs) != 0)
		return;
	messages_read(dirfd, &costs);
	if (copies_make(dirfd, &costs) == 0 && links_make(dirfd, &costs) == 0) {
		int tree_fd = openat(dirfd, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		uint32_t ns = tree_fd < 0 ? 0 : cost_touch(tree_fd, &trial);
		if (ns > 0)
			costs.ns[COST_TOUCH] = ns;
		if (tree_fd >= 0)
			close(tree_fd);
		cost_measure_mounts(&trial, &costs);
	}
	*ret_costs = costs;
}
