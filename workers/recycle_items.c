#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "workers/recycle_internal.h"

static int
compare_names(const void *a, const void *b)
{
	const struct item *left = a, *right = b;

	return strcmp(left->name, right->name);
}

static void
sort_items(struct items *items)
{
	for (size_t i = 1; i < items->count; i++) {
		if (strcmp(items->list[i - 1].name, items->list[i].name) > 0) {
			qsort(items->list, items->count, sizeof(struct item), compare_names);
			return;
		}
	}
}

static void
add_files(struct items *items, const ReapiDirectory *message, const struct plan_node *node)
{
	for (size_t i = 0; i < message->n_files; i++) {
		const ReapiFileNode *file = message->files[i];
		items->list[items->count++] = (struct item){
		    .name = file->name,
		    .kind = ITEM_FILE,
		    .file = file,
		    .is_own = node != NULL && spine_find(node->spine, file->name) != NULL,
		};
	}
	for (size_t i = 0; i < message->n_symlinks; i++)
		items->list[items->count++] = (struct item){
		    .name = message->symlinks[i]->name,
		    .kind = ITEM_SYMLINK,
		    .symlink = message->symlinks[i],
		};
}

static size_t
count_items(const ReapiDirectory *message)
{
	return message->n_files + message->n_symlinks + message->n_directories;
}

static int
items_of_message(struct arena *arena, const ReapiDirectory *message, struct items *ret_items)
{
	struct items items = {
	    .list = arena_alloc(arena, (count_items(message) + 1) * sizeof(struct item))};

	add_files(&items, message, NULL);
	for (size_t i = 0; i < message->n_directories; i++) {
		struct item *item = &items.list[items.count++];
		item->name = message->directories[i]->name;
		item->kind = ITEM_DIRECTORY;
		int rc = reapi_digest_get(message->directories[i]->digest, &item->digest);
		if (rc != 0)
			return rc;
	}
	sort_items(&items);
	*ret_items = items;
	return 0;
}

/* A directory of the spine: which of those in it are so too, or outputs, the plan knows. */
static void
items_of_node(struct arena *arena, const struct plan_node *node, struct items *ret_items)
{
	const ReapiDirectory *message = node->dir != NULL ? node->dir->message : NULL;
	size_t count = message != NULL ? count_items(message) : 0;

	for (const struct plan_node *child = node->first; child != NULL; child = child->next)
		count++;
	struct items items = {.list = arena_alloc(arena, (count + 1) * sizeof(struct item))};
	if (message != NULL)
		add_files(&items, message, node);
	for (const struct plan_node *child = node->first; child != NULL; child = child->next)
		items.list[items.count++] = (struct item){
		    .name = child->name,
		    .kind = ITEM_DIRECTORY,
		    .digest = child->digest,
		    .node = child,
		    .is_own = child->is_whole,
		};
	sort_items(&items);
	*ret_items = items;
}

static int
items_of_directory(struct recycling *recycling, struct tree_loader *loader,
    const struct digest *digest, struct items *ret_items)
{
	struct error_text unused;
	struct tree_dir *dir;

	if (digest_is_empty(digest)) {
		*ret_items = (struct items){0};
		return 0;
	}
	int rc = tree_load_one(loader, digest, &dir, &unused);
	if (rc != 0)
		return rc;
	if (dir->message == NULL)
		return 1;
	return items_of_message(recycling->stager->arena, dir->message, ret_items);
}

int
items_of_old(struct recycling *recycling, const struct digest *digest, struct items *ret_items)
{
	int rc = items_of_directory(recycling, recycling->old, digest, ret_items);

	return rc == -ENOMEM ? rc : rc != 0;
}

int
items_of_want(struct recycling *recycling, const struct want *want, struct items *ret_items)
{
	if (!want_is_spine(want))
		return items_of_directory(
		    recycling, &recycling->stager->loader, &want->digest, ret_items);
	items_of_node(recycling->stager->arena, want->node, ret_items);
	return 0;
}

struct item *
items_find(const struct items *items, const char *name)
{
	const struct item key = {.name = name};

	if (items->count == 0)
		return NULL;
	return bsearch(&key, items->list, items->count, sizeof(struct item), compare_names);
}

static bool
digests_same(const ReapiDigest *a, const ReapiDigest *b)
{
	return a->size_bytes == b->size_bytes && strcmp(a->hash, b->hash) == 0;
}

/* A file with a mode or time of its own is placed again: two of these need not be compared. */
bool
items_same(const struct item *old, const struct item *want)
{
	if (old == NULL || old->kind != want->kind || want->is_own)
		return false;
	if (want->kind == ITEM_SYMLINK)
		return strcmp(old->symlink->target, want->symlink->target) == 0;
	return want->kind == ITEM_FILE && old->file->is_executable == want->file->is_executable &&
	    digests_same(old->file->digest, want->file->digest) &&
	    !place_has_properties(old->file) && !place_has_properties(want->file);
}

struct want
want_of(const struct item *item)
{
	return (struct want){.digest = item->digest, .node = item->node};
}

bool
want_is_exposed(const struct recycling *recycling, const struct want *want)
{
	return !recycling->seals || want_is_spine(want);
}

bool
recycle_is_same(const struct recycling *recycling, const struct kept_dir *dir,
    const struct digest *old, const struct want *want)
{
	return !dir->is_spine && !want_is_spine(want) &&
	    dir->is_exposed == want_is_exposed(recycling, want) && digest_equal(old, &want->digest);
}
