/* Bytes and files into the store. */
#include <sys/stat.h>

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "cas/internal.h"

/* Up to this size a file is read whole first, and nothing is written when it is known. */
enum { PUT_SMALL = COPY_BUFFER_SIZE };

static int
put_new_bytes(
    struct cas *cas, const void *data, size_t len, const struct digest *digest, bool executable)
{
	struct temp temp;
	int rc = temp_open(cas, &temp);

	if (rc != 0)
		return rc;
	rc = fs_write_all(temp.fd, data, len);
	if (rc != 0) {
		temp_discard(cas, &temp);
		return rc;
	}
	return temp_publish(cas, &temp, digest, executable);
}

static void
hash(struct cas *cas, const void *data, size_t len, struct digest *ret_digest)
{
	hasher_start(cas->hasher);
	hasher_update(cas->hasher, data, len);
	hasher_finish(cas->hasher, ret_digest);
}

/* Unless the blob is there. */
static int
put_known(
    struct cas *cas, const void *data, size_t len, bool executable, const struct digest *digest)
{
	int rc = len == 0 ? 1 : cas_has(cas, digest);

	if (rc == 0)
		rc = put_new_bytes(cas, data, len, digest, executable);
	return rc < 0 ? rc : 0;
}

static int
put_bytes(struct cas *cas, const void *data, size_t len, bool executable, struct digest *ret_digest)
{
	struct digest digest;
	int rc;

	hash(cas, data, len, &digest);
	rc = put_known(cas, data, len, executable, &digest);
	if (rc == 0)
		*ret_digest = digest;
	return rc;
}

int
cas_put_expected(struct cas *cas, const void *data, size_t len, const struct digest *expected)
{
	struct digest digest;
	int rc = cas_usable(cas, true);

	if (rc != 0)
		return rc;
	hash(cas, data, len, &digest);
	return digest_equal(&digest, expected) ? put_known(cas, data, len, false, expected)
					       : -EBADMSG;
}

int
cas_put_bytes(struct cas *cas, const void *data, size_t len, struct digest *ret_digest)
{
	int rc = cas_usable(cas, true);

	return rc != 0 ? rc : put_bytes(cas, data, len, false, ret_digest);
}

static int
put_small(struct cas *cas, int fd, size_t size, bool executable, struct digest *ret_digest)
{
	uint8_t *buffer = cas_buffer(cas);
	size_t done = 0;

	if (buffer == NULL)
		return -ENOMEM;
	while (done < size) {
		ssize_t got = pread(fd, buffer + done, size - done, (off_t)done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		done += (size_t)got;
	}
	return put_bytes(cas, buffer, done, executable, ret_digest);
}

static int
put_large(struct cas *cas, int fd, bool executable, struct digest *ret_digest)
{
	struct digest digest;
	struct temp temp;
	int rc = temp_open(cas, &temp);

	if (rc != 0)
		return rc;
	rc = cas->reflink_refused ? -EOPNOTSUPP : fs_reflink(fd, temp.fd);
	if (rc == 0) {
		rc = hash_fd(temp.fd, &digest);
	} else if (rc != -ENOSPC && rc != -EDQUOT && rc != -EIO) {
		if (rc == -EOPNOTSUPP || rc == -ENOTTY || rc == -ENOSYS)
			cas->reflink_refused = true;
		rc = temp_fill(cas, &temp, fd, &digest);
	}
	if (rc != 0 || digest_is_empty(&digest))
		temp_discard(cas, &temp);
	else
		rc = temp_publish(cas, &temp, &digest, executable);
	if (rc == 0)
		*ret_digest = digest;
	return rc;
}

static int
put_copy(struct cas *cas, int fd, bool executable, struct digest *ret_digest)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (st.st_size <= PUT_SMALL)
		return put_small(cas, fd, (size_t)st.st_size, executable, ret_digest);
	return put_large(cas, fd, executable, ret_digest);
}

int
cas_put_fd(struct cas *cas, int fd, struct digest *ret_digest)
{
	int rc = cas_usable(cas, true);

	return rc != 0 ? rc : put_copy(cas, fd, false, ret_digest);
}

static int
open_regular(int dirfd, const char *name, struct stat *ret_st, int *ret_fd)
{
	const int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
	struct stat st;
	int fd, rc;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	fd = FAULTY(openat, openat(dirfd, name, flags));
	if (fd < 0 && errno == EACCES && st.st_nlink == 1) {
		/* The action took its own right to read away; only its owner gets this far. */
		if (fchmodat(dirfd, name, 0400, AT_SYMLINK_NOFOLLOW) != 0)
			return -errno;
		fd = openat(dirfd, name, flags);
	}
	if (fd < 0)
		return -errno;
	rc = fstat(fd, ret_st) != 0 ? -errno : S_ISREG(ret_st->st_mode) ? 0 : -EINVAL;
	if (rc != 0)
		close(fd);
	else
		*ret_fd = fd;
	return rc;
}

/*
 * Ours, alone and plain: what was renamed is what was opened, nobody else has a name for it or can
 * write to it, and it keeps no attribute, ACL or time of whoever made it.
 */
static int
take_over(struct cas *cas, const char *temp_name, int fd, const struct stat *opened)
{
	struct stat st;

	if (fstatat(cas->tmp_fd, temp_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return -errno;
	if (st.st_dev != opened->st_dev || st.st_ino != opened->st_ino)
		return -EBUSY;
	if (st.st_nlink != 1)
		return -EXDEV;
	if (fs_has_xattrs(fd) != 0)
		return -EXDEV;
	if (st.st_uid != geteuid() && fchown(fd, geteuid(), getegid()) != 0)
		return errno == EPERM ? -EXDEV : -errno;
	/* First nobody else can open it for writing any more, then nobody has. */
	if (fchmod(fd, 0400) != 0)
		return -errno;
	if (fs_has_writers(fd) != 0)
		return -EXDEV;
	return futimens(fd, NULL) != 0 ? -errno : 0;
}

/* -EXDEV: it has to be copied; it then lies where it was. */
static int
move_in(struct cas *cas, int dirfd, const char *name, int fd, const struct stat *opened,
    bool executable, struct digest *ret_digest)
{
	struct temp temp = {.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0)};
	struct digest digest;
	int rc;

	if (temp.fd < 0)
		return -errno;
	temp_name_next(temp.name);
	rc = fs_rename_noreplace(dirfd, name, cas->tmp_fd, temp.name);
	if (rc != 0) {
		close(temp.fd);
		return rc == -EEXIST ? -EXDEV : rc;
	}
	rc = take_over(cas, temp.name, fd, opened);
	if (rc == 0)
		rc = hash_fd(fd, &digest);
	if (rc != 0) {
		fs_rename_noreplace(cas->tmp_fd, temp.name, dirfd, name);
		temp_discard(cas, &temp);
		return rc;
	}
	rc = temp_publish(cas, &temp, &digest, executable);
	if (rc == 0)
		*ret_digest = digest;
	return rc;
}

int
cas_put_move(struct cas *cas, int dirfd, const char *name, bool executable,
    struct digest *ret_digest, bool *ret_moved)
{
	struct stat st;
	bool moved = false;
	int fd, rc = cas_usable(cas, true);

	if (rc == 0)
		rc = open_regular(dirfd, name, &st, &fd);
	if (rc != 0)
		return rc;
	rc = -EXDEV;
	if (st.st_nlink == 1 && st.st_size > 0) {
		rc = move_in(cas, dirfd, name, fd, &st, executable, ret_digest);
		moved = rc == 0;
	}
	if (rc == -EXDEV)
		rc = put_copy(cas, fd, executable, ret_digest);
	close(fd);
	if (rc == 0)
		*ret_moved = moved;
	return rc;
}
