#include "workers/stage_image.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fs.h"
#include "base/log.h"
#include "cas/image.h"
#include "shm/usage.h"

/* Looked for by the name that the image has: an executable's plain twin is made if need be. */
static int
blob_keep(struct placer *placer, const struct digest *digest)
{
	bool made;

	usage_touch(placer->usage, digest, placer->now_s);
	if (usage_is_present(placer->usage, digest))
		return 0;
	return cas_ensure(placer->cas, digest, false, &made);
}

static int
files_keep(struct placer *placer, const struct tree_dir *dir)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < dir->message->n_files; i++) {
		const ReapiFileNode *file = dir->message->files[i];
		struct digest digest;
		rc = reapi_digest_get(file->digest, &digest);
		if (rc == 0 && !digest_is_empty(&digest))
			rc = blob_keep(placer, &digest);
		if (rc != 0)
			return placer_failed(placer, rc, "find it in the CAS", file->name);
	}
	for (size_t i = 0; rc == 0 && i < dir->message->n_directories; i++) {
		rc = files_keep(placer, dir->children[i]);
		if (rc != 0)
			return placer_below(placer, rc, dir->message->directories[i]->name);
	}
	return rc;
}

static int
fill(struct cache_builder *builder, const struct build *build, int folder_fd, const char *temp)
{
	struct placer *placer = builder->placer;
	struct arena *arena = arena_new();
	struct error_text err = {""};
	uint8_t *bytes;
	size_t len;
	int fd, rc;

	rc = image_encode(arena, build->dir, geteuid(), getegid(), &bytes, &len, &err);
	if (rc != 0) {
		rc = placer_failed(placer, rc, "encode an image", temp);
		goto out;
	}
	rc = files_keep(placer, build->dir);
	if (rc != 0)
		goto out;
	fd = FAULTY(openat,
	    openat(folder_fd, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0444));
	rc = fd < 0 ? -errno : fs_write_all(fd, bytes, len);
	if (fd >= 0)
		close(fd);
	if (rc != 0)
		rc = placer_failed(placer, rc, "write an image", temp);
	placer->tally.private_bytes += len;
out:
	arena_free(arena);
	return rc;
}

/* Something else has its name, or nothing. */
static bool
is_no_image(int error)
{
	return error == ENOENT || error == EFBIG || error == EINVAL || error == EISDIR ||
	    error == ELOOP || error == ENXIO || error == ENODEV;
}

/* 0: it is this tree's, byte for byte, and its blobs are kept. */
static int
check(struct cache_builder *builder, const struct build *build, int folder_fd, const char *name)
{
	struct arena *arena = arena_new();
	struct placer *placer = builder->placer;
	struct error_text err = {""};
	uint8_t *want, *bytes = NULL;
	size_t want_len, len;
	int rc = image_encode(arena, build->dir, geteuid(), getegid(), &want, &want_len, &err);

	if (rc != 0) {
		rc = placer_failed(placer, rc, "encode an image", name);
		goto out;
	}
	rc = fs_read_file(folder_fd, name, want_len, &bytes, &len);
	if (is_no_image(-rc) || (rc == 0 && (len != want_len || memcmp(bytes, want, len) != 0)))
		rc = -EBADMSG;
	else if (rc != 0)
		rc = placer_failed(placer, rc, "read an image", name);
	else
		rc = files_keep(placer, build->dir);
	free(bytes);
out:
	arena_free(arena);
	return rc;
}

/*
 * In the place of one that is damaged or gone, or that somebody has forged; or that was made when
 * the host had another group.  Whoever has mounted it keeps it.
 */
static int
write_anew(
    struct cache_builder *builder, const struct build *build, int folder_fd, const char *name)
{
	struct slot *slot = builder->placer->slot;
	char temp[BUILD_TEMP_SIZE];

	build_temp_name(builder, temp);
	index_rebuild_begin(slot);
	int rc = build->fill(builder, build, folder_fd, temp);
	if (rc == 0)
		rc = build_give_name(builder, folder_fd, temp, name);
	if (rc != 0)
		(void)unlinkat(folder_fd, temp, 0);
	index_rebuild_end(slot);
	COUNTER_ADD(slot, images_damaged, 1);
	if (rc == 0)
		log_warn(
		    "images/%s: it was not what its Directory messages say: written anew", name);
	else
		log_warn(
		    "images/%s: it is not what its Directory messages say, and cannot be written anew: %s",
		    name, strerror(-rc));
	return rc;
}

int
stage_image_get(
    struct cache_builder *builder, struct tree_dir *dir, struct index_pin *ret_pin, bool *ret_built)
{
	struct build build = {
	    .key = index_image_key(&dir->digest), .totals = dir->totals, .fill = fill, .dir = dir};
	struct placer *placer = builder->placer;
	char name[DIGEST_TEXT_SIZE];
	int folder_fd;

	*ret_built = false;
	int rc = index_pin(placer->region, placer->slot, &build.key, ret_pin);
	if (rc != 0)
		rc = build_get(builder, &build, ret_pin, ret_built);
	if (rc != 0 || *ret_built)
		return rc;
	index_tree_name(&build.key, name);
	rc = build_folder_open(builder, &build.key, &folder_fd);
	if (rc == 0) {
		rc = check(builder, &build, folder_fd, name);
		if (rc == -EBADMSG)
			rc = write_anew(builder, &build, folder_fd, name);
		close(folder_fd);
	}
	if (rc != 0)
		index_unpin(placer->region, placer->slot, ret_pin);
	return rc;
}
