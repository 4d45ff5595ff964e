#include "cas/tree_loader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "cas/directory.h"

enum { BUCKETS_FIRST = 256 };

void
tree_loader_start(struct tree_loader *loader, struct cas *cas, struct arena *arena)
{
	memset(loader, 0, sizeof *loader);
	loader->cas = cas;
	loader->arena = arena;
	arc4random_buf(&loader->seed, sizeof loader->seed);
}

void
tree_loader_free(struct tree_loader *loader)
{
	free(loader->missing);
	digest_map_fini(&loader->noted);
	loader->noted = (struct digest_map){0};
	loader->missing = NULL;
	loader->missing_count = loader->missing_room = 0;
}

static size_t
bucket_of(const struct tree_loader *loader, const struct digest *digest)
{
	return digest_mix(loader->seed, digest) & (loader->bucket_count - 1);
}

static void
grow(struct tree_loader *loader)
{
	struct tree_dir **old = loader->buckets;
	size_t old_count = loader->bucket_count;

	loader->bucket_count = old_count == 0 ? BUCKETS_FIRST : old_count * 4;
	loader->buckets =
	    arena_alloc(loader->arena, loader->bucket_count * sizeof(struct tree_dir *));
	for (size_t i = 0; i < old_count; i++) {
		for (struct tree_dir *dir = old[i], *next; dir != NULL; dir = next) {
			next = dir->next;
			size_t bucket = bucket_of(loader, &dir->digest);
			dir->next = loader->buckets[bucket];
			loader->buckets[bucket] = dir;
		}
	}
}

/* Finds or makes the one tree_dir of a digest. */
static struct tree_dir *
dir_of(struct tree_loader *loader, const struct digest *digest, bool *ret_new)
{
	if (loader->count * 2 >= loader->bucket_count)
		grow(loader);
	size_t bucket = bucket_of(loader, digest);
	for (struct tree_dir *dir = loader->buckets[bucket]; dir != NULL; dir = dir->next) {
		if (digest_equal(&dir->digest, digest)) {
			*ret_new = false;
			return dir;
		}
	}
	struct tree_dir *dir = arena_alloc(loader->arena, sizeof *dir);
	dir->digest = *digest;
	dir->next = loader->buckets[bucket];
	loader->buckets[bucket] = dir;
	loader->count++;
	*ret_new = true;
	return dir;
}

/* The one that dir_of has just made: another try is to read it. */
static void
forget_newest(struct tree_loader *loader, const struct tree_dir *dir)
{
	loader->buckets[bucket_of(loader, &dir->digest)] = dir->next;
	loader->count--;
}

int
tree_note_missing(struct tree_loader *loader, const struct digest *digest)
{
	bool is_new;

	digest_map_add(&loader->noted, digest, &is_new);
	if (!is_new)
		return 0;
	if (loader->missing_count == loader->missing_room) {
		size_t room = loader->missing_room == 0 ? 64 : loader->missing_room * 2;
		struct digest *grown = reallocarray(loader->missing, room, sizeof *grown);
		if (grown == NULL)
			return -ENOMEM;
		loader->missing = grown;
		loader->missing_room = room;
	}
	loader->missing[loader->missing_count++] = *digest;
	return 0;
}

/* What the Directory holds by itself: also before another try to read what is below it. */
static void
count_own(struct tree_dir *dir)
{
	const ReapiDirectory *message = dir->message;

	dir->height = 0;
	dir->totals = (struct index_tree){.directories = 1,
	    .files = (uint32_t)message->n_files,
	    .symlinks = (uint32_t)message->n_symlinks};
	for (size_t i = 0; i < message->n_files; i++)
		dir->totals.bytes += (uint64_t)message->files[i]->digest->size_bytes;
}

int
tree_load_one(struct tree_loader *loader, const struct digest *digest, struct tree_dir **ret_dir,
    struct error_text *err)
{
	bool is_new;
	struct tree_dir *dir = dir_of(loader, digest, &is_new);

	if (is_new) {
		int rc = directory_load(loader->cas, loader->arena, digest, &dir->message, err);
		if (rc == -ENOENT || rc == -EBADMSG) {
			dir->message = NULL;
			rc = tree_note_missing(loader, digest);
		}
		if (rc != 0) {
			forget_newest(loader, dir);
			return rc;
		}
		if (dir->message != NULL)
			count_own(dir);
	}
	*ret_dir = dir;
	return 0;
}

void
tree_totals_add(struct tree_dir *dir, const struct tree_dir *child)
{
	dir->totals.files += child->totals.files;
	dir->totals.directories += child->totals.directories;
	dir->totals.symlinks += child->totals.symlinks;
	dir->totals.bytes += child->totals.bytes;
	if (child->height + 1 > dir->height)
		dir->height = child->height + 1;
}

/* What is counted stays far below what its fields hold: each part is within the limit. */
static int
count_child(struct tree_dir *dir, const struct tree_dir *child, struct error_text *err)
{
	const struct index_tree *totals = &dir->totals;

	tree_totals_add(dir, child);
	if ((uint64_t)totals->files + totals->directories + totals->symlinks > TREE_ENTRIES_MAX)
		return error_set(
		    err, -EINVAL, "input tree: more than %d entries", TREE_ENTRIES_MAX);
	return 0;
}

static int
too_deep(struct error_text *err)
{
	return error_set(err, -EINVAL, "input tree: deeper than %d directories", TREE_DEPTH_MAX);
}

int
tree_load(struct tree_loader *loader, const struct digest *digest, unsigned depth,
    struct tree_dir **ret_dir, struct error_text *err)
{
	struct tree_dir *dir;

	if (depth > TREE_DEPTH_MAX)
		return too_deep(err);
	int rc = tree_load_one(loader, digest, &dir, err);
	if (rc != 0)
		return rc;
	if (!dir->children_read && dir->message != NULL) {
		size_t count = dir->message->n_directories;
		dir->children = arena_alloc(loader->arena, (count + 1) * sizeof(struct tree_dir *));
		count_own(dir);
		for (size_t i = 0; i < count; i++) {
			struct digest child;
			rc = reapi_digest_get(dir->message->directories[i]->digest, &child);
			if (rc == 0)
				rc = tree_load(loader, &child, depth + 1, &dir->children[i], err);
			if (rc == 0)
				rc = count_child(dir, dir->children[i], err);
			if (rc != 0)
				return rc;
		}
		dir->children_read = true;
	}
	if (depth + dir->height > TREE_DEPTH_MAX)
		return too_deep(err);
	*ret_dir = dir;
	return 0;
}

static int
find_missing_in(struct tree_loader *loader, struct tree_dir *dir)
{
	for (size_t i = 0; i < dir->message->n_files; i++) {
		struct digest digest;
		int rc = reapi_digest_get(dir->message->files[i]->digest, &digest);
		if (rc != 0)
			return rc;
		if (digest_is_empty(&digest))
			continue;
		rc = cas_has(loader->cas, &digest);
		if (rc == 0)
			rc = tree_note_missing(loader, &digest);
		if (rc < 0)
			return rc;
	}
	dir->files_checked = true;
	return 0;
}

int
tree_find_missing_files(struct tree_loader *loader)
{
	for (size_t i = 0; i < loader->bucket_count; i++) {
		for (struct tree_dir *dir = loader->buckets[i]; dir != NULL; dir = dir->next) {
			if (dir->message == NULL || dir->files_checked)
				continue;
			int rc = find_missing_in(loader, dir);
			if (rc != 0)
				return rc;
		}
	}
	return 0;
}
