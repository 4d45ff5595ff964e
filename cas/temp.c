/* Files being written: made in cas/tmp, filled, given their name. */
#include <sys/stat.h>

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "cas/internal.h"
#include "shm/usage.h"

int
temp_name_next(char name[static TEMP_NAME_SIZE])
{
	static atomic_uint counter;
	unsigned number = atomic_fetch_add_explicit(&counter, 1, memory_order_relaxed);

	return snprintf(name, TEMP_NAME_SIZE, "%ld.%u", (long)getpid(), number);
}

/* A name may be left from a dead process of the same pid. */
int
temp_open(struct cas *cas, struct temp *ret_temp)
{
	for (int try = 0; try < 1000; try++) {
		temp_name_next(ret_temp->name);
		ret_temp->fd = FAULTY(openat,
		    openat(
			cas->tmp_fd, ret_temp->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
		if (ret_temp->fd >= 0)
			return 0;
		if (errno != EEXIST)
			return -errno;
	}
	return -EEXIST;
}

static void
temp_close(struct temp *temp)
{
	if (temp->fd >= 0)
		close(temp->fd);
	temp->fd = -1;
}

void
temp_discard(struct cas *cas, struct temp *temp)
{
	temp_close(temp);
	if (temp->name[0] != '\0')
		unlinkat(cas->tmp_fd, temp->name, 0);
	temp->name[0] = '\0';
}

uint8_t *
cas_buffer(struct cas *cas)
{
	if (cas->buffer == NULL)
		cas->buffer = malloc(COPY_BUFFER_SIZE);
	return cas->buffer;
}

int
temp_fill(struct cas *cas, struct temp *temp, int in_fd, struct digest *ret_digest)
{
	uint8_t *buffer = cas_buffer(cas);
	off_t offset = 0;
	int rc;

	if (buffer == NULL)
		return -ENOMEM;
	hasher_start(cas->hasher);
	for (;;) {
		ssize_t got = pread(in_fd, buffer, COPY_BUFFER_SIZE, offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		hasher_update(cas->hasher, buffer, (size_t)got);
		rc = fs_write_all(temp->fd, buffer, (size_t)got);
		if (rc != 0)
			return rc;
		offset += got;
	}
	hasher_finish(cas->hasher, ret_digest);
	return 0;
}

static int
temp_reflink(struct cas *cas, struct temp *temp, int in_fd)
{
	int rc;

	if (cas->reflink_refused)
		return -EOPNOTSUPP;
	rc = fs_reflink(in_fd, temp->fd);
	if (rc == -EOPNOTSUPP || rc == -ENOTTY || rc == -ENOSYS)
		cas->reflink_refused = true;
	return rc;
}

int
temp_clone(struct cas *cas, struct temp *temp, int in_fd)
{
	int rc = temp_reflink(cas, temp, in_fd);

	if (rc == 0 || rc == -ENOSPC || rc == -EDQUOT || rc == -EIO)
		return rc;
	return fs_copy(in_fd, temp->fd);
}

/* The name's file, if it is there and whole.  What is there and is not whole goes. */
static int
name_taken(struct cas *cas, const struct digest *digest, bool executable, const char *name)
{
	int rc = blob_stat(cas, digest, executable);

	if (rc != -EILSEQ)
		return rc;
	rc = blob_unlink(cas, name);
	return rc == -ENOENT ? 0 : rc;
}

static int
rename_new(struct cas *cas, struct temp *temp, const struct digest *digest, bool executable)
{
	uint32_t seen = usage_present_look(cas->usage, digest);
	char name[CAS_NAME_SIZE];

	cas_blob_name(digest, executable, name);
	for (int try = 0; try < 16; try++) {
		int rc = fs_rename_noreplace(cas->tmp_fd, temp->name, cas->cas_fd, name);

		if (rc == 0) {
			temp->name[0] = '\0';
			CRASH_POINT(blob_renamed);
			if (!executable)
				usage_present(cas->usage, digest, seen);
			usage_add(cas->usage, 1, digest->size_bytes);
			atomic_fetch_add_explicit(
			    &cas->stored_bytes, (uint64_t)digest->size_bytes, memory_order_relaxed);
			return 0;
		}
		if (rc != -EEXIST)
			return rc;
		rc = name_taken(cas, digest, executable, name);
		if (rc != 0)
			return rc == 1 ? 0 : rc;
	}
	return -EBUSY;
}

int
temp_publish(struct cas *cas, struct temp *temp, const struct digest *digest, bool executable)
{
	int rc = fchmod(temp->fd, executable ? 0555 : 0444) != 0 ? -errno : 0;

	if (rc == 0) {
		CRASH_POINT(blob_temp_written);
		usage_touch(cas->usage, digest, clock_realtime_s());
		rc = rename_new(cas, temp, digest, executable);
	}
	temp_discard(cas, temp);
	return rc;
}
