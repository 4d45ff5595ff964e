#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fs.h"
#include "shm/gate.h"
#include "workers/stage_internal.h"

static int place_children(struct stager *stager, const struct stage_ways *ways,
    struct place_cursor *cursor, const struct plan_node *node, struct stage_report *report);

/* target: of the input root; both strings are copied. */
static int
add_bind(struct stager *stager, const char *target, const char *source, bool is_directory)
{
	if (stager->bind_count == stager->bind_room) {
		size_t room = stager->bind_room == 0 ? 64 : stager->bind_room * 2;
		struct stage_bind *grown = reallocarray(stager->binds, room, sizeof *grown);
		if (grown == NULL)
			return -ENOMEM;
		stager->binds = grown;
		stager->bind_room = room;
	}
	stager->binds[stager->bind_count++] = (struct stage_bind){
	    .target = arena_strdup(stager->arena, target),
	    .source = arena_strdup(stager->arena, source),
	    .is_directory = is_directory,
	};
	return 0;
}

static void
count_subtree(struct stage_report *report, enum place_way way, const struct index_tree *tree)
{
	report->subtrees[way]++;
	report->files[way] += tree->files;
	report->bytes[way] += tree->bytes;
	report->files_placed += tree->files;
	report->bytes_placed += tree->bytes;
	report->subtrees_placed++;
}

/* Bound over another's files: the action sees about as many as before. */
static void
count_patch(struct stage_report *report, enum place_way way, const struct index_tree *tree)
{
	report->files[way] -= tree->files;
	report->bytes[way] -= tree->bytes;
	report->files_placed -= tree->files;
	report->bytes_placed -= tree->bytes;
}

/* root/ is its upper layer; the rest of what overlay wants is an empty directory beside it. */
int
stage_place_lower(struct stager *stager, const struct plan_node *lower, struct sandbox *sandbox,
    struct stage_report *report)
{
	char location[INDEX_LOCATION_SIZE];
	struct index_tree tree;
	uint64_t start = clock_monotonic_us();

	int rc = place_directory(&stager->placer, (uid_t)-1, sandbox->dirfd, "work");
	if (rc != 0)
		return rc;
	index_location(stager->region, &lower->pin, location);
	index_tree_of(stager->region, &lower->pin, &tree);
	report->has_overlay = true;
	report->overlay = (struct stage_overlay){
	    .lower = arena_strdup(stager->arena, location),
	    .digest = lower->digest,
	    .is_owned = stager->planner.overlay_whole,
	};
	count_subtree(report, PLACE_OVERLAY, &tree);
	stager->overlay_us += clock_monotonic_us() - start;
	return 0;
}

/* Below a patched tree it is there, in that tree. */
static int
mount_point(struct stager *stager, int dirfd, const struct plan_node *node)
{
	return node->in_patch ? 0 : place_mount_directory(&stager->placer, dirfd, node->name);
}

static int
place_bound(
    struct stager *stager, int dirfd, const struct plan_node *node, struct stage_report *report)
{
	char location[INDEX_LOCATION_SIZE];
	struct index_tree tree;
	uint64_t start = clock_monotonic_us();

	int rc = mount_point(stager, dirfd, node);
	if (rc != 0)
		return rc;
	index_location(stager->region, &node->pin, location);
	index_tree_of(stager->region, &node->pin, &tree);
	rc = add_bind(stager, node->path, location, true);
	if (rc != 0)
		return placer_failed(&stager->placer, rc, "note its bind", node->name);
	count_subtree(report, PLACE_BIND, &tree);
	stager->bind_us += clock_monotonic_us() - start;
	return 0;
}

/* A cold subtree: a part of the image, by the name of its digest. */
static int
place_in_image(
    struct stager *stager, int dirfd, const struct plan_node *node, struct stage_report *report)
{
	uint64_t start = clock_monotonic_us();
	char name[DIGEST_TEXT_SIZE];

	int rc = mount_point(stager, dirfd, node);
	if (rc == 0) {
		rc = add_bind(stager, node->path, index_tree_name(&node->digest, name), true);
		if (rc != 0)
			return placer_failed(&stager->placer, rc, "note its bind", node->name);
		stager->binds[stager->bind_count - 1].in_image = true;
		count_subtree(report, PLACE_IMAGE, &node->dir->totals);
	}
	stager->image_us += clock_monotonic_us() - start;
	return rc;
}

static int
clone_tree(struct stager *stager, int dirfd, const char *location, const char *name)
{
	uint32_t permit = gate_enter(stager->region, stager->slot);

	CRASH_POINT(gate_permit_held);
	int rc = fs_clone(stager->state_fd, location, dirfd, name);
	gate_leave(stager->region, stager->slot, permit);
	return rc;
}

/* Where cloning cannot be done the tree is not loaded perhaps: it is then linked from its cache. */
static int
place_by_files(struct stager *stager, const struct stage_ways *ways, struct place_cursor *cursor,
    const struct plan_node *node, struct stage_report *report)
{
	struct tree_dir *dir = node->dir;
	struct placer *placer = &stager->placer;

	if (dir == NULL) {
		struct error_text unused;
		int rc = tree_load(&stager->loader, &node->digest, 0, &dir, &unused);
		if (rc == 0 && stager->loader.missing_count > 0)
			rc = -ENOENT;
		if (rc != 0)
			return placer_failed(placer, rc, "read its Directory", node->name);
	}
	int rc = place_directory(placer, ways->loose.owner, cursor->fd, node->name);
	if (rc != 0)
		return rc;
	rc = cursor_down(cursor, node->name);
	if (rc != 0)
		return placer_failed(placer, rc, "open this directory", node->name);
	rc = place_tree(placer, &ways->loose, cursor, dir);
	if (rc != 0)
		return placer_below(placer, rc, node->name);
	rc = cursor_up(cursor);
	if (rc != 0)
		return placer_failed(placer, rc, "open the directory above", node->name);
	report->subtrees[ways->loose.order[0]]++;
	report->subtrees_placed++;
	return 0;
}

static int
place_cloned(struct stager *stager, const struct stage_ways *ways, struct place_cursor *cursor,
    const struct plan_node *node, struct stage_report *report)
{
	char location[INDEX_LOCATION_SIZE];
	struct index_tree tree;
	struct placer *placer = &stager->placer;

	index_location(stager->region, &node->pin, location);
	index_tree_of(stager->region, &node->pin, &tree);
	int rc = clone_tree(stager, cursor->fd, location, node->name);
	if (rc == 0) {
		count_subtree(report, PLACE_CLONEFILE, &tree);
		return 0;
	}
	if (rc == -EEXIST)
		return placer_failed(placer, -EINVAL, "clash", node->name);
	if (rc == -ENOENT)
		stage_note_lost(stager);
	else if (!place_may_fall_back(-rc))
		return placer_failed(placer, rc, "clone its cached tree", node->name);
	placer_fell_back(placer, PLACE_CLONEFILE, -rc, "file by file");
	int removed = fs_remove_tree(cursor->fd, node->name);
	if (removed != 0)
		return placer_failed(placer, removed, "remove a half-made clone", node->name);
	return place_by_files(stager, ways, cursor, node, report);
}

/* A large loose file, bound from the CAS.  1: place it by the loose ways. */
static int
bind_file(struct stager *stager, const struct stage_ways *ways, int dirfd,
    const struct plan_node *node, const ReapiFileNode *file, struct stage_report *report)
{
	struct placer *placer = &stager->placer;
	char source[CAS_NAME_SIZE + 8] = "cas/";
	struct digest digest;
	bool made = false;

	if (!ways->bind_files || file->digest->size_bytes <= FILE_BIND_BYTES_MIN ||
	    stager->bind_count >= STAGE_BINDS_MAX || place_has_properties(file) ||
	    !plan_may_bind(node, file->name))
		return 1;
	int rc = reapi_digest_get(file->digest, &digest);
	if (rc == 0)
		rc = cas_ensure(stager->cas, &digest, file->is_executable, &made);
	if (rc != 0)
		return placer_failed(placer, rc, "find it in the CAS", file->name);
	placer->tally.exec_variants += made && file->is_executable;
	rc = place_mount_point(placer, dirfd, file->name);
	if (rc != 0)
		return rc;
	cas_blob_name(&digest, file->is_executable, source + 4);
	const char *target = node->path[0] == '\0'
	    ? file->name
	    : arena_printf(stager->arena, "%s/%s", node->path, file->name);
	rc = add_bind(stager, target, source, false);
	if (rc != 0)
		return placer_failed(placer, rc, "note its bind", file->name);
	report->files[PLACE_BIND]++;
	report->bytes[PLACE_BIND] += (uint64_t)digest.size_bytes;
	report->files_placed++;
	report->bytes_placed += (uint64_t)digest.size_bytes;
	return 0;
}

/* Those that are outputs too are private whatever lies below them, and writable. */
static int
place_loose(struct stager *stager, const struct stage_ways *ways, int dirfd,
    const struct plan_node *node, struct stage_report *report)
{
	const ReapiDirectory *message = node->dir->message;

	for (size_t i = 0; i < message->n_files; i++) {
		const ReapiFileNode *file = message->files[i];
		bool is_output = node->is_whole || spine_find(node->spine, file->name) != NULL;
		if (!is_output && node->lower == LOWER_LOOSE)
			continue;
		int rc = is_output ? 1 : bind_file(stager, ways, dirfd, node, file, report);
		if (rc == 1)
			rc = place_file(
			    &stager->placer, is_output ? &ways->own : &ways->loose, dirfd, file);
		if (rc != 0)
			return rc;
	}
	for (size_t i = 0; node->lower == LOWER_NONE && i < message->n_symlinks; i++) {
		int rc = place_symlink(&stager->placer, dirfd, message->symlinks[i]);
		if (rc != 0)
			return rc;
	}
	return 0;
}

static int
place_spine(struct stager *stager, const struct stage_ways *ways, struct place_cursor *cursor,
    const struct plan_node *node, struct stage_report *report)
{
	struct placer *placer = &stager->placer;
	uid_t owner = node->kind == PLAN_SPINE ? ways->spine_owner : (uid_t)-1;

	int rc = place_directory(placer, owner, cursor->fd, node->name);
	if (rc != 0)
		return rc;
	rc = cursor_down(cursor, node->name);
	if (rc != 0)
		return placer_failed(placer, rc, "open this directory", node->name);
	rc = place_children(stager, ways, cursor, node, report);
	if (rc != 0)
		return placer_below(placer, rc, node->name);
	rc = cursor_up(cursor);
	return rc == 0 ? 0 : placer_failed(placer, rc, "open the directory above", node->name);
}

/* The blob's own file, read-only: what is below has the same name, and other bytes. */
static int
place_file_patch(struct stager *stager, const struct plan_node *node)
{
	char source[CAS_NAME_SIZE + 8] = "cas/";
	bool made = false;
	int rc = cas_ensure(stager->cas, &node->digest, node->file->is_executable, &made);

	if (rc != 0)
		return placer_failed(&stager->placer, rc, "find it in the CAS", node->name);
	stager->placer.tally.exec_variants += made && node->file->is_executable;
	cas_blob_name(&node->digest, node->file->is_executable, source + 4);
	rc = add_bind(stager, node->path, source, false);
	if (rc != 0)
		return placer_failed(&stager->placer, rc, "note its bind", node->name);
	return 0;
}

static int
place_patch(
    struct stager *stager, int dirfd, const struct plan_node *node, struct stage_report *report)
{
	struct index_tree tree;

	if (node->kind == PLAN_FILE)
		return place_file_patch(stager, node);
	if (node->in_image) {
		count_patch(report, PLACE_IMAGE, &node->dir->totals);
		return place_in_image(stager, dirfd, node, report);
	}
	index_tree_of(stager->region, &node->pin, &tree);
	count_patch(report, PLACE_BIND, &tree);
	return place_bound(stager, dirfd, node, report);
}

/* The tree that is like it, then what differs, in the order in which they are mounted. */
static int
place_patched(
    struct stager *stager, int dirfd, const struct plan_node *node, struct stage_report *report)
{
	int rc = place_bound(stager, dirfd, node, report);

	for (const struct plan_node *child = node->first; rc == 0 && child != NULL;
	     child = child->next)
		rc = place_patch(stager, dirfd, child, report);
	return rc;
}

int
stage_place_node(struct stager *stager, const struct stage_ways *ways, struct place_cursor *cursor,
    const struct plan_node *node, struct stage_report *report)
{
	if (node->in_image)
		return place_in_image(stager, cursor->fd, node, report);
	switch (node->kind) {
	case PLAN_PATCHED:
		return place_patched(stager, cursor->fd, node, report);
	case PLAN_SPINE:
	case PLAN_COMPOSED:
		return place_spine(stager, ways, cursor, node, report);
	case PLAN_EMPTY:
		return place_directory(&stager->placer, ways->loose.owner, cursor->fd, node->name);
	case PLAN_CACHED:
		if (!node->is_pinned)
			break;
		if (ways->subtree != SUBTREE_CLONE)
			return place_bound(stager, cursor->fd, node, report);
		return place_cloned(stager, ways, cursor, node, report);
	case PLAN_FILE: /* with the tree that it is bound over */
	case PLAN_PRIVATE:
		break;
	}
	return place_by_files(stager, ways, cursor, node, report);
}

static int
place_children(struct stager *stager, const struct stage_ways *ways, struct place_cursor *cursor,
    const struct plan_node *node, struct stage_report *report)
{
	bool has_loose = node->dir != NULL && node->lower != LOWER_ALL;
	int rc = has_loose ? place_loose(stager, ways, cursor->fd, node, report) : 0;

	for (const struct plan_node *child = node->first; rc == 0 && child != NULL;
	     child = child->next)
		rc = stage_place_node(stager, ways, cursor, child, report);
	return rc;
}

int
stage_place_plan(struct stager *stager, const struct stage_ways *ways, struct place_cursor *cursor,
    const struct plan_node *root, struct stage_report *report)
{
	return place_children(stager, ways, cursor, root, report);
}
