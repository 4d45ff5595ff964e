#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "cas/entry_check.h"
#include "cas/suspect.h"
#include "janitor/internal.h"
#include "shm/counters.h"

static struct condemned *
condemned_add(struct janitor *janitor, uint32_t entry, const struct digest *directory)
{
	struct condemned *item;

	if (janitor->condemned_count == janitor->condemned_room) {
		size_t room = janitor->condemned_room == 0 ? 16 : 2 * janitor->condemned_room;
		struct condemned *grown = reallocarray(janitor->condemned, room, sizeof(*grown));

		if (grown == NULL)
			return NULL;
		janitor->condemned = grown;
		janitor->condemned_room = room;
	}
	item = &janitor->condemned[janitor->condemned_count++];
	*item = (struct condemned){.entry = entry, .directory = *directory};
	return item;
}

/* The note goes last: who dies before has it looked at once more. */
static void
forget(struct janitor *janitor, struct condemned *item)
{
	int rc = suspect_forget(janitor->config->state_fd, SUSPECT_TREE, &item->directory);

	if (rc != 0)
		log_warn("suspect: a note cannot be removed: %s", strerror(-rc));
	*item = janitor->condemned[--janitor->condemned_count];
}

/* 0: it is gone, and the item with it.  -EBUSY: somebody has it. */
static int
take_away(struct janitor *janitor, struct condemned *item)
{
	const char *folder = index_folder(&item->directory);
	char name[DIGEST_TEXT_SIZE];
	struct digest seen;
	int rc;

	if (!item->is_cleared) {
		rc = index_evict_settle(janitor->region, janitor->slot, item->entry, &seen);
		if (rc != 0)
			return rc;
		item->is_cleared = true;
	}
	rc = trash_put(janitor, folder, index_tree_name(&item->directory, name));
	if (rc != 0 && rc != -ENOENT)
		return rc;
	index_evict_finish(janitor->region, janitor->slot, item->entry);
	COUNTER_ADD(janitor->slot, trees_dropped, 1);
	CRASH_POINT(suspect_dropped);
	forget(janitor, item);
	return 0;
}

static const char *
outcome(int rc)
{
	if (rc == 0)
		return "dropped; the next action that needs it builds it again";
	return rc == -EBUSY ? "in use: nobody gets it any more, and it goes when it is free"
			    : "it cannot be put into the trash yet, but nobody gets it any more";
}

void
tree_condemn(
    struct janitor *janitor, uint32_t entry, const struct digest *directory, const char *why)
{
	int rc, state_fd = janitor->config->state_fd;
	char name[DIGEST_TEXT_SIZE];
	struct condemned *item;

	if (index_evict_hold(janitor->region, janitor->slot, entry) != 0)
		return; /* it is leaving, or has left */
	COUNTER_ADD(janitor->slot, trees_damaged, 1);
	CRASH_POINT(suspect_found);
	item = condemned_add(janitor, entry, directory);
	rc = item == NULL ? -ENOMEM : take_away(janitor, item);
	if (item == NULL)
		index_evict_cancel(janitor->region, janitor->slot, entry);
	if (rc != 0)
		(void)suspect_note(state_fd, SUSPECT_TREE, directory); /* should we die first */
	log_warn("%s/%s: %s: %s", index_folder(directory), index_tree_name(directory, name), why,
	    rc == -ENOMEM ? strerror(ENOMEM) : outcome(rc));
}

bool
tree_is_condemned(const struct janitor *janitor, const struct digest *directory)
{
	for (size_t i = 0; i < janitor->condemned_count; i++)
		if (digest_equal(&janitor->condemned[i].directory, directory))
			return true;
	return false;
}

void
condemned_settle(struct janitor *janitor)
{
	char name[DIGEST_TEXT_SIZE];

	for (size_t i = janitor->condemned_count; i-- > 0;) {
		struct digest directory = janitor->condemned[i].directory;

		if (take_away(janitor, &janitor->condemned[i]) == 0)
			log_info("%s/%s: free at last: dropped", index_folder(&directory),
			    index_tree_name(&directory, name));
	}
}
