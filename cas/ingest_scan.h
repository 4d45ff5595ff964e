/*
 * A user's directory as it was found: every name with its stat, before anything is read.
 *
 * ingest.c only, one thread.  All of it lives in the arena.  Entries are sorted by name.
 */
#ifndef CAS_INGEST_SCAN_H
#define CAS_INGEST_SCAN_H

#include <limits.h>

#include "base/error_text.h"
#include "cas/ingest.h"
#include "cas/ingest_cache.h"
#include "cas/reapi.h"

enum found_kind { FOUND_FILE, FOUND_DIRECTORY, FOUND_SYMLINK };
struct found {
	enum found_kind kind;
	const char *name;
	const char *path; /* relative to the root */
	const char *target; /* symlink */
	bool executable; /* file */
	bool lasting; /* file: identity and digest may go into the cache */
	struct file_identity identity; /* file */
	struct digest digest; /* file, directory: once it is known */
	struct found **entries; /* directory */
	size_t count;
};

struct ingest_scan {
	struct arena *arena;
	int root_fd;
	struct stat state; /* of the state directory, which is left out */
	const char *const *excludes;
	struct error_text *err;
	struct ingest_stats *stats;
	struct found **files; /* all of them, malloc'ed */
	size_t file_count, file_room;
	char target[PATH_MAX]; /* a symlink's, while it is read */
};

/* Fills in the root and scan->files; the caller frees the latter, on failure too. */
int ingest_scan(struct ingest_scan *scan, struct found *ret_root);

#endif
