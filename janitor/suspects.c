#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "cas/entry_check.h"
#include "cas/suspect.h"
#include "janitor/internal.h"
#include "shm/counters.h"

/* Notes worked off at once, and how often new ones are looked for before other work is done. */
enum { NOTES_MAX = 1024, ROUNDS_MAX = 64 };

struct notes {
	struct janitor *janitor;
	struct digest trees[NOTES_MAX], blobs[NOTES_MAX];
	size_t tree_count, blob_count;
	struct digest_map blob_map;
};

/* One walk through notes, or one tree. */
struct look {
	struct janitor *janitor;
	struct cas *cas; /* only reads: what is looked at keeps its last use */
	int attended; /* what janitor_attend said, 0: go on */
	bool has_noted; /* a suspect that is new */
};

static int
on_pause(void *arg)
{
	struct look *look = arg;

	look->attended = janitor_attend(look->janitor);
	if (look->attended != 0)
		return look->attended;
	/* A full disk goes first: the notes can wait, they are notes. */
	return look->janitor->urgent ? -EAGAIN : 0;
}

static int
look_begin(struct janitor *janitor, struct look *ret_look)
{
	*ret_look = (struct look){.janitor = janitor};
	return cas_open(janitor->config->state_fd, false, &ret_look->cas, NULL);
}

/*
 * What the sweep is to do: end, or go on though this could not be done now.  Once said, a reason is
 * not said again before something else has been.
 */
static int
look_end(struct janitor *janitor, int attended, int rc)
{
	if (rc != 0)
		janitor->suspects_left = true;
	if (attended != 0)
		return attended;
	if (rc != 0 && rc != -EAGAIN && rc != janitor->suspects_error) {
		log_error("suspect: %s: tried again later", strerror(-rc));
		janitor->suspects_error = rc;
	} else if (rc == 0) {
		janitor->suspects_error = 0;
	}
	return 0;
}

static int
checker_new(struct look *look, bool deep, const struct digest_map *suspects,
    struct entry_checker **ret_checker)
{
	struct entry_check_config config = {.region = look->janitor->region,
	    .cas = look->cas,
	    .deep = deep,
	    .suspects = suspects,
	    .pause = on_pause,
	    .arg = look};

	return entry_checker_new(&config, ret_checker);
}

static void
condemn(struct janitor *janitor, const struct entry_tree *tree, const struct entry_report *report)
{
	char why[ENTRY_FAULT_SIZE + 64];

	snprintf(why, sizeof(why), "%s", report->faults[0]);
	if (report->fault_count > 1)
		snprintf(why, sizeof(why), "%s (and %u faults more)", report->faults[0],
		    report->fault_count - 1);
	tree_condemn(janitor, report->entry, &tree->directory, why);
}

/* One tree, and what follows.  A blob found damaged on the way is a suspect of its own. */
static int
tree_look(struct look *look, struct entry_checker *checker, const struct entry_list *list,
    const struct entry_tree *tree, enum entry_verdict *ret_verdict)
{
	struct janitor *janitor = look->janitor;
	struct entry_report report;
	int rc = entry_check(checker, list, tree, &report);

	if (rc != 0)
		return rc;
	COUNTER_ADD(janitor->slot, trees_checked, 1);
	for (size_t i = 0; rc == 0 && i < report.damaged_count; i++)
		rc = suspect_note(janitor->config->state_fd, SUSPECT_BLOB, &report.damaged[i]);
	look->has_noted = look->has_noted || report.damaged_count > 0;
	if (report.verdict == ENTRY_FAULTY)
		condemn(janitor, tree, &report);
	*ret_verdict = report.verdict;
	entry_report_fini(&report);
	return rc;
}

/* Every tree, for any may link to the old inode of a blob among them. */
static int
trees_look(struct look *look, const struct digest_map *suspects)
{
	struct entry_checker *checker = NULL;
	struct entry_list list;
	int rc = entry_list_read(look->janitor->region, NULL, &list);

	if (rc != 0)
		return rc;
	rc = checker_new(look, false, suspects, &checker);
	for (size_t i = 0; rc == 0 && i < list.tree_count; i++) {
		enum entry_verdict verdict;

		rc = tree_look(look, checker, &list, &list.trees[i], &verdict);
	}
	entry_checker_free(checker);
	entry_list_fini(&list);
	return rc;
}

static int
blob_look(struct look *look, const struct digest *digest)
{
	struct janitor *janitor = look->janitor;
	enum cas_health health;
	char name[CAS_NAME_SIZE];
	int rc = cas_heal(janitor->cas, digest, &health);

	cas_blob_name(digest, false, name);
	if (rc != 0) {
		log_error("cas/%s: cannot be looked at: %s", name, strerror(-rc));
	} else if (health == CAS_HEALED) {
		COUNTER_ADD(janitor->slot, cas_healed, 1);
		log_warn(
		    "cas/%s: its bytes or mode had been changed: made anew from a good copy", name);
	} else if (health == CAS_DROPPED) {
		COUNTER_ADD(janitor->slot, cas_corrupt, 1);
		log_warn("cas/%s: its bytes had been changed, and there is no other copy: dropped; "
			 "whoever needs it puts it again",
		    name);
	}
	return rc;
}

static int
blobs_look(struct look *look, const struct notes *notes)
{
	int rc = 0, state_fd = look->janitor->config->state_fd;

	if (notes->blob_count == 0)
		return 0;
	for (size_t i = 0; rc == 0 && i < notes->blob_count; i++) {
		rc = blob_look(look, &notes->blobs[i]);
		if (rc == 0)
			rc = on_pause(look);
	}
	CRASH_POINT(suspect_healed);
	if (rc == 0)
		rc = trees_look(look, &notes->blob_map);
	for (size_t i = 0; rc == 0 && i < notes->blob_count; i++)
		rc = suspect_forget(state_fd, SUSPECT_BLOB, &notes->blobs[i]);
	return rc;
}

static int
suspect_look(struct look *look, struct entry_checker *checker, const struct digest *directory)
{
	struct janitor *janitor = look->janitor;
	enum entry_verdict verdict = ENTRY_GONE;
	char name[DIGEST_TEXT_SIZE];
	struct entry_list list;
	int rc = entry_list_read(janitor->region, directory, &list);

	if (rc != 0)
		return rc;
	if (list.tree_count > 0)
		rc = tree_look(look, checker, &list, &list.trees[0], &verdict);
	entry_list_fini(&list);
	if (rc != 0)
		return rc;
	if (verdict == ENTRY_WHOLE)
		log_info("%s/%s: suspected, and whole: kept", index_folder(directory),
		    index_tree_name(directory, name));
	if (tree_is_condemned(janitor, directory))
		return 0; /* its note goes with it */
	return suspect_forget(janitor->config->state_fd, SUSPECT_TREE, directory);
}

static int
suspects_check(struct look *look, const struct notes *notes)
{
	struct entry_checker *checker;
	int rc;

	if (notes->tree_count == 0)
		return 0;
	rc = checker_new(look, true, NULL, &checker);
	if (rc != 0)
		return rc;
	for (size_t i = 0; rc == 0 && i < notes->tree_count; i++)
		rc = suspect_look(look, checker, &notes->trees[i]);
	entry_checker_free(checker);
	return rc;
}

static int
on_note(void *arg, enum suspect_kind kind, const struct digest *digest)
{
	struct notes *notes = arg;
	bool is_new;

	if (kind == SUSPECT_TREE && tree_is_condemned(notes->janitor, digest))
		return 0; /* looked at already */
	if (kind == SUSPECT_TREE && notes->tree_count < NOTES_MAX)
		notes->trees[notes->tree_count++] = *digest;
	if (kind == SUSPECT_BLOB && notes->blob_count < NOTES_MAX) {
		notes->blobs[notes->blob_count++] = *digest;
		digest_map_add(&notes->blob_map, digest, &is_new);
	}
	return 0;
}

/* The blobs first: the trees that link to them are dropped then, and need no deep look. */
static int
notes_work(struct janitor *janitor, const struct notes *notes)
{
	struct look look;
	int rc = look_begin(janitor, &look);

	if (rc != 0)
		return look_end(janitor, 0, rc);
	rc = blobs_look(&look, notes);
	if (rc == 0)
		rc = suspects_check(&look, notes);
	cas_close(look.cas);
	return look_end(janitor, look.attended, rc);
}

/* *ret_some: there were notes, and all of them could be worked off. */
static int
round_look(struct janitor *janitor, struct notes *notes, bool *ret_some)
{
	int rc;

	*ret_some = false;
	memset(notes, 0, sizeof(*notes));
	notes->janitor = janitor;
	rc = suspect_each(janitor->config->state_fd, on_note, notes);
	if (rc != 0) {
		rc = look_end(janitor, 0, rc);
	} else if (notes->tree_count + notes->blob_count > 0) {
		rc = notes_work(janitor, notes);
		*ret_some = !janitor->suspects_left;
	}
	digest_map_fini(&notes->blob_map);
	return rc;
}

int
suspects_look(struct janitor *janitor)
{
	struct notes *notes = malloc(sizeof(*notes));
	bool some = true;
	int rc = 0;

	if (notes == NULL)
		return -ENOMEM;
	condemned_settle(janitor);
	for (int round = 0; rc == 0 && some && round < ROUNDS_MAX; round++) {
		janitor->suspects_left = false;
		rc = round_look(janitor, notes, &some);
	}
	janitor->suspects_left = janitor->suspects_left || some;
	free(notes);
	return rc;
}

/* The first tree at or after the entry, and then from the start again. */
static bool
next_tree(
    const struct region *region, uint32_t first, struct digest *ret_directory, uint32_t *ret_entry)
{
	uint32_t count = region_entry_count(region);

	for (uint32_t i = 0; i < count; i++) {
		struct index_info info;
		uint32_t entry = (first + i) % count;

		if (index_read(region, entry, &info) != 0 || info.inside ||
		    info.state != INDEX_READY)
			continue;
		*ret_directory = info.directory;
		*ret_entry = entry;
		return true;
	}
	return false;
}

static int
tree_scrub(struct look *look, const struct digest *directory)
{
	struct entry_checker *checker = NULL;
	enum entry_verdict verdict;
	struct entry_list list;
	int rc = entry_list_read(look->janitor->region, directory, &list);

	if (rc != 0)
		return rc;
	rc = checker_new(look, false, NULL, &checker);
	if (rc == 0 && list.tree_count > 0)
		rc = tree_look(look, checker, &list, &list.trees[0], &verdict);
	entry_checker_free(checker);
	entry_list_fini(&list);
	return rc;
}

int
suspects_scrub(struct janitor *janitor)
{
	struct digest directory;
	struct look look;
	uint32_t entry;
	int rc;

	if (!next_tree(janitor->region, janitor->scrub_entry, &directory, &entry))
		return 0;
	janitor->scrub_entry = entry + 1;
	rc = look_begin(janitor, &look);
	if (rc != 0)
		return look_end(janitor, 0, rc);
	rc = tree_scrub(&look, &directory);
	cas_close(look.cas);
	janitor->suspects_left = janitor->suspects_left || look.has_noted;
	return look_end(janitor, look.attended, rc);
}
