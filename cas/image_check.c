#include <sys/stat.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/fs.h"
#include "cas/image.h"
#include "cas/image_format.h"

/*
 * What is read here is only what the entries need; that nothing else is in the image, and all of it
 * in its place, is for the comparison at the end to say.
 */
struct reader {
	const uint8_t *bytes;
	size_t len;
	struct image_plan plan;
	uint32_t room; /* for entries */
};

enum { NS_PER_S = 1000000000, DOTS = 2 };

/* Both kinds of inode begin alike; only what comes after the size's place differs. */
_Static_assert(
    offsetof(struct image_inode, data) == offsetof(struct image_wide_inode, data), "data");

static bool
is_hash(const char *text)
{
	bool good = true;

	for (int i = 0; i < IMAGE_HASH_SIZE; i++)
		good &= (text[i] >= '0' && text[i] <= '9') | (text[i] >= 'a' && text[i] <= 'f');
	return good;
}

/* `behind`: what follows the inode, of which `left` bytes are there. */
static bool
file_read(struct image_entry *entry, uint16_t xattr_count, const uint8_t *behind, size_t left)
{
	if ((entry->mode & 07777 & ~0555) != 0 || (entry->mode & 0444) != 0444 ||
	    entry->mtime_ns >= NS_PER_S)
		return false;
	entry->text = NULL;
	if (xattr_count == 0)
		return entry->size == 0;
	if (left < sizeof(struct image_file_tail) || entry->size == 0 ||
	    entry->size > UINT64_C(1) << IMAGE_CHUNK_BITS_MAX)
		return false;
	entry->text = (const char *)behind + offsetof(struct image_file_tail, redirect.value) + 4;
	return is_hash(entry->text);
}

/* A directory's or a symlink's bytes: behind the inode, or in blocks of their own. */
static bool
data_read(const struct reader *reader, struct image_entry *entry, const struct image_inode *inode,
    size_t behind)
{
	bool is_inline = (inode->format & ~IMAGE_WIDE) == IMAGE_INLINE;
	size_t at = is_inline ? behind : (size_t)inode->data * IMAGE_BLOCK;

	if (at > reader->len || entry->size > reader->len - at)
		return false;
	entry->text = (const char *)reader->bytes + at;
	if (S_ISDIR(entry->mode))
		return entry->mode == (S_IFDIR | 0755);
	return entry->mode == (S_IFLNK | 0777) && entry->size > 0 &&
	    entry->size <= IMAGE_TARGET_MAX && memchr(entry->text, '\0', entry->size) == NULL;
}

static bool
inode_read(const struct reader *reader, uint32_t nid, struct image_entry *entry)
{
	struct image_wide_inode wide = {.mtime_s = IMAGE_TIME_S};
	struct image_inode inode;
	size_t size = sizeof(inode), at = (size_t)nid * IMAGE_SLOT;

	if (at > reader->len - size)
		return false;
	memcpy(&inode, reader->bytes + at, size);
	if ((inode.format & IMAGE_WIDE) != 0) {
		size = sizeof(wide);
		if (at > reader->len - size)
			return false;
		memcpy(&wide, reader->bytes + at, size);
	}
	entry->mode = inode.mode;
	entry->size = (inode.format & IMAGE_WIDE) != 0 ? wide.size : inode.size;
	entry->mtime_s = IMAGE_TIME_S;
	at += size;
	if (!S_ISREG(entry->mode))
		return data_read(reader, entry, &inode, at);
	entry->mtime_s = wide.mtime_s;
	entry->mtime_ns = wide.mtime_ns;
	return file_read(entry, inode.xattr_count, reader->bytes + at, reader->len - at);
}

static bool
comes_after(const struct image_entry *entry, const struct image_entry *last)
{
	size_t len = last->name_len < entry->name_len ? last->name_len : entry->name_len;
	int order = memcmp(last->name, entry->name, len);

	return order < 0 || (order == 0 && last->name_len < entry->name_len);
}

/* The next entry of the directory, whose first it is when dir->count is 0. */
static bool
entry_add(struct reader *reader, uint32_t dir_at, uint32_t nid, const char *name, size_t len)
{
	struct image_plan *plan = &reader->plan;
	struct image_entry *dir = &plan->entries[dir_at];
	uint32_t at = plan->count;

	if (at == reader->room)
		return false;
	plan->entries[at] = (struct image_entry){
	    .name = name, .name_len = (uint16_t)len, .inode = at, .parent = dir_at};
	struct image_entry *entry = &plan->entries[at];
	if (fs_name_check(name, len) == 0) {
		if (!inode_read(reader, nid, entry))
			return false;
	} else if ((len == 1 || len == DOTS) && memcmp(name, "..", len) == 0) {
		entry->inode = len == 1 ? dir_at : dir->parent;
		entry->mode = S_IFDIR | 0755;
	} else {
		return false;
	}
	if (dir->count > 0 && !comes_after(entry, entry - 1))
		return false;
	dir->count++;
	plan->count++;
	return true;
}

/* Names follow each other; the last one of a block ends with it, or with a NUL. */
static bool
block_read(struct reader *reader, uint32_t dir_at, const uint8_t *block, size_t size)
{
	struct image_dirent dirent, next;

	if (size < sizeof(next))
		return false;
	memcpy(&next, block, sizeof(next));
	size_t count = next.name_at / sizeof(next), end;
	if (count == 0 || count * sizeof(next) > size)
		return false;
	for (size_t i = 1; i <= count; i++) {
		dirent = next;
		end = size;
		if (i < count) {
			memcpy(&next, block + i * sizeof(next), sizeof(next));
			end = next.name_at;
		}
		if (dirent.name_at > end || end > size)
			return false;
		const char *name = (const char *)block + dirent.name_at;
		size_t len = end - dirent.name_at;
		if (i == count)
			len = strnlen(name, len);
		if (!entry_add(reader, dir_at, dirent.nid, name, len))
			return false;
	}
	return true;
}

static bool
directory_read(struct reader *reader, uint32_t dir_at)
{
	struct image_entry *entries = reader->plan.entries, *dir = &entries[dir_at];
	const uint8_t *bytes = (const uint8_t *)dir->text;
	int dots = 0;

	dir->first = reader->plan.count;
	for (uint64_t at = 0; at < dir->size; at += IMAGE_BLOCK) {
		size_t left = (size_t)(dir->size - at);
		if (!block_read(
			reader, dir_at, bytes + at, left < IMAGE_BLOCK ? left : IMAGE_BLOCK))
			return false;
	}
	for (uint32_t i = dir->first; i < reader->plan.count; i++)
		dots += entries[i].inode != i;
	return dots == DOTS;
}

/* Breadth first, as the entries lie; a cycle runs out of room. */
static bool
tree_read(struct reader *reader, uint16_t root_nid)
{
	struct image_plan *plan = &reader->plan;

	plan->entries[0] = (struct image_entry){.name = ""};
	plan->count = 1;
	if (!inode_read(reader, root_nid, &plan->entries[0]) || !S_ISDIR(plan->entries[0].mode))
		return false;
	for (uint32_t i = 0; i < plan->count; i++)
		if (S_ISDIR(plan->entries[i].mode) && plan->entries[i].inode == i &&
		    !directory_read(reader, i))
			return false;
	return true;
}

/* What image_encode would have made of it. */
static int
compare(struct reader *reader, struct arena *arena)
{
	if (image_measure(&reader->plan) != 0 ||
	    (size_t)reader->plan.blocks * IMAGE_BLOCK != reader->len)
		return -EBADMSG;
	uint8_t *bytes = arena_alloc(arena, reader->len);
	image_write(&reader->plan, bytes);
	return memcmp(bytes, reader->bytes, reader->len) == 0 ? 0 : -EBADMSG;
}

static int
tell(const struct image_plan *plan, image_blob_fn *each_blob, void *arg,
    struct index_tree *ret_totals)
{
	struct index_tree totals = {0};
	char hex[DIGEST_HEX_SIZE] = "";

	for (uint32_t i = 0; i < plan->count; i++) {
		const struct image_entry *entry = &plan->entries[i];
		struct digest digest = {.size_bytes = (int64_t)entry->size};

		totals.directories += S_ISDIR(entry->mode) && entry->inode == i;
		totals.symlinks += S_ISLNK(entry->mode);
		if (!S_ISREG(entry->mode))
			continue;
		totals.files++;
		totals.bytes += entry->size;
		if (entry->text == NULL || each_blob == NULL)
			continue;
		memcpy(hex, entry->text, IMAGE_HASH_SIZE);
		CHECK(digest_hash_from_hex(hex, digest.hash) == 0);
		int rc = each_blob(arg, &digest, (entry->mode & 0111) != 0);
		if (rc != 0)
			return rc;
	}
	if (ret_totals != NULL)
		*ret_totals = totals;
	return 0;
}

/* The list that the bytes are made of, and of nothing else. */
static int
read_checked(struct reader *reader, struct arena *arena, const uint8_t *bytes, size_t len,
    uid_t uid, gid_t gid)
{
	struct image_super super;

	*reader = (struct reader){.bytes = bytes, .len = len, .plan = {.uid = uid, .gid = gid}};
	if (len == 0 || len % IMAGE_BLOCK != 0 || len > IMAGE_BYTES_MAX)
		return -EBADMSG;
	memcpy(&super, bytes + IMAGE_SUPER_AT, sizeof(super));
	if (super.inodes == 0 || super.inodes > IMAGE_ENTRIES_MAX ||
	    super.inodes > len / IMAGE_SLOT)
		return -EBADMSG;
	reader->room = (1 + DOTS) * (uint32_t)super.inodes;
	reader->plan.entries = arena_alloc(arena, reader->room * sizeof(struct image_entry));
	return tree_read(reader, super.root_nid) ? compare(reader, arena) : -EBADMSG;
}

int
image_check(struct arena *arena, const uint8_t *bytes, size_t len, uid_t uid, gid_t gid,
    image_blob_fn *each_blob, void *arg, struct index_tree *ret_totals)
{
	struct reader reader;
	int rc = read_checked(&reader, arena, bytes, len, uid, gid);

	return rc != 0 ? rc : tell(&reader.plan, each_blob, arg, ret_totals);
}

int
image_owner(const uint8_t *bytes, size_t len, uid_t *ret_uid, gid_t *ret_gid)
{
	struct image_wide_inode wide;
	struct image_inode inode;
	struct image_super super;

	if (len < IMAGE_BLOCK)
		return -EBADMSG;
	memcpy(&super, bytes + IMAGE_SUPER_AT, sizeof(super));
	size_t at = (size_t)super.root_nid * IMAGE_SLOT;
	if (at > len - sizeof(wide))
		return -EBADMSG;
	memcpy(&inode, bytes + at, sizeof(inode));
	memcpy(&wide, bytes + at, sizeof(wide));
	bool is_wide = (inode.format & IMAGE_WIDE) != 0;
	*ret_uid = is_wide ? wide.uid : inode.uid;
	*ret_gid = is_wide ? wide.gid : inode.gid;
	return 0;
}

int
image_top(struct arena *arena, const uint8_t *bytes, size_t len, uid_t uid, gid_t gid,
    char ***ret_names, size_t *ret_count)
{
	struct reader reader;
	int rc = read_checked(&reader, arena, bytes, len, uid, gid);
	size_t count = 0;

	if (rc != 0)
		return rc;
	const struct image_entry *entries = reader.plan.entries, *root = &entries[0];
	char **names = arena_alloc(arena, (root->count + 1) * sizeof(char *));
	for (uint32_t i = root->first; i < root->first + root->count; i++)
		if (entries[i].inode == i)
			names[count++] =
			    arena_printf(arena, "%.*s", (int)entries[i].name_len, entries[i].name);
	*ret_names = names;
	*ret_count = count;
	return 0;
}
