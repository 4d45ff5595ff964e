#include <sys/stat.h>

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/check.h"
#include "cas/image.h"
#include "cas/image_format.h"

enum {
	MAGIC = 0xE0F5E1E2,
	BLOCK_BITS = 12,
	INCOMPAT_CHUNKED = 4,
	NO_BLOCK = 0xFFFFFFFF,
	XATTRS_SIZE = sizeof(struct image_file_tail) - 4,
	XATTRS_COUNT = (XATTRS_SIZE - 12) / 4 + 1,
	LANES = 4,
	STRIDE = LANES * 8,
};

static bool
is_wide(const struct image_plan *plan, const struct image_entry *entry)
{
	return entry->size > UINT32_MAX || entry->mtime_s != IMAGE_TIME_S || entry->mtime_ns != 0 ||
	    entry->links > UINT16_MAX || plan->uid > UINT16_MAX || plan->gid > UINT16_MAX;
}

static uint32_t
inode_size(const struct image_plan *plan, const struct image_entry *entry)
{
	return is_wide(plan, entry) ? sizeof(struct image_wide_inode) : sizeof(struct image_inode);
}

/* Of a directory's entries from `at` on, as many as a block takes; the bytes in *ret_size. */
static uint32_t
block_fill(const struct image_plan *plan, uint32_t at, uint32_t end, uint32_t *ret_size)
{
	uint32_t from = at, size = 0;

	for (; at < end; at++) {
		uint32_t more = sizeof(struct image_dirent) + plan->entries[at].name_len;
		if (size + more > IMAGE_BLOCK)
			break;
		size += more;
	}
	*ret_size = size;
	return at - from;
}

static void
directory_measure(const struct image_plan *plan, struct image_entry *dir)
{
	uint32_t end = dir->first + dir->count, size;

	dir->links = 0;
	for (uint32_t i = dir->first; i < end; i++)
		dir->links += S_ISDIR(plan->entries[i].mode);
	uint32_t at = dir->first + block_fill(plan, dir->first, end, &size);
	if (at == end && inode_size(plan, dir) + size <= IMAGE_BLOCK) {
		dir->size = size;
		return;
	}
	for (dir->size = IMAGE_BLOCK; at < end; dir->size += IMAGE_BLOCK)
		at += block_fill(plan, at, end, &size);
}

static bool
is_inline(const struct image_plan *plan, const struct image_entry *entry)
{
	return !S_ISREG(entry->mode) && inode_size(plan, entry) + entry->size <= IMAGE_BLOCK;
}

/* The inode and what lies behind it. */
static uint32_t
slot_size(const struct image_plan *plan, const struct image_entry *entry)
{
	uint32_t size = inode_size(plan, entry);

	if (S_ISREG(entry->mode))
		return entry->text != NULL ? size + sizeof(struct image_file_tail) : size;
	return is_inline(plan, entry) ? size + (uint32_t)entry->size : size;
}

int
image_measure(struct image_plan *plan)
{
	uint64_t at = IMAGE_ROOT_AT, blocks = 0;

	plan->inodes = 0;
	for (uint32_t i = 0; i < plan->count; i++) {
		struct image_entry *entry = &plan->entries[i];
		if (entry->inode != i)
			continue;
		entry->links = 1;
		if (S_ISDIR(entry->mode))
			directory_measure(plan, entry);
		uint32_t size = slot_size(plan, entry);
		if (at % IMAGE_BLOCK + size > IMAGE_BLOCK)
			at += IMAGE_BLOCK - at % IMAGE_BLOCK;
		if (at > IMAGE_BYTES_MAX)
			return -E2BIG;
		entry->nid = (uint32_t)(at / IMAGE_SLOT);
		at += (size + IMAGE_SLOT - 1) / IMAGE_SLOT * IMAGE_SLOT;
		if (!S_ISREG(entry->mode) && !is_inline(plan, entry)) {
			entry->block = (uint32_t)blocks;
			blocks += (entry->size + IMAGE_BLOCK - 1) / IMAGE_BLOCK;
		}
		plan->inodes++;
	}
	uint64_t meta_blocks = (at + IMAGE_BLOCK - 1) / IMAGE_BLOCK;
	if ((meta_blocks + blocks) * IMAGE_BLOCK > IMAGE_BYTES_MAX)
		return -E2BIG;
	for (uint32_t i = 0; i < plan->count; i++)
		plan->entries[i].block += (uint32_t)meta_blocks;
	plan->blocks = (uint32_t)(meta_blocks + blocks);
	return 0;
}

static uint8_t
type_of(uint16_t mode)
{
	enum { TYPE_FILE = 1, TYPE_DIRECTORY = 2, TYPE_SYMLINK = 7 };

	return S_ISDIR(mode) ? TYPE_DIRECTORY : S_ISLNK(mode) ? TYPE_SYMLINK : TYPE_FILE;
}

static void
block_write(const struct image_plan *plan, uint32_t at, uint32_t count, uint8_t *bytes)
{
	uint32_t name_at = count * (uint32_t)sizeof(struct image_dirent);

	for (uint32_t i = 0; i < count; i++) {
		const struct image_entry *entry = &plan->entries[at + i];
		struct image_dirent dirent = {.nid = plan->entries[entry->inode].nid,
		    .name_at = (uint16_t)name_at,
		    .type = type_of(entry->mode)};
		memcpy(bytes + i * sizeof(dirent), &dirent, sizeof(dirent));
		memcpy(bytes + name_at, entry->name, entry->name_len);
		name_at += entry->name_len;
	}
}

static void
directory_write(const struct image_plan *plan, const struct image_entry *dir, uint8_t *bytes)
{
	uint32_t end = dir->first + dir->count, size;

	for (uint32_t at = dir->first, count; at < end; at += count, bytes += IMAGE_BLOCK) {
		count = block_fill(plan, at, end, &size);
		block_write(plan, at, count, bytes);
	}
}

/* How the kernel finds the data; the chunk of a file covers its whole size. */
static uint16_t
format_of(const struct image_plan *plan, const struct image_entry *entry, uint32_t *ret_data)
{
	uint32_t bits = BLOCK_BITS;

	*ret_data = 0;
	if (is_inline(plan, entry))
		return IMAGE_INLINE;
	if (!S_ISREG(entry->mode)) {
		*ret_data = entry->block;
		return IMAGE_PLAIN;
	}
	if (entry->text == NULL)
		return IMAGE_PLAIN;
	while (entry->size > UINT64_C(1) << bits)
		bits++;
	*ret_data = bits - BLOCK_BITS;
	return IMAGE_CHUNKED;
}

static void
inode_write(const struct image_plan *plan, const struct image_entry *entry, uint8_t *bytes)
{
	uint16_t count = S_ISREG(entry->mode) && entry->text != NULL ? XATTRS_COUNT : 0;
	uint32_t data;
	uint16_t format = format_of(plan, entry, &data);

	if (is_wide(plan, entry)) {
		struct image_wide_inode inode = {.format = format | IMAGE_WIDE,
		    .xattr_count = count,
		    .mode = entry->mode,
		    .size = entry->size,
		    .data = data,
		    .uid = plan->uid,
		    .gid = plan->gid,
		    .mtime_s = entry->mtime_s,
		    .mtime_ns = entry->mtime_ns,
		    .links = entry->links};
		memcpy(bytes, &inode, sizeof(inode));
	} else {
		struct image_inode inode = {.format = format,
		    .xattr_count = count,
		    .mode = entry->mode,
		    .links = (uint16_t)entry->links,
		    .size = (uint32_t)entry->size,
		    .data = data,
		    .uid = (uint16_t)plan->uid,
		    .gid = (uint16_t)plan->gid};
		memcpy(bytes, &inode, sizeof(inode));
	}
}

static void
file_write(const struct image_entry *entry, uint8_t *bytes)
{
	enum {
		PREFIX_TRUSTED = 4,
		NAME_LEN = sizeof(((struct image_file_tail *)0)->redirect.name)
	};
	struct image_file_tail tail = {
	    .metacopy = {.name_len = NAME_LEN, .prefix = PREFIX_TRUSTED},
	    .redirect = {.name_len = NAME_LEN,
		.prefix = PREFIX_TRUSTED,
		.value_len = sizeof(tail.redirect.value)},
	    .chunk_block = NO_BLOCK,
	};
	char *value = tail.redirect.value;

	memcpy(tail.metacopy.name, "overlay.metacopy", NAME_LEN);
	memcpy(tail.redirect.name, "overlay.redirect", NAME_LEN);
	value[0] = '/';
	value[1] = entry->text[0];
	value[2] = entry->text[1];
	value[3] = '/';
	memcpy(value + 4, entry->text, IMAGE_HASH_SIZE);
	memcpy(bytes, &tail, sizeof(tail));
}

static void
entry_write(const struct image_plan *plan, const struct image_entry *entry, uint8_t *bytes)
{
	uint8_t *at = bytes + (size_t)entry->nid * IMAGE_SLOT;

	inode_write(plan, entry, at);
	at += inode_size(plan, entry);
	if (!S_ISREG(entry->mode) && !is_inline(plan, entry))
		at = bytes + (size_t)entry->block * IMAGE_BLOCK;
	if (S_ISDIR(entry->mode))
		directory_write(plan, entry, at);
	else if (S_ISLNK(entry->mode))
		memcpy(at, entry->text, entry->size);
	else if (entry->text != NULL)
		file_write(entry, at);
}

void
image_write(const struct image_plan *plan, uint8_t *bytes)
{
	struct image_super super = {.magic = MAGIC,
	    .block_bits = BLOCK_BITS,
	    .root_nid = (uint16_t)plan->entries[0].nid,
	    .inodes = plan->inodes,
	    .epoch_s = IMAGE_TIME_S,
	    .blocks = plan->blocks,
	    .feature_incompat = INCOMPAT_CHUNKED};

	memcpy(bytes + IMAGE_SUPER_AT, &super, sizeof(super));
	for (uint32_t i = 0; i < plan->count; i++)
		if (plan->entries[i].inode == i)
			entry_write(plan, &plan->entries[i], bytes);
	image_seal(bytes, (size_t)plan->blocks * IMAGE_BLOCK);
}

/* Each step can be undone, so that one changed word always changes the outcome. */
static uint64_t
mix(uint64_t lane, uint64_t word)
{
	lane = (lane ^ word) * UINT64_C(0x9E3779B97F4A7C15);
	return lane ^ lane >> 32;
}

static void
lanes_add(uint64_t *lanes, const uint8_t *bytes, size_t len)
{
	for (size_t at = 0; at < len; at += STRIDE) {
		uint64_t words[LANES];
		memcpy(words, bytes + at, sizeof(words));
		for (int i = 0; i < LANES; i++)
			lanes[i] = mix(lanes[i], words[i]);
	}
}

void
image_seal(uint8_t *bytes, size_t len)
{
	uint8_t *seal = bytes + IMAGE_SUPER_AT + offsetof(struct image_super, seal);
	uint64_t lanes[LANES] = {1, 2, 3, 4}, found[2] = {len, ~(uint64_t)len};

	CHECK(len % IMAGE_BLOCK == 0 && len > 0);
	memset(seal, 0, sizeof(found));
	lanes_add(lanes, bytes, len);
	for (int i = 0; i < LANES; i++) {
		found[0] = mix(found[0], lanes[i]);
		found[1] = mix(found[1], lanes[LANES - 1 - i]);
	}
	memcpy(seal, found, sizeof(found));
}
