#include "cas/entry_check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cas/image.h"

enum { LOOKS = 4 };

struct entry_checker {
	struct entry_check_config config;
	struct tree_checker *tree_checker;

	/* Of the entry that is being checked. */
	const struct entry_list *list;
	const struct entry_tree *tree;
	struct entry_report *report;
	int failed; /* in a callback */
};

/* What an entry may stand for, by its digest. */
struct entry_kind {
	const char *folder;
	/* TREE_WHOLE and the like, or -errno; tells the report of faults. */
	int (*check)(struct entry_checker *checker, int folder_fd, const char *name);
};

static int check_tree(struct entry_checker *checker, int folder_fd, const char *name);
static int check_image(struct entry_checker *checker, int folder_fd, const char *name);
static const struct entry_kind tree_kind = {"trees", check_tree};
static const struct entry_kind image_kind = {"images", check_image};

static const struct entry_kind *
kind_of(const struct digest *key)
{
	return index_is_image(key) ? &image_kind : &tree_kind;
}

void
entry_report_fini(struct entry_report *report)
{
	free(report->damaged);
	report->damaged = NULL;
	report->damaged_count = report->damaged_room = 0;
	report->fault_count = 0;
}

/* A path may be the index's, which may hold anything. */
static void
report_fault(struct entry_report *report, const char *path, const char *what)
{
	char *text = report->faults[report->fault_count % ENTRY_FAULTS_KEPT];

	if (report->fault_count++ >= ENTRY_FAULTS_KEPT)
		return;
	snprintf(text, ENTRY_FAULT_SIZE, "%s%s%s", path, path[0] == '\0' ? "" : ": ", what);
	for (; *text != '\0'; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

static int
report_damaged(struct entry_report *report, const struct digest *blob)
{
	for (size_t i = 0; i < report->damaged_count; i++)
		if (digest_equal(&report->damaged[i], blob))
			return 0;
	if (report->damaged_count == report->damaged_room) {
		size_t room = report->damaged_room == 0 ? 16 : 2 * report->damaged_room;
		struct digest *grown = reallocarray(report->damaged, room, sizeof(*grown));

		if (grown == NULL)
			return -ENOMEM;
		report->damaged = grown;
		report->damaged_room = room;
	}
	report->damaged[report->damaged_count++] = *blob;
	return 0;
}

static void
on_fault(void *arg, const struct tree_fault *fault)
{
	struct entry_checker *checker = arg;

	if (fault->kind != TREE_FAULT_MESSAGE)
		report_fault(checker->report, fault->path, fault->what);
	if (fault->blob != NULL && checker->failed == 0)
		checker->failed = report_damaged(checker->report, fault->blob);
}

static int
on_pause(void *arg)
{
	const struct entry_checker *checker = arg;

	return checker->config.pause == NULL ? 0 : checker->config.pause(checker->config.arg);
}

/* The first of the tree's inside entries that is not before the path. */
static size_t
inside_find(const struct entry_list *list, const struct entry_tree *tree, const char *path)
{
	size_t low = tree->first_inside, high = low + tree->inside_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(list->insides[middle].path, path) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Still what it was when the list was read? */
static bool
inside_stands(const struct entry_checker *checker, const struct entry_inside *inside)
{
	struct index_info info;

	return index_read(checker->config.region, inside->entry, &info) == 0 &&
	    info.state == INDEX_READY && info.generation == inside->generation && info.inside &&
	    digest_equal(&info.host, &inside->host);
}

static void
inside_fault(struct entry_checker *checker, const struct entry_inside *inside, const char *format)
{
	char digest[DIGEST_TEXT_SIZE], what[192];

	if (!inside_stands(checker, inside))
		return;
	snprintf(what, sizeof(what), "the index says that %s lies here, %s",
	    digest_to_text(&inside->directory, '/', digest), format);
	report_fault(checker->report, inside->path, what);
}

static void
on_directory(void *arg, const char *path, const struct digest *digest)
{
	struct entry_checker *checker = arg;
	const struct entry_tree *tree = checker->tree;
	size_t end = tree->first_inside + tree->inside_count;

	for (size_t at = inside_find(checker->list, tree, path);
	     at < end && strcmp(checker->list->insides[at].path, path) == 0; at++) {
		struct entry_inside *inside = &checker->list->insides[at];

		inside->is_seen = true;
		if (!digest_equal(&inside->directory, digest))
			inside_fault(checker, inside, "the tree's digest says another directory");
	}
}

static int
check_tree(struct entry_checker *checker, int folder_fd, const char *name)
{
	const struct entry_tree *tree = checker->tree;
	int rc;

	for (size_t i = 0; i < tree->inside_count; i++)
		checker->list->insides[tree->first_inside + i].is_seen = false;
	rc = tree_check(checker->tree_checker, folder_fd, name, &tree->directory,
	    (int64_t)(tree->published_us * 1000));
	if (checker->failed != 0)
		return checker->failed;
	/* Where something is missing, on disk or in the store, nobody came by. */
	for (size_t i = 0; rc == TREE_WHOLE && i < tree->inside_count; i++) {
		const struct entry_inside *inside = &checker->list->insides[tree->first_inside + i];

		if (!inside->is_seen)
			inside_fault(checker, inside, "the tree's digest knows no such path");
	}
	return rc;
}

static int
check_image(struct entry_checker *checker, int folder_fd, const char *name)
{
	struct digest root = index_directory_of(&checker->tree->directory);
	const char *what;
	int rc =
	    image_compare(checker->config.cas, folder_fd, name, &root, checker->config.deep, &what);

	if (rc == TREE_FAULTY)
		report_fault(checker->report, "", what);
	return rc;
}

int
entry_checker_new(const struct entry_check_config *config, struct entry_checker **ret_checker)
{
	struct entry_checker *checker = calloc(1, sizeof(*checker));
	struct tree_check_config tree_config = {
	    .cas = config->cas,
	    .deep = config->deep,
	    .suspects = config->suspects,
	    .pause = on_pause,
	    .on_fault = on_fault,
	    .on_directory = on_directory,
	    .arg = checker,
	};
	int rc;

	if (checker == NULL)
		return -ENOMEM;
	checker->config = *config;
	rc = tree_checker_new(&tree_config, &checker->tree_checker);
	if (rc != 0)
		free(checker);
	else
		*ret_checker = checker;
	return rc;
}

void
entry_checker_free(struct entry_checker *checker)
{
	if (checker == NULL)
		return;
	tree_checker_free(checker->tree_checker);
	free(checker);
}

const struct tree_check_stats *
entry_checker_stats(const struct entry_checker *checker)
{
	return tree_checker_stats(checker->tree_checker);
}

static bool
entry_stands(const struct entry_checker *checker, const struct entry_tree *tree)
{
	struct index_info info;

	return index_read(checker->config.region, tree->entry, &info) == 0 &&
	    info.state == INDEX_READY && !info.inside && info.generation == tree->generation &&
	    digest_equal(&info.directory, &tree->directory);
}

/* TREE_WHOLE and the like: what one look says. */
static int
look_once(struct entry_checker *checker, const struct entry_list *list,
    const struct entry_tree *tree, struct entry_report *report)
{
	const struct entry_kind *kind = kind_of(&tree->directory);
	char name[DIGEST_TEXT_SIZE];
	int rc, fd;

	entry_report_fini(report);
	report->entry = tree->entry;
	report->generation = tree->generation;
	checker->list = list;
	checker->tree = tree;
	checker->report = report;
	checker->failed = 0;
	fd = openat(cas_state_fd(checker->config.cas), kind->folder,
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno != ENOENT)
		return -errno;
	if (fd < 0) {
		report_fault(report, "", "its folder is not there");
		return TREE_FAULTY;
	}
	rc = kind->check(checker, fd, index_tree_name(&tree->directory, name));
	close(fd);
	return rc >= 0 && report->fault_count > 0 ? TREE_FAULTY : rc;
}

/* A look at it as it is now, where it is still there: since the list was read it has changed. */
static int
look_anew(struct entry_checker *checker, const struct digest *directory,
    struct entry_report *report, bool *ret_found, bool *ret_stands)
{
	struct entry_list list;
	int rc = entry_list_read(checker->config.region, directory, &list);

	if (rc != 0)
		return rc;
	*ret_found = list.tree_count > 0;
	if (*ret_found) {
		rc = look_once(checker, &list, &list.trees[0], report);
		*ret_stands = rc != TREE_FAULTY || entry_stands(checker, &list.trees[0]);
	}
	entry_list_fini(&list);
	return rc;
}

int
entry_check(struct entry_checker *checker, const struct entry_list *list,
    const struct entry_tree *tree, struct entry_report *ret_report)
{
	static const enum entry_verdict verdicts[] = {
	    [TREE_WHOLE] = ENTRY_WHOLE,
	    [TREE_FAULTY] = ENTRY_FAULTY,
	    [TREE_UNCOMPARED] = ENTRY_UNCOMPARED,
	};
	bool stands, is_found = true;
	int rc;

	*ret_report = (struct entry_report){.verdict = ENTRY_GONE};
	rc = look_once(checker, list, tree, ret_report);
	stands = rc != TREE_FAULTY || entry_stands(checker, tree);
	for (int look = 1; rc >= 0 && !stands && is_found && look < LOOKS; look++)
		rc = look_anew(checker, &tree->directory, ret_report, &is_found, &stands);
	if (rc >= 0 && stands)
		ret_report->verdict = verdicts[rc];
	else
		entry_report_fini(ret_report);
	return rc < 0 ? rc : 0;
}
