/*
 * A tree as an EROFS image that holds no file's bytes: directories, names, modes, times, symlinks,
 * and for each file the name of its blob.  Mounted as overlayfs's lower layer with STATE/cas as its
 * data-only layer (metacopy=on) it is the whole tree, without one link made (workers/README.md,
 * Images).
 *
 * Any process, one thread.  image_encode for a tree whose Directories have been read (tree_load);
 * image_check for what was read back from disk by who has no Directories to compare it with: the
 * kernel takes an image's word for its structure, so none may be mounted that was only found.  Both
 * are pure: no system call, no state.  The same tree gives the same bytes, and image_check accepts
 * what image_encode can have made and nothing else.
 *
 * What the tree shows: directories 0755; files 0444, or 0555 when executable; the REAPI properties
 * mtime and unix_mode of files as place_file honours them; symlinks; one owner for all.  No setuid,
 * no device, no hard link.  Everything without an mtime is of IMAGE_TIME_S, where a cached tree
 * shows when the blob happened to come: a build that looks at it cannot depend on that.  An empty
 * file has no blob.  An executable file's bytes are those of "ab/<hash>" too: the name without ".x"
 * has to exist (cas_ensure), whatever the file's mode.
 *
 * Against accidents the image carries a checksum of all its bytes (in the superblock's uuid); a
 * forger can make one, and then has an image of another tree, which harms only whoever takes the
 * file's name for its contents.  Whether an image is the tree of a digest: encode it again and
 * compare.
 */
#ifndef CAS_IMAGE_H
#define CAS_IMAGE_H

#include <sys/types.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/error_text.h"
#include "cas/tree_loader.h"
#include "shm/index.h"

enum {
	IMAGE_ENTRIES_MAX = 1 << 20, /* files, symlinks and directories */
	IMAGE_BYTES_MAX = 1 << 30,
	IMAGE_TARGET_MAX = 4095, /* of a symlink, as elsewhere on Linux */
	IMAGE_TIME_S = 946684800, /* 2000-01-01: no archiver finds it too early */
};

/*
 * The image, in the arena; its length is a multiple of 4096.
 *
 * -E2BIG too many entries or bytes (found before room is made for them); -ENOENT a Directory is
 * missing; -ENAMETOOLONG a symlink's target; -EINVAL a time that is none, or a size that the digest
 * cannot have; -EFBIG a file over 8 TiB.
 */
int image_encode(struct arena *arena, const struct tree_dir *root, uid_t uid, gid_t gid,
    uint8_t **ret_bytes, size_t *ret_len, struct error_text *err);

/* 0, or an error that ends the calls.  A digest comes as often as files have it. */
typedef int image_blob_fn(void *arg, const struct digest *digest, bool executable);

/*
 * Whether the bytes are an image that image_encode makes for this owner.  Then each_blob (or NULL)
 * is called for each file that has a blob, and what the tree is made of is in *ret_totals (or
 * NULL).  -EBADMSG: they are not; else what each_blob returned.  Takes up to eight times the image
 * in the arena.
 */
int image_check(struct arena *arena, const uint8_t *bytes, size_t len, uid_t uid, gid_t gid,
    image_blob_fn *each_blob, void *arg, struct index_tree *ret_totals);

/* Whose the bytes say to be, as their root does; for image_check to say whether all of them do. */
int image_owner(const uint8_t *bytes, size_t len, uid_t *ret_uid, gid_t *ret_gid);

/* Names at the top of bytes that image_check accepts (they are checked); in the arena. */
int image_top(struct arena *arena, const uint8_t *bytes, size_t len, uid_t uid, gid_t gid,
    char ***ret_names, size_t *ret_count);

/*
 * The root of an image that holds several trees: a Directory of ours with an entry for each, named
 * by its digest (index_tree_name).  `parts`: sorted by digest, each once; read whole where the root
 * is to be encoded.  Its digest names the image in the index (index_image_key).
 */
int image_root(
    struct arena *arena, struct tree_dir *const *parts, size_t count, struct tree_dir **ret_root);

/*
 * The image `name` in dirfd, which the index says is of that root: TREE_WHOLE, TREE_FAULTY with
 * *ret_what, TREE_UNCOMPARED (deep: a Directory message is gone from the store) or -errno where the
 * check could not go on (tree_check.h).  Deep: encoded again from the Directory messages, and
 * compared byte by byte.  Whoever owns dirfd owns what is in it; the group does not matter.
 */
int image_compare(struct cas *cas, int dirfd, const char *name, const struct digest *root,
    bool deep, const char **ret_what);

#endif
