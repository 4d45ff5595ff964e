#include "workers/explain.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "cas/action.h"
#include "cas/directory.h"
#include "workers/job_command.h"
#include "workers/stage_internal.h"
#include "workers/ways.h"

enum { NEAREST_MAX = 8, PATH_WIDTH = 60 };

struct explanation {
	const struct host_config *config;
	struct ways ways;
	struct probe probe; /* as the host has kept it */
	struct stage_ways stage;
	struct region *region; /* NULL: no host has run here */
	struct cas *cas;
	struct arena *arena;
	struct tree_loader loader;
	struct planner planner;
	struct plan_seen seen[PLAN_SEEN];
	struct stage_request request;
	const char *command; /* the action's first word, or NULL */
	FILE *out;
	uint64_t total_ns, everything_ns, files;
	unsigned nearest_shown;
};

static double
ms(uint64_t ns)
{
	return (double)ns / 1e6;
}

/* What the planner would know in a worker of that host. */
static int
host_read(struct explanation *e, bool guard_off, struct error_text *err)
{
	struct host_config host = *e->config;
	struct stager_config stager;
	int rc = ways_read(e->config->state_fd, &e->ways);

	if (rc != 0)
		return error_errno(err, rc,
		    "%s/ways: no host has said what it can do here (start one: ramet run -- true)",
		    e->config->state_dir);
	if (cost_read(e->config->state_fd, &e->probe.costs) != 0)
		cost_default(&e->probe.costs);
	host.engine = e->ways.engine;
	e->probe.clone_is_native = e->ways.clone_is_native;
	for (int way = 0; way < PLACE_WAY_COUNT; way++)
		e->probe.ways[way].works = e->ways.works[way];
	stager = (struct stager_config){.host = &host,
	    .probe = &e->probe,
	    .isolation = e->ways.isolation,
	    .uid_differs = e->ways.uid_differs};
	stage_ways_choose(&stager, guard_off, false, &e->stage);
	return 0;
}

static int
tell_missing(struct explanation *e, const struct digest *digests, size_t count, const char *what,
    struct error_text *err)
{
	char text[DIGEST_TEXT_SIZE];

	for (size_t i = 0; i < count; i++)
		fprintf(e->out, "missing: %s\n", digest_to_text(&digests[i], '/', text));
	return error_set(err, -ENOENT, "%zu %s missing from the store", count, what);
}

/* Where it is no Action it may be a Directory. */
static int
action_read(
    struct explanation *e, const struct digest *digest, bool guard_off, struct error_text *err)
{
	struct action_missing missing;
	struct error_text unused;
	ReapiCommand *command;
	ReapiAction *action;

	if (action_load(e->cas, e->arena, digest, &action, &command, &missing, &unused) != 0) {
		bool is_action = missing.count > 0 && !digest_equal(&missing.digests[0], digest);
		return !is_action ? 0
				  : tell_missing(e, missing.digests, missing.count,
					"of the Action's Command and input root are", err);
	}
	job_command_stage(e->arena, action, command, guard_off, &e->request);
	e->command = command->n_arguments > 0 ? command->arguments[0] : "";
	return 0;
}

static int
plan(struct explanation *e, const struct digest *digest, struct plan_node **ret_root,
    struct error_text *err)
{
	struct spine *spine;
	int rc;

	if (e->command == NULL)
		e->request.working_directory = "";
	if (e->command == NULL)
		e->request.root = *digest;
	rc = spine_new(e->arena, &e->request, &spine, err);
	if (rc != 0)
		return rc;
	tree_loader_start(&e->loader, e->cas, e->arena);
	stage_planner_init(&e->planner, &e->stage, &e->probe.costs, false);
	e->planner.region = e->region;
	e->planner.loader = &e->loader;
	e->planner.arena = e->arena;
	e->planner.seen = e->seen;
	e->planner.look_only = true;
	rc = plan_make(&e->planner, &e->request.root, spine, ret_root, err);
	if (rc == 0 && e->loader.missing_count > 0)
		rc = tell_missing(
		    e, e->loader.missing, e->loader.missing_count, "Directory messages are", err);
	return rc;
}

/* Loose files that are placed in a directory that is made for real. */
static uint64_t
loose_of(const struct plan_node *node)
{
	if (node->dir == NULL || node->lower != LOWER_NONE)
		return 0;
	return node->dir->message->n_files + node->dir->message->n_symlinks;
}

static uint64_t
cost_of(const struct explanation *e, const struct plan_node *node)
{
	const uint32_t *ns = e->probe.costs.ns;

	switch (node->kind) {
	case PLAN_SPINE:
	case PLAN_COMPOSED:
		return ns[COST_DIRECTORY] + loose_of(node) * e->planner.loose_ns;
	case PLAN_EMPTY:
		return ns[COST_DIRECTORY];
	default:
		return node->in_image ? plan_image_part_ns(&e->planner, node) : node->cost_ns;
	}
}

static const char *
way_of(const struct explanation *e, const struct plan_node *node)
{
	switch (node->kind) {
	case PLAN_SPINE:
		return "made";
	case PLAN_COMPOSED:
		return "composed";
	case PLAN_EMPTY:
		return "empty";
	case PLAN_PATCHED:
		return "patched";
	case PLAN_FILE:
		return "bind";
	case PLAN_PRIVATE:
		return node->in_image ? "image" : "file by file";
	case PLAN_CACHED:
		break;
	}
	if (node->in_image)
		return "image";
	if (e->stage.subtree == SUBTREE_CLONE)
		return node->is_pinned ? "clone" : "build, clone";
	return node->is_pinned ? "bind" : "build, bind";
}

static const char *
why_of(const struct explanation *e, const struct plan_node *node)
{
	switch (node->kind) {
	case PLAN_SPINE:
		return node->lower == LOWER_LOOSE
		    ? "the action writes here; its files are below an overlay"
		    : node->lower == LOWER_ALL
		    ? "what the overlay's lower layer has stays there"
		    : "the action writes here, or on the way to an output";
	case PLAN_COMPOSED:
		return "not cached, but most of what it holds is";
	case PLAN_EMPTY:
		return "nothing in it";
	case PLAN_PATCHED:
		return "a tree like it, with what differs bound over it";
	case PLAN_FILE:
		return "the one file that differs";
	case PLAN_PRIVATE:
		if (node->in_image)
			break;
		return e->planner.use_cached ? "not cached: even a bind would not cost less"
					     : "no mounts here, or a forced way";
	case PLAN_CACHED:
		if (node->is_pinned)
			return "cached";
		break;
	}
	return node->in_image                   ? "never seen: with the others in one image"
	    : e->stage.subtree == SUBTREE_CLONE ? "never seen: linked once, then cloned"
						: "never seen: linked once, then bound";
}

static uint64_t
files_of(const struct explanation *e, const struct plan_node *node)
{
	struct index_info info;
	uint32_t entry;

	if (node->kind == PLAN_SPINE || node->kind == PLAN_COMPOSED)
		return node->dir == NULL ? 0 : node->dir->message->n_files;
	if (node->dir != NULL)
		return node->dir->totals.files;
	if (e->region != NULL && index_find(e->region, &node->digest, &entry) == 0 &&
	    index_read(e->region, entry, &info) == 0)
		return info.tree.files;
	return 0;
}

static void
print_node(struct explanation *e, const struct plan_node *node, unsigned depth)
{
	uint64_t ns = cost_of(e, node), files = files_of(e, node);

	e->total_ns += ns;
	e->files += files;
	e->everything_ns +=
	    files * e->probe.costs.ns[COST_LINK] + e->probe.costs.ns[COST_DIRECTORY];
	fprintf(e->out, "%9.3f %7" PRIu64 "  %-12s %*s%-*.*s  %s\n", ms(ns), files, way_of(e, node),
	    (int)depth * 2, "", PATH_WIDTH - (int)depth * 2 > 8 ? PATH_WIDTH - (int)depth * 2 : 8,
	    PATH_WIDTH, node->name[0] == '\0' ? "." : node->name, why_of(e, node));
	for (const struct plan_node *child = node->first; child != NULL; child = child->next)
		print_node(e, child, depth + 1);
}

static void
print_lower(struct explanation *e)
{
	const struct plan_node *lower = e->planner.lower;
	uint64_t ns = e->probe.costs.ns[COST_OVERLAY];

	if (lower == NULL)
		return;
	if (!lower->is_pinned && lower->dir != NULL)
		ns += (uint64_t)lower->dir->totals.files * e->probe.costs.ns[COST_LINK];
	e->total_ns += ns;
	fprintf(e->out, "%9.3f %7" PRIu64 "  %-12s %-*s  %s\n", ms(ns), files_of(e, lower),
	    "overlay", PATH_WIDTH, ".",
	    lower->is_pinned ? "its lower layer is cached"
			     : "its lower layer is not cached: linked once");
}

static void
print_image(struct explanation *e)
{
	if (e->planner.image == NULL)
		return;
	uint64_t ns = e->probe.costs.ns[COST_IMAGE];
	e->total_ns += ns;
	fprintf(e->out, "%9.3f %7s  %-12s %-*s  %s\n", ms(ns), "", "image", PATH_WIDTH, "(mount)",
	    "written, mounted, bound at each place above");
}

/* What else could be done, and what that would cost. */
static void
print_alternatives(struct explanation *e)
{
	const struct plan_cold *cold = &e->planner.cold;
	const char *no_image = e->stage.image ? ""
	    : e->ways.works[PLACE_IMAGE]      ? " (not with this engine and isolation)"
					      : " (not possible here: ramet doctor)";

	fprintf(e->out, "not taken:\n");
	if (cold->count > 0 && e->planner.image != NULL)
		fprintf(e->out,
		    "%9.3f ms  the %zu parts never seen as cached trees, by links (the image: %.3f)\n",
		    ms(cold->links_ns), cold->count, ms(cold->image_ns));
	if (cold->count > 0 && e->planner.image == NULL)
		fprintf(e->out,
		    "%9.3f ms  the %zu parts never seen in one image%s (their links: %.3f)\n",
		    ms(cold->image_ns), cold->count, no_image, ms(cold->links_ns));
	if (e->planner.lower == NULL)
		fprintf(e->out,
		    "%9.3f ms  an overlay over a cached tree: for actions that may write into their inputs\n",
		    ms(e->probe.costs.ns[COST_OVERLAY]));
	fprintf(e->out, "%9.3f ms  every file of the above by a link of its own\n",
	    ms(e->everything_ns));
}

static int
print_nearest(void *arg, struct plan_node *node)
{
	struct explanation *e = arg;
	bool is_cold =
	    (node->kind == PLAN_CACHED || node->kind == PLAN_PRIVATE) && !node->is_pinned;

	if ((!is_cold && node->kind != PLAN_COMPOSED) || node->dir == NULL ||
	    e->nearest_shown == NEAREST_MAX || e->region == NULL)
		return 0;
	if (e->nearest_shown++ == 0)
		fprintf(e->out, "not cached (+ new, - gone, ! other):\n");
	explain_nearest(e->region, e->cas, node, e->out);
	return 0;
}

static void
print_all(struct explanation *e, struct plan_node *root)
{
	char text[DIGEST_TEXT_SIZE];

	fprintf(e->out, "input root %s", digest_to_text(&e->request.root, '/', text));
	if (e->command != NULL)
		fprintf(e->out, " of %.200s", e->command);
	fprintf(e->out, "\nengine %s, isolation %s\n\n", engine_names[e->ways.engine],
	    isolation_names[e->ways.isolation]);
	fprintf(
	    e->out, "%9s %7s  %-12s %-*s  %s\n", "ms", "files", "way", PATH_WIDTH, "path", "why");
	print_node(e, root, 0);
	print_lower(e);
	print_image(e);
	fprintf(e->out, "%9.3f %7" PRIu64 "  in all, by the costs that ramet doctor shows\n\n",
	    ms(e->total_ns), e->files);
	print_alternatives(e);
	plan_each(root, print_nearest, e);
}

static int
explain(struct explanation *e, const struct digest *digest, bool guard_off, struct error_text *err)
{
	struct plan_node *root = NULL;
	int rc = host_read(e, guard_off, err);

	if (rc != 0)
		return rc;
	if (region_attach(e->config->state_fd, &e->region, err) != 0)
		e->region = NULL;
	rc = action_read(e, digest, guard_off, err);
	if (rc == 0)
		rc = plan(e, digest, &root, err);
	if (rc == 0)
		print_all(e, root);
	tree_loader_free(&e->loader);
	if (e->region != NULL)
		region_close(e->region);
	return rc;
}

int
explain_print(const struct host_config *config, const struct digest *digest, bool guard_off,
    FILE *out, struct error_text *err)
{
	static struct explanation e; /* its table is large */
	int rc;

	e = (struct explanation){.config = config, .out = out};
	rc = cas_open(config->state_fd, false, &e.cas, err);
	if (rc != 0)
		return rc;
	e.arena = arena_new();
	rc = explain(&e, digest, guard_off, err);
	arena_free(e.arena);
	cas_close(e.cas);
	return rc;
}
