/*
 * Comparing what the index promises with what lies there: every READY entry that has a place of its
 * own, and every entry inside it.
 *
 * Tool and janitor, one thread.  Calling sequence:
 *
 *   entry_list_read (all, or one) -> for each of list.trees: entry_check -> entry_report_fini
 *
 * On a live host entries come and go meanwhile.  What looks wrong is believed only when the entry,
 * looked at again afterwards, is still READY at the same generation; else it is looked at anew, and
 * is ENTRY_GONE where it has left.  The tree itself may leave at any moment: it goes into trash/
 * only when its entry is not READY any more.
 *
 * An entry inside is right when the Directory messages lead along its path to its digest; that the
 * path on disk holds it is what its host's check says.
 *
 * Errors: -errno, as tree_check; -ENOMEM.
 */
#ifndef CAS_ENTRY_CHECK_H
#define CAS_ENTRY_CHECK_H

#include "cas/tree_check.h"
#include "shm/index.h"

/* An entry that lies inside another. */
struct entry_inside {
	uint32_t entry, generation;
	struct digest host, directory;
	char *path;
	bool is_seen; /* by the check of its host */
};
struct entry_tree {
	uint32_t entry, generation;
	struct digest directory;
	uint64_t published_us;
	size_t first_inside, inside_count; /* in the list's */
};
struct entry_list {
	struct entry_tree *trees; /* by digest */
	struct entry_inside *insides; /* by host, then path */
	size_t tree_count, inside_count, tree_room, inside_room;
};

/* only: this tree and what lies inside it; NULL: all. */
int entry_list_read(
    const struct region *region, const struct digest *only, struct entry_list *ret_list);
void entry_list_fini(struct entry_list *list);

enum entry_verdict { ENTRY_WHOLE, ENTRY_FAULTY, ENTRY_UNCOMPARED, ENTRY_GONE };
enum { ENTRY_FAULTS_KEPT = 8, ENTRY_FAULT_SIZE = 1400 };

struct entry_report {
	enum entry_verdict verdict;
	uint32_t entry, generation; /* of what was looked at last */
	unsigned fault_count; /* of the tree and of what the index says of it */
	char faults[ENTRY_FAULTS_KEPT][ENTRY_FAULT_SIZE]; /* the first: "<path>: <what>" */
	struct digest *damaged; /* blobs in the store that are not what their names say */
	size_t damaged_count, damaged_room;
};
void entry_report_fini(struct entry_report *report);

struct entry_check_config {
	const struct region *region;
	struct cas *cas; /* as in tree_check.h, and so are the others */
	bool deep;
	const struct digest_map *suspects;
	int (*pause)(void *arg);
	void *arg;
};
struct entry_checker;

int entry_checker_new(const struct entry_check_config *config, struct entry_checker **ret_checker);
void entry_checker_free(struct entry_checker *checker);
const struct tree_check_stats *entry_checker_stats(const struct entry_checker *checker);

int entry_check(struct entry_checker *checker, const struct entry_list *list,
    const struct entry_tree *tree, struct entry_report *ret_report);

#endif
