/*
 * Walking a tree depth first, each distinct Directory once.  A visited digest's number is the
 * height of what lies below it, so that the bound on depth holds for paths that are not walked
 * again.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/check.h"
#include "cas/digest_map.h"
#include "cas/directory.h"

struct frame {
	struct digest digest;
	struct digest *children;
	size_t count, next;
	uint32_t height;
};

struct walk {
	struct cas *cas;
	const struct tree_visitor *visitor;
	struct error_text *err;
	struct arena *arena; /* one Directory at a time */
	struct digest_map heights;
	struct frame *frames;
	size_t depth;
};

static int
too_deep(struct walk *walk, const struct digest *digest)
{
	char text[DIGEST_TEXT_SIZE];

	return error_set(walk->err, -EINVAL, "%s: the tree is more than %d directories deep",
	    digest_to_text(digest, '/', text), TREE_DEPTH_MAX);
}

static void
frame_push(struct walk *walk, const struct digest *digest, const ReapiDirectory *directory)
{
	struct frame *frame = &walk->frames[walk->depth++];

	*frame = (struct frame){.digest = *digest, .count = directory->n_directories, .height = 1};
	frame->children = calloc(frame->count + 1, sizeof(*frame->children));
	CHECK(frame->children != NULL);
	for (size_t i = 0; i < frame->count; i++)
		CHECK(
		    reapi_digest_get(directory->directories[i]->digest, &frame->children[i]) == 0);
}

static void
frame_pop(struct walk *walk)
{
	struct frame *frame = &walk->frames[--walk->depth];

	*digest_map_find(&walk->heights, &frame->digest) = frame->height;
	free(frame->children);
	if (walk->depth > 0 && frame[-1].height < frame->height + 1)
		frame[-1].height = frame->height + 1;
}

static int
walk_missing(struct walk *walk, const struct digest *digest, int rc)
{
	if (walk->visitor->on_missing == NULL)
		return rc;
	return walk->visitor->on_missing(walk->visitor->arg, digest);
}

static int
walk_enter(struct walk *walk, const struct digest *digest)
{
	ReapiDirectory *directory;
	uint32_t *height;
	bool is_new;
	int rc;

	height = digest_map_add(&walk->heights, digest, &is_new);
	if (walk->depth + (is_new ? 1 : *height) > TREE_DEPTH_MAX)
		return too_deep(walk, digest);
	if (!is_new) {
		if (walk->depth > 0 && walk->frames[walk->depth - 1].height < *height + 1)
			walk->frames[walk->depth - 1].height = *height + 1;
		return 0;
	}
	arena_reset(walk->arena);
	rc = directory_load(walk->cas, walk->arena, digest, &directory, walk->err);
	if (rc == -ENOENT || rc == -EBADMSG)
		return walk_missing(walk, digest, rc);
	if (rc == 0 && walk->visitor->on_directory != NULL)
		rc = walk->visitor->on_directory(walk->visitor->arg, digest, directory);
	if (rc == 0)
		frame_push(walk, digest, directory);
	return rc;
}

int
tree_walk(struct cas *cas, const struct digest *root, const struct tree_visitor *visitor,
    struct error_text *err)
{
	struct walk walk = {.cas = cas, .visitor = visitor, .err = err, .arena = arena_new()};
	int rc;

	walk.frames = calloc(TREE_DEPTH_MAX, sizeof(*walk.frames));
	CHECK(walk.frames != NULL);
	rc = walk_enter(&walk, root);
	while (rc == 0 && walk.depth > 0) {
		struct frame *frame = &walk.frames[walk.depth - 1];

		if (frame->next < frame->count)
			rc = walk_enter(&walk, &frame->children[frame->next++]);
		else
			frame_pop(&walk);
	}
	while (walk.depth > 0)
		frame_pop(&walk);
	free(walk.frames);
	digest_map_fini(&walk.heights);
	arena_free(walk.arena);
	return rc;
}

struct missing {
	struct cas *cas;
	struct digest_map seen;
	struct digest *digests;
	size_t count, room;
};

static int
missing_add(struct missing *missing, const struct digest *digest)
{
	if (missing->count == missing->room) {
		size_t room = missing->room == 0 ? 16 : 2 * missing->room;
		struct digest *digests = realloc(missing->digests, room * sizeof(*digests));

		if (digests == NULL)
			return -ENOMEM;
		missing->digests = digests;
		missing->room = room;
	}
	missing->digests[missing->count++] = *digest;
	return 0;
}

static int
missing_directory(void *arg, const struct digest *digest)
{
	struct missing *missing = arg;
	bool is_new;

	digest_map_add(&missing->seen, digest, &is_new);
	return is_new ? missing_add(missing, digest) : 0;
}

static int
missing_files(void *arg, const struct digest *digest, const ReapiDirectory *directory)
{
	struct missing *missing = arg;

	for (size_t i = 0; i < directory->n_files; i++) {
		struct digest file;
		bool is_new;
		int rc;

		CHECK(reapi_digest_get(directory->files[i]->digest, &file) == 0);
		digest_map_add(&missing->seen, &file, &is_new);
		rc = is_new ? cas_has(missing->cas, &file) : 1;
		if (rc == 0)
			rc = missing_add(missing, &file);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int
tree_missing(struct cas *cas, const struct digest *root, struct digest **ret_missing,
    size_t *ret_count, struct error_text *err)
{
	struct missing missing = {.cas = cas};
	const struct tree_visitor visitor = {&missing, missing_files, missing_directory};
	int rc = tree_walk(cas, root, &visitor, err);

	digest_map_fini(&missing.seen);
	if (rc != 0) {
		free(missing.digests);
		return rc;
	}
	*ret_missing = missing.digests;
	*ret_count = missing.count;
	return 0;
}
