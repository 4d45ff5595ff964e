/*
 * Adding nodes to a tree.  The grafts are sorted so that all that concern one name are neighbours,
 * the one that ends there first; each level makes one new Directory.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/fs.h"
#include "cas/directory.h"

struct graft_run {
	struct cas *cas;
	struct arena *arena;
	struct error_text *err;
};

static const struct tree_graft *const *
first_after(const struct tree_graft *const *at, const struct tree_graft *const *end, size_t skip,
    size_t len)
{
	const char *name = (*at)->path + skip;

	while (at < end) {
		const char *other = (*at)->path + skip;

		if (strncmp(other, name, len) != 0 || (other[len] != '\0' && other[len] != '/'))
			break;
		at++;
	}
	return at;
}

/* '/' before everything else, so that what lies below a name follows it directly. */
static int
graft_compare(const void *a, const void *b)
{
	const char *left = (*(const struct tree_graft *const *)a)->path;
	const char *right = (*(const struct tree_graft *const *)b)->path;

	while (*left != '\0' && *left == *right) {
		left++;
		right++;
	}
	if (*left == *right)
		return 0;
	if (*left == '\0' || *right == '\0')
		return *left == '\0' ? -1 : 1;
	if (*left == '/' || *right == '/')
		return *left == '/' ? -1 : 1;
	return (unsigned char)*left < (unsigned char)*right ? -1 : 1;
}

static size_t
node_remove(void **nodes, size_t count, size_t at)
{
	memmove(&nodes[at], &nodes[at + 1], (count - at - 1) * sizeof(*nodes));
	return count - 1;
}

/* Takes the name out of a Directory; a directory's digest is kept in *ret_digest. */
enum was { WAS_NOTHING, WAS_DIRECTORY, WAS_OTHER };

static enum was
name_take(ReapiDirectory *directory, const char *name, struct digest *ret_digest)
{
	for (size_t i = 0; i < directory->n_files; i++)
		if (strcmp(directory->files[i]->name, name) == 0) {
			directory->n_files =
			    node_remove((void **)directory->files, directory->n_files, i);
			return WAS_OTHER;
		}
	for (size_t i = 0; i < directory->n_symlinks; i++)
		if (strcmp(directory->symlinks[i]->name, name) == 0) {
			directory->n_symlinks =
			    node_remove((void **)directory->symlinks, directory->n_symlinks, i);
			return WAS_OTHER;
		}
	for (size_t i = 0; i < directory->n_directories; i++)
		if (strcmp(directory->directories[i]->name, name) == 0) {
			CHECK(reapi_digest_get(directory->directories[i]->digest, ret_digest) == 0);
			directory->n_directories = node_remove(
			    (void **)directory->directories, directory->n_directories, i);
			return WAS_DIRECTORY;
		}
	return WAS_NOTHING;
}

static void *
nodes_append(struct arena *arena, void *nodes, size_t *count, void *node)
{
	void **longer = arena_alloc(arena, (*count + 1) * sizeof(*longer));

	if (*count > 0)
		memcpy(longer, nodes, *count * sizeof(*longer));
	longer[(*count)++] = node;
	return longer;
}

static void
directory_add(
    struct arena *arena, ReapiDirectory *directory, char *name, const struct digest *digest)
{
	ReapiDirectoryNode *node = REAPI_NEW(arena, directory_node);

	node->name = name;
	node->digest = reapi_digest_new(arena, digest);
	directory->directories =
	    nodes_append(arena, directory->directories, &directory->n_directories, node);
}

static void
leaf_add(struct arena *arena, ReapiDirectory *directory, char *name, const struct tree_graft *graft)
{
	if (graft->kind == GRAFT_FILE) {
		ReapiFileNode *node = REAPI_NEW(arena, file_node);

		node->name = name;
		node->digest = reapi_digest_new(arena, &graft->digest);
		node->is_executable = graft->executable;
		directory->files = nodes_append(arena, directory->files, &directory->n_files, node);
	} else if (graft->kind == GRAFT_SYMLINK) {
		ReapiSymlinkNode *node = REAPI_NEW(arena, symlink_node);

		node->name = name;
		node->target = arena_strdup(arena, graft->target);
		directory->symlinks =
		    nodes_append(arena, directory->symlinks, &directory->n_symlinks, node);
	} else {
		directory_add(arena, directory, name, &graft->digest);
	}
}

static int graft_level(struct graft_run *run, const struct digest *base,
    const struct tree_graft *const *from, const struct tree_graft *const *to, size_t skip,
    unsigned depth, struct digest *ret_digest);

/* All grafts whose path continues with one name. */
static int
graft_name(struct graft_run *run, ReapiDirectory *directory, const struct tree_graft *const *from,
    const struct tree_graft *const *to, size_t skip, size_t len, unsigned depth)
{
	const struct tree_graft *graft = *from;
	char *name = arena_printf(run->arena, "%.*s", (int)len, graft->path + skip);
	struct digest below = digest_empty;
	enum was was = name_take(directory, name, &below);
	bool leaf = graft->path[skip + len] == '\0';
	int rc;

	if (leaf && to - from == 1) {
		leaf_add(run->arena, directory, name, graft);
		return 0;
	}
	if (leaf && strcmp(from[1]->path, graft->path) == 0)
		return error_set(run->err, -EINVAL, "%s: grafted twice", graft->path);
	if ((leaf && graft->kind != GRAFT_DIRECTORY) || (!leaf && was == WAS_OTHER))
		return error_set(run->err, -ENOTDIR, "%s: '%s' on the way is no directory",
		    from[leaf]->path, name);
	if (leaf)
		below = graft->digest;
	rc = graft_level(run, &below, from + leaf, to, skip + len + 1, depth + 1, &below);
	if (rc == 0)
		directory_add(run->arena, directory, name, &below);
	return rc;
}

static int
graft_level(struct graft_run *run, const struct digest *base, const struct tree_graft *const *from,
    const struct tree_graft *const *to, size_t skip, unsigned depth, struct digest *ret_digest)
{
	ReapiDirectory *directory;
	int rc;

	if (depth > TREE_DEPTH_MAX)
		return error_set(run->err, -EINVAL, "%s: too deep", (*from)->path);
	rc = directory_load(run->cas, run->arena, base, &directory, run->err);
	while (rc == 0 && from < to) {
		size_t len = strcspn((*from)->path + skip, "/");
		const struct tree_graft *const *next = first_after(from, to, skip, len);

		rc = graft_name(run, directory, from, next, skip, len, depth);
		from = next;
	}
	if (rc != 0)
		return rc;
	rc = directory_store(run->cas, run->arena, directory, ret_digest);
	return rc != 0 ? error_errno(run->err, rc, "cannot store a Directory") : 0;
}

static int
graft_check(const struct tree_graft *graft, struct error_text *err)
{
	if (fs_path_check(graft->path, 0) != 0)
		return error_set(err, -EINVAL, "'%s' is not a plain relative path", graft->path);
	if (graft->kind == GRAFT_SYMLINK && (graft->target == NULL || *graft->target == '\0'))
		return error_set(err, -EINVAL, "%s: a symlink without a target", graft->path);
	return 0;
}

int
tree_graft(struct cas *cas, const struct digest *base, const struct tree_graft *grafts,
    size_t count, struct digest *ret_root, struct error_text *err)
{
	struct graft_run run = {.cas = cas, .err = err};
	const struct tree_graft **sorted;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < count; i++)
		rc = graft_check(&grafts[i], err);
	if (rc != 0)
		return rc;
	sorted = calloc(count + 1, sizeof(struct tree_graft *));
	if (sorted == NULL)
		return error_errno(err, -ENOMEM, "%zu grafts", count);
	for (size_t i = 0; i < count; i++)
		sorted[i] = &grafts[i];
	qsort(sorted, count, sizeof(struct tree_graft *), graft_compare);
	run.arena = arena_new();
	rc = graft_level(&run, base, sorted, sorted + count, 0, 1, ret_root);
	arena_free(run.arena);
	free(sorted);
	return rc;
}
