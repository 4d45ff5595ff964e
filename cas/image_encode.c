#include <sys/stat.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "cas/image.h"
#include "cas/image_format.h"

/* What a Directory's entries come from: four lists, each sorted as a rule. */
enum list { LIST_FILES, LIST_DIRECTORIES, LIST_SYMLINKS, LIST_DOTS, LIST_COUNT };

static const char *const dots[] = {".", ".."};

struct encoder {
	struct image_plan plan;
	uint32_t room;
	struct error_text *err;
};

static const char *
list_name(const ReapiDirectory *message, enum list list, size_t at)
{
	switch (list) {
	case LIST_FILES:
		return at < message->n_files ? message->files[at]->name : NULL;
	case LIST_DIRECTORIES:
		return at < message->n_directories ? message->directories[at]->name : NULL;
	case LIST_SYMLINKS:
		return at < message->n_symlinks ? message->symlinks[at]->name : NULL;
	default:
		return at < 2 ? dots[at] : NULL;
	}
}

static void
set_properties(struct image_entry *entry, const ReapiNodeProperties *properties)
{
	if (properties == NULL)
		return;
	if (properties->unix_mode != NULL)
		entry->mode = (uint16_t)(S_IFREG | (properties->unix_mode->value & 0555) | 0444);
	if (properties->mtime != NULL) {
		entry->mtime_s = properties->mtime->seconds;
		entry->mtime_ns = (uint32_t)properties->mtime->nanos;
	}
}

static int
set_file(struct encoder *encoder, struct image_entry *entry, const ReapiFileNode *file)
{
	static const uint64_t size_max = UINT64_C(1) << IMAGE_CHUNK_BITS_MAX;
	char empty[DIGEST_HEX_SIZE];

	entry->mode = S_IFREG | (file->is_executable ? 0555 : 0444);
	entry->size = (uint64_t)file->digest->size_bytes;
	entry->text = file->digest->hash;
	if (entry->size > size_max)
		return error_set(encoder->err, -EFBIG, "input tree: %s: over 8 TiB", entry->name);
	if (entry->size == 0) {
		if (strcmp(entry->text, digest_to_hex(&digest_empty, empty)) != 0)
			return error_set(encoder->err, -EINVAL,
			    "input tree: %s: no empty file has that digest", entry->name);
		entry->text = NULL;
	}
	set_properties(entry, file->node_properties);
	return 0;
}

static int
set_symlink(struct encoder *encoder, struct image_entry *entry, const ReapiSymlinkNode *symlink)
{
	entry->mode = S_IFLNK | 0777;
	entry->text = symlink->target;
	entry->size = strlen(symlink->target);
	if (entry->size > IMAGE_TARGET_MAX)
		return error_set(encoder->err, -ENAMETOOLONG,
		    "input tree: symlink %s: its target is longer than %d bytes", entry->name,
		    IMAGE_TARGET_MAX);
	return 0;
}

static int
set_entry(struct encoder *encoder, uint32_t dir_at, uint32_t at, enum list list, size_t i)
{
	struct image_entry *dir = &encoder->plan.entries[dir_at];
	struct image_entry *entry = &encoder->plan.entries[at];

	entry->name = list_name(dir->dir->message, list, i);
	entry->name_len = (uint16_t)strlen(entry->name);
	entry->mtime_s = IMAGE_TIME_S;
	entry->inode = at;
	switch (list) {
	case LIST_FILES:
		return set_file(encoder, entry, dir->dir->message->files[i]);
	case LIST_SYMLINKS:
		return set_symlink(encoder, entry, dir->dir->message->symlinks[i]);
	case LIST_DIRECTORIES:
		entry->dir = dir->dir->children[i];
		entry->parent = dir_at;
		break;
	default:
		entry->inode = i == 0 ? dir_at : dir->parent;
	}
	entry->mode = S_IFDIR | 0755;
	return 0;
}

static enum list
first_of(const char *const *heads)
{
	enum list first = LIST_COUNT;

	for (enum list list = 0; list < LIST_COUNT; list++)
		if (heads[list] != NULL &&
		    (first == LIST_COUNT || strcmp(heads[list], heads[first]) < 0))
			first = list;
	return first;
}

static int
entry_compare(const void *a, const void *b)
{
	return strcmp(((const struct image_entry *)a)->name, ((const struct image_entry *)b)->name);
}

/* Sorted again, each entry that is its own inode has another number; nobody has used it yet. */
static void
sort_again(struct encoder *encoder, const struct image_entry *dir)
{
	struct image_entry *entries = encoder->plan.entries;
	uint32_t end = dir->first + dir->count;

	qsort(entries + dir->first, dir->count, sizeof(*entries), entry_compare);
	for (uint32_t i = dir->first; i < end; i++)
		if (entries[i].inode >= dir->first)
			entries[i].inode = i;
}

/* A missing Directory is not in the totals, which bound the list. */
static int
check_read(struct encoder *encoder, const struct tree_dir *dir)
{
	bool missing = dir->message == NULL;

	CHECK(missing || dir->children_read);
	for (size_t i = 0; !missing && i < dir->message->n_directories; i++)
		missing = dir->children[i]->message == NULL;
	return missing ? error_set(encoder->err, -ENOENT, "input tree: a Directory is missing") : 0;
}

/* The directory's entries, at the list's end. */
static int
add_directory(struct encoder *encoder, uint32_t dir_at)
{
	struct image_plan *plan = &encoder->plan;
	struct image_entry *dir = &plan->entries[dir_at];
	const ReapiDirectory *message = dir->dir->message;
	const char *heads[LIST_COUNT], *last = "";
	size_t taken[LIST_COUNT] = {0};
	bool sorted = true;
	enum list list;

	int rc = check_read(encoder, dir->dir);
	if (rc != 0)
		return rc;
	for (list = 0; list < LIST_COUNT; list++)
		heads[list] = list_name(message, list, 0);
	dir->first = plan->count;
	while ((list = first_of(heads)) != LIST_COUNT) {
		CHECK(plan->count < encoder->room);
		rc = set_entry(encoder, dir_at, plan->count++, list, taken[list]);
		if (rc != 0)
			return rc;
		sorted = sorted && strcmp(last, heads[list]) < 0;
		last = heads[list];
		heads[list] = list_name(message, list, ++taken[list]);
	}
	dir->count = plan->count - dir->first;
	if (!sorted)
		sort_again(encoder, dir);
	return 0;
}

static int
add_all(struct encoder *encoder, const struct tree_dir *root)
{
	struct image_plan *plan = &encoder->plan;

	plan->entries[0] = (struct image_entry){
	    .dir = root, .name = "", .mode = S_IFDIR | 0755, .mtime_s = IMAGE_TIME_S};
	plan->count = 1;
	for (uint32_t i = 0; i < plan->count; i++) {
		if (!S_ISDIR(plan->entries[i].mode) || plan->entries[i].inode != i)
			continue;
		int rc = add_directory(encoder, i);
		if (rc != 0)
			return rc;
	}
	CHECK(plan->count == encoder->room);
	return 0;
}

static int
too_big(struct error_text *err)
{
	return error_set(err, -E2BIG, "input tree: more than %d entries or %d MiB, for an image",
	    IMAGE_ENTRIES_MAX, IMAGE_BYTES_MAX >> 20);
}

int
image_encode(struct arena *arena, const struct tree_dir *root, uid_t uid, gid_t gid,
    uint8_t **ret_bytes, size_t *ret_len, struct error_text *err)
{
	const struct index_tree *totals = &root->totals;
	struct encoder encoder = {.plan = {.uid = uid, .gid = gid}, .err = err};
	uint64_t entries = (uint64_t)totals->files + totals->symlinks + totals->directories;

	if (entries > IMAGE_ENTRIES_MAX)
		return too_big(err);
	encoder.room = (uint32_t)entries + 2 * totals->directories;
	encoder.plan.entries = arena_alloc(arena, (encoder.room + 1) * sizeof(struct image_entry));
	int rc = add_all(&encoder, root);
	if (rc != 0)
		return rc;
	if (image_measure(&encoder.plan) != 0)
		return too_big(err);
	size_t len = (size_t)encoder.plan.blocks * IMAGE_BLOCK;
	uint8_t *bytes = arena_alloc(arena, len);
	image_write(&encoder.plan, bytes);
	*ret_bytes = bytes;
	*ret_len = len;
	return 0;
}
