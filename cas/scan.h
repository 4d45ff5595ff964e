/*
 * Reading the store's folders whole: what the janitor counts, evicts and verifies.
 *
 * The files of cas/.  Names that are no blob's are passed over.  What comes or goes meanwhile may
 * be seen or not.  A callback's -errno ends the scan.
 */
#ifndef CAS_SCAN_H
#define CAS_SCAN_H

#include <sys/stat.h>

#include <stdbool.h>

#include "cas/store.h"

struct scan_entry {
	int dirfd;
	const char *name; /* in dirfd */
	struct digest digest; /* the hash only */
	bool executable;
	struct stat st;
};

int scan_blobs(struct cas *cas, int (*see)(void *arg, const struct scan_entry *entry), void *arg);
int scan_actions(struct cas *cas, int (*see)(void *arg, const struct scan_entry *entry), void *arg);

/* Every name of the one folder `name` below dirfd; only dirfd, name and st are filled. */
int scan_folder(
    int dirfd, const char *name, int (*see)(void *arg, const struct scan_entry *entry), void *arg);

#endif
