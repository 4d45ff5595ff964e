/* The entries of the index, sorted so that a tree finds what lies inside it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cas/entry_check.h"

static int
tree_add(struct entry_list *list, uint32_t entry, const struct index_info *info)
{
	if (list->tree_count == list->tree_room) {
		size_t room = list->tree_room == 0 ? 64 : 2 * list->tree_room;
		struct entry_tree *grown = reallocarray(list->trees, room, sizeof(*grown));

		if (grown == NULL)
			return -ENOMEM;
		list->trees = grown;
		list->tree_room = room;
	}
	list->trees[list->tree_count++] = (struct entry_tree){.entry = entry,
	    .generation = info->generation,
	    .directory = info->directory,
	    .published_us = info->published_us};
	return 0;
}

static int
inside_add(struct entry_list *list, uint32_t entry, const struct index_info *info)
{
	struct entry_inside *item;

	if (list->inside_count == list->inside_room) {
		size_t room = list->inside_room == 0 ? 256 : 2 * list->inside_room;
		struct entry_inside *grown = reallocarray(list->insides, room, sizeof(*grown));

		if (grown == NULL)
			return -ENOMEM;
		list->insides = grown;
		list->inside_room = room;
	}
	item = &list->insides[list->inside_count];
	*item = (struct entry_inside){.entry = entry,
	    .generation = info->generation,
	    .host = info->host,
	    .directory = info->directory,
	    .path = strdup(info->path)};
	if (item->path == NULL)
		return -ENOMEM;
	list->inside_count++;
	return 0;
}

static int
tree_compare(const void *a, const void *b)
{
	return digest_compare(
	    &((const struct entry_tree *)a)->directory, &((const struct entry_tree *)b)->directory);
}

static int
inside_compare(const void *a, const void *b)
{
	const struct entry_inside *left = a, *right = b;
	int order = digest_compare(&left->host, &right->host);

	return order != 0 ? order : strcmp(left->path, right->path);
}

/* Both are in the order of the trees' digests.  What was read of a host not in the list goes
 * unused.
 */
static void
insides_assign(struct entry_list *list)
{
	size_t at = 0;

	for (size_t i = 0; i < list->tree_count; i++) {
		struct entry_tree *tree = &list->trees[i];

		while (at < list->inside_count &&
		    digest_compare(&list->insides[at].host, &tree->directory) < 0)
			at++;
		tree->first_inside = at;
		while (at < list->inside_count &&
		    digest_equal(&list->insides[at].host, &tree->directory))
			at++;
		tree->inside_count = at - tree->first_inside;
	}
}

int
entry_list_read(const struct region *region, const struct digest *only, struct entry_list *ret_list)
{
	struct entry_list list = {.trees = NULL};
	uint32_t count = region_entry_count(region);
	int rc = 0;

	for (uint32_t entry = 0; rc == 0 && entry < count; entry++) {
		struct index_info info;

		if (index_read(region, entry, &info) != 0 || info.state != INDEX_READY ||
		    (only != NULL && !digest_equal(&info.host, only)))
			continue;
		rc = info.inside ? inside_add(&list, entry, &info) : tree_add(&list, entry, &info);
	}
	if (rc != 0) {
		entry_list_fini(&list);
		return rc;
	}
	if (list.tree_count > 1)
		qsort(list.trees, list.tree_count, sizeof(*list.trees), tree_compare);
	if (list.inside_count > 1)
		qsort(list.insides, list.inside_count, sizeof(*list.insides), inside_compare);
	insides_assign(&list);
	*ret_list = list;
	return 0;
}

void
entry_list_fini(struct entry_list *list)
{
	for (size_t i = 0; i < list->inside_count; i++)
		free(list->insides[i].path);
	free(list->insides);
	free(list->trees);
	*list = (struct entry_list){.trees = NULL};
}
