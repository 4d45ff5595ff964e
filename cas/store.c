/* The handle, and looking at what is there. */
#include "cas/store.h"

#include <sys/stat.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/trash.h"
#include "cas/internal.h"
#include "shm/usage.h"

/* The folders are made in order, so the last one speaks for all. */
static int
fan_out_make(int dirfd)
{
	struct stat st;
	char name[8];

	if (fstatat(dirfd, "ff", &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
		return 0;
	for (unsigned i = 0; i < 256; i++) {
		int rc;

		snprintf(name, sizeof(name), "%02x", i);
		rc = fs_mkdir(dirfd, name, 0755);
		if (rc != 0)
			return rc;
	}
	return 0;
}

static int
folder_open(struct cas *cas, int dirfd, const char *name, mode_t mode, bool fan_out, int *ret_fd)
{
	int rc = cas->writable ? fs_mkdir(dirfd, name, mode) : 0;
	int fd;

	if (rc != 0)
		return rc;
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fan_out && cas->writable)
		rc = fan_out_make(fd);
	if (rc != 0)
		close(fd);
	else
		*ret_fd = fd;
	return rc;
}

static int
cas_open_parts(struct cas *cas, struct error_text *err)
{
	int rc;

	rc = folder_open(cas, cas->state_fd, "cas", 0755, true, &cas->cas_fd);
	if (rc != 0)
		return error_errno(err, rc, "cas: cannot open the store");
	rc = folder_open(cas, cas->state_fd, "ac", 0755, true, &cas->ac_fd);
	if (rc != 0)
		return error_errno(err, rc, "ac: cannot open the action cache");
	if (cas->writable) {
		rc = folder_open(cas, cas->cas_fd, "tmp", 0755, false, &cas->tmp_fd);
		if (rc == 0)
			rc = folder_open(
			    cas, cas->state_fd, "trash", TRASH_MODE, false, &cas->trash_fd);
		if (rc != 0)
			return error_errno(err, rc, "cas/tmp, trash: cannot open");
	}
	rc = usage_open(cas->cas_fd, cas->writable, &cas->usage);
	if (rc != 0 && cas->writable)
		return error_errno(err, rc, "cas/usage: cannot map");
	rc = hasher_new(&cas->hasher);
	return rc != 0 ? error_errno(err, rc, "cas: cannot start SHA-256") : 0;
}

int
cas_open(int state_fd, bool writable, struct cas **ret_cas, struct error_text *err)
{
	struct cas *cas = calloc(1, sizeof(*cas));
	int rc;

	if (cas == NULL)
		return error_errno(err, -ENOMEM, "cas");
	*cas = (struct cas){.magic = CAS_MAGIC,
	    .writable = writable,
	    .cas_fd = -1,
	    .tmp_fd = -1,
	    .ac_fd = -1,
	    .trash_fd = -1};
	cas->state_fd = fcntl(state_fd, F_DUPFD_CLOEXEC, 0);
	if (cas->state_fd < 0)
		rc = error_errno(err, -errno, "cas: cannot keep the state directory open");
	else
		rc = cas_open_parts(cas, err);
	if (rc != 0)
		cas_close(cas);
	else
		*ret_cas = cas;
	return rc;
}

int
cas_dup(const struct cas *cas, struct cas **ret_cas)
{
	CHECK(cas->magic == CAS_MAGIC);
	return cas_open(cas->state_fd, cas->writable, ret_cas, NULL);
}

void
cas_close(struct cas *cas)
{
	if (cas == NULL)
		return;
	CHECK(cas->magic == CAS_MAGIC);
	const int fds[] = {cas->trash_fd, cas->ac_fd, cas->tmp_fd, cas->cas_fd, cas->state_fd};

	hasher_free(cas->hasher);
	if (cas->usage != NULL)
		usage_close(cas->usage);
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	free(cas->buffer);
	cas->magic = 0;
	free(cas);
}

int
cas_dirfd(const struct cas *cas)
{
	return cas->cas_fd;
}

int
cas_ac_dirfd(const struct cas *cas)
{
	return cas->ac_fd;
}

int
cas_state_fd(const struct cas *cas)
{
	return cas->state_fd;
}

struct usage *
cas_usage(const struct cas *cas)
{
	return cas->usage;
}

int
cas_usable(const struct cas *cas, bool for_writing)
{
	CHECK(cas->magic == CAS_MAGIC);
	return for_writing && !cas->writable ? -EROFS : 0;
}

char *
cas_blob_name(const struct digest *digest, bool executable, char *name)
{
	char hex[DIGEST_HEX_SIZE];

	/* for each blob of each tree: no snprintf */
	digest_to_hex(digest, hex);
	name[0] = hex[0];
	name[1] = hex[1];
	name[2] = '/';
	memcpy(name + 3, hex, DIGEST_HEX_SIZE);
	if (executable)
		memcpy(name + 3 + DIGEST_HEX_SIZE - 1, ".x", 3);
	return name;
}

void
cas_touch(struct cas *cas, const struct digest *digest)
{
	if (cas->writable && !digest_is_empty(digest))
		usage_touch(cas->usage, digest, clock_realtime_s());
}

int
blob_stat(struct cas *cas, const struct digest *digest, bool executable)
{
	char name[CAS_NAME_SIZE];
	struct stat st;

	uint32_t seen = cas->writable ? usage_present_look(cas->usage, digest) : 0;
	cas_blob_name(digest, executable, name);
	if (FAULTY(fstatat, fstatat(cas->cas_fd, name, &st, AT_SYMLINK_NOFOLLOW)) != 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISREG(st.st_mode) || st.st_size != digest->size_bytes)
		return -EILSEQ;
	if (!executable && cas->writable)
		usage_present(cas->usage, digest, seen);
	return 1;
}

/*
 * A name whose file has another size than was asked for: the file may be torn, or the digest that
 * was asked for may be somebody's mistake, which must not cost us a good blob.
 */
static int
blob_find(struct cas *cas, const struct digest *digest, bool *ret_executable)
{
	bool suspect = false;

	for (int executable = 0; executable <= 1; executable++) {
		int rc = blob_stat(cas, digest, executable);

		if (rc == 1)
			*ret_executable = executable;
		if (rc != 0 && rc != -EILSEQ)
			return rc;
		suspect |= rc == -EILSEQ;
	}
	if (suspect)
		blob_purge(cas, digest);
	if (cas->writable)
		usage_absent(cas->usage, digest);
	return 0;
}

int
cas_has(struct cas *cas, const struct digest *digest)
{
	bool executable;

	CHECK(cas->magic == CAS_MAGIC);
	if (digest_is_empty(digest))
		return 1;
	cas_touch(cas, digest);
	return blob_find(cas, digest, &executable);
}

static int
blob_open(struct cas *cas, const struct digest *digest, bool executable, int *ret_fd)
{
	char name[CAS_NAME_SIZE];
	struct stat st;
	int fd, rc;

	cas_blob_name(digest, executable, name);
	fd = FAULTY(
	    openat, openat(cas->cas_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
	if (fd < 0)
		return -errno;
	rc = fstat(fd, &st) != 0 ? -errno : 0;
	if (rc == 0 && (!S_ISREG(st.st_mode) || st.st_size != digest->size_bytes))
		rc = -EILSEQ;
	if (rc != 0)
		close(fd);
	else
		*ret_fd = fd;
	return rc;
}

int
cas_open_blob(struct cas *cas, const struct digest *digest, int *ret_fd)
{
	bool suspect = false;
	int rc = -ENOENT;

	CHECK(cas->magic == CAS_MAGIC);
	if (digest_is_empty(digest)) {
		int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

		if (fd < 0)
			return -errno;
		*ret_fd = fd;
		return 0;
	}
	cas_touch(cas, digest);
	for (int executable = 0; executable <= 1; executable++) {
		rc = blob_open(cas, digest, executable, ret_fd);
		if (rc != -ENOENT && rc != -EILSEQ)
			return rc;
		suspect |= rc == -EILSEQ;
	}
	if (suspect)
		blob_purge(cas, digest);
	return -ENOENT;
}

static int
read_verified(struct cas *cas, int fd, const struct digest *digest, uint8_t *data)
{
	struct digest found;
	size_t size = (size_t)digest->size_bytes, done = 0;

	while (done < size) {
		ssize_t got = pread(fd, data + done, size - done, (off_t)done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			return -EBADMSG;
		done += (size_t)got;
	}
	hasher_start(cas->hasher);
	hasher_update(cas->hasher, data, size);
	hasher_finish(cas->hasher, &found);
	return digest_equal(&found, digest) ? 0 : -EBADMSG;
}

int
cas_read(
    struct cas *cas, const struct digest *digest, size_t max, uint8_t **ret_data, size_t *ret_len)
{
	uint8_t *data;
	int fd = -1, rc;

	if (digest->size_bytes < 0)
		return -EINVAL;
	if ((uint64_t)digest->size_bytes > max)
		return -EFBIG;
	rc = cas_open_blob(cas, digest, &fd);
	if (rc != 0)
		return rc;
	data = malloc((size_t)digest->size_bytes + 1);
	rc = data == NULL ? -ENOMEM : read_verified(cas, fd, digest, data);
	close(fd);
	if (rc == -EBADMSG)
		cas_drop(cas, digest);
	if (rc != 0) {
		free(data);
		return rc;
	}
	data[digest->size_bytes] = '\0';
	*ret_data = data;
	*ret_len = (size_t)digest->size_bytes;
	return 0;
}
