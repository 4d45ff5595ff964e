/*
 * What could not be mounted, or was not there to be mounted: what an action is staged without, and
 * who is told.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "cas/suspect.h"
#include "workers/stage_internal.h"

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

/* A look for itself, whatever the mount said: the note costs the janitor one, too. */
static bool
is_lost(const struct stager *stager, const struct index_pin *pin)
{
	char location[INDEX_LOCATION_SIZE];
	int fd;

	index_location(stager->region, pin, location);
	int rc = fs_open_beneath(stager->state_fd, location, &fd);
	if (rc == 0)
		close(fd);
	return rc == -ENOENT || rc == -ENOTDIR || rc == -ELOOP;
}

unsigned
stage_note_lost(struct stager *stager)
{
	struct index_info info;
	unsigned lost = 0;
	char name[DIGEST_TEXT_SIZE];

	for (unsigned i = 0; i < stager->pin_count; i++) {
		const struct index_pin *pin = &stager->pins[i];
		if (index_read(stager->region, pin->host, &info) != 0 ||
		    index_is_image(&info.directory) || !is_lost(stager, pin))
			continue;
		lost++;
		if (suspect_is_noted(stager->state_fd, SUSPECT_TREE, &info.directory))
			continue;
		log_warn("%s/%s: somebody has taken it away, or a part of it",
		    index_folder(&info.directory), index_tree_name(&info.directory, name));
		int rc = suspect_note(stager->state_fd, SUSPECT_TREE, &info.directory);
		if (rc != 0)
			log_warn("suspect: cannot leave a note: %s", strerror(-rc));
	}
	return lost;
}

/* In a row. */
static void
count_failure(struct stager *stager, enum place_way way)
{
	if (++stager->memory->mount_failures[way] == MOUNT_FAILURES_MAX)
		log_warn("staging: %s failed %d times in a row; this worker does without",
		    place_way_names[way], MOUNT_FAILURES_MAX);
}

void
stage_mount_failed(
    struct stager *stager, struct stage_report *report, enum place_way way, int error)
{
	report->has_overlay = false;
	report->image = NULL;
	stage_fell_back(stager, way, error, "another way");
	/* What is lost says nothing of the way; a bind that fails, nothing of binds. */
	if (stage_note_lost(stager) == 0 && way != PLACE_BIND)
		count_failure(stager, way);
}

bool *
stage_without_way(struct stage_request *request, enum place_way way)
{
	if (way == PLACE_BIND)
		return &request->no_cached;
	return way == PLACE_IMAGE ? &request->no_image : &request->no_overlay;
}

void
stage_mounted(struct stager *stager, const struct stage_report *report)
{
	if (report->has_overlay)
		stager->memory->mount_failures[PLACE_OVERLAY] = 0;
	if (report->image != NULL)
		stager->memory->mount_failures[PLACE_IMAGE] = 0;
}
