/*
 * A subtree that is not cached, where a worker has had one before that differs in a few files or
 * directories only: the old one is bound, and what differs is bound over it.  So a change deep in a
 * tree costs two mounts, not one for each directory beside the way down to it, and one in a
 * directory of thousands of files does not cost the others.
 *
 * That works where the two have the same names all the way down to each difference: a mount needs a
 * file or directory to be mounted on, and hides what was there.
 */
#include <errno.h>
#include <string.h>

#include "cas/directory.h"
#include "workers/stage_plan.h"

enum { LEAVES_MAX = 16, MISSES_MAX = 3 };

/* A directory or file that is another one. */
struct leaf {
	const char *path; /* below the subtree */
	struct digest digest, was;
	const ReapiFileNode *file; /* NULL: a directory */
	unsigned depth; /* below it too */
};

struct patch {
	struct planner *planner;
	const struct plan_node *node;
	struct leaf leaves[LEAVES_MAX];
	unsigned count, reads;
};

static struct plan_place *
place_of(struct planner *planner, const char *path)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (const char *c = path; *c != '\0'; c++)
		hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
	struct plan_place *place = &planner->places[hash % PLAN_PLACES];
	if (place->path != hash)
		*place = (struct plan_place){.path = hash};
	return place;
}

void
plan_place_note(struct planner *planner, const struct plan_node *node)
{
	if (planner->places == NULL || node->path[0] == '\0')
		return;
	struct plan_place *place = place_of(planner, node->path);
	if (place->is_set && !digest_equal(&place->digest, &node->digest))
		place->misses = place->skipped = 0;
	place->digest = node->digest;
	place->is_set = true;
}

/*
 * Where nothing is ever like what was before, each comparison is in vain: then they are made less
 * and less often.
 */
static bool
sits_out(struct plan_place *place)
{
	if (place->skipped >= place->misses)
		return false;
	place->skipped++;
	return true;
}

static void
note_miss(struct plan_place *place)
{
	place->misses = place->misses * 2 + 1 > MISSES_MAX ? MISSES_MAX : place->misses * 2 + 1;
	place->skipped = 0;
}

static bool
is_same_digest(const ReapiDigest *a, const ReapiDigest *b)
{
	return a->size_bytes == b->size_bytes && strcmp(a->hash, b->hash) == 0;
}

static bool
is_same_name(const ReapiFileNode *a, const ReapiFileNode *b)
{
	return a->node_properties == NULL && b->node_properties == NULL &&
	    strcmp(a->name, b->name) == 0;
}

/* All names, and what symlinks lead to. */
static bool
is_alike(const ReapiDirectory *a, const ReapiDirectory *b)
{
	if (a->n_files != b->n_files || a->n_symlinks != b->n_symlinks ||
	    a->n_directories != b->n_directories || a->node_properties != NULL ||
	    b->node_properties != NULL)
		return false;
	for (size_t i = 0; i < a->n_directories; i++)
		if (strcmp(a->directories[i]->name, b->directories[i]->name) != 0)
			return false;
	for (size_t i = 0; i < a->n_files; i++)
		if (!is_same_name(a->files[i], b->files[i]))
			return false;
	for (size_t i = 0; i < a->n_symlinks; i++)
		if (strcmp(a->symlinks[i]->name, b->symlinks[i]->name) != 0 ||
		    strcmp(a->symlinks[i]->target, b->symlinks[i]->target) != 0)
			return false;
	return true;
}

/*
 * Not by the loader: what is missing of the old tree is nobody's fault, and of the new one it is
 * told when it is to be placed.  What the system refuses is told, though the action does as well
 * without.
 */
static ReapiDirectory *
load(struct patch *patch, const struct digest *digest)
{
	struct tree_loader *loader = patch->planner->loader;
	ReapiDirectory *message = NULL;
	struct error_text unused;

	patch->reads++;
	if (digest_is_empty(digest))
		return NULL;
	int rc = directory_load(loader->cas, loader->arena, digest, &message, &unused);
	if (rc != 0 && rc != -ENOENT && rc != -EBADMSG && rc != -EINVAL)
		patch->planner->passed_over = -rc;
	return rc == 0 ? message : NULL;
}

/* What is cached is bound as it is, and stays unread. */
static bool
is_cached(const struct planner *planner, const struct digest *digest, struct index_info *ret_info)
{
	uint32_t entry;

	return index_find(planner->region, digest, &entry) == 0 &&
	    index_read(planner->region, entry, ret_info) == 0 && ret_info->state == INDEX_READY;
}

static bool differ(struct patch *patch, const struct digest *old, const struct digest *new,
    const char *path, unsigned depth);

/* As a rule each that differs is a leaf or has one. */
static bool
few_children_differ(const struct patch *patch, const ReapiDirectory *old, const ReapiDirectory *new)
{
	size_t children = new->n_directories;
	unsigned count = patch->count;

	for (size_t i = 0; i < children && count <= LEAVES_MAX; i++)
		count += !is_same_digest(old->directories[i]->digest, new->directories[i]->digest);
	return count <= LEAVES_MAX;
}

static bool
leaf_add(struct patch *patch, const struct digest *was, const struct digest *digest,
    const char *path, unsigned depth)
{
	if (patch->count == LEAVES_MAX || digest_is_empty(digest) ||
	    !plan_may_bind(patch->node, path))
		return false;
	patch->leaves[patch->count++] =
	    (struct leaf){.path = path, .digest = *digest, .was = *was, .depth = depth};
	return true;
}

static const char *
path_below(struct patch *patch, const char *path, const char *name)
{
	return path[0] == '\0' ? name : arena_printf(patch->planner->arena, "%s/%s", path, name);
}

/* False: one cannot be bound, or they are more than the directory is worth. */
static bool
files_differ(struct patch *patch, const ReapiDirectory *old, const ReapiDirectory *new,
    const char *path, unsigned depth)
{
	const uint32_t *ns = patch->planner->costs->ns;
	uint64_t left_ns = new->n_files *(uint64_t)ns[COST_LINK] + ns[COST_TREE] + ns[COST_BIND];

	for (size_t i = 0; i < new->n_files; i++) {
		const ReapiFileNode *file = new->files[i];
		struct digest digest;

		if (is_same_digest(old->files[i]->digest, file->digest) &&
		    old->files[i]->is_executable == file->is_executable)
			continue;
		if (left_ns < ns[COST_BIND] || reapi_digest_get(file->digest, &digest) != 0 ||
		    !leaf_add(
			patch, &digest_empty, &digest, path_below(patch, path, file->name), depth))
			return false;
		patch->leaves[patch->count - 1].file = file;
		left_ns -= ns[COST_BIND];
	}
	return true;
}

/* False: they cannot be told apart by directories. */
static bool
children_differ(struct patch *patch, const ReapiDirectory *old, const ReapiDirectory *new,
    const char *path, unsigned depth)
{
	if (!few_children_differ(patch, old, new))
		return false;
	for (size_t i = 0; i < new->n_directories; i++) {
		struct digest was, is;
		const char *name = new->directories[i]->name;
		if (is_same_digest(old->directories[i]->digest, new->directories[i]->digest))
			continue;
		if (reapi_digest_get(old->directories[i]->digest, &was) != 0 ||
		    reapi_digest_get(new->directories[i]->digest, &is) != 0)
			return false;
		if (!differ(patch, &was, &is, path_below(patch, path, name), depth + 1))
			return false;
	}
	return true;
}

/* `is`: what the new one says. */
static bool
messages_differ(struct patch *patch, const struct digest *old, const ReapiDirectory *is,
    const char *path, unsigned depth)
{
	const ReapiDirectory *was = load(patch, old);

	return was != NULL && is_alike(was, is) && files_differ(patch, was, is, path, depth + 1) &&
	    children_differ(patch, was, is, path, depth);
}

/* As few and as deep leaves as can be; a directory whose own names differ is one as a whole. */
static bool
differ(struct patch *patch, const struct digest *old, const struct digest *new, const char *path,
    unsigned depth)
{
	unsigned count = patch->count;
	struct index_info info;
	bool is_read = depth <= TREE_DEPTH_MAX && !is_cached(patch->planner, new, &info);
	const ReapiDirectory *is = is_read ? load(patch, new) : NULL;

	if (is != NULL && messages_differ(patch, old, is, path, depth))
		return true;
	patch->count = count;
	return leaf_add(patch, old, new, path, depth);
}

/* What has to be built of it; as large as what was there before, as far as that is known. */
static uint64_t
leaf_ns(const struct planner *planner, const struct leaf *leaf)
{
	const uint32_t *ns = planner->costs->ns;
	struct index_info info;

	if (leaf->file != NULL || is_cached(planner, &leaf->digest, &info) ||
	    !is_cached(planner, &leaf->was, &info))
		return 0;
	return plan_files_ns(planner, &info.tree, ns[COST_LINK]) + ns[COST_TREE];
}

/* Much of the old tree is left; where little is, the new one is built as a whole. */
static bool
is_less_than_whole(const struct patch *patch, const struct index_tree *old)
{
	const uint32_t *ns = patch->planner->costs->ns;
	uint64_t ns_all = patch->count * (uint64_t)ns[COST_BIND];

	for (unsigned i = 0; i < patch->count; i++)
		ns_all += leaf_ns(patch->planner, &patch->leaves[i]);
	return ns_all < plan_files_ns(patch->planner, old, ns[COST_LINK]) + ns[COST_TREE];
}

/* Fewer mounts than by its parts; and all the times so far have not cost what building it would. */
static bool
is_worth(const struct patch *patch, const struct plan_node *node, const struct index_tree *old)
{
	struct planner *planner = patch->planner;
	const uint32_t *ns = planner->costs->ns;
	struct plan_seen *seen = plan_seen_find(planner, &node->digest);
	uint64_t spent_ns = seen->spent_ns + (patch->count + 1) * (uint64_t)ns[COST_BIND] +
	    patch->reads * (uint64_t)ns[COST_READ];

	const ReapiDirectory *message = node->dir->message;
	uint64_t parts_ns = (uint64_t)message->n_directories * ns[COST_BIND] +
	    (uint64_t)message->n_files * ns[COST_LINK];

	if (patch->count == 0 || patch->count >= planner->cached_left ||
	    (uint64_t)patch->count * ns[COST_BIND] > parts_ns ||
	    spent_ns > (uint64_t)old->files * ns[COST_LINK] || !is_less_than_whole(patch, old))
		return false;
	seen->spent_ns = (uint32_t)(spent_ns > UINT32_MAX ? UINT32_MAX : spent_ns);
	return true;
}

static int
leaf_plan(struct planner *planner, struct plan_node *node, const struct leaf *leaf, unsigned depth,
    struct error_text *err)
{
	struct plan_node *child = plan_node_new(planner, node, leaf->path);

	child->digest = leaf->digest;
	child->in_patch = true;
	if (leaf->file != NULL) {
		child->kind = PLAN_FILE;
		child->file = leaf->file;
		child->cost_ns = planner->costs->ns[COST_BIND];
		return 0;
	}
	int rc = plan_pinned_or_cold(planner, child, depth + leaf->depth, err);
	if (rc == 0 && child->kind == PLAN_PRIVATE) { /* there is nowhere to put single files */
		child->kind = PLAN_CACHED;
		planner->cached_left--;
	}
	return rc;
}

int
plan_patched(
    struct planner *planner, struct plan_node *node, unsigned depth, struct error_text *err)
{
	struct patch patch = {.planner = planner, .node = node};
	struct plan_place *place;
	struct index_tree old;
	struct index_pin pin;

	if (planner->places == NULL || planner->cached_left < 2)
		return 1;
	place = place_of(planner, node->path);
	if (!place->is_set || digest_equal(&place->digest, &node->digest) || sits_out(place) ||
	    index_pin(planner->region, planner->slot, &place->digest, &pin) != 0)
		return 1;
	index_tree_of(planner->region, &pin, &old);
	if (!messages_differ(&patch, &place->digest, node->dir->message, "", 0) ||
	    !is_worth(&patch, node, &old)) {
		index_unpin(planner->region, planner->slot, &pin);
		note_miss(place);
		return 1;
	}
	place->misses = 0;
	node->pin = pin;
	node->kind = PLAN_PATCHED;
	node->is_pinned = true;
	node->cost_ns = planner->costs->ns[COST_BIND];
	planner->cached_left--;
	for (unsigned i = 0; i < patch.count; i++) {
		int rc = leaf_plan(planner, node, &patch.leaves[i], depth, err);
		if (rc != 0)
			return rc;
	}
	return 0;
}
