#include "tools/check.h"

#include <sys/stat.h>

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "cas/entry_check.h"
#include "cas/suspect.h"
#include "tools/host.h"
#include "tools/text.h"

enum { SETTLE_US_MAX = 20 * 1000000, SETTLE_LOOK_NS = 20 * 1000000 };

/* What was found, and handed to the janitor. */
struct finding {
	enum suspect_kind kind;
	struct digest digest;
	uint32_t entry, generation; /* of a tree */
	unsigned fault_count;
	struct strings faults; /* the first */
	int note_rc; /* of handing it over */
};

struct checking {
	struct tool *tool;
	struct region *region;
	struct cas *cas;
	struct finding *findings;
	size_t finding_count, finding_room;
	size_t trees, insides, uncompared;
	bool deep;
	bool is_told; /* the host knows of what was found so far */
	int tell_rc;
};

static void
print_rule(void *arg, const char *text)
{
	(void)arg;
	printf("%s\n", text);
}

static bool
has_entry(struct region *region, const struct digest *key)
{
	struct index_info info;
	uint32_t entry;

	if (index_find(region, key, &entry) != 0)
		return false;
	return index_read(region, entry, &info) == -EAGAIN || !info.inside;
}

/* Trees or images on disk without an entry; temporary ones (being built) have no digest's name. */
static unsigned
check_orphans(struct tool *tool, struct region *region, const char *folder, bool images)
{
	int fd = openat(tool->state_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *item;
	struct digest digest;
	unsigned breaches = 0;
	DIR *dir;

	if (fd < 0 && errno == ENOENT)
		return 0;
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (dir == NULL)
		die("%s/%s: %s", tool->state, folder, strerror(errno));
	while ((item = readdir(dir)) != NULL) {
		struct stat st;

		if (digest_from_text(item->d_name, &digest) != 0)
			continue;
		if (images)
			digest = index_image_key(&digest);
		if (has_entry(region, &digest))
			continue;
		if (fstatat(fd, item->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
			continue; /* it has just gone */
		if (has_entry(region, &digest))
			continue; /* it has just come */
		printf("%s/%s has no entry\n", folder, item->d_name);
		breaches++;
	}
	closedir(dir);
	return breaches;
}

/* Whatever the answer: the note is there, and is found when the janitor next looks. */
static void
tell_host(struct checking *checking)
{
	static const struct message sweep = {.type = MSG_sweep};

	checking->is_told = true;
	checking->tell_rc = -ENOENT;
	if (tool_host_pid(checking->tool) != 0)
		checking->tell_rc = host_tell(checking->tool, &sweep);
}

static struct finding *
finding_add(struct checking *checking, enum suspect_kind kind, const struct digest *digest)
{
	struct finding *finding;

	for (size_t i = 0; i < checking->finding_count; i++)
		if (checking->findings[i].kind == kind &&
		    digest_equal(&checking->findings[i].digest, digest))
			return NULL;
	if (checking->finding_count == checking->finding_room) {
		checking->finding_room =
		    checking->finding_room == 0 ? 16 : 2 * checking->finding_room;
		checking->findings =
		    xrealloc(checking->findings, checking->finding_room, sizeof(*finding));
	}
	finding = &checking->findings[checking->finding_count++];
	*finding = (struct finding){.kind = kind, .digest = *digest};
	finding->note_rc = suspect_note(checking->tool->state_fd, kind, digest);
	return finding;
}

static void
take_report(
    struct checking *checking, const struct entry_tree *tree, const struct entry_report *report)
{
	struct finding *finding;

	for (size_t i = 0; i < report->damaged_count; i++)
		(void)finding_add(checking, SUSPECT_BLOB, &report->damaged[i]);
	if (report->verdict != ENTRY_FAULTY)
		return;
	finding = finding_add(checking, SUSPECT_TREE, &tree->directory);
	if (finding == NULL)
		return;
	finding->entry = report->entry;
	finding->generation = report->generation;
	finding->fault_count = report->fault_count;
	for (unsigned i = 0; i < report->fault_count && i < ENTRY_FAULTS_KEPT; i++)
		strings_add(&finding->faults, report->faults[i]);
	if (!checking->is_told) /* it can begin while we look on */
		tell_host(checking);
}

static void
check_trees(struct checking *checking, struct entry_checker *checker, const struct entry_list *list)
{
	for (size_t i = 0; i < list->tree_count; i++) {
		const struct entry_tree *tree = &list->trees[i];
		struct entry_report report;
		int rc = entry_check(checker, list, tree, &report);

		if (rc != 0)
			die("the check could not go on: %s", strerror(-rc));
		checking->trees += report.verdict != ENTRY_GONE;
		checking->insides += report.verdict != ENTRY_GONE ? tree->inside_count : 0;
		checking->uncompared += report.verdict == ENTRY_UNCOMPARED;
		take_report(checking, tree, &report);
		entry_report_fini(&report);
	}
}

/* Gone from the janitor's notes, or on its way out for all to see. */
static bool
is_settled(const struct checking *checking, const struct finding *finding)
{
	struct index_info info;

	if (finding->note_rc != 0 ||
	    !suspect_is_noted(checking->tool->state_fd, finding->kind, &finding->digest))
		return true;
	return finding->kind == SUSPECT_TREE &&
	    index_read(checking->region, finding->entry, &info) == 0 &&
	    info.state == INDEX_LEAVING && digest_equal(&info.directory, &finding->digest);
}

static void
wait_for_janitor(const struct checking *checking)
{
	const struct timespec look = {.tv_nsec = SETTLE_LOOK_NS};
	uint64_t end_us = clock_monotonic_us() + SETTLE_US_MAX;

	for (size_t i = 0; i < checking->finding_count; i++)
		while (
		    !is_settled(checking, &checking->findings[i]) && clock_monotonic_us() < end_us)
			nanosleep(&look, NULL);
}

static const char *
tree_outcome(const struct checking *checking, const struct finding *finding)
{
	struct index_info info;

	if (index_read(checking->region, finding->entry, &info) != 0 ||
	    !digest_equal(&info.directory, &finding->digest) ||
	    (info.state == INDEX_READY && info.generation != finding->generation))
		return "dropped; the next action that needs it builds it again";
	if (info.state == INDEX_LEAVING)
		return "in use: nobody gets it any more, and it is dropped when it is free";
	return "the host looked again and found it whole: kept";
}

static const char *
blob_outcome(const struct checking *checking, const struct finding *finding)
{
	enum cas_health health;
	int rc = cas_heal(checking->cas, &finding->digest, &health);

	if (rc == -EROFS)
		return "it could be neither made anew nor dropped: see ramet.log";
	if (rc != 0)
		return "it cannot be read any more: see ramet.log";
	return health == CAS_ABSENT ? "dropped; whoever needs it puts it again"
				    : "made anew from a good copy";
}

/* What was done. */
static const char *
outcome(const struct checking *checking, const struct finding *finding)
{
	if (finding->note_rc == -EACCES || finding->note_rc == -EPERM)
		return "nothing was done: only the host's user or root can tell the host";
	if (finding->note_rc != 0)
		return "nothing was done: suspect/ cannot be written";
	if (!is_settled(checking, finding) && tool_host_pid(checking->tool) == 0)
		return "noted: the next host here looks at it before any action runs";
	if (!is_settled(checking, finding))
		return "noted: the host has not come to it yet (see ramet.log)";
	return finding->kind == SUSPECT_TREE ? tree_outcome(checking, finding)
					     : blob_outcome(checking, finding);
}

static void
print_tree(const struct checking *checking, const struct finding *finding)
{
	const char *done = outcome(checking, finding);
	char name[DIGEST_TEXT_SIZE];

	index_tree_name(&finding->digest, name);
	for (size_t i = 0; i < finding->faults.count; i++)
		printf("%s/%s: %s: %s\n", index_folder(&finding->digest), name,
		    finding->faults.items[i], done);
	if (finding->fault_count > finding->faults.count)
		printf("%s/%s: %zu faults more: %s\n", index_folder(&finding->digest), name,
		    finding->fault_count - finding->faults.count, done);
}

static unsigned
print_findings(const struct checking *checking)
{
	char name[CAS_NAME_SIZE];
	unsigned faults = 0;

	for (size_t i = 0; i < checking->finding_count; i++) {
		const struct finding *finding = &checking->findings[i];

		faults += finding->kind == SUSPECT_TREE ? finding->fault_count : 1;
		if (finding->kind == SUSPECT_TREE)
			print_tree(checking, finding);
		else
			printf("cas/%s: somebody has changed its bytes: %s\n",
			    cas_blob_name(&finding->digest, false, name),
			    outcome(checking, finding));
	}
	return faults;
}

static void
print_summary(
    const struct checking *checking, const struct tree_check_stats *stats, unsigned faults)
{
	char bytes[32];

	printf("%zu trees and images with %zu directories known inside them: %" PRIu64
	       " files looked at, "
	       "%" PRIu64 " hashed (%s), %u faults\n",
	    checking->trees, checking->insides, stats->files, stats->hashed_files,
	    text_bytes(stats->hashed_bytes, bytes), faults);
	if (checking->uncompared > 0)
		printf("%zu of them cannot be compared: their Directory messages are gone from "
		       "the store%s\n",
		    checking->uncompared,
		    checking->deep ? ""
				   : " (--deep makes those of trees anew from what lies there)");
}

static void
findings_free(struct checking *checking)
{
	for (size_t i = 0; i < checking->finding_count; i++)
		strings_free(&checking->findings[i].faults);
	free(checking->findings);
}

/* Returns the number of faults. */
static unsigned
compare(struct checking *checking, const struct digest *only)
{
	struct entry_check_config config = {
	    .region = checking->region, .cas = checking->cas, .deep = checking->deep};
	struct entry_checker *checker;
	struct entry_list list;
	unsigned faults;
	int rc = entry_list_read(checking->region, only, &list);

	if (rc == 0)
		rc = entry_checker_new(&config, &checker);
	if (rc != 0)
		die("the check could not begin: %s", strerror(-rc));
	check_trees(checking, checker, &list);
	if (checking->finding_count > 0) {
		tell_host(checking);
		if (checking->tell_rc == 0)
			wait_for_janitor(checking);
	}
	faults = print_findings(checking);
	print_summary(checking, entry_checker_stats(checker), faults);
	entry_checker_free(checker);
	entry_list_fini(&list);
	return faults;
}

int
check_index(struct tool *tool, struct region *region, const struct digest *only, bool deep)
{
	struct checking checking = {
	    .tool = tool, .region = region, .cas = tool_cas(tool, false), .deep = deep};
	unsigned breaches = 0, faults;

	if (only == NULL) {
		breaches = index_check(region, print_rule, NULL);
		breaches += check_orphans(tool, region, "trees", false) +
		    check_orphans(tool, region, "images", true);
	}
	faults = compare(&checking, only);
	findings_free(&checking);
	cas_close(checking.cas);
	if (breaches > 0)
		warnx("%u rules broken", breaches);
	else if (only == NULL)
		printf("every rule holds\n");
	return breaches + faults > 0;
}
