/*
 * Subtrees that are to be placed for the first time, as parts of one image: worth it where that
 * costs less than to link them all, what the action pays more to look at them included.
 *
 * The image's root is a Directory of ours: one entry for each such subtree, named by its digest.
 * So the same subtrees make the same image wherever they lie in the input tree.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cas/image.h"
#include "workers/stage_plan.h"

enum {
	COLD_ROOM_FIRST = 32,
	IMAGE_BINDS_MAX = 512,
	PARTS_ENTRIES_MAX =
	    IMAGE_ENTRIES_MAX / 2, /* whatever their names, it is within its bytes */
};

void
plan_cold_add(struct planner *planner, struct plan_node *node)
{
	struct plan_cold *cold = &planner->cold;

	if (cold->count == cold->room) {
		size_t room = cold->room == 0 ? COLD_ROOM_FIRST : cold->room * 2;
		struct plan_node **nodes =
		    arena_alloc(planner->arena, room * sizeof(struct plan_node *));
		for (size_t i = 0; i < cold->count; i++)
			nodes[i] = cold->nodes[i];
		cold->nodes = nodes;
		cold->room = room;
	}
	cold->nodes[cold->count++] = node;
}

static int
by_digest(const void *a, const void *b)
{
	const struct plan_node *const *x = a, *const *y = b;

	return digest_compare(&(*x)->digest, &(*y)->digest);
}

/* Two entries of one digest are one. */
static size_t
sorted(const struct planner *planner, struct plan_node ***ret_nodes)
{
	const struct plan_cold *cold = &planner->cold;
	struct plan_node **nodes =
	    arena_alloc(planner->arena, (cold->count + 1) * sizeof(struct plan_node *));
	size_t count = 0, kept = 0;

	for (size_t i = 0; i < cold->count; i++)
		if (cold->nodes[i]->in_image)
			nodes[count++] = cold->nodes[i];
	qsort(nodes, count, sizeof(struct plan_node *), by_digest);
	for (size_t i = 0; i < count; i++)
		if (kept == 0 || !digest_equal(&nodes[i]->digest, &nodes[kept - 1]->digest))
			nodes[kept++] = nodes[i];
	*ret_nodes = nodes;
	return kept;
}

/* Of one subtree: bound, encoded, and what the action pays more for looking at it. */
uint64_t
plan_image_part_ns(const struct planner *planner, const struct plan_node *node)
{
	const uint32_t *ns = planner->costs->ns;
	const struct index_tree *totals = &node->dir->totals;
	uint64_t touched = (uint64_t)totals->files * COST_TOUCHED_PERCENT / 100;

	return ns[COST_BIND] +
	    (uint64_t)(totals->files + totals->directories) * ns[COST_IMAGE_FILE] +
	    touched * ns[COST_TOUCH_IMAGE];
}

static uint64_t
entries_of(const struct plan_node *node)
{
	const struct index_tree *totals = &node->dir->totals;

	return (uint64_t)totals->files + totals->directories + totals->symlinks;
}

/* What linking them costs, and what an image of those does for which that is less. */
static size_t
estimate(struct planner *planner)
{
	const uint32_t *ns = planner->costs->ns;
	struct plan_cold *cold = &planner->cold;
	uint64_t entries = 0;
	size_t binds = 0;

	cold->links_ns = 0;
	cold->image_ns = ns[COST_IMAGE];
	for (size_t i = 0; i < cold->count; i++) {
		struct plan_node *node = cold->nodes[i];
		uint64_t part_ns = plan_image_part_ns(planner, node);
		uint64_t more = entries_of(node);
		node->in_image = binds < IMAGE_BINDS_MAX && entries + more < PARTS_ENTRIES_MAX &&
		    (planner->only_image || part_ns < node->cost_ns);
		entries += node->in_image ? more : 0;
		binds += node->in_image;
		cold->links_ns += node->cost_ns;
		cold->image_ns += node->in_image ? part_ns : node->cost_ns;
	}
	return binds;
}

static int
image_make(struct planner *planner)
{
	struct arena *arena = planner->arena;
	struct plan_image *image = arena_alloc(arena, sizeof(*image));
	struct plan_node **nodes;
	size_t count = sorted(planner, &nodes);
	struct tree_dir **parts = arena_alloc(arena, (count + 1) * sizeof(struct tree_dir *));

	for (size_t i = 0; i < count; i++)
		parts[i] = nodes[i]->dir;
	int rc = image_root(arena, parts, count, &image->dir);
	if (rc != 0)
		return rc;
	image->key = index_image_key(&image->dir->digest);
	planner->image = image;
	return 0;
}

int
plan_image(struct planner *planner, struct error_text *err)
{
	struct plan_cold *cold = &planner->cold;

	size_t parts = estimate(planner);
	if (!planner->may_image || parts == 0 ||
	    (!planner->only_image && cold->image_ns >= cold->links_ns)) {
		plan_forget_image(planner);
		return 0;
	}
	int rc = image_make(planner);
	return rc == 0 ? 0 : error_errno(err, rc, "an image of the input tree: cannot name it");
}

void
plan_forget_image(struct planner *planner)
{
	planner->image = NULL;
	for (size_t i = 0; i < planner->cold.count; i++)
		planner->cold.nodes[i]->in_image = false;
}
