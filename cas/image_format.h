/*
 * An image between a tree and its bytes: what image_encode.c and image_check.c share.
 *
 * Private to them and their tests.  A list of entries says all that an image says; image_measure
 * gives each its place, image_write makes the bytes.  Both image_encode (entries from a tree) and
 * image_check (entries from bytes, written again and compared) end in them, so that there is one
 * form and nothing beside it.
 *
 * The list: breadth first, entry 0 is the root; a directory's entries lie together, sorted by the
 * bytes of their names, with "." and ".." among them, which name another entry's inode.
 *
 * The bytes: 4 KiB blocks.  At 1024 the superblock, after it the inodes in the list's order, in
 * slots of 32 bytes, none across a block; then blocks of directories and symlinks that do not fit
 * behind their inode, in the same order.  All that is left is zero.
 */
#ifndef CAS_IMAGE_FORMAT_H
#define CAS_IMAGE_FORMAT_H

#include <sys/types.h>

#include <stddef.h>
#include <stdint.h>

struct tree_dir;

enum {
	IMAGE_BLOCK = 4096,
	IMAGE_SLOT = 32,
	IMAGE_SUPER_AT = 1024,
	IMAGE_SUPER_SIZE = 128,
	IMAGE_ROOT_AT = IMAGE_SUPER_AT + IMAGE_SUPER_SIZE, /* or the next block */
	IMAGE_HASH_SIZE = 64, /* of a file's blob, in hex */
	IMAGE_CHUNK_BITS_MAX = 12 + 31, /* of a file's size: one chunk covers it */
};

struct image_super {
	uint32_t magic, checksum, feature_compat;
	uint8_t block_bits, ext_slots;
	uint16_t root_nid;
	uint64_t inodes, epoch_s;
	uint32_t fixed_ns, blocks, meta_block, xattr_block;
	uint64_t seal[2]; /* its uuid */
	uint8_t volume_name[16];
	uint32_t feature_incompat;
	uint8_t unused[44];
};

struct image_inode {
	uint16_t format, xattr_count, mode, links;
	uint32_t size, unused;
	uint32_t data; /* the first block, or the chunk's format */
	uint32_t unused_ino;
	uint16_t uid, gid;
	uint32_t unused_too;
};

/* What does not fit into the other. */
struct image_wide_inode {
	uint16_t format, xattr_count, mode, unused;
	uint64_t size;
	uint32_t data;
	uint32_t unused_ino;
	uint32_t uid, gid;
	int64_t mtime_s;
	uint32_t mtime_ns, links;
	uint8_t unused_too[16];
};

/* Behind a file's inode: its attributes, and its one chunk, a hole. */
struct image_file_tail {
	uint32_t name_filter;
	uint8_t shared_count, unused[7];
	struct {
		uint8_t name_len, prefix;
		uint16_t value_len;
		char name[16];
	} metacopy;
	struct {
		uint8_t name_len, prefix;
		uint16_t value_len;
		char name[16];
		char value[4 + IMAGE_HASH_SIZE]; /* "/ab/<hash>" */
	} redirect;
	uint32_t chunk_block;
};

struct image_dirent {
	uint32_t nid, nid_high;
	uint16_t name_at;
	uint8_t type, unused;
};

_Static_assert(sizeof(struct image_super) == IMAGE_SUPER_SIZE, "superblock");
_Static_assert(sizeof(struct image_inode) == 32, "compact inode");
_Static_assert(sizeof(struct image_wide_inode) == 64, "extended inode");
_Static_assert(sizeof(struct image_file_tail) == 124, "attributes and a chunk");
_Static_assert(sizeof(struct image_dirent) == 12, "directory entry");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "an image is little-endian");

enum { IMAGE_WIDE = 1, IMAGE_PLAIN = 0, IMAGE_INLINE = 2 << 1, IMAGE_CHUNKED = 4 << 1 };

struct image_entry {
	const char *name; /* not terminated */
	union {
		const char *text; /* a file's hash in hex (NULL: empty), a symlink's target */
		const struct tree_dir *dir; /* while encoding */
	};
	uint64_t size; /* a directory's: by image_measure */
	int64_t mtime_s;
	uint32_t mtime_ns;
	uint32_t inode; /* the entry whose inode it names: itself, or a directory above */
	uint32_t parent, first, count; /* a directory's */
	uint32_t nid, block, links; /* by image_measure */
	uint16_t name_len, mode;
};

struct image_plan {
	struct image_entry *entries;
	uint32_t count;
	uint32_t uid, gid;
	uint32_t inodes, blocks; /* by image_measure */
};

/* -E2BIG: over IMAGE_BYTES_MAX. */
int image_measure(struct image_plan *plan);

/* Of plan->blocks * IMAGE_BLOCK bytes, all zero, aligned to 8. */
void image_write(const struct image_plan *plan, uint8_t *bytes);

/* The checksum, into its place. */
void image_seal(uint8_t *bytes, size_t len);

#endif
