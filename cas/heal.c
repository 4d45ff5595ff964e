/* A blob whose file was changed behind the store's back: made anew from a good copy, or dropped. */
#include <sys/stat.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cas/internal.h"
#include "shm/usage.h"

enum name_health { NAME_ABSENT, NAME_WHOLE, NAME_MODE_WRONG, NAME_DAMAGED };

struct blob_name {
	char name[CAS_NAME_SIZE];
	bool executable;
	enum name_health health;
	int64_t size_bytes; /* of what lies there */
	int fd; /* where its bytes are the blob's, else -1 */
};

static mode_t
mode_of(const struct blob_name *blob)
{
	return blob->executable ? 0555 : 0444;
}

/* What counts is the hash: a digest's size may be somebody's mistake. */
static int
file_look(struct blob_name *blob, const struct digest *digest)
{
	struct digest found;
	struct stat st;
	int rc;

	if (fstat(blob->fd, &st) != 0)
		return -errno;
	blob->size_bytes = st.st_size;
	if (!S_ISREG(st.st_mode))
		return -EBADMSG;
	rc = hash_fd(blob->fd, &found);
	if (rc != 0)
		return rc;
	if (memcmp(found.hash, digest->hash, sizeof(found.hash)) != 0)
		return -EBADMSG;
	blob->health = (st.st_mode & 07777) == mode_of(blob) ? NAME_WHOLE : NAME_MODE_WRONG;
	return 0;
}

static int
name_look(struct cas *cas, const struct digest *digest, bool executable, struct blob_name *ret_blob)
{
	int rc;

	*ret_blob = (struct blob_name){.executable = executable, .health = NAME_DAMAGED};
	cas_blob_name(digest, executable, ret_blob->name);
	ret_blob->fd =
	    openat(cas->cas_fd, ret_blob->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (ret_blob->fd < 0 && errno == ENOENT) {
		ret_blob->health = NAME_ABSENT;
		return 0;
	}
	if (ret_blob->fd < 0) /* a symlink, or its mode keeps us out */
		return errno == ELOOP || errno == EACCES ? 0 : -errno;
	rc = file_look(ret_blob, digest);
	if (rc != 0) {
		close(ret_blob->fd);
		ret_blob->fd = -1;
	}
	return rc == -EBADMSG ? 0 : rc;
}

/* What is stored is hashed once more: the source's inode may be anybody's to write by now. */
static int
name_remake(struct cas *cas, const struct digest *digest, const struct blob_name *blob, int from_fd)
{
	struct digest found;
	struct temp temp;
	int rc = temp_open(cas, &temp);

	if (rc != 0)
		return rc;
	rc = temp_clone(cas, &temp, from_fd);
	if (rc == 0)
		rc = hash_fd(temp.fd, &found);
	if (rc == 0 && memcmp(found.hash, digest->hash, sizeof(found.hash)) != 0)
		rc = -EBADMSG;
	if (rc == 0 && fchmod(temp.fd, mode_of(blob)) != 0)
		rc = -errno;
	if (rc == 0 &&
	    FAULTY(renameat, renameat(cas->tmp_fd, temp.name, cas->cas_fd, blob->name)) != 0)
		rc = -errno;
	if (rc == 0) {
		temp.name[0] = '\0';
		usage_add(cas->usage, 0, found.size_bytes - blob->size_bytes);
	}
	temp_discard(cas, &temp);
	return rc;
}

/* True: the name is whole now. */
static bool
name_heal(struct cas *cas, const struct digest *digest, const struct blob_name *blob, int from_fd)
{
	if (from_fd >= 0 && name_remake(cas, digest, blob, from_fd) == 0)
		return true;
	blob_unlink(cas, blob->name);
	return false;
}

static bool
is_ill(const struct blob_name *blob)
{
	return blob->health == NAME_MODE_WRONG || blob->health == NAME_DAMAGED;
}

static int
pair_heal(struct cas *cas, const struct digest *digest, const struct blob_name pair[2],
    enum cas_health *ret_health)
{
	int from_fd = pair[0].fd >= 0 ? pair[0].fd : pair[1].fd;
	bool whole = false;
	int rc;

	if (!is_ill(&pair[0]) && !is_ill(&pair[1])) {
		*ret_health = from_fd < 0 ? CAS_ABSENT : CAS_WHOLE;
		return 0;
	}
	rc = cas_usable(cas, true);
	if (rc != 0)
		return rc;
	for (int i = 0; i < 2; i++) {
		if (is_ill(&pair[i]))
			whole |= name_heal(cas, digest, &pair[i], from_fd);
		else
			whole |= pair[i].health == NAME_WHOLE;
	}
	*ret_health = whole ? CAS_HEALED : CAS_DROPPED;
	return 0;
}

int
cas_heal(struct cas *cas, const struct digest *digest, enum cas_health *ret_health)
{
	struct blob_name pair[2] = {{.fd = -1}, {.fd = -1}};
	int rc;

	CHECK(cas->magic == CAS_MAGIC);
	if (digest_is_empty(digest)) {
		*ret_health = CAS_WHOLE;
		return 0;
	}
	rc = name_look(cas, digest, false, &pair[0]);
	if (rc == 0)
		rc = name_look(cas, digest, true, &pair[1]);
	if (rc == 0)
		rc = pair_heal(cas, digest, pair, ret_health);
	for (int i = 0; i < 2; i++)
		if (pair[i].fd >= 0)
			close(pair[i].fd);
	return rc;
}
