/* A blob's bytes once more: under the name that it lacks, or as a fresh inode under the one it has.
 */
#include <sys/stat.h>

#include <stdio.h>
#include <unistd.h>

#include "cas/internal.h"

static int
temp_from_blob(struct cas *cas, const struct digest *digest, struct temp *ret_temp)
{
	struct stat st;
	int fd, rc = cas_open_blob(cas, digest, &fd);

	if (rc != 0)
		return rc;
	rc = temp_open(cas, ret_temp);
	if (rc == 0) {
		rc = temp_clone(cas, ret_temp, fd);
		if (rc == 0 && fstat(ret_temp->fd, &st) != 0)
			rc = -errno;
		if (rc == 0 && st.st_size != digest->size_bytes)
			rc = -EIO;
		if (rc != 0)
			temp_discard(cas, ret_temp);
	}
	close(fd);
	return rc;
}

int
cas_ensure(struct cas *cas, const struct digest *digest, bool executable, bool *ret_made)
{
	struct temp temp;
	int rc;

	if (digest_is_empty(digest))
		return -EINVAL;
	cas_touch(cas, digest);
	rc = blob_stat(cas, digest, executable);
	if (rc == 1) {
		*ret_made = false;
		return 0;
	}
	if (rc != 0 && rc != -EILSEQ)
		return rc;
	rc = cas_usable(cas, true);
	if (rc == 0)
		rc = temp_from_blob(cas, digest, &temp);
	if (rc == 0)
		rc = temp_publish(cas, &temp, digest, executable);
	if (rc == 0)
		*ret_made = true;
	return rc;
}

int
cas_mint(struct cas *cas, const struct digest *digest, bool executable)
{
	char name[CAS_NAME_SIZE];
	struct temp temp;
	int rc = cas_usable(cas, true);

	if (digest_is_empty(digest))
		return -EINVAL;
	if (rc == 0)
		rc = temp_from_blob(cas, digest, &temp);
	if (rc != 0)
		return rc;
	cas_blob_name(digest, executable, name);
	if (fchmod(temp.fd, executable ? 0555 : 0444) != 0)
		rc = -errno;
	else if (FAULTY(renameat, renameat(cas->tmp_fd, temp.name, cas->cas_fd, name)) != 0)
		rc = -errno;
	else
		temp.name[0] = '\0';
	temp_discard(cas, &temp);
	return rc;
}
