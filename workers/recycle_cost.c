/* What it would cost to make a kept root into another: both trees are walked, equal digests not. */
#include "workers/recycle_internal.h"

enum { FIXED_NS = 60000 }; /* two renames and the like */

void
recycle_costs_of(const struct cost_model *model, bool links, struct recycle_costs *ret_costs)
{
	const uint32_t *ns = model->ns;

	/* To stat is about half of open, read and close; to open and list a directory, twice. */
	*ret_costs = (struct recycle_costs){
	    .look_ns = ns[COST_TOUCH] / 2 + 1,
	    .open_ns = ns[COST_TOUCH] * 2,
	    .make_ns = ns[COST_DIRECTORY],
	    .remove_ns = ns[COST_UNLINK],
	    .place_ns = ns[links ? COST_LINK : COST_COPY],
	    .fixed_ns = FIXED_NS,
	};
}

static void
add_same(struct recycling *recycling, const struct kept_dir *dir)
{
	const struct recycle_costs *costs = &recycling->costs;
	const struct kept_counts *all = &dir->all;

	if (dir->is_exposed)
		recycling->recycle_ns +=
		    all->entries * costs->look_ns + all->directories * costs->open_ns;
	recycling->place_ns +=
	    all->files * recycling->costs.place_ns + all->directories * costs->make_ns;
}

/* Files, and directories, that have to be placed either way. */
static void
add_placed(struct recycling *recycling, uint64_t files, uint64_t directories)
{
	uint64_t us = files * recycling->costs.place_ns + directories * recycling->costs.make_ns;

	recycling->recycle_ns += us;
	recycling->place_ns += us;
}

static int
add_whole(struct recycling *recycling, const struct want *want)
{
	const struct plan_node *node = want->node;
	struct error_text unused;
	struct tree_dir *dir;

	if (want_is_spine(want)) {
		add_placed(recycling, node->dir != NULL ? node->dir->message->n_files : 0, 1);
		int rc = 0;
		for (const struct plan_node *child = node->first; rc == 0 && child != NULL;
		     child = child->next) {
			const struct want below = {.digest = child->digest, .node = child};
			rc = add_whole(recycling, &below);
		}
		return rc;
	}
	if (node != NULL && node->is_pinned) {
		struct index_tree tree;
		index_tree_of(recycling->stager->region, &node->pin, &tree);
		add_placed(recycling, tree.files, tree.directories);
		return 0;
	}
	if (digest_is_empty(&want->digest)) {
		add_placed(recycling, 0, 1);
		return 0;
	}
	int rc = tree_load(&recycling->stager->loader, &want->digest, 0, &dir, &unused);
	if (rc != 0 || recycling->stager->loader.missing_count > 0)
		return 1;
	add_placed(recycling, dir->totals.files, dir->totals.directories);
	return 0;
}

static int add_dir(struct recycling *recycling, struct kept_dir **dir, const struct digest *old,
    const struct want *want);

static int
add_item(struct recycling *recycling, const struct kept_dir *dir, const struct items *olds,
    const struct item *item)
{
	const struct item *old = items_find(olds, item->name);
	const struct want want = want_of(item);

	if (item->kind != ITEM_DIRECTORY) {
		bool is_same = items_same(old, item);
		recycling->place_ns += recycling->costs.place_ns;
		recycling->recycle_ns += is_same ? 0 : recycling->costs.place_ns;
		return 0;
	}
	struct kept_entry *entry = kept_find(dir, item->name);
	if (item->is_own || entry == NULL || entry->dir == NULL)
		return add_whole(recycling, &want);
	bool was_input = old != NULL && old->kind == ITEM_DIRECTORY;
	return add_dir(recycling, &entry->dir, was_input ? &old->digest : &digest_empty, &want);
}

static int
add_dir(struct recycling *recycling, struct kept_dir **dir, const struct digest *old,
    const struct want *want)
{
	const struct recycle_costs *costs = &recycling->costs;
	struct items olds, wants;

	if (recycling->recycle_ns > recycling->limit_ns)
		return 1;
	if (recycle_is_same(recycling, *dir, old, want)) {
		add_same(recycling, *dir);
		return 0;
	}
	if (kept_expand(recycling, dir, old) != 0 || items_of_old(recycling, old, &olds) != 0) {
		recycling->recycle_ns += costs->remove_ns;
		return add_whole(recycling, want);
	}
	int rc = items_of_want(recycling, want, &wants);
	recycling->recycle_ns += costs->open_ns + (*dir)->count * costs->look_ns;
	recycling->place_ns += costs->make_ns;
	for (size_t i = 0; rc == 0 && i < wants.count; i++)
		rc = add_item(recycling, *dir, &olds, &wants.list[i]);
	for (size_t i = 0; rc == 0 && i < olds.count; i++) {
		const struct item *item = items_find(&wants, olds.list[i].name);
		if (item == NULL ||
		    !(item->kind == ITEM_DIRECTORY || items_same(&olds.list[i], item)))
			recycling->recycle_ns += costs->remove_ns;
	}
	return rc;
}

int
recycle_estimate(struct recycling *recycling, struct kept *kept, const struct want *want)
{
	recycling->recycle_ns = recycling->costs.fixed_ns;
	recycling->place_ns = 0;
	int rc = add_dir(recycling, &kept->dir, &kept->digest, want);
	return rc != 0 || recycling->recycle_ns > recycling->limit_ns;
}
