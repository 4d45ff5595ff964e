/* One file, or one symlink, as it lies there. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "cas/file_times.h"
#include "cas/tree_check_internal.h"

enum { TARGET_SIZE = 4097 };

static bool
is_suspect(const struct tree_checker *checker, const struct digest *digest)
{
	return checker->config.suspects != NULL &&
	    digest_map_find(checker->config.suspects, digest) != NULL;
}

/* The inode that the store has under that name. */
static bool
is_blob_inode(const struct tree_checker *checker, const struct digest *digest, bool executable,
    const struct stat *st)
{
	char name[CAS_NAME_SIZE];
	struct stat blob;

	return fstatat(cas_dirfd(checker->config.cas), cas_blob_name(digest, executable, name),
		   &blob, AT_SYMLINK_NOFOLLOW) == 0 &&
	    blob.st_dev == st->st_dev && blob.st_ino == st->st_ino;
}

static bool
must_hash(const struct check_level *level, const struct digest *digest, bool executable,
    const struct stat *st)
{
	const struct tree_checker *checker = level->checker;

	if (checker->config.deep || level->is_touched || st->st_size != digest->size_bytes ||
	    file_mtime_ns(st) > checker->built_ns || is_suspect(checker, digest))
		return true;
	/* What has one name alone was made with the tree, and not touched since. */
	if (st->st_nlink == 1)
		return file_ctime_ns(st) > checker->built_ns;
	return !is_blob_inode(checker, digest, executable, st);
}

static int
hash_open_file(struct tree_checker *checker, int fd, struct digest *ret_digest)
{
	off_t offset = 0;

	hasher_start(checker->hasher);
	for (;;) {
		ssize_t got = pread(fd, checker->buffer, CHECK_BUFFER_SIZE, offset);
		int rc;

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		hasher_update(checker->hasher, checker->buffer, (size_t)got);
		offset += got;
		checker->stats.hashed_bytes += (uint64_t)got;
		rc = check_pause(checker);
		if (rc != 0)
			return rc;
	}
	hasher_finish(checker->hasher, ret_digest);
	checker->stats.hashed_files++;
	return 0;
}

static int
hash_file(const struct check_level *level, const char *name, struct digest *ret_digest)
{
	struct tree_checker *checker = level->checker;
	struct stat st;
	int rc, fd = openat(level->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	rc = fstat(fd, &st) != 0 ? -errno : S_ISREG(st.st_mode) ? 0 : -EINVAL;
	if (rc == 0)
		rc = hash_open_file(checker, fd, ret_digest);
	if (rc == 0 && st.st_nlink > 1)
		inode_map_put(&checker->inodes, &st, ret_digest);
	close(fd);
	return rc;
}

int
check_hash(const struct check_level *level, const char *name, const struct stat *st,
    const struct digest *wanted, struct digest *ret_digest)
{
	const struct digest *known = inode_map_find(&level->checker->inodes, st);
	int rc;

	/* What is known of an inode may be another's by now: good enough to trust, not to blame. */
	if (known != NULL && (wanted == NULL || digest_equal(known, wanted))) {
		*ret_digest = *known;
		return 0;
	}
	rc = hash_file(level, name, ret_digest);
	if (rc == 0 || level->checker->ended != 0 || tree_check_must_end(rc))
		return rc;
	check_fault(level, name, "it cannot be read: %s", strerror(-rc));
	return 1;
}

const char *
check_target(const struct check_level *level, struct arena *arena, const char *name)
{
	char *target = arena_alloc(arena, TARGET_SIZE);
	ssize_t len = readlinkat(level->fd, name, target, TARGET_SIZE - 1);

	if (len < 0) {
		check_fault(level, name, "this symlink cannot be read: %s", strerror(errno));
		return NULL;
	}
	target[len] = '\0';
	return target;
}

static mode_t
mode_of(const ReapiFileNode *node)
{
	const ReapiNodeProperties *properties = node->node_properties;

	if (properties != NULL && properties->unix_mode != NULL)
		return (properties->unix_mode->value & 0555) | 0444;
	return node->is_executable ? 0555 : 0444;
}

/* In seconds, and those that every volume can keep. */
static void
check_time(const struct check_level *level, const ReapiFileNode *node, const struct stat *st)
{
	const ReapiNodeProperties *properties = node->node_properties;
	int64_t seconds;

	if (properties == NULL || properties->mtime == NULL)
		return;
	seconds = properties->mtime->seconds;
	if (seconds >= 0 && seconds < INT32_MAX && st->st_mtime != (time_t)seconds)
		check_fault(level, node->name, "its time is not the one that its digest says");
}

static void
blame(const struct check_level *level, const ReapiFileNode *node, const struct digest *digest,
    const struct stat *st)
{
	if (is_blob_inode(level->checker, digest, node->is_executable, st))
		check_blob_fault(level, node->name, TREE_FAULT_BLOB, digest,
		    "its bytes are not its digest's, and it is the blob itself");
	else
		check_fault(level, node->name, "its bytes are not its digest's");
}

int
check_file(const struct check_level *level, const ReapiFileNode *node, const struct stat *st)
{
	struct digest digest, found;
	int rc;

	level->checker->stats.files++;
	if (!S_ISREG(st->st_mode)) {
		check_fault(level, node->name, "it is no file, as its digest says");
		return 0;
	}
	check_mode_owner(level, node->name, st, mode_of(node));
	check_time(level, node, st);
	CHECK(reapi_digest_get(node->digest, &digest) == 0);
	if (digest_is_empty(&digest)) {
		if (st->st_size != 0)
			check_fault(level, node->name, "it is not empty, as its digest says");
		return 0;
	}
	if (!must_hash(level, &digest, node->is_executable, st))
		return 0;
	rc = check_hash(level, node->name, st, &digest, &found);
	/* Its size may be a client's mistake; what names a blob is its hash. */
	if (rc == 0 && memcmp(found.hash, digest.hash, sizeof(found.hash)) != 0)
		blame(level, node, &digest, st);
	return rc < 0 ? rc : 0;
}
