/*
 * What is really in a directory of a sandbox: names, kinds and what tells a change.
 *
 * Worker, private to recycling; recycle_scan_linux.c and recycle_scan_darwin.c, which has one call
 * for many entries (getattrlistbulk).  Reads only, follows no symlink.  Errors: from the system.
 */
#ifndef WORKERS_RECYCLE_SCAN_H
#define WORKERS_RECYCLE_SCAN_H

#include <sys/types.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cas/reapi.h"

struct scan_stat {
	uint64_t inode, size;
	int64_t mtime_ns, ctime_ns;
	uint32_t mode, uid; /* mode: type too */
};

struct scan_entry {
	const char *name;
	struct scan_stat stat;
};

/* All entries of fd, sorted by name, in the arena. */
int scan_directory(struct arena *arena, int fd, struct scan_entry **ret_entries, size_t *ret_count);

struct scan_list { /* scan_add's, of those two files */
	struct arena *arena;
	struct scan_entry *entries;
	size_t count, room;
};
void scan_add(struct scan_list *list, const char *name, const struct scan_stat *stat);
void scan_sort(struct scan_list *list);

/* The directory itself. */
int scan_self(int fd, struct scan_stat *ret_stat, dev_t *ret_device);

/*
 * An attribute, an ACL or a flag on the directory would go over to what is made in it later: 1
 * there is none, 0, or -errno.
 */
int scan_is_plain(int fd);

/*
 * Of a volume: a file's ctime after a change is never what it was at the look before, however soon
 * the change comes.  (Linux before 6.13 counts in ticks of up to 10 ms.)
 */
bool scan_clock_is_fine(int dirfd);

#endif
