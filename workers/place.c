#include "workers/place.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/fs.h"
#include "base/log.h"
#include "shm/gate.h"
#include "shm/usage.h"
#include "workers/sandbox.h"

/* A file to place, taken apart once. */
struct source {
	struct digest digest;
	bool executable;
	const char *name; /* in its directory */
	const ReapiNodeProperties *properties; /* NULL: none that we honour */
	char blob[CAS_NAME_SIZE + 1]; /* in the CAS */
};

void
placer_init(struct placer *placer, struct region *region, struct slot *slot, struct cas *cas)
{
	memset(placer, 0, sizeof *placer);
	placer->region = region;
	placer->slot = slot;
	placer->cas = cas;
	placer->usage = cas_usage(cas);
	placer->cas_fd = cas_dirfd(cas);
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	placer->cores = cores < 1 ? 1 : (unsigned)cores;
}

/* What several threads that place a tree have together: the store's handle, what has been said. */
static void
shared_lock(struct placer *placer)
{
	if (placer->lock != NULL)
		pthread_mutex_lock(placer->lock);
}

static void
shared_unlock(struct placer *placer)
{
	if (placer->lock != NULL)
		pthread_mutex_unlock(placer->lock);
}

void
placer_fini(struct placer *placer)
{
	free(placer->links);
	placer->links = NULL;
	placer->link_count = placer->link_room = 0;
}

void
placer_start(struct placer *placer)
{
	memset(&placer->tally, 0, sizeof placer->tally);
	placer->now_s = clock_realtime_s();
	placer->link_count = 0;
	placer->path[0] = '\0';
	placer->failed = "";
}

int
placer_failed(struct placer *placer, int rc, const char *what, const char *name)
{
	placer->failed = what;
	strlcpy(placer->path, name, sizeof placer->path);
	return rc;
}

int
placer_below(struct placer *placer, int rc, const char *name)
{
	char below[PLACE_PATH_SIZE];

	strlcpy(below, placer->path, sizeof below);
	int len = snprintf(placer->path, sizeof placer->path, "%s/%s", name, below);
	if (len >= (int)sizeof placer->path) /* keep the end: it says more */
		snprintf(placer->path, sizeof placer->path, "...%.*s", (int)sizeof placer->path - 4,
		    below);
	return rc;
}

int
placer_error(const struct placer *placer, int rc, const char *where, struct error_text *err)
{
	const char *slash = where[0] == '\0' ? "" : "/";

	if (rc == -EINVAL && strcmp(placer->failed, "clash") == 0)
		return error_set(err, rc,
		    "%s%s%s: the tree has another entry that is the same name on this volume "
		    "(case or Unicode form); rename one",
		    where, slash, placer->path);
	return error_errno(
	    err, rc, "%s%s%s: cannot %s", where, slash, placer->path, placer->failed);
}

bool
place_may_fall_back(int error)
{
	static const int errors[] = {
	    EXDEV, EPERM, EACCES, EOPNOTSUPP, ENOTSUP, ENOSYS, EINVAL, EMLINK, ENOTTY};

	for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
		if (error == errors[i])
			return true;
	}
	return false;
}

static enum place_counter
fallback_class(int error)
{
	switch (error) {
	case EMLINK:
		return PLACE_FALLBACKS_EMLINK;
	case EXDEV:
		return PLACE_FALLBACKS_EXDEV;
	case EPERM:
	case EACCES:
		return PLACE_FALLBACKS_EPERM;
	case EINVAL:
	case ENOSYS:
	case ENOTTY:
	case EOPNOTSUPP:
		return PLACE_FALLBACKS_EOPNOTSUPP;
	default:
		return error == ENOTSUP ? PLACE_FALLBACKS_EOPNOTSUPP : PLACE_FALLBACKS_OTHER;
	}
}

void
placer_fell_back(struct placer *placer, enum place_way way, int error, const char *then)
{
	uint64_t bit = UINT64_C(1) << ((unsigned)error % 64);
	enum place_counter class = fallback_class(error);

	placer->tally.fallbacks++;
	counter_add(placer->slot, COUNTER_STAGE(way, PLACE_FALLBACKS), 1);
	counter_add(placer->slot, COUNTER_STAGE(way, class), 1);
	counter_add(placer->slot,
	    (enum counter)(COUNTER_fallback_emlink + (int)(class - PLACE_FALLBACKS_EMLINK)), 1);
	shared_lock(placer);
	uint64_t *said = placer->lead != NULL ? placer->lead->said : placer->said;
	bool is_said = (said[way] & bit) != 0;
	said[way] |= bit;
	shared_unlock(placer);
	if (is_said)
		return;
	log_warn("staging: %s failed: %s; %s instead (said once, counted as stage_%s_fallbacks)",
	    place_way_names[way], strerror(error), then, place_way_names[way]);
}

/* The blob's own name may lack (its twin has it, or none): make it, or say that it is missing. */
static int
ensure_blob(struct placer *placer, const struct source *source)
{
	bool made = false;

	shared_lock(placer);
	int rc = cas_ensure(placer->cas, &source->digest, source->executable, &made);
	shared_unlock(placer);
	if (rc == 0 && made && source->executable)
		placer->tally.exec_variants++;
	return rc;
}

static int
link_once(struct placer *placer, int dirfd, const struct source *source)
{
	uint32_t permit = gate_enter(placer->region, placer->slot);

	CRASH_POINT(gate_permit_held);
	int rc = FAULTY(linkat, linkat(placer->cas_fd, source->blob, dirfd, source->name, 0)) != 0
	    ? -errno
	    : 0;
	gate_leave(placer->region, placer->slot, permit);
	return rc;
}

/* Where several threads ran into it, the first mints for all. */
static int
mint_and_link(struct placer *placer, int dirfd, const struct source *source)
{
	shared_lock(placer);
	int rc = placer->lock != NULL ? link_once(placer, dirfd, source) : -EMLINK;
	if (rc == -EMLINK && cas_mint(placer->cas, &source->digest, source->executable) == 0)
		rc = link_once(placer, dirfd, source);
	shared_unlock(placer);
	return rc;
}

static int
place_hardlink(struct placer *placer, const struct place_policy *policy, int dirfd,
    const struct source *source)
{
	int rc = link_once(placer, dirfd, source);

	if (rc == -ENOENT) {
		rc = ensure_blob(placer, source);
		if (rc == 0)
			rc = link_once(placer, dirfd, source);
	}
	if (rc == -EMLINK) {
		placer_fell_back(placer, PLACE_HARDLINK, EMLINK, "a second inode");
		rc = mint_and_link(placer, dirfd, source);
	}
	if (rc == 0 && policy->record)
		rc = placer_record_link(
		    placer, dirfd, source->name, &source->digest, source->executable);
	return rc;
}

static mode_t
file_mode(const struct place_policy *policy, bool executable)
{
	if (policy->is_writable)
		return executable ? 0755 : 0644;
	return executable ? 0555 : 0444;
}

/* A new file of our own at `name`, with its final mode and owner. */
static int
make_file(
    const struct place_policy *policy, int dirfd, const char *name, bool executable, int *ret_fd)
{
	int fd = FAULTY(openat,
	    openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		file_mode(policy, executable)));

	if (fd < 0)
		return -errno;
	if (policy->owner != (uid_t)-1 && fchown(fd, policy->owner, (gid_t)-1) != 0) {
		int rc = -errno;
		close(fd);
		unlinkat(dirfd, name, 0);
		return rc;
	}
	*ret_fd = fd;
	return 0;
}

/* A time or mode of its own makes a file private: it can't be the blob's inode. */
static int
set_properties(const struct place_policy *policy, const struct source *source, int fd)
{
	const ReapiNodeProperties *properties = source->properties;

	if (properties == NULL)
		return 0;
	if (properties->unix_mode != NULL) {
		mode_t mode = (properties->unix_mode->value & 0555) | 0444;
		if (fchmod(fd, policy->is_writable ? mode | 0200 : mode) != 0)
			return -errno;
	}
	if (properties->mtime != NULL) {
		struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}};
		times[1].tv_sec = (time_t)properties->mtime->seconds;
		times[1].tv_nsec = properties->mtime->nanos;
		if (futimens(fd, times) != 0)
			return -errno;
	}
	return 0;
}

static int
fill_file(struct placer *placer, enum place_way way, int in_fd, int out_fd)
{
	uint32_t permit = gate_enter(placer->region, placer->slot);

	CRASH_POINT(gate_permit_held);
	int rc = way == PLACE_REFLINK ? fs_reflink(in_fd, out_fd) : fs_copy(in_fd, out_fd);
	gate_leave(placer->region, placer->slot, permit);
	return rc;
}

/* By reflink or copy: a private inode. */
static int
place_private(struct placer *placer, const struct place_policy *policy, enum place_way way,
    int dirfd, const struct source *source)
{
	int in_fd = -1, out_fd = -1;

	shared_lock(placer);
	int rc = cas_open_blob(placer->cas, &source->digest, &in_fd);
	shared_unlock(placer);
	if (rc != 0)
		return rc;
	rc = make_file(policy, dirfd, source->name, source->executable, &out_fd);
	if (rc != 0)
		goto out;
	rc = fill_file(placer, way, in_fd, out_fd);
	if (rc == 0)
		rc = set_properties(policy, source, out_fd);
	close(out_fd);
	if (rc != 0)
		unlinkat(dirfd, source->name, 0);
out:
	close(in_fd);
	return rc;
}

static int
clone_once(struct placer *placer, int dirfd, const struct source *source)
{
	uint32_t permit = gate_enter(placer->region, placer->slot);

	CRASH_POINT(gate_permit_held);
	int rc = fs_clone(placer->cas_fd, source->blob, dirfd, source->name);
	gate_leave(placer->region, placer->slot, permit);
	return rc;
}

static int
place_clone(struct placer *placer, const struct place_policy *policy, int dirfd,
    const struct source *source)
{
	int rc = clone_once(placer, dirfd, source);

	if (rc == -ENOENT) {
		rc = ensure_blob(placer, source);
		if (rc == 0)
			rc = clone_once(placer, dirfd, source);
	}
	if (rc == 0 && policy->owner != (uid_t)-1 &&
	    fchownat(dirfd, source->name, policy->owner, (gid_t)-1, AT_SYMLINK_NOFOLLOW) != 0)
		rc = -errno;
	if (rc == 0 && policy->is_writable &&
	    fchmodat(dirfd, source->name, file_mode(policy, source->executable), 0) != 0)
		rc = -errno;
	return rc;
}

static int
place_by(struct placer *placer, const struct place_policy *policy, enum place_way way, int dirfd,
    const struct source *source)
{
	switch (way) {
	case PLACE_HARDLINK:
		return place_hardlink(placer, policy, dirfd, source);
	case PLACE_CLONEFILE:
		return place_clone(placer, policy, dirfd, source);
	case PLACE_REFLINK:
	case PLACE_COPY:
		return place_private(placer, policy, way, dirfd, source);
	default:
		CHECK(way == PLACE_COPY);
		return -EINVAL;
	}
}

static int
place_empty(struct placer *placer, const struct place_policy *policy, int dirfd,
    const struct source *source)
{
	int fd = -1;
	int rc = make_file(policy, dirfd, source->name, source->executable, &fd);

	if (rc != 0)
		return placer_failed(placer, rc == -EEXIST ? -EINVAL : rc,
		    rc == -EEXIST ? "clash" : "make it", source->name);
	rc = set_properties(policy, source, fd);
	close(fd);
	if (rc != 0)
		return placer_failed(placer, rc, "set its mode or time", source->name);
	placer->tally.empty_files++;
	placer->tally.files_all++;
	return 0;
}

static void
count_file(struct placer *placer, enum place_way way, uint64_t bytes)
{
	placer->tally.files[way]++;
	placer->tally.bytes[way] += bytes;
	placer->tally.files_all++;
	placer->tally.bytes_all += bytes;
	if (way != PLACE_HARDLINK)
		placer->tally.private_bytes += bytes;
}

static const char *
verb_of(enum place_way way)
{
	switch (way) {
	case PLACE_HARDLINK:
		return "link it from the CAS";
	case PLACE_REFLINK:
		return "reflink it from the CAS";
	case PLACE_CLONEFILE:
		return "clone it from the CAS";
	default:
		return "copy it from the CAS";
	}
}

/*
 * Digest and blob name of a checked Directory's file, straight from its hex: parsing and printing
 * it again would be most of what a link costs us here.
 */
static void
source_name(struct source *source, const ReapiDigest *digest)
{
	const char *hex = digest->hash;
	char *blob = source->blob;

	source->digest.size_bytes = digest->size_bytes;
	for (int i = 0; i < DIGEST_HASH_BYTES; i++) {
		unsigned high = (unsigned char)hex[2 * i], low = (unsigned char)hex[2 * i + 1];
		high = (high & 15) + (high >> 6) * 9;
		low = (low & 15) + (low >> 6) * 9;
		source->digest.hash[i] = (uint8_t)(high << 4 | low);
	}
	memcpy(blob, hex, 2);
	blob[2] = '/';
	memcpy(blob + 3, hex, DIGEST_HEX_SIZE - 1);
	memcpy(blob + 3 + DIGEST_HEX_SIZE - 1, source->executable ? ".x" : "",
	    source->executable ? 3 : 1);
}

bool
place_has_properties(const ReapiFileNode *file)
{
	return file->node_properties != NULL &&
	    (file->node_properties->mtime != NULL || file->node_properties->unix_mode != NULL);
}

int
place_file(
    struct placer *placer, const struct place_policy *policy, int dirfd, const ReapiFileNode *file)
{
	struct source source = {
	    .executable = file->is_executable,
	    .name = file->name,
	    .properties = place_has_properties(file) ? file->node_properties : NULL,
	};

	int rc = 0;
	source_name(&source, file->digest);
	if (digest_is_empty(&source.digest))
		return place_empty(placer, policy, dirfd, &source);
	usage_touch(placer->usage, &source.digest, placer->now_s);

	for (unsigned i = 0; i < policy->count; i++) {
		enum place_way way = policy->order[i];
		if (source.properties != NULL && way != PLACE_REFLINK && way != PLACE_COPY)
			continue;
		rc = place_by(placer, policy, way, dirfd, &source);
		if (rc == 0) {
			count_file(placer, way, (uint64_t)source.digest.size_bytes);
			return 0;
		}
		if (rc == -EEXIST)
			return placer_failed(placer, -EINVAL, "clash", file->name);
		if (!place_may_fall_back(-rc) || i + 1 == policy->count)
			return placer_failed(placer, rc, verb_of(way), file->name);
		placer_fell_back(placer, way, -rc, place_way_names[policy->order[i + 1]]);
	}
	CHECK(policy->count > 0);
	return rc;
}

int
place_symlink(struct placer *placer, int dirfd, const ReapiSymlinkNode *symlink)
{
	if (FAULTY(symlinkat, symlinkat(symlink->target, dirfd, symlink->name)) != 0)
		return placer_failed(placer, errno == EEXIST ? -EINVAL : -errno,
		    errno == EEXIST ? "clash" : "make this symlink", symlink->name);
	placer->tally.symlinks++;
	return 0;
}

static int
make_directory(struct placer *placer, int dirfd, const char *name, mode_t mode)
{
	if (FAULTY(mkdirat, mkdirat(dirfd, name, mode)) != 0)
		return placer_failed(placer, errno == EEXIST ? -EINVAL : -errno,
		    errno == EEXIST ? "clash" : "make this directory", name);
	return 0;
}

int
place_directory(struct placer *placer, uid_t owner, int dirfd, const char *name)
{
	int rc = make_directory(placer, dirfd, name, 0755);

	if (rc != 0)
		return rc;
	if (owner != (uid_t)-1 && fchownat(dirfd, name, owner, (gid_t)-1, AT_SYMLINK_NOFOLLOW) != 0)
		return placer_failed(placer, -errno, "give it to the action's user", name);
	placer->tally.directories++;
	return 0;
}

int
place_mount_directory(struct placer *placer, int dirfd, const char *name)
{
	int rc = make_directory(placer, dirfd, name, MOUNT_POINT_DIRECTORY_MODE);

	if (rc == 0)
		placer->tally.directories++;
	return rc;
}

int
place_mount_point(struct placer *placer, int dirfd, const char *name)
{
	int fd = FAULTY(openat,
	    openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		MOUNT_POINT_FILE_MODE));

	if (fd < 0)
		return placer_failed(placer, errno == EEXIST ? -EINVAL : -errno,
		    errno == EEXIST ? "clash" : "make its mount point", name);
	close(fd);
	return 0;
}
