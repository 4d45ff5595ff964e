/* What a plan needs to be there before anything is placed: cached trees, an image, a lower layer.
 */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "shm/wanted.h"
#include "workers/stage_internal.h"

/* Of what is large enough to tell. */
enum { LEARN_FILES_MIN = 64 };

static void
learn_tree(struct stager *stager, const struct index_tree *tree, uint64_t build_us)
{
	const uint32_t *ns = stager->memory->costs.ns;
	uint64_t expected_ns = (uint64_t)tree->files * ns[COST_LINK] + ns[COST_TREE] +
	    (uint64_t)(tree->directories + tree->symlinks) * ns[COST_DIRECTORY];

	if (build_us == 0 || tree->files < LEARN_FILES_MIN)
		return;
	cost_learn(&stager->memory->costs, COST_LINK, expected_ns, build_us * 1000);
	cost_learn(&stager->memory->costs, COST_TREE, expected_ns, build_us * 1000);
}

static void
learn_image(struct stager *stager, const struct index_tree *tree, uint64_t us)
{
	uint64_t entries = (uint64_t)tree->files + tree->directories;

	if (tree->files >= LEARN_FILES_MIN)
		cost_learn(&stager->memory->costs, COST_IMAGE_FILE,
		    entries * stager->memory->costs.ns[COST_IMAGE_FILE], us * 1000);
}

/*
 * A subtree that the index lacks becomes a cached tree, or is placed file by file after all; what
 * is bound over another tree cannot be, and all has to be planned anew.
 */
static int
build_node(void *arg, struct plan_node *node)
{
	struct stager *stager = arg;

	if (node->kind != PLAN_CACHED || node->is_pinned || node->in_image)
		return 0;
	uint64_t before_us = stager->builder.build_us;
	int rc = tree_build(&stager->builder, node->dir, &node->pin);
	learn_tree(stager, &node->dir->totals, stager->builder.build_us - before_us);
	if (rc == 1 && node->in_patch)
		return COMPOSE_NO_PATCH;
	if (rc == 1) {
		node->kind = PLAN_PRIVATE;
		return 0;
	}
	if (rc == 0) {
		node->is_pinned = true;
		stager->pins[stager->pin_count++] = node->pin;
	}
	return rc == 0 ? 0 : placer_below(&stager->placer, rc, node->path);
}

/* The janitor builds what is placed again without being cached. */
static void
wish(struct stager *stager, bool all)
{
	const struct plan_cold *cold = &stager->planner.cold;

	for (size_t i = 0; i < cold->count; i++) {
		const struct plan_node *node = cold->nodes[i];
		if (node->kind != PLAN_CACHED || !node->in_image || !(all || node->is_again))
			continue;
		wanted_add(stager->slot, &node->digest);
		COUNTER_ADD(stager->slot, trees_wished, 1);
	}
}

/* Of the cold subtrees; when it cannot be had they are built as trees. */
static int
build_image(struct stager *stager)
{
	struct plan_image *image = stager->planner.image;
	uint64_t start = clock_monotonic_us();
	bool is_built;
	char location[INDEX_LOCATION_SIZE];
	struct index_pin pin;

	if (image == NULL)
		return 0;
	int rc = stage_image_get(&stager->builder, image->dir, &pin, &is_built);
	if (rc > 0 || rc == -E2BIG || rc == -EFBIG || rc == -ENAMETOOLONG ||
	    (rc != 0 && place_may_fall_back(-rc))) {
		stage_fell_back(stager, PLACE_IMAGE, rc > 0 ? EBUSY : -rc, "cached trees");
		plan_forget_image(&stager->planner);
		return 0;
	}
	if (rc != 0)
		return rc;
	stager->pins[stager->pin_count++] = pin;
	index_location(stager->region, &pin, location);
	image->location = arena_strdup(stager->arena, location);
	if (!stager->planner.only_image)
		wish(stager, !is_built);
	stager->image_us += clock_monotonic_us() - start;
	if (is_built)
		learn_image(stager, &image->dir->totals, clock_monotonic_us() - start);
	return 0;
}

/*
 * The overlay's lower layer.  When it cannot be had now (no room in the index, another process
 * builds it for too long) the files of flat directories are placed one by one; an input tree that
 * was to be below as a whole has to be planned anew.
 */
static int
build_lower(struct stager *stager, struct plan_node *root)
{
	struct plan_node *lower = stager->planner.lower;

	if (lower == NULL)
		return 0;
	int rc = build_node(stager, lower);
	if (rc != 0 || lower->is_pinned)
		return rc;
	stage_fell_back(stager, PLACE_OVERLAY, EBUSY,
	    stager->planner.overlay_whole ? "another way" : "file by file");
	if (stager->planner.overlay_whole)
		return COMPOSE_NO_OVERLAY;
	plan_forget_lower(&stager->planner, root);
	return 0;
}

int
stage_build_plan(struct stager *stager, struct plan_node *root)
{
	int rc = build_lower(stager, root);

	if (rc == 0)
		rc = build_image(stager);
	return rc == 0 ? plan_each(root, build_node, stager) : rc;
}
