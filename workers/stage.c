#include "workers/stage.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/fs.h"
#include "base/log.h"
#include "shm/wanted.h"
#include "workers/recycle.h"
#include "workers/stage_internal.h"

/* What has to be done without, and how an attempt says that it cannot be had. */
struct without {
	bool overlay, image, patch;
};
enum { COMPOSE_NO_OVERLAY = 1, COMPOSE_NO_PATCH };

static int
open_folder(int state_fd, const char *name, int *ret_fd, struct error_text *err)
{
	int rc = fs_mkdir(state_fd, name, 0755);

	if (rc == 0)
		rc = fs_open_beneath(state_fd, name, ret_fd);
	return rc == 0 ? 0 : error_errno(err, rc, "%s: cannot open this folder of the cache", name);
}

static int
stager_make(const struct stager_config *config, struct region *region, struct slot *slot,
    struct cas *cas, struct stager **ret_stager, struct error_text *err)
{
	struct stager *stager = calloc(1, sizeof *stager);

	if (stager == NULL)
		return error_set(err, -ENOMEM, "staging: no memory");
	stager->state_fd = cas_state_fd(cas);
	int rc = open_folder(stager->state_fd, "trees", &stager->trees_fd, err);
	if (rc == 0) {
		rc = open_folder(stager->state_fd, "images", &stager->images_fd, err);
		if (rc != 0)
			close(stager->trees_fd);
	}
	if (rc != 0) {
		free(stager);
		return rc;
	}
	umask(022); /* modes are given once, by mkdir and open */
	stager->config = *config;
	stager->region = region;
	stager->slot = slot;
	stager->cas = cas;
	stager->arena = arena_new();
	placer_init(&stager->placer, region, slot, cas);
	stager->placer.link_threads = cost_link_threads(&config->probe->costs);
	for (int i = 0; i < 4; i++)
		stage_ways_choose(config, i / 2 != 0, i % 2 != 0, &stager->ways[i / 2][i % 2]);
	stager->builder = (struct tree_builder){
	    .placer = &stager->placer,
	    .policy = stager->ways[0][0].build,
	    .state_fd = stager->state_fd,
	    .trees_fd = stager->trees_fd,
	    .images_fd = stager->images_fd,
	    .slot_number = slot_number(region, slot),
	    .notes_later = true,
	};
	*ret_stager = stager;
	return 0;
}

int
stager_new(const struct stager_config *config, struct region *region, struct slot *slot,
    struct cas *cas, struct stager **ret_stager, struct error_text *err)
{
	struct stager *stager;
	int rc = stager_make(config, region, slot, cas, &stager, err);

	if (rc != 0)
		return rc;
	stager->memory = calloc(1, sizeof *stager->memory);
	if (stager->memory == NULL)
		rc = -ENOMEM;
	else
		stager->memory->costs = config->probe->costs;
	if (rc == 0 && stager->ways[0][0].recycle)
		rc = recycle_new(stager, &stager->recycle);
	if (rc != 0) {
		stager_free(stager);
		return error_set(err, rc, "staging: no memory");
	}
	*ret_stager = stager;
	return 0;
}

int
stager_new_second(struct stager *first, struct stager **ret_second, struct error_text *err)
{
	struct stager *second;
	int rc = stager_make(&first->config, first->region, first->slot, first->cas, &second, err);

	if (rc != 0)
		return rc;
	second->is_second = true;
	second->recycle = first->recycle;
	second->memory = first->memory;
	*ret_second = second;
	return 0;
}

void
stager_free_pair(struct stager *one, struct stager *other)
{
	bool swapped = one != NULL && other != NULL && !one->is_second;

	stager_free(swapped ? other : one);
	stager_free(swapped ? one : other);
}

static void
unpin(struct stager *stager)
{
	tree_build_note(&stager->builder);
	for (unsigned i = 0; i < stager->pin_count; i++)
		index_unpin(stager->region, stager->slot, &stager->pins[i]);
	stager->pin_count = 0;
}

static void
give_back(struct stager *stager)
{
	unpin(stager);
	stager->bind_count = 0;
	arena_reset(stager->arena);
}

void
stager_free(struct stager *stager)
{
	if (stager == NULL)
		return;
	if (stager->is_second && stager->recycle != NULL)
		recycle_leave(stager->recycle, stager);
	else if (!stager->is_second)
		recycle_free(stager->recycle);
	give_back(stager);
	tree_loader_free(&stager->loader);
	placer_fini(&stager->placer);
	free(stager->binds);
	arena_free(stager->arena);
	close(stager->trees_fd);
	close(stager->images_fd);
	if (!stager->is_second)
		free(stager->memory);
	free(stager);
}

static void
start_planner(struct stager *stager, const struct stage_ways *ways, const struct without *without)
{
	stage_planner_init(&stager->planner, ways, &stager->memory->costs, without->image);
	stager->planner.region = stager->region;
	stager->planner.slot = stager->slot;
	stager->planner.loader = &stager->loader;
	stager->planner.arena = stager->arena;
	stager->planner.seen = stager->memory->seen;
	stager->planner.places =
	    ways->subtree == SUBTREE_BIND && !without->patch ? stager->memory->places : NULL;
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
		return error_set(
		    err, -ESTALE, "input tree: a blob was missing and is there now; try again");
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

/* Of the action, though its staging begins anew. */
static void
mount_fell_back(struct stager *stager, enum place_way way, int error, const char *then)
{
	placer_fell_back(&stager->placer, way, error, then);
	stager->placer.tally.fallbacks--;
	stager->mount_fallbacks++;
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
	uint64_t start = clock_monotonic_us(), built = stager->builder.built;
	char location[INDEX_LOCATION_SIZE];
	struct index_pin pin;

	if (image == NULL)
		return 0;
	int rc = stage_image_get(&stager->builder, image->dir, &pin);
	if (rc > 0 || rc == -E2BIG || rc == -EFBIG || rc == -ENAMETOOLONG ||
	    (rc != 0 && place_may_fall_back(-rc))) {
		mount_fell_back(stager, PLACE_IMAGE, rc > 0 ? EBUSY : -rc, "cached trees");
		plan_forget_image(&stager->planner);
		return 0;
	}
	if (rc != 0)
		return rc;
	stager->pins[stager->pin_count++] = pin;
	index_location(stager->region, &pin, location);
	image->location = arena_strdup(stager->arena, location);
	if (!stager->planner.only_image)
		wish(stager, stager->builder.built == built);
	stager->image_us += clock_monotonic_us() - start;
	if (stager->builder.built != built)
		learn_image(stager, &image->dir->totals, clock_monotonic_us() - start);
	stager->builder.built = built; /* no tree */
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
	mount_fell_back(stager, PLACE_OVERLAY, EBUSY,
	    stager->planner.overlay_whole ? "private copies" : "file by file");
	if (stager->planner.overlay_whole)
		return COMPOSE_NO_OVERLAY;
	plan_forget_lower(&stager->planner, root);
	return 0;
}

/* Everything that is placed: first the cached trees, then the sandbox. */
static int
place(struct stager *stager, const struct stage_ways *ways, struct plan_node *root,
    struct sandbox *sandbox, struct stage_report *report, struct error_text *err)
{
	struct place_cursor cursor;

	int rc = build_lower(stager, root);
	if (rc == 0)
		rc = build_image(stager);
	if (rc == 0)
		rc = plan_each(root, build_node, stager);
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
	unpin(stager);
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
		give_back(stager);
	return rc;
}

static bool
may_mount(const struct stager *stager, enum place_way way)
{
	return stager->memory->mount_failures[way] < MOUNT_FAILURES_MAX;
}

int
stage_compose(struct stager *stager, const struct stage_request *request, struct sandbox *sandbox,
    struct stage_report *ret_report, struct error_text *err)
{
	struct without without = {
	    .overlay = request->no_overlay || !may_mount(stager, PLACE_OVERLAY),
	    .image = request->no_image || !may_mount(stager, PLACE_IMAGE),
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
stager_drop_kept(struct stager *stager)
{
	if (stager->recycle != NULL)
		recycle_drop_all(stager->recycle);
}

int
stager_rest_ms(struct stager *stager)
{
	int rest_s = stager->recycle != NULL ? recycle_rest(stager->recycle) : -1;

	return rest_s < 0 ? -1 : rest_s * 1000;
}

bool
stager_has_overlay(const struct stager *stager)
{
	return stager->ways[true][false].subtree == SUBTREE_OVERLAY &&
	    may_mount(stager, PLACE_OVERLAY);
}

void
stage_mount_failed(
    struct stager *stager, struct stage_report *report, enum place_way way, int error)
{
	report->has_overlay = false;
	report->image = NULL;
	mount_fell_back(stager, way, error, "another way");
	if (++stager->memory->mount_failures[way] == MOUNT_FAILURES_MAX)
		log_warn("staging: %s failed %d times in a row; this worker does without",
		    place_way_names[way], MOUNT_FAILURES_MAX);
}

void
stage_mounted(struct stager *stager, const struct stage_report *report)
{
	if (report->has_overlay)
		stager->memory->mount_failures[PLACE_OVERLAY] = 0;
	if (report->image != NULL)
		stager->memory->mount_failures[PLACE_IMAGE] = 0;
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
	give_back(stager);
	report->has_overlay = report->is_sealed = false;
	report->image = NULL;
	report->binds = NULL;
	report->missing = NULL;
	report->bind_count = report->missing_count = 0;
	return rc; /* the figures stay */
}
