/*
 * All ways in which a tree can be staged, one after the other, and a tree by which each makes all
 * the calls it has.
 */
#ifndef TESTS_STAGE_WAYS_H
#define TESTS_STAGE_WAYS_H

#include "tests/unit/workers/stage_plans.h"

/* Never seen; the same again; one that differs from it far down. */
enum phase { PHASE_COLD, PHASE_WARM, PHASE_CHANGED, PHASES };
static const char *const phase_names[PHASES] = {"cold", "warm", "changed"};

struct way {
	const char *name;
	enum engine engine;
	enum plans_preset preset;
	bool guard_off, no_overlay;
};
static const struct way ways[] = {
    {"binds", ENGINE_BIND, PLANS_MEASURED, false, false},
    {"an image", ENGINE_AUTO, PLANS_IMAGE, false, false},
    {"an image of all", ENGINE_IMAGE, PLANS_MEASURED, false, false},
    {"an overlay of flat directories", ENGINE_AUTO, PLANS_FLAT, false, false},
    {"an overlay of all", ENGINE_AUTO, PLANS_MEASURED, true, false},
    {"patches", ENGINE_BIND, PLANS_COMPOSED, false, false},
    {"file by file", ENGINE_AUTO, PLANS_FILES, false, false},
    {"private copies", ENGINE_AUTO, PLANS_MEASURED, true, true},
    {"links", ENGINE_HARDLINK, PLANS_MEASURED, false, false},
    {"copies", ENGINE_COPY, PLANS_MEASURED, false, false},
    {"reflinks", ENGINE_REFLINK, PLANS_MEASURED, false, false},
    {"clones", ENGINE_CLONEFILE, PLANS_MEASURED, false, false},
};

enum { WAYS = sizeof(ways) / sizeof(ways[0]) };

static inline void
ways_costs(struct cost_model *costs, const struct way *way)
{
	plans_costs(costs, way->preset);
	if (way->preset == PLANS_FLAT)
		costs->ns[COST_OVERLAY] = 2; /* worth it for two files */
}

static inline bool
ways_possible(const struct suite *suite, const struct way *way)
{
	const struct probe_way *works = suite->host.probe.ways;

	if (way->engine == ENGINE_REFLINK) /* forced, it falls back where there is none */
		return true;
	if (way->preset == PLANS_IMAGE)
		return works[PLACE_IMAGE].works;
	if (way->preset == PLANS_FLAT || (way->guard_off && !way->no_overlay))
		return works[PLACE_OVERLAY].works;
	if (way->preset == PLANS_COMPOSED)
		return suite->isolation != ISOLATION_NONE;
	return suite_allows(suite, way->engine);
}

/* Something is mounted over what was placed. */
static inline bool
ways_needs_run(const struct stage_report *report)
{
	return report->bind_count > 0 || report->has_overlay || report->image != NULL;
}

/* What differs far down is `text`. */
static inline void
ways_tree(struct host *host, struct digest *ret_tree, const char *text)
{
	ReapiDirectory *deep = dir_new(host), *deeper = dir_new(host), *a = dir_new(host);
	ReapiDirectory *flat = dir_new(host), *root = dir_new(host);
	char name[16];

	dir_add_file(host, deeper, "y", text, false);
	struct digest digest = dir_put(host, deeper);
	dir_add_file(host, deep, "z", "zed", true);
	dir_add_dir(host, deep, "deeper", &digest);
	digest = dir_put(host, deep);
	dir_add_file(host, a, "x", "ex", false);
	dir_add_file(host, a, "empty", "", false);
	dir_add_symlink(host, a, "link", "x");
	dir_add_dir(host, a, "deep", &digest);
	dir_add_dir(host, a, "twin", &digest);
	digest = dir_put(host, a);
	dir_add_dir(host, root, "a", &digest);
	for (int i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		dir_add_file(host, flat, name, name, i == 0);
	}
	digest = dir_put(host, flat);
	dir_add_dir(host, root, "flat", &digest);
	dir_add_dir(host, root, "none", &digest_empty);
	dir_add_file(host, root, "loose", "loose", false);
	*ret_tree = dir_put(host, root);
}

/* So that it leads to the parts that are placed singly. */
static inline struct stage_request
ways_request(const struct way *way, const struct digest *tree)
{
	static const char *const outputs[] = {"flat/o", "loose"};

	return (struct stage_request){.root = *tree,
	    .working_directory = "",
	    .output_paths = outputs,
	    .output_count = 2,
	    .guard_off = way->guard_off,
	    .no_overlay = way->no_overlay};
}

/* Each of them is the way that it is called. */
static inline bool
ways_all_met(const struct suite *suite)
{
	static const enum met of[] = {MET_COLD_BIND, MET_WARM_BIND, MET_PATCHED, MET_IMAGE,
	    MET_OVERLAY_WHOLE, MET_OVERLAY_FLAT, MET_CLONED_TREE, MET_LINKED, MET_REFLINKED,
	    MET_COPIED, MET_WRITABLE};

	return plans_all_met(suite, of, sizeof(of) / sizeof(of[0]));
}

#endif
