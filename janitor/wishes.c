/*
 * Trees that workers had to place more than once without finding them cached: built here, so that
 * no action waits for it.
 */
#include <string.h>

#include "base/log.h"
#include "janitor/internal.h"
#include "shm/wanted.h"
#include "workers/stage_policy.h"
#include "workers/tree_build.h"

/* An urgent sweep that is asked for meanwhile comes first. */
enum { EACH_SWEEP_MAX = 64 };

/* What building takes, made once for all that is wished for. */
struct grants {
	struct placer placer;
	struct cache_builder builder;
	struct arena *arena;
};

static void
grants_start(struct janitor *janitor, struct grants *grants)
{
	grants->arena = arena_new();
	placer_init(&grants->placer, janitor->region, janitor->slot, janitor->cas);
	grants->placer.link_threads = cost_link_threads(&janitor->probe->costs);
	grants->builder = (struct cache_builder){
	    .placer = &grants->placer,
	    .state_fd = janitor->config->state_fd,
	    .slot_number = SLOT_JANITOR,
	};
	stage_build_policy(janitor->probe, &grants->builder.policy);
}

static void
grants_end(struct grants *grants)
{
	placer_fini(&grants->placer);
	arena_free(grants->arena);
}

static bool
is_cached(struct janitor *janitor, const struct digest *directory)
{
	struct index_info info;
	uint32_t entry;

	return index_find(janitor->region, directory, &entry) == 0 &&
	    index_read(janitor->region, entry, &info) == 0;
}

/* A wish that cannot be granted is none: whoever needs the tree says what is wrong with it. */
static void
grant(struct janitor *janitor, struct grants *grants, const struct digest *directory)
{
	struct tree_loader loader;
	struct tree_dir *dir;
	struct index_pin pin;
	struct error_text err = {""};
	char text[DIGEST_TEXT_SIZE];
	uint64_t built = grants->builder.built;

	if (is_cached(janitor, directory))
		return;
	placer_start(&grants->placer);
	tree_loader_start(&loader, janitor->cas, grants->arena);
	int rc = tree_load(&loader, directory, 0, &dir, &err);
	if (rc == 0 && loader.missing_count == 0) {
		rc = tree_build(&grants->builder, dir, &pin);
		if (rc == 0) {
			index_unpin(janitor->region, janitor->slot, &pin);
			COUNTER_ADD(janitor->slot, trees_granted, grants->builder.built - built);
		}
	}
	if (rc < 0)
		log_debug("trees/%s: cannot be built ahead: %s",
		    digest_to_text(directory, '-', text), strerror(-rc));
	tree_loader_free(&loader);
	arena_reset(grants->arena);
}

int
grant_wishes(struct janitor *janitor)
{
	struct grants grants = {.arena = NULL};
	unsigned granted = 0;
	int rc = 0;

	for (uint32_t slot = SLOT_WORKER_FIRST; rc == 0 && slot < SLOT_COUNT_MAX; slot++) {
		struct digest directory;
		while (rc == 0 && granted < EACH_SWEEP_MAX && !janitor->urgent &&
		    wanted_take(janitor->region, slot, &directory) == 0) {
			if (grants.arena == NULL)
				grants_start(janitor, &grants);
			grant(janitor, &grants, &directory);
			granted++;
			rc = janitor_attend(janitor);
		}
	}
	if (grants.arena != NULL)
		grants_end(&grants);
	return rc;
}
