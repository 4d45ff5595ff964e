#include "workers/stage_plan.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/check.h"
#include "cas/directory.h"

enum { PLAN_NODES_MAX = 1 << 20 };

static int plan_directory(
    struct planner *planner, struct plan_node *node, unsigned depth, struct error_text *err);
static int plan_child(struct planner *planner, struct plan_node *parent,
    const ReapiDirectoryNode *from, unsigned depth, struct error_text *err);

static int
too_deep(const struct plan_node *node, struct error_text *err)
{
	return error_set(
	    err, -EINVAL, "%.200s...: deeper than %d directories", node->path, TREE_DEPTH_MAX);
}

static int
check_count(const struct planner *planner, struct error_text *err)
{
	if (planner->nodes <= PLAN_NODES_MAX)
		return 0;
	return error_set(
	    err, -EINVAL, "input tree: more than %d directories to be made", PLAN_NODES_MAX);
}

struct plan_node *
plan_node_new(struct planner *planner, struct plan_node *parent, const char *name)
{
	struct plan_node *node = arena_alloc(planner->arena, sizeof *node);

	planner->nodes++;
	node->name = name;
	node->path = parent->path[0] == '\0'
	    ? name
	    : arena_printf(planner->arena, "%s/%s", parent->path, name);
	node->spine = spine_find(parent->spine, name);
	node->is_whole = parent->is_whole || (node->spine != NULL && node->spine->is_whole);
	if (parent->last == NULL)
		parent->first = node;
	else
		parent->last->next = node;
	parent->last = node;
	return node;
}

bool
plan_may_bind(const struct plan_node *parent, const char *name)
{
	return strlen(parent->path) + 1 + strlen(name) < PATH_MAX;
}

static bool
may_be_bound(const struct plan_node *node)
{
	return strlen(node->path) < PATH_MAX;
}

uint64_t
plan_files_ns(const struct planner *planner, const struct index_tree *tree, uint32_t file_ns)
{
	return (uint64_t)tree->files * file_ns +
	    (uint64_t)(tree->directories + tree->symlinks) * planner->costs->ns[COST_DIRECTORY];
}

/* What giving a cached tree to an action costs. */
static uint64_t
cached_ns(const struct planner *planner, const struct index_tree *tree)
{
	const uint32_t *ns = planner->costs->ns;

	return planner->clones ? (uint64_t)(tree->files + tree->directories) * ns[COST_CLONE_ENTRY]
			       : ns[COST_BIND];
}

/* The children of a Directory: what those cost that are cached, and what their links would. */
static void
parts_ns(const struct planner *planner, const ReapiDirectory *message, uint64_t *ret_parts_ns,
    uint64_t *ret_links_ns)
{
	*ret_links_ns = 0;
	*ret_parts_ns =
	    planner->clones ? 0 : (uint64_t)message->n_directories * planner->costs->ns[COST_BIND];
	for (size_t i = 0; i < message->n_directories; i++) {
		struct digest digest;
		struct index_info info;
		uint32_t entry;
		if (reapi_digest_get(message->directories[i]->digest, &digest) == 0 &&
		    index_find(planner->region, &digest, &entry) == 0 &&
		    index_read(planner->region, entry, &info) == 0 && info.state == INDEX_READY) {
			*ret_links_ns +=
			    plan_files_ns(planner, &info.tree, planner->costs->ns[COST_LINK]);
			*ret_parts_ns += planner->clones ? cached_ns(planner, &info.tree) : 0;
		}
	}
}

struct plan_seen *
plan_seen_find(const struct planner *planner, const struct digest *digest)
{
	struct plan_seen *seen;
	uint64_t word;

	memcpy(&word, digest->hash, sizeof word);
	seen = &planner->seen[word % PLAN_SEEN];
	if (seen->digest != word)
		*seen = (struct plan_seen){.digest = word};
	return seen;
}

/* Composing it once more costs less than all of its links, and so did all the times before. */
static bool
worth_composing(const struct planner *planner, const struct tree_dir *dir)
{
	const ReapiDirectory *message = dir->message;
	const uint32_t *ns = planner->costs->ns;
	uint64_t composed_ns, whole_ns, spent_ns;
	struct plan_seen *seen;

	if (planner->region == NULL || message->n_directories == 0 ||
	    message->n_directories >= planner->cached_left)
		return false;
	parts_ns(planner, message, &composed_ns, &whole_ns);
	if (whole_ns <= composed_ns)
		return false;
	seen = plan_seen_find(planner, &dir->digest);
	spent_ns = seen->spent_ns + composed_ns + message->n_files * (uint64_t)ns[COST_LINK];
	if (spent_ns > whole_ns + message->n_files * (uint64_t)ns[COST_LINK])
		return false;
	if (!planner->look_only)
		seen->spent_ns = (uint32_t)(spent_ns > UINT32_MAX ? UINT32_MAX : spent_ns);
	return true;
}

static int
plan_composed(
    struct planner *planner, struct plan_node *node, unsigned depth, struct error_text *err)
{
	int rc = 0;

	node->kind = PLAN_COMPOSED;
	for (size_t i = 0; rc == 0 && i < node->dir->message->n_directories; i++)
		rc = plan_child(planner, node, node->dir->message->directories[i], depth + 1, err);
	return rc;
}

/* To be placed for the first time; a tree of its own unless even giving that would cost as much. */
static void
plan_cold(struct planner *planner, struct plan_node *node)
{
	const uint32_t *ns = planner->costs->ns;
	const struct index_tree *totals = &node->dir->totals;
	/* What is placed so has to be deleted, too. */
	uint64_t loose_ns = plan_files_ns(planner, totals, planner->loose_ns + ns[COST_UNLINK]);
	struct plan_seen *seen = plan_seen_find(planner, &node->digest);

	node->is_again = seen->was_cold;
	seen->was_cold = seen->was_cold || !planner->look_only;
	if (may_be_bound(node))
		plan_cold_add(planner, node);
	if (planner->use_cached && planner->cached_left > 0 && may_be_bound(node) &&
	    loose_ns > cached_ns(planner, totals)) {
		node->kind = PLAN_CACHED;
		node->cost_ns = plan_files_ns(planner, totals, ns[COST_LINK]) + ns[COST_TREE] +
		    cached_ns(planner, totals);
		planner->cached_left--;
	} else {
		node->kind = PLAN_PRIVATE;
		node->cost_ns = loose_ns;
	}
}

static int
plan_whole(struct planner *planner, struct plan_node *node, unsigned depth, struct error_text *err)
{
	int rc = tree_load(planner->loader, &node->digest, depth, &node->dir, err);

	if (rc == 0 && node->dir->message != NULL)
		plan_cold(planner, node);
	return rc;
}

/* A subtree that the index lacks (or another process is building). */
static int
plan_missed(struct planner *planner, struct plan_node *node, unsigned depth, struct error_text *err)
{
	if (depth > TREE_DEPTH_MAX)
		return too_deep(node, err);
	int rc = tree_load_one(planner->loader, &node->digest, &node->dir, err);
	if (rc != 0 || node->dir->message == NULL)
		return rc;
	rc = plan_patched(planner, node, depth, err);
	if (rc <= 0)
		return rc;
	if (worth_composing(planner, node->dir))
		return plan_composed(planner, node, depth, err);
	return plan_whole(planner, node, depth, err);
}

/* 0: it is cached, and held unless the plan is only looked at. */
static int
pin(struct planner *planner, struct plan_node *node)
{
	struct index_info info = {.state = INDEX_ABSENT};
	uint32_t entry;
	int rc;

	if (planner->region == NULL) /* only to be explained, and there is no index */
		return -ENOENT;
	if (!planner->look_only) {
		rc = index_pin(planner->region, planner->slot, &node->digest, &node->pin);
		node->is_pinned = rc == 0;
		if (rc == 0)
			index_tree_of(planner->region, &node->pin, &info.tree);
		node->cost_ns = cached_ns(planner, &info.tree);
		return rc;
	}
	rc = index_find(planner->region, &node->digest, &entry);
	if (rc == 0)
		rc = index_read(planner->region, entry, &info);
	node->is_pinned = rc == 0 && info.state == INDEX_READY;
	node->cost_ns = cached_ns(planner, &info.tree);
	return node->is_pinned ? 0 : -ENOENT;
}

int
plan_pinned_or_cold(
    struct planner *planner, struct plan_node *node, unsigned depth, struct error_text *err)
{
	if (pin(planner, node) != 0)
		return plan_whole(planner, node, depth, err);
	node->kind = PLAN_CACHED;
	planner->cached_left--;
	return 0;
}

/* A subtree that the action does not write into. */
static int
plan_subtree(
    struct planner *planner, struct plan_node *node, unsigned depth, struct error_text *err)
{
	node->kind = PLAN_PRIVATE;
	if (planner->use_cached && !planner->only_image && planner->cached_left > 0 &&
	    may_be_bound(node)) {
		int rc = pin(planner, node);
		if (rc == 0) {
			node->kind = PLAN_CACHED;
			planner->cached_left--;
			return 0;
		}
		if ((rc == -ENOENT || rc == -EBUSY) && !planner->leave_unread)
			return plan_missed(planner, node, depth, err);
	}
	if (planner->leave_unread)
		return 0;
	return plan_whole(planner, node, depth, err);
}

static int
plan_child(struct planner *planner, struct plan_node *parent, const ReapiDirectoryNode *from,
    unsigned depth, struct error_text *err)
{
	struct spine *spine = spine_find(parent->spine, from->name);

	if (spine != NULL)
		spine->in_input = true;
	if (planner->overlay_whole && (spine == NULL || !spine->is_made))
		return 0; /* it is in the lower layer */
	struct plan_node *node = plan_node_new(planner, parent, from->name);
	int rc = check_count(planner, err);
	if (rc != 0)
		return rc;
	rc = reapi_digest_get(from->digest, &node->digest);
	if (rc != 0)
		return error_set(err, rc, "%s: a broken digest", node->path);
	if (node->is_whole || (node->spine != NULL && node->spine->is_made)) {
		node->kind = PLAN_SPINE;
		return plan_directory(planner, node, depth, err);
	}
	if (digest_is_empty(&node->digest)) {
		node->kind = PLAN_EMPTY;
		return 0;
	}
	return plan_subtree(planner, node, depth, err);
}

/* Is something else where a directory of the spine must be? */
static int
check_in_the_way(const struct plan_node *node, struct error_text *err)
{
	const ReapiDirectory *message = node->dir->message;

	for (size_t i = 0; i < message->n_files; i++) {
		const struct spine *spine = spine_find(node->spine, message->files[i]->name);
		if (spine != NULL && spine->is_made)
			return error_set(err, -EINVAL,
			    "%s%s%s: the input tree has a file where an output's directory or "
			    "the working directory must be",
			    node->path, node->path[0] == '\0' ? "" : "/", spine->name);
	}
	return 0;
}

/* Where a symlink is, no directory is made: it may lead to one. */
static void
note_symlinks(const struct plan_node *node)
{
	const ReapiDirectory *message = node->dir->message;

	for (size_t i = 0; i < message->n_symlinks; i++) {
		struct spine *spine = spine_find(node->spine, message->symlinks[i]->name);
		if (spine != NULL)
			spine->in_input = true;
	}
}

/* Directories that only the outputs ask for. */
static int
plan_made(struct planner *planner, struct plan_node *node, unsigned depth, struct error_text *err)
{
	if (node->spine == NULL)
		return 0;
	for (const struct spine *spine = node->spine->first; spine != NULL; spine = spine->next) {
		if (!spine->is_made || spine->in_input)
			continue;
		struct plan_node *child = plan_node_new(planner, node, spine->name);
		child->kind = PLAN_SPINE;
		child->digest = digest_empty;
		int rc = check_count(planner, err);
		if (rc == 0)
			rc = plan_directory(planner, child, depth + 1, err);
		if (rc != 0)
			return rc;
	}
	return 0;
}

static int
plan_directory(
    struct planner *planner, struct plan_node *node, unsigned depth, struct error_text *err)
{
	if (depth > TREE_DEPTH_MAX)
		return too_deep(node, err);
	if (!digest_is_empty(&node->digest)) {
		int rc = tree_load_one(planner->loader, &node->digest, &node->dir, err);
		if (rc != 0)
			return rc;
		if (node->dir->message == NULL) /* missing, and noted */
			return 0;
		rc = check_in_the_way(node, err);
		note_symlinks(node);
		for (size_t i = 0; rc == 0 && i < node->dir->message->n_directories; i++)
			rc = plan_child(
			    planner, node, node->dir->message->directories[i], depth + 1, err);
		if (rc != 0)
			return rc;
		if (planner->overlay_whole)
			node->lower = LOWER_ALL;
	}
	return plan_made(planner, node, depth, err);
}

int
plan_make(struct planner *planner, const struct digest *root, const struct spine *spine,
    struct plan_node **ret_root, struct error_text *err)
{
	struct plan_node *node = arena_alloc(planner->arena, sizeof *node);

	node->kind = PLAN_SPINE;
	node->name = node->path = "";
	node->spine = spine;
	node->is_whole = spine->is_whole;
	node->digest = *root;
	*ret_root = node; /* set even on failure: pins are in it */
	planner->overlay_whole = planner->overlay_whole && !digest_is_empty(root);
	int rc = plan_directory(planner, node, 0, err);
	if (rc != 0 || planner->loader->missing_count > 0)
		return rc;
	if (!planner->overlay_whole) {
		rc = plan_image(planner, err);
		return rc == 0 && planner->flat_min > 0 ? plan_flat(planner, node, err) : rc;
	}
	struct plan_node *lower = planner->lower = plan_pin(planner, root);
	return lower->is_pinned ? 0 : tree_load(planner->loader, root, 0, &lower->dir, err);
}

struct plan_node *
plan_pin(struct planner *planner, const struct digest *digest)
{
	struct plan_node *node = arena_alloc(planner->arena, sizeof *node);

	node->kind = PLAN_CACHED;
	node->name = node->path = "";
	node->digest = *digest;
	(void)pin(planner, node);
	return node;
}

static int
forget(void *arg, struct plan_node *node)
{
	node->lower = LOWER_NONE;
	return 0;
}

void
plan_forget_lower(struct planner *planner, struct plan_node *root)
{
	planner->lower = NULL;
	plan_each(root, forget, NULL);
}

int
plan_each(struct plan_node *node, int (*visit)(void *arg, struct plan_node *node), void *arg)
{
	int rc = visit(arg, node);

	for (struct plan_node *child = node->first; rc == 0 && child != NULL; child = child->next)
		rc = plan_each(child, visit, arg);
	return rc;
}
