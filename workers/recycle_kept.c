#include <sys/stat.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "workers/recycle_internal.h"

enum { FRESH_NS = 20000000 }; /* two ticks of the slowest clock: 100 Hz */

struct kept_dir *
kept_dir_new(size_t count, size_t names_size)
{
	return calloc(1, sizeof(struct kept_dir) + count * sizeof(struct kept_entry) + names_size);
}

void
kept_dir_free(struct kept_dir *dir)
{
	if (dir == NULL)
		return;
	for (size_t i = 0; i < dir->count; i++)
		kept_dir_free(dir->entries[i].dir);
	free(dir);
}

static int
compare_names(const void *a, const void *b)
{
	const struct kept_entry *left = a, *right = b;

	return strcmp(left->name, right->name);
}

struct kept_entry *
kept_find(const struct kept_dir *dir, const char *name)
{
	const struct kept_entry key = {.name = name};

	return bsearch(&key, dir->entries, dir->count, sizeof(struct kept_entry), compare_names);
}

static void
add_counts(struct kept_counts *to, const struct kept_counts *more)
{
	to->files += more->files;
	to->bytes += more->bytes;
	to->directories += more->directories;
	to->entries += more->entries;
}

void
kept_sum(struct kept_dir *dir)
{
	dir->all = dir->own;
	for (size_t i = 0; i < dir->count; i++)
		if (dir->entries[i].dir != NULL)
			add_counts(&dir->all, &dir->entries[i].dir->all);
}

bool
stat_is_same(
    const struct recycling *recycling, const struct scan_stat *noted, const struct scan_stat *now)
{
	if (noted->inode != now->inode || noted->mode != now->mode || noted->uid != now->uid)
		return false;
	if (S_ISDIR(noted->mode))
		return true;
	return noted->size == now->size && noted->mtime_ns == now->mtime_ns &&
	    (!recycling->compares_ctime || noted->ctime_ns == now->ctime_ns);
}

/* Takes the names along: what is scanned is the arena's. */
struct builder {
	struct kept_dir *dir;
	char *names;
};

static struct kept_entry *
append(struct builder *builder, const char *name)
{
	struct kept_entry *entry = &builder->dir->entries[builder->dir->count++];
	size_t size = strlen(name) + 1;

	memcpy(builder->names, name, size);
	entry->name = builder->names;
	builder->names += size;
	return entry;
}

static int
start(struct builder *builder, size_t count, size_t names_size)
{
	builder->dir = kept_dir_new(count, names_size);
	if (builder->dir == NULL)
		return -ENOMEM;
	builder->names = (char *)&builder->dir->entries[count];
	builder->dir->own.directories = 1;
	return 0;
}

static int
note_stub(
    const struct recycling *recycling, const struct plan_node *node, struct kept_dir **ret_dir)
{
	struct builder builder;
	struct index_tree tree;

	int rc = start(&builder, 0, 0);
	if (rc != 0)
		return rc;
	index_tree_of(recycling->stager->region, &node->pin, &tree);
	builder.dir->is_stub = true;
	builder.dir->all = (struct kept_counts){
	    .files = tree.files,
	    .bytes = tree.bytes,
	    .directories = tree.directories,
	    .entries = (uint64_t)tree.files + tree.directories + tree.symlinks,
	};
	*ret_dir = builder.dir;
	return 0;
}

static void
count_own(struct kept_dir *dir, const ReapiDirectory *message)
{
	dir->own.files = message->n_files;
	dir->own.entries = message->n_files + message->n_symlinks + message->n_directories;
	for (size_t i = 0; i < message->n_files; i++)
		dir->own.bytes += (uint64_t)message->files[i]->digest->size_bytes;
}

/* All of a loaded tree. */
static int
note_loaded(const struct tree_dir *tree, struct kept_dir **ret_dir)
{
	const ReapiDirectory *message = tree->message;
	struct builder builder;
	size_t names_size = 0;

	if (message == NULL)
		return 1;
	for (size_t i = 0; i < message->n_directories; i++)
		names_size += strlen(message->directories[i]->name) + 1;
	int rc = start(&builder, message->n_directories, names_size);
	if (rc != 0)
		return rc;
	count_own(builder.dir, message);
	for (size_t i = 0; rc == 0 && i < message->n_directories; i++) {
		struct kept_entry *entry = append(&builder, message->directories[i]->name);
		rc = note_loaded(tree->children[i], &entry->dir);
	}
	if (rc != 0) {
		kept_dir_free(builder.dir);
		return rc;
	}
	qsort(builder.dir->entries, builder.dir->count, sizeof(struct kept_entry), compare_names);
	kept_sum(builder.dir);
	*ret_dir = builder.dir;
	return 0;
}

int
kept_expand(struct recycling *recycling, struct kept_dir **dir, const struct digest *digest)
{
	struct error_text unused;
	struct kept_dir *full;
	struct tree_dir *tree;

	if (!(*dir)->is_stub)
		return 0;
	int rc = tree_load(recycling->old, digest, 0, &tree, &unused);
	if (rc != 0)
		return 1;
	rc = note_loaded(tree, &full);
	if (rc != 0)
		return rc;
	kept_dir_free(*dir);
	*dir = full;
	return 0;
}

static int
note_sealed(struct recycling *recycling, const struct want *want, struct kept_dir **ret_dir)
{
	struct error_text unused;
	struct tree_dir *tree;

	if (want->node != NULL && want->node->is_pinned)
		return note_stub(recycling, want->node, ret_dir);
	if (digest_is_empty(&want->digest)) {
		struct builder builder;
		int rc = start(&builder, 0, 0);
		if (rc == 0) {
			kept_sum(builder.dir);
			*ret_dir = builder.dir;
		}
		return rc;
	}
	int rc = tree_load(&recycling->stager->loader, &want->digest, 0, &tree, &unused);
	if (rc != 0)
		return rc;
	rc = note_loaded(tree, ret_dir);
	return rc == 1 ? -ENOENT : rc;
}

/* A directory in the cursor's. */
static int
note_below(struct recycling *recycling, struct place_cursor *cursor, const char *name,
    const struct want *want, struct kept_dir **ret_dir)
{
	struct items items = {0};

	if (!want_is_exposed(recycling, want))
		return note_sealed(recycling, want, ret_dir);
	int rc = want_is_spine(want) ? items_of_want(recycling, want, &items) : 0;
	if (rc == 0)
		rc = cursor_down(cursor, name);
	if (rc == 0)
		rc = kept_note(recycling, cursor, want, &items, ret_dir);
	return rc == 0 ? cursor_up(cursor) : rc;
}

/* What is not looked at: counted, and the directories below remembered. */
static int
note_items(struct recycling *recycling, struct items *items, struct kept_dir **ret_dir)
{
	struct builder builder;
	size_t count = 0, names_size = 0;

	for (size_t i = 0; i < items->count; i++) {
		count += items->list[i].kind == ITEM_DIRECTORY;
		names_size += strlen(items->list[i].name) + 1;
	}
	int rc = start(&builder, count, names_size);
	for (size_t i = 0; rc == 0 && i < items->count; i++) {
		struct item *item = &items->list[i];
		const struct want want = want_of(item);
		builder.dir->own.entries++;
		if (item->kind == ITEM_FILE) {
			builder.dir->own.files++;
			builder.dir->own.bytes += (uint64_t)item->file->digest->size_bytes;
		} else if (item->kind == ITEM_DIRECTORY) {
			struct kept_entry *entry = append(&builder, item->name);
			entry->dir = item->kept;
			item->kept = NULL;
			if (entry->dir == NULL)
				rc = note_sealed(recycling, &want, &entry->dir);
		}
	}
	if (rc != 0) {
		kept_dir_free(builder.dir);
		return rc;
	}
	kept_sum(builder.dir);
	*ret_dir = builder.dir;
	return 0;
}

/* The clock of this volume may not have gone on until the action writes. */
static void
distrust_fresh(const struct recycling *recycling, struct scan_stat *stat)
{
	if (recycling->compares_ctime && stat->ctime_ns >= recycling->fresh_ns - FRESH_NS)
		stat->ctime_ns = INT64_MIN;
}

static int
note_entry(struct recycling *recycling, struct place_cursor *cursor, struct builder *builder,
    const struct scan_entry *found, struct item *item)
{
	struct kept_entry *entry = append(builder, found->name);
	struct kept_counts *own = &builder->dir->own;
	const struct want want = item != NULL ? want_of(item) : (struct want){.node = NULL};

	entry->stat = found->stat;
	own->entries++;
	if (S_ISREG(found->stat.mode)) {
		own->files++;
		own->bytes += found->stat.size;
	}
	if (!S_ISDIR(found->stat.mode)) {
		distrust_fresh(recycling, &entry->stat);
		return 0;
	}
	if (item != NULL && item->kept != NULL) {
		entry->dir = item->kept;
		item->kept = NULL;
		return 0;
	}
	return note_below(recycling, cursor, found->name, &want, &entry->dir);
}

/* Strangers to the plan, and outputs, are not noted: they will go. */
static int
note_exposed(struct recycling *recycling, struct place_cursor *cursor, const struct want *want,
    const struct items *items, struct kept_dir **ret_dir)
{
	struct scan_entry *found;
	struct builder builder;
	size_t count, names_size = 0;

	int rc = scan_directory(recycling->stager->arena, cursor->fd, &found, &count);
	if (rc != 0)
		return rc;
	for (size_t i = 0; i < count; i++)
		names_size += strlen(found[i].name) + 1;
	rc = start(&builder, count, names_size);
	for (size_t i = 0; rc == 0 && i < count; i++) {
		struct item *item = items_find(items, found[i].name);
		if (want_is_spine(want) && (item == NULL || item->is_own))
			continue;
		rc = note_entry(recycling, cursor, &builder, &found[i], item);
	}
	if (rc != 0) {
		kept_dir_free(builder.dir);
		return rc;
	}
	builder.dir->is_exposed = true;
	builder.dir->is_spine = want_is_spine(want);
	kept_sum(builder.dir);
	*ret_dir = builder.dir;
	return 0;
}

int
kept_note(struct recycling *recycling, struct place_cursor *cursor, const struct want *want,
    struct items *items, struct kept_dir **ret_dir)
{
	if (want_is_exposed(recycling, want))
		return note_exposed(recycling, cursor, want, items, ret_dir);
	return note_items(recycling, items, ret_dir);
}
