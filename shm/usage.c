#include "shm/usage.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "shm/atomics.h"
#include "shm/region_os.h"
#include "shm/wait.h"

#define USAGE_NAME "usage"
#define USAGE_MAGIC UINT64_C(0x3145474153554d52) /* "RMUSAGE1" in the file */

/* A stamp: EVICTING, and seconds since 2020 in the other 31 bits (they last until 2088). */
#define STAMP_EVICTING UINT32_C(0x80000000)
#define STAMP_EPOCH_S UINT32_C(1577836800)

enum {
	USAGE_VERSION = 2,
	USAGE_STAMPS = 1 << 20,
	USAGE_HEADER_SIZE = 4096,
	EVICTING_US_MAX = 1000000, /* a toucher waits no longer for an eviction in progress */
	EVICTING_LOOK_US = 10000,
};

/* The file.  Shared by every process that touches blobs. */
struct usage_file {
	/* W: its maker, before the file has its name.  R: all */
	_Alignas(128) shared_u64 magic;
	shared_u32 version;
	shared_u32 created_s; /* what a stamp of 0 means */
	/* W: all, add; relaxed.  R: all */
	_Alignas(128) shared_u64 blobs;
	shared_u64 bytes;
	shared_u32 absences; /* counts usage_absent */
	/* W: all, cas.  R: all */
	_Alignas(USAGE_HEADER_SIZE) shared_u32 stamps[USAGE_STAMPS];
	/* Of the digest with that stamp that is known to be there, some bits, odd; even: of none,
	 * and which time that was said.  W: all, cas, or seq to take back.  R: all, acquire */
	shared_u32 present[USAGE_STAMPS];
};

_Static_assert(offsetof(struct usage_file, stamps) == USAGE_HEADER_SIZE, "stamps have their pages");

struct usage {
	struct usage_file *file;
	bool writable;
};

static uint32_t
stamp_make(uint32_t now_s)
{
	return now_s <= STAMP_EPOCH_S ? 1 : (now_s - STAMP_EPOCH_S) & ~STAMP_EVICTING;
}

static shared_u32 *
stamp_of(const struct usage *usage, const struct digest *digest)
{
	uint32_t bits;

	memcpy(&bits, digest->hash, sizeof(bits));
	return &usage->file->stamps[bits % USAGE_STAMPS];
}

static shared_u32 *
present_of(const struct usage *usage, const struct digest *digest)
{
	return &usage->file->present[stamp_of(usage, digest) - usage->file->stamps];
}

/* Odd.  Other bits than those that chose the stamp; the size too, which may be somebody's mistake.
 */
static uint32_t
present_mark(const struct digest *digest)
{
	uint64_t size = (uint64_t)digest->size_bytes;
	uint32_t bits;

	memcpy(&bits, digest->hash + sizeof(bits), sizeof(bits));
	return (bits ^ (uint32_t)(size ^ size >> 32) * UINT32_C(2654435761)) | 1;
}

uint32_t
usage_present_look(const struct usage *usage, const struct digest *digest)
{
	return atom_load_acquire(present_of(usage, digest));
}

void
usage_present(struct usage *usage, const struct digest *digest, uint32_t seen)
{
	uint32_t mark = present_mark(digest);

	CHECK(usage->writable);
	if (seen != mark)
		(void)atom_cas(present_of(usage, digest), &seen, mark);
}

/* An even number that was not there before, so that who looked before sees it. */
void
usage_absent(struct usage *usage, const struct digest *digest)
{
	CHECK(usage->writable);
	atom_store_seq(present_of(usage, digest),
	    (uint32_t)(atom_add_relaxed(&usage->file->absences, 1) + 1) << 1);
}

bool
usage_is_present(const struct usage *usage, const struct digest *digest)
{
	return atom_load_acquire(present_of(usage, digest)) == present_mark(digest);
}

void
usage_forget_present(struct usage *usage)
{
	CHECK(usage->writable);
	for (uint32_t i = 0; i < USAGE_STAMPS; i++)
		atom_store_relaxed(&usage->file->present[i], 0);
}

static uint32_t
stamp_seconds(const struct usage *usage, uint32_t stamp)
{
	uint32_t created_s = atom_load_relaxed(&usage->file->created_s);
	uint32_t seconds = (stamp & ~STAMP_EVICTING) + STAMP_EPOCH_S;

	return seconds > created_s ? seconds : created_s;
}

static int
usage_map(int fd, bool writable, struct usage_file **ret_file)
{
	void *base = mmap(NULL, sizeof(struct usage_file), PROT_READ | (writable ? PROT_WRITE : 0),
	    MAP_SHARED, fd, 0);

	if (base == MAP_FAILED)
		return -errno;
	*ret_file = base;
	return 0;
}

static int
usage_fill(int fd)
{
	struct usage_file *file;
	int rc = os_file_reserve(fd, sizeof(struct usage_file));

	if (rc != 0)
		return rc;
	if (ftruncate(fd, sizeof(struct usage_file)) != 0)
		return -errno;
	rc = usage_map(fd, true, &file);
	if (rc != 0)
		return rc;
	atom_store_relaxed(&file->version, USAGE_VERSION);
	atom_store_relaxed(&file->created_s, clock_realtime_s());
	atom_store_release(&file->magic, USAGE_MAGIC);
	munmap(file, sizeof(struct usage_file));
	return 0;
}

/* Under a temporary name first; over a damaged file, or else only where there is none. */
static int
usage_make(int cas_fd, bool replace)
{
	static _Atomic unsigned counter;
	char temp[64];
	int fd, rc;

	snprintf(temp, sizeof(temp), ".tmp." USAGE_NAME ".%d.%u", (int)getpid(), counter++);
	fd = openat(cas_fd, temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	rc = usage_fill(fd);
	if (rc == 0 && replace && renameat(cas_fd, temp, cas_fd, USAGE_NAME) != 0)
		rc = -errno;
	if (rc == 0 && !replace && linkat(cas_fd, temp, cas_fd, USAGE_NAME, 0) != 0 &&
	    errno != EEXIST)
		rc = -errno;
	if (rc != 0 || !replace)
		unlinkat(cas_fd, temp, 0);
	close(fd);
	return rc;
}

/* -EPROTO: there is a file, and it is not one of ours or damaged. */
static int
usage_try(int cas_fd, bool writable, struct usage_file **ret_file)
{
	struct usage_file *file = NULL;
	struct stat st;
	int fd, rc = 0;

	fd = openat(cas_fd, USAGE_NAME,
	    (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return errno == ELOOP ? -EPROTO : -errno;
	if (fstat(fd, &st) != 0)
		rc = -errno;
	else if (!S_ISREG(st.st_mode) || st.st_size != (off_t)sizeof(struct usage_file))
		rc = -EPROTO;
	if (rc == 0)
		rc = usage_map(fd, writable, &file);
	close(fd);
	if (rc != 0)
		return rc;
	if (atom_load_acquire(&file->magic) != USAGE_MAGIC ||
	    atom_load_relaxed(&file->version) != USAGE_VERSION) {
		munmap(file, sizeof(struct usage_file));
		return -EPROTO;
	}
	*ret_file = file;
	return 0;
}

int
usage_open(int cas_fd, bool writable, struct usage **ret_usage)
{
	struct usage *usage = calloc(1, sizeof(*usage));
	int rc;

	if (usage == NULL)
		return -ENOMEM;
	usage->writable = writable;
	rc = usage_try(cas_fd, writable, &usage->file);
	if (writable && (rc == -ENOENT || rc == -EPROTO)) {
		rc = usage_make(cas_fd, rc == -EPROTO);
		if (rc == 0)
			rc = usage_try(cas_fd, writable, &usage->file);
	}
	if (rc != 0) {
		free(usage);
		return rc;
	}
	*ret_usage = usage;
	return 0;
}

void
usage_close(struct usage *usage)
{
	if (usage == NULL)
		return;
	munmap(usage->file, sizeof(struct usage_file));
	free(usage);
}

void
usage_touch(struct usage *usage, const struct digest *digest, uint32_t now_s)
{
	shared_u32 *stamp = stamp_of(usage, digest);
	uint32_t seen = atom_load_seq(stamp), next = stamp_make(now_s);
	uint64_t waited_us = 0;

	CHECK(usage->writable);
	for (;;) {
		if ((seen & STAMP_EVICTING) != 0 && waited_us < EVICTING_US_MAX) {
			uint64_t start_us = clock_monotonic_us();

			wait_on(stamp, seen, EVICTING_LOOK_US);
			/* At least one, so that spurious returns come to an end, too. */
			waited_us += clock_monotonic_us() - start_us + 1;
			seen = atom_load_seq(stamp);
			continue;
		}
		/* Never back; and where it says so already the line stays as it is. */
		if ((seen & STAMP_EVICTING) == 0 && seen >= next)
			return;
		if (atom_cas(stamp, &seen, next))
			return;
	}
}

uint32_t
usage_stamp(const struct usage *usage, const struct digest *digest)
{
	return stamp_seconds(usage, atom_load_acquire(stamp_of(usage, digest)));
}

int
usage_evict_begin(struct usage *usage, const struct digest *digest, uint32_t seen_s)
{
	shared_u32 *stamp = stamp_of(usage, digest);
	uint32_t seen = atom_load_seq(stamp);

	CHECK(usage->writable);
	if ((seen & STAMP_EVICTING) != 0 || stamp_seconds(usage, seen) != seen_s)
		return -EAGAIN;
	if (!atom_cas(stamp, &seen, seen | STAMP_EVICTING))
		return -EAGAIN;
	usage_absent(usage, digest);
	return 0;
}

static void
stamp_clear(shared_u32 *stamp)
{
	uint32_t seen = atom_load_seq(stamp);

	while ((seen & STAMP_EVICTING) != 0) {
		if (!atom_cas(stamp, &seen, seen & ~STAMP_EVICTING))
			continue;
		wait_wake(stamp, UINT_MAX);
		return;
	}
}

void
usage_evict_end(struct usage *usage, const struct digest *digest)
{
	stamp_clear(stamp_of(usage, digest));
}

void
usage_recover(struct usage *usage)
{
	CHECK(usage->writable);
	for (uint32_t i = 0; i < USAGE_STAMPS; i++)
		stamp_clear(&usage->file->stamps[i]);
}

void
usage_add(struct usage *usage, int64_t blobs, int64_t bytes)
{
	CHECK(usage->writable);
	atom_add_relaxed(&usage->file->blobs, (uint64_t)blobs);
	atom_add_relaxed(&usage->file->bytes, (uint64_t)bytes);
}

void
usage_set(struct usage *usage, int64_t blobs, int64_t bytes)
{
	CHECK(usage->writable);
	atom_store_relaxed(&usage->file->blobs, (uint64_t)blobs);
	atom_store_relaxed(&usage->file->bytes, (uint64_t)bytes);
}

int64_t
usage_blobs(const struct usage *usage)
{
	return (int64_t)atom_load_relaxed(&usage->file->blobs);
}

int64_t
usage_bytes(const struct usage *usage)
{
	return (int64_t)atom_load_relaxed(&usage->file->bytes);
}
