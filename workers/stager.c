/* A worker's stagers: what each has, what both learn, and how they go. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/log.h"
#include "workers/recycle.h"
#include "workers/stage_internal.h"

/* NULL: no memory. */
static struct stager *
stager_make(
    const struct stager_config *config, struct region *region, struct slot *slot, struct cas *cas)
{
	struct stager *stager = calloc(1, sizeof *stager);

	if (stager == NULL)
		return NULL;
	stager->state_fd = cas_state_fd(cas);
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
	    .slot_number = slot_number(region, slot),
	    .notes_later = true,
	};
	return stager;
}

int
stager_new(const struct stager_config *config, struct region *region, struct slot *slot,
    struct cas *cas, struct stager **ret_stager, struct error_text *err)
{
	struct stager *stager = stager_make(config, region, slot, cas);
	int rc = 0;

	if (stager == NULL)
		return error_set(err, -ENOMEM, "staging: no memory");
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
	struct stager *second = stager_make(&first->config, first->region, first->slot, first->cas);

	if (second == NULL)
		return error_set(err, -ENOMEM, "staging: no memory");
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
