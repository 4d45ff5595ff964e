#include <limits.h>
#include <string.h>

#include "base/check.h"
#include "workers/recycle.h"
#include "workers/stage_internal.h"

static bool
works(const struct stager_config *config, enum place_way way)
{
	return config->probe->ways[way].works;
}

static void
add_way(struct place_policy *policy, enum place_way way)
{
	for (unsigned i = 0; i < policy->count; i++) {
		if (policy->order[i] == way)
			return;
	}
	CHECK(policy->count < PLACE_ORDER_MAX);
	policy->order[policy->count++] = way;
}

static void
add_private_ways(const struct probe *probe, struct place_policy *policy)
{
	if (probe->clone_is_native && !policy->is_writable)
		add_way(policy, PLACE_CLONEFILE);
	if (probe->ways[PLACE_REFLINK].works)
		add_way(policy, PLACE_REFLINK);
	add_way(policy, PLACE_COPY);
}

void
stage_build_policy(const struct probe *probe, struct place_policy *ret_policy)
{
	struct place_policy policy = {.owner = (uid_t)-1, .building = true};

	if (probe->ways[PLACE_HARDLINK].works)
		add_way(&policy, PLACE_HARDLINK);
	add_private_ways(probe, &policy);
	*ret_policy = policy;
}

/* A forced way comes first, works or not: what it cannot do is counted as a fall-back. */
static void
add_forced_way(enum engine engine, struct place_policy *policy)
{
	switch (engine) {
	case ENGINE_CLONEFILE:
		add_way(policy, PLACE_CLONEFILE);
		break;
	case ENGINE_REFLINK:
		add_way(policy, PLACE_REFLINK);
		break;
	case ENGINE_HARDLINK:
		add_way(policy, PLACE_HARDLINK);
		break;
	case ENGINE_COPY:
		add_way(policy, PLACE_COPY);
		break;
	default:
		break;
	}
}

/* Engines that use mounts where the system has them, and other ways for the rest. */
static bool
may_bind(enum engine engine)
{
	return engine == ENGINE_AUTO || engine == ENGINE_BIND || engine == ENGINE_OVERLAY ||
	    engine == ENGINE_IMAGE;
}

static enum subtree_way
choose_subtree(const struct stager_config *config, bool guard_off, bool no_overlay)
{
	enum engine engine = config->host->engine;
	bool may_mount = config->isolation != ISOLATION_NONE && may_bind(engine);

	if (may_mount && !no_overlay &&
	    (engine == ENGINE_OVERLAY || (guard_off && works(config, PLACE_OVERLAY))))
		return SUBTREE_OVERLAY;
	if (guard_off)
		return SUBTREE_FILES;
	if (engine == ENGINE_OVERLAY)
		engine = ENGINE_AUTO;
	if (engine == ENGINE_CLONEFILE)
		return SUBTREE_CLONE;
	if (engine != ENGINE_AUTO && engine != ENGINE_BIND && engine != ENGINE_IMAGE)
		return SUBTREE_FILES;
	if (config->isolation != ISOLATION_NONE)
		return SUBTREE_BIND;
	return config->probe->clone_is_native ? SUBTREE_CLONE : SUBTREE_FILES;
}

static void
choose_loose(const struct stager_config *config, bool guard_off, struct stage_ways *ways)
{
	struct place_policy *loose = &ways->loose;
	enum engine engine = config->host->engine;

	loose->owner = guard_off ? ways->spine_owner : (uid_t)-1;
	loose->is_writable = guard_off;
	if (!guard_off || engine == ENGINE_REFLINK || engine == ENGINE_COPY)
		add_forced_way(engine, loose);
	if (engine == ENGINE_COPY)
		return;
	if (!guard_off && config->uid_differs && may_bind(engine) && works(config, PLACE_HARDLINK))
		add_way(loose, PLACE_HARDLINK);
	add_private_ways(config->probe, loose);
	loose->record = ways->check_links =
	    !config->uid_differs && loose->order[0] == PLACE_HARDLINK;
}

void
stage_ways_choose(const struct stager_config *config, bool guard_off, bool no_overlay,
    struct stage_ways *ret_ways)
{
	struct stage_ways ways = {.subtree = choose_subtree(config, guard_off, no_overlay)};
	enum engine engine = config->host->engine;

	ways.spine_owner = config->uid_differs ? config->action_uid : (uid_t)-1;
	stage_build_policy(config->probe, &ways.build);
	choose_loose(config, guard_off, &ways);
	ways.own.owner = ways.spine_owner;
	ways.own.is_writable = true;
	add_private_ways(config->probe, &ways.own);
	ways.bind_files = !guard_off && !config->uid_differs &&
	    config->isolation != ISOLATION_NONE && !works(config, PLACE_REFLINK) &&
	    may_bind(engine);
	ways.flat = !no_overlay && ways.subtree == SUBTREE_BIND && engine == ENGINE_AUTO &&
	    works(config, PLACE_OVERLAY);
	ways.image = ways.subtree == SUBTREE_BIND && works(config, PLACE_IMAGE) &&
	    (engine == ENGINE_AUTO || engine == ENGINE_IMAGE);
	ways.only_image = ways.image && engine == ENGINE_IMAGE;
	ways.recycle = !guard_off && recycle_applies(config, &ways);
	*ret_ways = ways;
}

/*
 * Loose files from which on an overlay costs less than to place each by itself; what the action
 * pays more to look at them is counted in.
 */
static unsigned
flat_min(const struct cost_model *costs, uint32_t loose_ns)
{
	uint32_t touch_ns = costs->ns[COST_TOUCH_OVERLAY] * COST_TOUCHED_PERCENT / 100;

	return loose_ns <= touch_ns ? UINT_MAX
				    : costs->ns[COST_OVERLAY] / (loose_ns - touch_ns) + 1;
}

void
stage_planner_init(struct planner *planner, const struct stage_ways *ways,
    const struct cost_model *costs, bool no_image)
{
	uint32_t loose_ns =
	    costs->ns[ways->loose.order[0] == PLACE_HARDLINK ? COST_LINK : COST_COPY];

	*planner = (struct planner){
	    .costs = costs,
	    .loose_ns = loose_ns,
	    .use_cached = ways->subtree != SUBTREE_FILES,
	    .clones = ways->subtree == SUBTREE_CLONE,
	    .may_image = ways->image && !no_image,
	    .only_image = ways->only_image && !no_image,
	    .overlay_whole = ways->subtree == SUBTREE_OVERLAY,
	    .flat_min = ways->flat ? flat_min(costs, loose_ns) : 0,
	    .cached_left = SLOT_LEASES - LEASES_SPARE,
	};
}

bool
stage_ahead_pays(
    const struct host_config *config, const struct probe *probe, enum isolation isolation)
{
	struct stager_config stager = {.host = config, .probe = probe, .isolation = isolation};

	if (config->stage_ahead != STAGE_AHEAD_AUTO)
		return config->stage_ahead == STAGE_AHEAD_YES;
	return choose_subtree(&stager, false, false) != SUBTREE_BIND;
}
