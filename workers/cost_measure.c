#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
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

/* `count` steps since start_us, in nanoseconds a step; a clock that stood still says nothing. */
static void
each(struct cost_model *costs, enum cost_item item, uint64_t start_us, unsigned count)
{
	uint64_t ns = (clock_monotonic_us() - start_us) * 1000 / count;

	if (ns > 0 && ns <= UINT32_MAX)
		costs->ns[item] = (uint32_t)ns;
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

static int
directories_make(int dirfd, struct cost_model *costs)
{
	uint64_t start = clock_monotonic_us();
	char name[32];
	int rc = fs_mkdir(dirfd, "tree", 0755);

	for (unsigned i = 0; rc == 0 && i < DIRECTORIES; i++) {
		snprintf(name, sizeof(name), "tree/d%u", i);
		rc = fs_mkdir(dirfd, name, 0755);
	}
	if (rc == 0)
		each(costs, COST_DIRECTORY, start, DIRECTORIES + 1);
	return rc;
}

static int
links_make(int dirfd, struct cost_model *costs)
{
	uint64_t start = clock_monotonic_us();
	char from[80], to[32];

	for (unsigned i = 0; i < DIRECTORIES * FILES; i++) {
		snprintf(from, sizeof(from), "blobs/00/%064u", i);
		snprintf(to, sizeof(to), "tree/d%u/f%u", i / FILES, i % FILES);
		if (linkat(dirfd, from, dirfd, to, 0) != 0)
			return -errno;
	}
	each(costs, COST_LINK, start, DIRECTORIES * FILES);
	return 0;
}

static int
copies_make(int dirfd, struct cost_model *costs)
{
	uint64_t start = clock_monotonic_us();
	char from[80], to[32];
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < COPIES; i++) {
		snprintf(from, sizeof(from), "blobs/00/%064u", i);
		snprintf(to, sizeof(to), "copy%u", i);
		int in = openat(dirfd, from, O_RDONLY | O_CLOEXEC);
		int out = openat(dirfd, to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
		rc = in < 0 || out < 0 ? -errno : fs_copy(in, out);
		if (in >= 0)
			close(in);
		if (out >= 0)
			close(out);
	}
	if (rc == 0)
		each(costs, COST_COPY, start, COPIES);
	start = clock_monotonic_us();
	for (unsigned i = 0; rc == 0 && i < COPIES; i++) {
		snprintf(to, sizeof(to), "copy%u", i);
		if (unlinkat(dirfd, to, 0) != 0)
			rc = -errno;
	}
	if (rc == 0)
		each(costs, COST_UNLINK, start, COPIES);
	return rc;
}

static void
messages_read(int dirfd, struct cost_model *costs)
{
	uint64_t start = clock_monotonic_us();
	char bytes[MESSAGE_BYTES], name[80];
	struct digest digest;

	for (unsigned i = 0; i < MESSAGES; i++) {
		snprintf(name, sizeof(name), "blobs/00/%064u", i);
		int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return;
		ssize_t got = read(fd, bytes, sizeof(bytes));
		close(fd);
		if (got != (ssize_t)sizeof(bytes) || hash_bytes(bytes, sizeof(bytes), &digest) != 0)
			return;
	}
	each(costs, COST_READ, start, MESSAGES);
}

uint32_t
cost_touch(int tree_fd, const struct cost_trial *trial)
{
	unsigned count = trial->directories * trial->files;
	uint64_t start = clock_monotonic_us();
	char name[32], byte;

	for (unsigned i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "d%u/f%u", i / trial->files, i % trial->files);
		int fd = openat(tree_fd, name, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return 0;
		ssize_t got = read(fd, &byte, 1);
		close(fd);
		if (got != 1)
			return 0;
	}
	return (uint32_t)((clock_monotonic_us() - start) * 1000 / count);
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
