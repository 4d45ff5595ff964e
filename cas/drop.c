/* Blobs that must not be served: out of the store. */
#include <sys/stat.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "cas/internal.h"
#include "shm/usage.h"

/*
 * Into the trash, where its bytes can still be looked at until the janitor comes by; gone at once
 * where there is no trash any more.
 */
int
blob_unlink(struct cas *cas, const char *name)
{
	struct digest digest = {.size_bytes = 0};
	char trash[64];
	struct stat st;
	int rc;

	if (fstatat(cas->cas_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return -errno;
	if (strlen(name) > 3 && digest_hash_from_hex(name + 3, digest.hash) == 0)
		usage_absent(cas->usage, &digest);
	fs_temp_name("blob", trash, sizeof(trash));
	rc = renameat(cas->cas_fd, name, cas->trash_fd, trash) != 0 ? -errno : 0;
	if (rc != 0 && !S_ISDIR(st.st_mode))
		rc = unlinkat(cas->cas_fd, name, 0) != 0 ? -errno : 0;
	if (rc == 0 && S_ISREG(st.st_mode))
		usage_add(cas->usage, -1, -(int64_t)st.st_size);
	return rc;
}

void
cas_drop(struct cas *cas, const struct digest *digest)
{
	char name[CAS_NAME_SIZE];

	if (cas_usable(cas, true) != 0 || digest_is_empty(digest))
		return;
	for (int executable = 0; executable <= 1; executable++)
		blob_unlink(cas, cas_blob_name(digest, executable, name));
}

/*
 * 1: the file's bytes are those of its name.  0: they are not, or it is no file.  -errno: nobody
 * knows.  Larger ones are not hashed for a client that asks for a wrong size, again and again: who
 * brings the right bytes replaces them (name_taken), and the janitor verifies after a crash.
 */
static int
name_verify(struct cas *cas, const char *name, const struct digest *digest)
{
	struct digest found;
	struct stat st;
	int rc, fd = openat(cas->cas_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return errno == ELOOP ? 0 : -errno;
	if (fstat(fd, &st) != 0)
		rc = -errno;
	else if (!S_ISREG(st.st_mode))
		rc = 0;
	else if (st.st_size > PURGE_BYTES_MAX)
		rc = -EFBIG;
	else
		rc = hash_fd(fd, &found);
	if (rc == 0 && S_ISREG(st.st_mode))
		rc = memcmp(found.hash, digest->hash, sizeof(found.hash)) == 0;
	close(fd);
	return rc;
}

bool
blob_purge(struct cas *cas, const struct digest *digest)
{
	char name[CAS_NAME_SIZE];
	bool purged = false;

	if (cas_usable(cas, true) != 0)
		return false;
	for (int executable = 0; executable <= 1; executable++) {
		cas_blob_name(digest, executable, name);
		if (name_verify(cas, name, digest) == 0)
			purged |= blob_unlink(cas, name) == 0;
	}
	return purged;
}
