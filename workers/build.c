#include "workers/build.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/fs.h"
#include "base/trash.h"
#include "workers/sandbox.h"

enum {
	CLAIM_TRIES = 3,
	WAIT_US_MIN = 20000, /* building and publishing has a cost of its own */
	WAIT_US_PER_FILE = 50,
};

int
build_folder_open(const struct cache_builder *builder, const struct digest *key, int *ret_folder_fd)
{
	const char *folder = index_folder(key);
	int rc = fs_open_beneath(builder->state_fd, folder, ret_folder_fd);

	if (rc == -ENOENT) {
		rc = fs_mkdir(builder->state_fd, folder, 0755);
		if (rc == 0)
			rc = fs_open_beneath(builder->state_fd, folder, ret_folder_fd);
	}
	return rc == 0
	    ? 0
	    : placer_failed(builder->placer, rc, "open this folder of the cache", folder);
}

void
build_temp_name(const struct cache_builder *builder, char *temp)
{
	snprintf(temp, BUILD_TEMP_SIZE, "building.%" PRIu32 ".%" PRIu64, builder->slot_number,
	    sandbox_next_number());
}

static void
throw_away(struct cache_builder *builder, int folder_fd, const char *name)
{
	char as[BUILD_TEMP_SIZE];

	snprintf(as, sizeof as, "tree.%" PRIu32 ".%" PRIu64, builder->slot_number,
	    sandbox_next_number());
	int rc = trash_move(folder_fd, name, builder->state_fd, as);
	if (rc != 0 && rc != -ENOENT) /* no room for a rename: then the slow way */
		fs_remove_tree(folder_fd, name);
}

int
build_give_name(struct cache_builder *builder, int folder_fd, const char *temp, const char *name)
{
	for (int i = 0; i < CLAIM_TRIES; i++) {
		if (FAULTY(renameat, renameat(folder_fd, temp, folder_fd, name)) == 0)
			return 0;
		if (errno != EEXIST && errno != ENOTEMPTY && errno != ENOTDIR && errno != EISDIR)
			break;
		throw_away(builder, folder_fd, name);
	}
	return placer_failed(builder->placer, -errno, "give what was built its name", name);
}

static int
build_claimed(struct cache_builder *builder, const struct build *build,
    const struct index_claim *claim, struct index_pin *ret_pin)
{
	struct placer *placer = builder->placer;
	char temp[BUILD_TEMP_SIZE], name[DIGEST_TEXT_SIZE];
	uint64_t start = clock_monotonic_us(), shared = placer->tally.private_bytes;
	int folder_fd;

	CRASH_POINT(tree_claimed);
	index_tree_name(&build->key, name);
	build_temp_name(builder, temp);
	int rc = build_folder_open(builder, &build->key, &folder_fd);
	if (rc != 0)
		goto out;
	rc = build->fill(builder, build, folder_fd, temp);
	if (rc != 0)
		goto out_folder;
	CRASH_POINT(tree_built);
	/* What has that name without a READY entry is rubbish: the claim is ours. */
	rc = build_give_name(builder, folder_fd, temp, name);
	if (rc != 0)
		goto out_folder;
	close(folder_fd);
	CRASH_POINT(tree_renamed);
	struct index_tree tree = build->totals;
	tree.private_bytes = placer->tally.private_bytes - shared;
	tree.build_us = (uint32_t)(clock_monotonic_us() - start);
	rc = index_publish(placer->region, placer->slot, claim, &tree, ret_pin);
	CHECK(rc == 0); /* it has all it needs since the claim */
	CRASH_POINT(tree_published);
	if (build->published != NULL)
		build->published(builder, build, ret_pin);
	builder->build_us += clock_monotonic_us() - start;
	return 0;
out_folder:
	throw_away(builder, folder_fd, temp);
	close(folder_fd);
out:
	index_abandon(placer->region, placer->slot, claim);
	return rc;
}

/* Another process builds it.  0: it no longer does. */
static int
wait_for(struct cache_builder *builder, const struct build *build)
{
	struct placer *placer = builder->placer;
	uint64_t timeout_us = WAIT_US_MIN + (uint64_t)build->totals.files * WAIT_US_PER_FILE;

	COUNTER_ADD(placer->slot, index_waits, 1);
	int rc = index_wait(placer->region, &build->key, timeout_us);
	if (rc != 0)
		COUNTER_ADD(placer->slot, index_busy, 1);
	return rc;
}

int
build_get(struct cache_builder *builder, const struct build *build, struct index_pin *ret_pin,
    bool *ret_built)
{
	struct placer *placer = builder->placer;

	*ret_built = false;

	for (int i = 0; i < CLAIM_TRIES; i++) {
		struct index_claim claim;
		int rc = index_claim(placer->region, placer->slot, &build->key, &claim);
		if (rc == 0) {
			*ret_built = true;
			return build_claimed(builder, build, &claim, ret_pin);
		}
		if (rc != -EEXIST && rc != -EBUSY)
			return 1;
		if (rc == -EBUSY && wait_for(builder, build) != 0)
			return 1;
		rc = index_pin(placer->region, placer->slot, &build->key, ret_pin);
		if (rc == 0)
			return 0;
		if (rc != -ENOENT && rc != -EBUSY)
			return 1;
	}
	return 1;
}
