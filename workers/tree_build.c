#include "workers/tree_build.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"

/* One directory inside the tree just published, and those below it. */
struct inside {
	struct cache_builder *builder;
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
note(struct cache_builder *builder, const struct tree_dir *dir, const struct index_pin *pin)
{
	struct inside inside = {.builder = builder, .host = pin};

	note_inside(&inside, dir, 0);
}

static void
mark_later(struct tree_dir *dir)
{
	for (size_t i = 0; i < dir->message->n_directories; i++) {
		if (dir->children[i]->noted_later)
			continue;
		dir->children[i]->noted_later = true;
		mark_later(dir->children[i]);
	}
}

static void
published(struct cache_builder *builder, const struct build *build, const struct index_pin *pin)
{
	if (!builder->notes_later || builder->later_count == BUILD_LATER_MAX) {
		note(builder, build->dir, pin);
		return;
	}
	mark_later(build->dir);
	builder->later[builder->later_count++] =
	    (struct build_later){.dir = build->dir, .pin = *pin};
}

void
tree_build_note(struct cache_builder *builder)
{
	for (unsigned i = 0; i < builder->later_count; i++)
		note(builder, builder->later[i].dir, &builder->later[i].pin);
	builder->later_count = 0;
}

static int
fill(struct cache_builder *builder, const struct build *build, int folder_fd, const char *temp)
{
	struct placer *placer = builder->placer;
	struct place_cursor cursor;

	int rc = place_directory(placer, (uid_t)-1, folder_fd, temp);
	if (rc != 0)
		return rc;
	int fd = FAULTY(
	    openat, openat(folder_fd, temp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
	if (fd < 0)
		return placer_failed(placer, -errno, "open this directory", temp);
	cursor_init(&cursor, fd);
	rc = place_tree(placer, &builder->policy, &cursor, build->dir);
	cursor_fini(&cursor);
	close(fd);
	return rc;
}

int
tree_build(struct cache_builder *builder, struct tree_dir *dir, struct index_pin *ret_pin)
{
	struct build build = {.key = dir->digest,
	    .totals = dir->totals,
	    .fill = fill,
	    .published = published,
	    .dir = dir};

	bool is_built;

	if (dir->noted_later)
		tree_build_note(builder);
	int rc = build_get(builder, &build, ret_pin, &is_built);
	builder->built += rc == 0 && is_built;
	return rc;
}
