#include "workers/spine.h"

#include <string.h>

#include "base/fs.h"

enum { CHILDREN_LISTED = 16 };

static size_t
hash_name(const char *name, size_t len)
{
	uint64_t hash = 14695981039346656037ull;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (unsigned char)name[i]) * 1099511628211ull;
	return (size_t)(hash ^ hash >> 32);
}

static void
bucket_put(struct spine *parent, struct spine *child)
{
	size_t bucket = hash_name(child->name, child->name_len) & (parent->bucket_count - 1);

	child->in_bucket = parent->buckets[bucket];
	parent->buckets[bucket] = child;
}

static void
bucket_grow(struct arena *arena, struct spine *parent)
{
	parent->bucket_count = parent->bucket_count == 0 ? 64 : parent->bucket_count * 4;
	parent->buckets = arena_alloc(arena, parent->bucket_count * sizeof(struct spine *));
	for (struct spine *child = parent->first; child != NULL; child = child->next)
		bucket_put(parent, child);
}

static struct spine *
find(const struct spine *parent, const char *name, size_t len)
{
	struct spine *child = parent->first;

	if (parent->buckets != NULL) {
		child = parent->buckets[hash_name(name, len) & (parent->bucket_count - 1)];
		while (child != NULL &&
		    (child->name_len != len || memcmp(child->name, name, len) != 0))
			child = child->in_bucket;
		return child;
	}
	while (child != NULL && (child->name_len != len || memcmp(child->name, name, len) != 0))
		child = child->next;
	return child;
}

struct spine *
spine_find(const struct spine *spine, const char *name)
{
	return spine == NULL ? NULL : find(spine, name, strlen(name));
}

static struct spine *
add(struct arena *arena, struct spine *parent, const char *name, size_t len)
{
	struct spine *child = arena_alloc(arena, sizeof *child);

	child->name = arena_printf(arena, "%.*s", (int)len, name);
	child->name_len = len;
	if (parent->last == NULL)
		parent->first = child;
	else
		parent->last->next = child;
	parent->last = child;
	parent->child_count++;
	if (parent->buckets != NULL)
		bucket_put(parent, child);
	if (parent->child_count > CHILDREN_LISTED && parent->child_count > parent->bucket_count * 2)
		bucket_grow(arena, parent);
	return child;
}

/* The node of a path, with all its parents marked as made. */
static int
add_path(struct arena *arena, struct spine *root, const char *what, const char *path,
    struct spine **ret_node, struct error_text *err)
{
	struct spine *node = root;
	int rc = fs_path_check(path, FS_PATH_EMPTY_OK);

	if (rc != 0)
		return error_errno(
		    err, rc, "%s \"%s\": not a path below the input root", what, path);
	while (*path != '\0') {
		size_t len = strcspn(path, "/");
		struct spine *child = find(node, path, len);
		if (child == NULL)
			child = add(arena, node, path, len);
		node->is_made = true;
		node = child;
		path += len + (path[len] == '/');
	}
	*ret_node = node;
	return 0;
}

int
spine_new(struct arena *arena, const struct stage_request *request, struct spine **ret_root,
    struct error_text *err)
{
	struct spine *root = arena_alloc(arena, sizeof *root), *node;

	root->name = "";
	root->is_made = true;
	int rc = add_path(arena, root, "working directory", request->working_directory, &node, err);
	if (rc != 0)
		return rc;
	node->is_made = true;
	for (size_t i = 0; i < request->output_count; i++) {
		rc = add_path(arena, root, "output", request->output_paths[i], &node, err);
		if (rc != 0)
			return rc;
		node->is_whole = true;
	}
	for (size_t i = 0; i < request->output_directory_count; i++) {
		rc = add_path(
		    arena, root, "output directory", request->output_directories[i], &node, err);
		if (rc != 0)
			return rc;
		node->is_made = node->is_whole = true;
	}
	*ret_root = root;
	return 0;
}
