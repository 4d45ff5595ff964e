/*
 * Large flat directories of the spine: their loose files become a tree of ours, named by a digest
 * as any other, which is cached and lies below the sandbox as an overlay's lower layer.
 *
 * That tree's Directories hold, of the input's, what is flat and the way to it.  They are put into
 * the store only when the tree is to be built.
 */
#include <errno.h>
#include <string.h>

#include "cas/hash.h"
#include "workers/stage_plan.h"

struct flat {
	struct planner *planner;
	bool store; /* the Directories: the tree is to be built */
};

static size_t
loose_count(const struct plan_node *node)
{
	bool is_ours = node->kind == PLAN_SPINE && !node->is_whole && node->dir != NULL;

	return is_ours ? node->dir->message->n_files + node->dir->message->n_symlinks : 0;
}

static bool
is_flat(const struct planner *planner, const struct plan_node *node)
{
	return loose_count(node) >= planner->flat_min;
}

static int
digest_of(struct flat *flat, const ReapiDirectory *message, struct digest *ret_digest)
{
	size_t len;
	uint8_t *bytes = reapi_encode(flat->planner->arena, &message->base, &len);

	if (flat->store)
		return cas_put_bytes(flat->planner->loader->cas, bytes, len, ret_digest);
	return hash_bytes(bytes, len, ret_digest);
}

static int flat_digest(
    struct flat *flat, const struct plan_node *node, struct digest *ret_digest, bool *ret_any);

/* The way down to flat directories, in the input's order. */
static int
children_add(struct flat *flat, const struct plan_node *node, ReapiDirectory *message)
{
	struct arena *arena = flat->planner->arena;
	size_t count = node->dir->message->n_directories;

	message->directories = arena_alloc(arena, (count + 1) * sizeof(void *));
	for (const struct plan_node *child = node->first; child != NULL; child = child->next) {
		struct digest digest;
		bool any;
		int rc = flat_digest(flat, child, &digest, &any);
		if (rc != 0)
			return rc;
		if (!any)
			continue;
		ReapiDirectoryNode *entry = REAPI_NEW(arena, directory_node);
		entry->name = arena_strdup(arena, child->name);
		entry->digest = reapi_digest_new(arena, &digest);
		message->directories[message->n_directories++] = entry;
	}
	return 0;
}

/* *ret_any: something below is flat, or the directory itself. */
static int
flat_digest(
    struct flat *flat, const struct plan_node *node, struct digest *ret_digest, bool *ret_any)
{
	*ret_any = false;
	if (node->kind != PLAN_SPINE || node->is_whole || node->dir == NULL)
		return 0;
	const ReapiDirectory *all = node->dir->message;
	ReapiDirectory *message = REAPI_NEW(flat->planner->arena, directory);
	int rc = children_add(flat, node, message);
	if (rc != 0)
		return rc;
	*ret_any = is_flat(flat->planner, node) || message->n_directories > 0;
	if (!*ret_any)
		return 0;
	if (is_flat(flat->planner, node)) {
		message->files = all->files;
		message->n_files = all->n_files;
		message->symlinks = all->symlinks;
		message->n_symlinks = all->n_symlinks;
		if (all->n_directories == 0) { /* it is that Directory itself */
			*ret_digest = node->digest;
			return 0;
		}
	}
	return digest_of(flat, message, ret_digest);
}

static int
mark(void *arg, struct plan_node *node)
{
	if (is_flat(arg, node))
		node->lower = LOWER_LOOSE;
	return 0;
}

int
plan_flat(struct planner *planner, struct plan_node *root, struct error_text *err)
{
	struct flat flat = {.planner = planner};
	struct plan_node *node = NULL;
	struct digest digest;
	bool any;

	if (planner->cached_left == 0)
		return 0;
	int rc = flat_digest(&flat, root, &digest, &any);
	if (rc == 0 && any)
		node = plan_pin(planner, &digest);
	if (rc == 0 && any && !node->is_pinned && !planner->look_only) {
		flat.store = true;
		rc = flat_digest(&flat, root, &digest, &any);
	}
	if (rc != 0)
		return error_errno(err, rc, "a large flat directory: cannot name its tree");
	if (!any)
		return 0;
	plan_each(root, mark, planner);
	planner->lower = node;
	return node->is_pinned || planner->look_only
	    ? 0
	    : tree_load(planner->loader, &digest, 0, &node->dir, err);
}
