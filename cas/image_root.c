#include <errno.h>

#include "cas/hash.h"
#include "cas/image.h"

int
image_root(
    struct arena *arena, struct tree_dir *const *parts, size_t count, struct tree_dir **ret_root)
{
	struct tree_dir *root = arena_alloc(arena, sizeof(*root));
	ReapiDirectory *message = REAPI_NEW(arena, directory);
	char name[DIGEST_TEXT_SIZE];
	size_t len;

	message->directories = arena_alloc(arena, (count + 1) * sizeof(ReapiDirectoryNode *));
	root->children = arena_alloc(arena, (count + 1) * sizeof(struct tree_dir *));
	root->totals.directories = 1;
	for (size_t i = 0; i < count; i++) {
		ReapiDirectoryNode *entry = REAPI_NEW(arena, directory_node);

		entry->name = arena_strdup(arena, index_tree_name(&parts[i]->digest, name));
		entry->digest = reapi_digest_new(arena, &parts[i]->digest);
		message->directories[message->n_directories++] = entry;
		root->children[i] = parts[i];
		tree_totals_add(root, parts[i]);
		if ((uint64_t)root->totals.files + root->totals.directories +
			root->totals.symlinks >
		    IMAGE_ENTRIES_MAX)
			return -E2BIG;
	}
	root->message = message;
	root->children_read = true;
	const uint8_t *bytes = reapi_encode(arena, &message->base, &len);
	int rc = hash_bytes(bytes, len, &root->digest);
	if (rc == 0)
		*ret_root = root;
	return rc;
}
