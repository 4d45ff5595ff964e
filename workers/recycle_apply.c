/*
 * Making a kept root what the next action's tree says.  In each directory: first what must not be
 * there goes, then what is lacking comes, so that two names that are one on this volume do not
 * meet.
 */
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/trash.h"
#include "workers/recycle_internal.h"

/* What is in a directory now. */
struct found {
	const char *name;
	bool is_directory;
	bool is_intact; /* as it was handed over */
	struct kept_dir *dir; /* an intact directory's */
};
struct founds {
	struct found *list;
	size_t count, noted; /* intact ones among them */
};

/* 1: it has to be placed whole. */
static int update(struct recycling *recycling, struct kept_dir **dir, const struct digest *old,
    const struct want *want, struct place_cursor *cursor);

static int
find_exposed(
    struct recycling *recycling, const struct kept_dir *dir, int fd, struct founds *ret_founds)
{
	struct scan_entry *entries;
	struct founds founds = {.list = NULL};

	int rc = scan_directory(recycling->stager->arena, fd, &entries, &founds.count);
	if (rc != 0)
		return rc;
	founds.list =
	    arena_alloc(recycling->stager->arena, (founds.count + 1) * sizeof(struct found));
	for (size_t i = 0; i < founds.count; i++) {
		struct found *found = &founds.list[i];
		const struct kept_entry *noted = kept_find(dir, entries[i].name);
		found->name = entries[i].name;
		found->is_directory = S_ISDIR(entries[i].stat.mode);
		if (noted == NULL)
			continue;
		found->is_intact = stat_is_same(recycling, &noted->stat, &entries[i].stat);
		found->dir = found->is_intact ? noted->dir : NULL;
		founds.noted += found->is_intact;
	}
	recycling->looked += founds.count;
	*ret_founds = founds;
	return 0;
}

/* Sealed: what its Directory says is there. */
static void
find_sealed(struct recycling *recycling, const struct kept_dir *dir, const struct items *olds,
    struct founds *ret_founds)
{
	struct founds founds = {.count = olds->count};

	founds.list =
	    arena_alloc(recycling->stager->arena, (founds.count + 1) * sizeof(struct found));
	for (size_t i = 0; i < founds.count; i++) {
		const struct item *item = &olds->list[i];
		struct found *found = &founds.list[i];
		*found = (struct found){
		    .name = item->name,
		    .is_directory = item->kind == ITEM_DIRECTORY,
		    .is_intact = true,
		};
		if (!found->is_directory)
			continue;
		const struct kept_entry *noted = kept_find(dir, item->name);
		found->dir = noted != NULL ? noted->dir : NULL;
	}
	*ret_founds = founds;
}

/* A directory may be large: it goes to the trash as it is. */
static int
remove_directory(struct recycling *recycling, int dirfd, const char *name)
{
	struct stager *stager = recycling->stager;
	char as[64];

	if (unlinkat(dirfd, name, AT_REMOVEDIR) == 0)
		return 0;
	snprintf(as, sizeof as, "stray.%u.%llu", slot_number(stager->region, stager->slot),
	    (unsigned long long)sandbox_next_number());
	return trash_move(dirfd, name, stager->state_fd, as);
}

static int
remove_found(struct recycling *recycling, int dirfd, const struct found *found)
{
	if (found->is_directory)
		return remove_directory(recycling, dirfd, found->name);
	return FAULTY(unlinkat, unlinkat(dirfd, found->name, 0)) != 0 ? -errno : 0;
}

/* Removes what is not as it was, or not wanted; what stays is marked in the wanted items. */
static int
remove_unwanted(struct recycling *recycling, const struct kept_dir *dir, int dirfd,
    const struct founds *founds, const struct items *olds, struct items *wants, bool *ret_changed)
{
	bool changed = dir->is_exposed && founds->noted != dir->count;

	for (size_t i = 0; i < founds->count; i++) {
		const struct found *found = &founds->list[i];
		struct item *want = items_find(wants, found->name);
		bool stays = found->is_intact && want != NULL && !want->is_own;
		if (stays && found->is_directory)
			stays = want->kind == ITEM_DIRECTORY && found->dir != NULL;
		else if (stays)
			stays = items_same(items_find(olds, found->name), want);
		if (stays) {
			want->is_there = true;
			want->kept = found->dir;
			continue;
		}
		int rc = remove_found(recycling, dirfd, found);
		if (rc != 0)
			return rc;
		changed = changed || found->is_intact;
		recycling->strays += !found->is_intact;
	}
	*ret_changed = changed;
	return 0;
}

static int
place_new_directory(
    struct recycling *recycling, const struct item *item, struct place_cursor *cursor)
{
	struct stager *stager = recycling->stager;
	struct plan_node alone = {
	    .kind = PLAN_PRIVATE,
	    .name = item->name,
	    .path = item->name,
	    .digest = item->digest,
	};

	if (item->node != NULL)
		alone = *item->node;
	if (alone.kind == PLAN_PRIVATE && digest_is_empty(&alone.digest))
		alone.kind = PLAN_EMPTY;
	return stage_place_node(stager, recycling->ways, cursor, &alone, recycling->report);
}

static int
place_item(struct recycling *recycling, const struct item *item, struct place_cursor *cursor)
{
	struct placer *placer = &recycling->stager->placer;
	const struct stage_ways *ways = recycling->ways;

	switch (item->kind) {
	case ITEM_FILE:
		return place_file(
		    placer, item->is_own ? &ways->own : &ways->loose, cursor->fd, item->file);
	case ITEM_SYMLINK:
		return place_symlink(placer, cursor->fd, item->symlink);
	case ITEM_DIRECTORY:
		break;
	}
	return place_new_directory(recycling, item, cursor);
}

/* Whose it is now; a spine that has become one, or is none any more, changes hands. */
static int
set_owner(struct recycling *recycling, const struct kept_dir *dir, const struct want *want, int fd)
{
	uid_t spine_owner = recycling->ways->spine_owner;

	if (spine_owner == (uid_t)-1 || dir->is_spine == want_is_spine(want))
		return 0;
	return fchown(fd, want_is_spine(want) ? spine_owner : geteuid(), (gid_t)-1) != 0 ? -errno
											 : 0;
}

/* 1: nobody would want to make anything in it. */
static int
check_self(const struct recycling *recycling, const struct kept_dir *dir, int fd)
{
	struct scan_stat stat;
	dev_t device;

	if (!dir->is_exposed)
		return 0;
	int rc = scan_self(fd, &stat, &device);
	if (rc == 0 && device != recycling->device)
		return 1;
	if (rc == 0)
		rc = scan_is_plain(fd);
	return rc < 0 ? rc : rc == 0;
}

/* All as it was?  1: no. */
static int
check_same(struct recycling *recycling, const struct kept_dir *dir, struct place_cursor *cursor)
{
	struct founds founds;

	if (!dir->is_exposed)
		return 0;
	int rc = check_self(recycling, dir, cursor->fd);
	if (rc == 0)
		rc = find_exposed(recycling, dir, cursor->fd, &founds);
	if (rc == 0 && (founds.count != dir->count || founds.noted != dir->count))
		return 1;
	for (size_t i = 0; rc == 0 && i < founds.count; i++) {
		const struct found *found = &founds.list[i];
		if (found->dir == NULL)
			continue;
		rc = cursor_down(cursor, found->name);
		if (rc != 0)
			return rc;
		rc = check_same(recycling, found->dir, cursor);
		int up = cursor_up(cursor);
		rc = rc < 0 || up == 0 ? rc : up;
	}
	return rc;
}

static void
count_remaining(struct recycling *recycling, uint64_t files, uint64_t bytes)
{
	recycling->remained.files += files;
	recycling->remained.bytes += bytes;
}

/* A directory that is there, in the cursor's.  What cannot be made of it is placed whole. */
static int
update_below(struct recycling *recycling, const struct items *olds, struct item *item,
    struct place_cursor *cursor, bool *ret_changed)
{
	const struct item *was = items_find(olds, item->name);
	const struct digest *old =
	    was != NULL && was->kind == ITEM_DIRECTORY ? &was->digest : &digest_empty;
	const struct want want = want_of(item);

	if (!item->kept->is_exposed && recycle_is_same(recycling, item->kept, old, &want)) {
		count_remaining(recycling, item->kept->all.files, item->kept->all.bytes);
		return 0;
	}
	int rc = cursor_down(cursor, item->name);
	if (rc != 0)
		return rc;
	rc = update(recycling, &item->kept, old, &want, cursor);
	int up = cursor_up(cursor);
	if (rc != 1 || up != 0)
		return rc < 0 || up == 0 ? rc : up;
	kept_dir_free(item->kept);
	item->kept = NULL;
	rc = remove_directory(recycling, cursor->fd, item->name);
	*ret_changed = true;
	return rc == 0 ? place_item(recycling, item, cursor) : rc;
}

/* What each wanted item needs.  *ret_changed: an entry is not the one that was there. */
static int
bring(struct recycling *recycling, const struct items *olds, struct items *wants,
    struct place_cursor *cursor, bool *ret_changed)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < wants->count; i++) {
		struct item *item = &wants->list[i];
		if (!item->is_there) {
			rc = place_item(recycling, item, cursor);
			*ret_changed = true;
		} else if (item->kind == ITEM_DIRECTORY) {
			rc = update_below(recycling, olds, item, cursor, ret_changed);
		} else if (item->kind == ITEM_FILE) {
			count_remaining(recycling, 1, (uint64_t)item->file->digest->size_bytes);
		}
	}
	return rc;
}

/* The directories below go over from what was known to what is wanted, and back. */
static void
give_children(struct kept_dir *dir, struct items *wants)
{
	for (size_t i = 0; i < wants->count; i++) {
		struct item *item = &wants->list[i];
		if (item->kept == NULL)
			continue;
		struct kept_entry *entry = kept_find(dir, item->name);
		entry->dir = NULL;
	}
}

static void
take_children(struct kept_dir *dir, struct items *wants)
{
	for (size_t i = 0; i < wants->count; i++) {
		struct item *item = &wants->list[i];
		if (item->kept == NULL)
			continue;
		struct kept_entry *entry = kept_find(dir, item->name);
		entry->dir = item->kept;
		item->kept = NULL;
	}
	kept_sum(dir);
}

static void
free_children(struct items *wants)
{
	for (size_t i = 0; i < wants->count; i++) {
		kept_dir_free(wants->list[i].kept);
		wants->list[i].kept = NULL;
	}
}

static int
note_again(struct recycling *recycling, struct kept_dir **dir, const struct want *want,
    struct items *wants, bool changed, struct place_cursor *cursor)
{
	struct kept_dir *fresh;

	if (!changed && (*dir)->is_exposed && want_is_exposed(recycling, want)) {
		take_children(*dir, wants);
		(*dir)->is_spine = want_is_spine(want);
		return 0;
	}
	int rc = kept_note(recycling, cursor, want, wants, &fresh);
	if (rc != 0)
		return rc;
	kept_dir_free(*dir);
	*dir = fresh;
	return 0;
}

static int
change(struct recycling *recycling, struct kept_dir **dir, const struct digest *old,
    const struct want *want, struct place_cursor *cursor)
{
	struct items olds, wants;
	struct founds founds;
	bool changed;

	int rc = kept_expand(recycling, dir, old);
	if (rc == 0)
		rc = items_of_old(recycling, old, &olds);
	if (rc == 0)
		rc = items_of_want(recycling, want, &wants);
	if (rc != 0)
		return rc < 0 ? rc : 1;
	if ((*dir)->is_exposed)
		rc = find_exposed(recycling, *dir, cursor->fd, &founds);
	else
		find_sealed(recycling, *dir, &olds, &founds);
	if (rc != 0)
		return rc;
	if ((*dir)->is_exposed)
		recycling->harmed += (*dir)->count - founds.noted;
	rc = remove_unwanted(recycling, *dir, cursor->fd, &founds, &olds, &wants, &changed);
	give_children(*dir, &wants);
	if (rc == 0)
		rc = set_owner(recycling, *dir, want, cursor->fd);
	if (rc == 0)
		rc = bring(recycling, &olds, &wants, cursor, &changed);
	if (rc == 0)
		rc = note_again(recycling, dir, want, &wants, changed, cursor);
	free_children(&wants);
	return rc;
}

static int
update(struct recycling *recycling, struct kept_dir **dir, const struct digest *old,
    const struct want *want, struct place_cursor *cursor)
{
	if (recycle_is_same(recycling, *dir, old, want)) {
		int rc = check_same(recycling, *dir, cursor);
		if (rc == 0)
			count_remaining(recycling, (*dir)->all.files, (*dir)->all.bytes);
		if (rc <= 0)
			return rc;
	}
	int rc = check_self(recycling, *dir, cursor->fd);
	return rc == 0 ? change(recycling, dir, old, want, cursor) : rc;
}

int
recycle_apply(struct recycling *recycling, struct kept *kept, const struct want *want,
    struct place_cursor *cursor)
{
	return update(recycling, &kept->dir, &kept->digest, want, cursor);
}
