/*
 * Costs by which the planner takes one way for nearly everything, and which plans there were.
 */
#ifndef TESTS_STAGE_PLANS_H
#define TESTS_STAGE_PLANS_H

#include "tests/unit/workers/stage_suite.h"

enum plans_preset {
	PLANS_MEASURED,
	PLANS_IMAGE,
	PLANS_FLAT, /* overlays of the spine's flat directories */
	PLANS_COMPOSED, /* and patched */
	PLANS_FILES,
	PLANS_PRESETS
};
static const char *const plans_presets[PLANS_PRESETS] = {"as measured", "images",
    "overlays of flat directories", "composed and patched", "file by file"};

static inline void
plans_costs(struct cost_model *costs, enum plans_preset preset)
{
	uint32_t *ns = costs->ns;

	cost_default(costs);
	switch (preset) {
	case PLANS_IMAGE:
		ns[COST_IMAGE] = ns[COST_IMAGE_FILE] = ns[COST_TOUCH_IMAGE] = 1;
		ns[COST_LINK] = 10000000;
		break;
	case PLANS_FLAT:
		ns[COST_OVERLAY] = ns[COST_TOUCH_OVERLAY] = 1;
		ns[COST_IMAGE] = 4000000000u;
		break;
	case PLANS_COMPOSED:
		ns[COST_BIND] = 1;
		ns[COST_LINK] = 10000000;
		ns[COST_IMAGE] = 4000000000u;
		break;
	case PLANS_FILES:
		ns[COST_BIND] = ns[COST_OVERLAY] = ns[COST_IMAGE] = 4000000000u;
		break;
	default:
		break;
	}
}

/* What plans there were, as can be told from what came of them. */
enum met {
	MET_COLD_BIND,
	MET_WARM_BIND,
	MET_COMPOSED,
	MET_PATCHED,
	MET_FILE_BOUND,
	MET_FILE_PATCHED,
	MET_IMAGE,
	MET_PATCH_IN_IMAGE,
	MET_OVERLAY_WHOLE,
	MET_OVERLAY_FLAT,
	MET_CLONED_TREE,
	MET_LINKED,
	MET_REFLINKED,
	MET_COPIED,
	MET_WRITABLE,
	MET_RECYCLED,
	MET_COUNT
};
static const char *const plans_names[MET_COUNT] = {"built and bound", "bound", "composed",
    "patched", "a file bound", "a file patched", "an image", "a patch in an image",
    "an overlay of all", "an overlay of flat", "a tree cloned", "linked", "reflinked", "copied",
    "guard off", "recycled"};

static unsigned plans_met[MET_COUNT];

static inline bool
plans_is_bound_below(const struct stage_report *report, const char *path)
{
	for (size_t i = 0; i < report->bind_count; i++)
		if (strcmp(report->binds[i].target, path) != 0 &&
		    path_is_below(path, report->binds[i].target))
			return true;
	return false;
}

static inline void
plans_note_bind(const struct stage_request *request, const struct stage_report *report,
    const struct stage_bind *bind)
{
	char *parent = strdup(bind->target), *slash = strrchr(parent, '/');

	if (plans_is_bound_below(report, bind->target)) {
		plans_met[MET_PATCHED]++;
		plans_met[MET_FILE_PATCHED] += !bind->is_directory;
		plans_met[MET_PATCH_IN_IMAGE] += bind->in_image;
	} else if (slash != NULL) {
		*slash = '\0';
		if (!request_is_made(request, parent) && !request_is_output(request, parent))
			plans_met[MET_COMPOSED]++;
	}
	plans_met[MET_FILE_BOUND] +=
	    !bind->is_directory && !plans_is_bound_below(report, bind->target);
	plans_met[MET_IMAGE] += bind->in_image;
	free(parent);
}

static inline void
plans_note(const struct suite *suite, const struct stage_report *report)
{
	for (size_t i = 0; i < report->bind_count; i++)
		plans_note_bind(&suite->request, report, &report->binds[i]);
	plans_met[MET_COLD_BIND] += report->subtrees[PLACE_BIND] > 0 && report->subtrees_built > 0;
	plans_met[MET_WARM_BIND] += report->subtrees[PLACE_BIND] > report->subtrees_built;
	plans_met[MET_OVERLAY_WHOLE] += report->has_overlay && report->overlay.is_owned;
	plans_met[MET_OVERLAY_FLAT] += report->has_overlay && !report->overlay.is_owned;
	plans_met[MET_CLONED_TREE] += report->subtrees[PLACE_CLONEFILE] > 0;
	plans_met[MET_LINKED] += report->files[PLACE_HARDLINK] > 0;
	plans_met[MET_REFLINKED] += report->files[PLACE_REFLINK] > 0;
	plans_met[MET_COPIED] += report->files[PLACE_COPY] > 0;
	plans_met[MET_WRITABLE] += suite->request.guard_off;
	plans_met[MET_RECYCLED] += report->subtrees[PLACE_RECYCLE] > 0;
}

/* What this system allows has to come up, or nothing is tested of it. */
static inline bool
plans_expects(const struct suite *suite, enum met met)
{
	const struct probe_way *ways = suite->host.probe.ways;

	switch (met) {
	case MET_COLD_BIND:
	case MET_WARM_BIND:
	case MET_COMPOSED:
	case MET_PATCHED:
	case MET_FILE_PATCHED:
		return suite->isolation != ISOLATION_NONE;
	case MET_FILE_BOUND:
		return suite->isolation != ISOLATION_NONE && !suite_uid_differs(suite) &&
		    !ways[PLACE_REFLINK].works;
	case MET_IMAGE:
	case MET_PATCH_IN_IMAGE:
		return ways[PLACE_IMAGE].works;
	case MET_OVERLAY_WHOLE:
	case MET_OVERLAY_FLAT:
		return ways[PLACE_OVERLAY].works;
	case MET_REFLINKED:
		return ways[PLACE_REFLINK].works;
	case MET_RECYCLED:
		return suite->isolation == ISOLATION_NONE;
	default:
		return true;
	}
}

/* False, and said: something that is possible here was never met, of what is in `of`. */
static inline bool
plans_all_met(const struct suite *suite, const enum met *of, size_t count)
{
	bool all = true;

	for (size_t i = 0; i < count; i++) {
		if (!plans_expects(suite, of[i]) || plans_met[of[i]] != 0)
			continue;
		print_message("never met: %s\n", plans_names[of[i]]);
		all = false;
	}
	return all;
}

#endif
