/* A worker's stagers: what each has, what both learn, and how they go. */
#include <sys/stat.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "workers/recycle.h"
#include "workers/stage_internal.h"

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
	stager->builder = (struct cache_builder){
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
stage_unpin(struct stager *stager)
{
	tree_build_note(&stager->builder);
	for (unsigned i = 0; i < stager->pin_count; i++)
		index_unpin(stager->region, stager->slot, &stager->pins[i]);
	stager->pin_count = 0;
}

void
stage_give_back(struct stager *stager)
{
	stage_unpin(stager);
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
	stage_give_back(stager);
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

void
stager_free_pair(struct stager *one, struct stager *other)
{
	bool swapped = one != NULL && other != NULL && !one->is_second;

	stager_free(swapped ? other : one);
	stager_free(swapped ? one : other);
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
stage_may_mount(const struct stager *stager, enum place_way way)
{
	return stager->memory->mount_failures[way] < MOUNT_FAILURES_MAX;
}

bool
stager_has_overlay(const struct stager *stager)
{
	return stager->ways[true][false].subtree == SUBTREE_OVERLAY &&
	    stage_may_mount(stager, PLACE_OVERLAY);
}

/* Of the action, though its staging begins anew. */
void
stage_fell_back(struct stager *stager, enum place_way way, int error, const char *then)
{
	placer_fell_back(&stager->placer, way, error, then);
	stager->placer.tally.fallbacks--;
	stager->mount_fallbacks++;
}

void
stage_mount_failed(
    struct stager *stager, struct stage_report *report, enum place_way way, int error)
{
	report->has_overlay = false;
	report->image = NULL;
	stage_fell_back(stager, way, error, "another way");
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
