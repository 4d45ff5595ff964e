#include "workers/stage.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "workers/recycle.h"
#include "workers/stage_internal.h"

/* What has to be done without. */
struct without {
	bool overlay, image, patch, cached;
};

static void
start_planner(struct stager *stager, const struct stage_ways *ways, const struct without *without)
{
	stage_planner_init(&stager->planner, ways, &stager->memory->costs, without->image);
	stager->planner.use_cached = stager->planner.use_cached && !without->cached;
	stager->planner.region = stager->region;
	stager->planner.slot = stager->slot;
	stager->planner.loader = &stager->loader;
	stager->planner.arena = stager->arena;
	stager->planner.seen = stager->memory->seen;
	stager->planner.places =
	    ways->subtree == SUBTREE_BIND && !without->patch && !without->cached
	    ? stager->memory->places
	    : NULL;
}

static void
start(struct stager *stager, const struct stage_ways *ways, const struct without *without)
{
	CHECK(stager->pin_count == 0);
	if (stager->recycle != NULL) {
		recycle_use(stager->recycle, stager);
		recycle_forget(stager->recycle);
	}
	placer_start(&stager->placer);
	tree_loader_free(&stager->loader);
	tree_loader_start(&stager->loader, stager->cas, stager->arena);
	stager->builder.built = stager->builder.build_us = 0;
	stager->bind_us = stager->overlay_us = stager->image_us = stager->plan_us = 0;
	stager->check_links = ways->check_links;
	if (ways->check_links)
		placer_watch(&stager->placer);
	start_planner(stager, ways, without);
}

static int
note_place(void *arg, struct plan_node *node)
{
	struct stager *stager = arg;

	if (node->kind == PLAN_CACHED && node->is_pinned && !node->in_patch)
		plan_place_note(&stager->planner, node);
	return 0;
}

static int
keep_pin(void *arg, struct plan_node *node)
{
	struct stager *stager = arg;

	if (node->is_pinned)
		stager->pins[stager->pin_count++] = node->pin;
	return 0;
}

/* Hands the list of all missing digests to the report. */
static int
tell_missing(struct stager *stager, struct stage_report *report, struct error_text *err)
{
	char text[DIGEST_TEXT_SIZE];
	struct tree_loader *loader = &stager->loader;

	int rc = tree_find_missing_files(loader);
	if (rc != 0)
		return error_errno(err, rc, "cas: cannot look for missing blobs");
	if (loader->missing_count == 0)
		return error_set(err, -ESTALE,
		    "input tree: %s: cannot %s: it was missing and no blob is; try again, and "
		    "should it stay so, look whether somebody has removed folders of the state "
		    "directory",
		    stager->placer.path, stager->placer.failed);
	report->missing = loader->missing;
	report->missing_count = loader->missing_count;
	return error_set(err, -ENOENT,
	    "input tree: %zu blobs are missing from the CAS, the first %s", report->missing_count,
	    digest_to_text(&report->missing[0], '/', text));
}

static int
plan(struct stager *stager, const struct stage_request *request, struct plan_node **ret_root,
    struct error_text *err)
{
	uint64_t start = clock_monotonic_us();
	struct plan_node *root = NULL;
	struct spine *spine;

	int rc = spine_new(stager->arena, request, &spine, err);
	if (rc != 0)
		return rc;
	rc = plan_make(&stager->planner, &request->root, spine, &root, err);
	if (stager->planner.passed_over != 0)
		placer_fell_back(&stager->placer, PLACE_BIND, stager->planner.passed_over,
		    "a tree of its own or its parts");
	plan_each(root, keep_pin, stager);
	if (stager->planner.lower != NULL)
		keep_pin(stager, stager->planner.lower);
	*ret_root = root;
	stager->plan_us += clock_monotonic_us() - start;
	return rc;
}

/* Everything that is placed: first the cached trees, then the sandbox. */
static int
place(struct stager *stager, const struct stage_ways *ways, struct plan_node *root,
    struct sandbox *sandbox, struct stage_report *report, struct error_text *err)
{
	struct place_cursor cursor;

	int rc = stage_build_plan(stager, root);
	if (rc != 0)
		return rc == -ENOENT || rc > 0 ? rc
					       : placer_error(&stager->placer, rc, "cache", err);
	/* What the links placed so far is inside cached trees, not yet in the sandbox. */
	report->files_placed = report->bytes_placed = 0;
	uint64_t files = stager->placer.tally.files_all, bytes = stager->placer.tally.bytes_all;
	cursor_init(&cursor, sandbox->rootfd);
	rc = stage_place_plan(stager, ways, &cursor, root, report);
	cursor_fini(&cursor);
	if (rc == 0 && stager->planner.lower != NULL)
		rc = stage_place_lower(stager, stager->planner.lower, sandbox, report);
	if (rc != 0)
		return rc == -ENOENT ? rc : placer_error(&stager->placer, rc, "sandbox", err);
	report->files_placed += stager->placer.tally.files_all - files;
	report->bytes_placed += stager->placer.tally.bytes_all - bytes;
	plan_each(root, note_place, stager);
	return 0;
}

/* The way that most of what was placed file by file went. */
static enum place_way
main_way(const struct place_tally *tally)
{
	enum place_way best = PLACE_HARDLINK;

	for (int way = 0; way < PLACE_WAY_COUNT; way++) {
		if (tally->files[way] > tally->files[best])
			best = (enum place_way)way;
	}
	return best;
}

static void
count(struct stager *stager, struct stage_report *report)
{
	const struct place_tally *tally = &stager->placer.tally;
	struct slot *slot = stager->slot;
	uint64_t other_us =
	    stager->bind_us + stager->overlay_us + stager->image_us + stager->plan_us;
	uint64_t place_us = report->elapsed_us > other_us ? report->elapsed_us - other_us : 0;

	report->directories_made = tally->directories;
	report->subtrees_built = stager->builder.built;
	report->fallbacks = tally->fallbacks + stager->mount_fallbacks;
	stager->mount_fallbacks = 0;
	for (int way = 0; way < PLACE_WAY_COUNT; way++) {
		report->files[way] += tally->files[way];
		report->bytes[way] += tally->bytes[way];
		if (report->files[way] == 0 && report->subtrees[way] == 0)
			continue;
		counter_add(slot, COUNTER_STAGE(way, PLACE_FILES), report->files[way]);
		counter_add(slot, COUNTER_STAGE(way, PLACE_SUBTREES), report->subtrees[way]);
		counter_add(slot, COUNTER_STAGE(way, PLACE_BYTES), report->bytes[way]);
	}
	if (stager->is_recycled) {
		report->us[PLACE_RECYCLE] = place_us;
		place_us = 0;
	}
	report->us[PLACE_BIND] = stager->bind_us;
	report->us[PLACE_OVERLAY] = stager->overlay_us;
	report->us[PLACE_IMAGE] = stager->image_us;
	if (place_us > 0 && tally->files_all > tally->empty_files)
		report->us[main_way(tally)] = place_us;
	COUNTER_ADD(slot, stage_trees, 1);
	COUNTER_ADD(slot, stage_directories, tally->directories);
	COUNTER_ADD(slot, stage_symlinks, tally->symlinks);
	COUNTER_ADD(slot, stage_us, report->elapsed_us);
	COUNTER_ADD(slot, zero_digest_files, tally->empty_files);
	COUNTER_ADD(slot, exec_variants, tally->exec_variants);
}

/* A finished sandbox for this one.  1: none, and everything is read and planned. */
static int
use_kept(struct stager *stager, const struct stage_ways *ways, const struct stage_request *request,
    const struct without *without, struct plan_node **root, struct sandbox *sandbox,
    struct stage_report *report, struct error_text *err)
{
	int rc = 1;

	if (!stager->planner.leave_unread)
		return 1;
	if (stager->loader.missing_count == 0)
		rc = recycle_try(stager->recycle, ways, *root, sandbox, report, err);
	if (rc != 1)
		return rc;
	stage_unpin(stager);
	start_planner(stager, ways, without);
	rc = plan(stager, request, root, err);
	return rc == 0 ? 1 : rc;
}

/* COMPOSE_NO_...: once more without; nothing is in the sandbox yet. */
static int
compose(struct stager *stager, const struct stage_request *request, const struct without *without,
    struct sandbox *sandbox, struct stage_report *report, struct error_text *err)
{
	const struct stage_ways *ways = &stager->ways[request->guard_off][without->overlay];
	struct plan_node *root;

	bool recycles = ways->recycle && recycle_takes_part(stager->recycle);

	start(stager, ways, without);
	stager->planner.leave_unread = recycles && recycle_has_kept(stager->recycle);
	int rc = plan(stager, request, &root, err);
	stager->is_sealed = rc == 0 && recycles && stager->config.seals_inputs &&
	    seal_of_plan(stager->arena, root, &report->seal);
	report->is_sealed = stager->is_sealed;
	if (rc == 0)
		rc = use_kept(stager, ways, request, without, &root, sandbox, report, err);
	stager->is_recycled = rc == 0;
	if (rc == 1 && stager->loader.missing_count > 0)
		rc = tell_missing(stager, report, err);
	else if (rc == 1)
		rc = place(stager, ways, root, sandbox, report, err);
	else
		goto out;
	if (rc == -ENOENT && report->missing_count == 0)
		rc = tell_missing(stager, report, err);
	if (rc == 0 && recycles)
		recycle_note(stager->recycle, ways, root, sandbox, report->files_placed);
out:
	if (rc != 0)
		stage_give_back(stager);
	return rc;
}

int
stage_compose(struct stager *stager, const struct stage_request *request, struct sandbox *sandbox,
    struct stage_report *ret_report, struct error_text *err)
{
	struct without without = {
	    .overlay = request->no_overlay || request->no_cached ||
		!stage_may_mount(stager, PLACE_OVERLAY),
	    .image = request->no_image || !stage_may_mount(stager, PLACE_IMAGE),
	    .cached = request->no_cached,
	};
	struct stage_report report = {0};
	uint64_t began = clock_monotonic_us();

	memset(ret_report, 0, sizeof *ret_report);
	int rc;
	while ((rc = compose(stager, request, &without, sandbox, &report, err)) > 0)
		*(rc == COMPOSE_NO_PATCH ? &without.patch : &without.overlay) = true;
	if (rc != 0) {
		ret_report->missing = report.missing;
		ret_report->missing_count = report.missing_count;
		return rc;
	}
	report.elapsed_us = clock_monotonic_us() - began;
	report.binds = stager->binds;
	report.bind_count = stager->bind_count;
	if (stager->planner.image != NULL)
		report.image = stager->planner.image->location;
	count(stager, &report);
	*ret_report = report;
	CRASH_POINT(staged);
	return 0;
}

int
stage_look_for_missing(struct stager *stager, struct stage_report *report, struct error_text *err)
{
	int rc = report->image == NULL ? 0 : tree_find_missing_files(&stager->loader);

	if (rc != 0 || stager->loader.missing_count == 0)
		return rc;
	return tell_missing(stager, report, err);
}

void
stage_keep(struct stager *stager, struct sandbox *sandbox)
{
	if (stager->recycle == NULL)
		return;
	recycle_use(stager->recycle, stager);
	recycle_keep(stager->recycle, sandbox);
}

void
stage_after(struct stager *stager)
{
	tree_build_note(&stager->builder);
}

int
stage_release(struct stager *stager, struct stage_report *report, struct error_text *err)
{
	int rc = stager->check_links ? placer_check_links(&stager->placer, err) : 0;

	for (int way = 0; way < PLACE_WAY_COUNT; way++)
		if (report->us[way] > 0)
			counter_stage_time(stager->slot, (enum place_way)way, report->us[way]);
	memset(report->us, 0, sizeof report->us);
	stage_give_back(stager);
	report->has_overlay = report->is_sealed = false;
	report->image = NULL;
	report->binds = NULL;
	report->missing = NULL;
	report->bind_count = report->missing_count = 0;
	return rc; /* the figures stay */
}
