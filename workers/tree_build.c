#include "workers/tree_build.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/fs.h"
#include "workers/sandbox.h"

enum {
	CLAIM_TRIES = 3,
	WAIT_US_MIN = 20000, /* building and publishing has a cost of its own */
	WAIT_US_PER_FILE = 50,
	TEMP_NAME_SIZE = 64,
};

/* One directory inside the tree just published, and those below it. */
struct inside {
	struct tree_builder *builder;
	const struct index_pin *host;
	char path[INDEX_PATH_SIZE];
};

static void
note_inside(struct inside *inside, const struct tree_dir *dir, size_t len)
{
	for (size_t i = 0; i < dir->message->n_directories; i++) {
		struct tree_dir *child = dir->children[i];
		const char *name = dir->message->directories[i]->name;
		size_t name_len = strlen(name), at = len == 0 ? 0 : len + 1;

		if (child->noted_inside || digest_is_empty(&child->digest) ||
		    at + name_len >= sizeof inside->path)
			continue;
		if (len != 0)
			inside->path[len] = '/';
		memcpy(inside->path + at, name, name_len + 1);
		struct placer *placer = inside->builder->placer;
		(void)index_add_inside(placer->region, placer->slot, inside->host, &child->digest,
		    inside->path, &child->totals);
		child->noted_inside = true;
		note_inside(inside, child, at + name_len);
	}
}

static void
throw_away(struct tree_builder *builder, const char *name)
{
	char to[TEMP_NAME_SIZE + 16];

	snprintf(to, sizeof to, "trash/tree.%" PRIu32 ".%" PRIu64, builder->slot_number,
	    sandbox_next_number());
	int rc = renameat(builder->trees_fd, name, builder->state_fd, to);
	if (rc != 0 && errno == ENOENT && fs_mkdir(builder->state_fd, "trash", 0755) == 0)
		rc = renameat(builder->trees_fd, name, builder->state_fd, to);
	if (rc != 0 && errno != ENOENT) /* no room for a rename: then the slow way */
		fs_remove_tree(builder->trees_fd, name);
}

/* The tree under its temporary name. */
static int
fill(struct tree_builder *builder, const struct tree_dir *dir, const char *temp)
{
	struct placer *placer = builder->placer;
	struct place_cursor cursor;

	int rc = place_directory(placer, (uid_t)-1, builder->trees_fd, temp);
	if (rc != 0)
		return rc;
	int fd = FAULTY(openat,
	    openat(builder->trees_fd, temp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
	if (fd < 0)
		return placer_failed(placer, -errno, "open this directory", temp);
	cursor_init(&cursor, fd);
	rc = place_tree(placer, &builder->policy, &cursor, dir);
	cursor_fini(&cursor);
	close(fd);
	return rc;
}

/* What has the final name without a READY entry is rubbish: the claim is ours. */
static int
give_name(struct tree_builder *builder, const char *temp, const char *name)
{
	int trees = builder->trees_fd;

	for (int i = 0; i < CLAIM_TRIES; i++) {
		if (FAULTY(renameat, renameat(trees, temp, trees, name)) == 0)
			return 0;
		if (errno != EEXIST && errno != ENOTEMPTY && errno != ENOTDIR)
			break;
		throw_away(builder, name);
	}
	return placer_failed(builder->placer, -errno, "give the built tree its name", name);
}

static int
build_claimed(struct tree_builder *builder, struct tree_dir *dir, const struct index_claim *claim,
    struct index_pin *ret_pin)
{
	struct placer *placer = builder->placer;
	char temp[TEMP_NAME_SIZE], name[DIGEST_TEXT_SIZE];
	uint64_t start = clock_monotonic_us(), shared = placer->tally.private_bytes;

	CRASH_POINT(tree_claimed);
	index_tree_name(&dir->digest, name);
	snprintf(temp, sizeof temp, "building.%" PRIu32 ".%" PRIu64, builder->slot_number,
	    sandbox_next_number());
	int rc = fill(builder, dir, temp);
	if (rc != 0)
		goto out;
	CRASH_POINT(tree_built);
	rc = give_name(builder, temp, name);
	if (rc != 0)
		goto out;
	CRASH_POINT(tree_renamed);
	struct index_tree tree = dir->totals;
	tree.private_bytes = placer->tally.private_bytes - shared;
	tree.build_us = (uint32_t)(clock_monotonic_us() - start);
	rc = index_publish(placer->region, placer->slot, claim, &tree, ret_pin);
	CHECK(rc == 0); /* it has all it needs since the claim */
	CRASH_POINT(tree_published);
	struct inside inside = {.builder = builder, .host = ret_pin};
	note_inside(&inside, dir, 0);
	builder->built++;
	builder->build_us += clock_monotonic_us() - start;
	return 0;
out:
	throw_away(builder, temp);
	index_abandon(placer->region, placer->slot, claim);
	return rc;
}

/* Another process builds it.  0: it no longer does. */
static int
wait_for(struct tree_builder *builder, const struct tree_dir *dir)
{
	struct placer *placer = builder->placer;
	uint64_t timeout_us = WAIT_US_MIN + (uint64_t)dir->totals.files * WAIT_US_PER_FILE;

	COUNTER_ADD(placer->slot, index_waits, 1);
	int rc = index_wait(placer->region, &dir->digest, timeout_us);
	if (rc != 0)
		COUNTER_ADD(placer->slot, index_busy, 1);
	return rc;
}

int
tree_build(struct tree_builder *builder, struct tree_dir *dir, struct index_pin *ret_pin)
{
	struct placer *placer = builder->placer;

	for (int i = 0; i < CLAIM_TRIES; i++) {
		struct index_claim claim;
		int rc = index_claim(placer->region, placer->slot, &dir->digest, &claim);
		if (rc == 0)
			return build_claimed(builder, dir, &claim, ret_pin);
		if (rc != -EEXIST && rc != -EBUSY)
			return 1;
		if (rc == -EBUSY && wait_for(builder, dir) != 0)
			return 1;
		rc = index_pin(placer->region, placer->slot, &dir->digest, ret_pin);
		if (rc == 0)
			return 0;
		if (rc != -ENOENT && rc != -EBUSY)
			return 1;
	}
	return 1;
}
