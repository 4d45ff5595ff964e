/* What collect.c and collect_tree.c share: one collection under way.  Nobody else includes it. */
#ifndef WORKERS_COLLECT_INTERNAL_H
#define WORKERS_COLLECT_INTERNAL_H

#include <sys/stat.h>

#include "workers/collect.h"

/*
 * A directory of the action's: what was made in it (fd, -1: nothing), and below that what it had
 * before (lower, NULL: nothing).  Without an overlay there is no lower.
 */
struct place {
	int fd;
	const ReapiDirectory *lower;
};

struct collector {
	struct cas *cas;
	struct arena *arena;
	struct slot *slot;
	const struct collect_request *request;
	struct collect_stats *stats;
	struct error_text *err;
	uid_t owner; /* of what the action itself made */
	bool may_move;
	bool want_mtime, want_mode;
	bool want_tree, want_directory;
	struct lower_kept *lowers; /* Directories below an overlay that were read, the last first */
};

/* One regular file into the store; `path` for words. */
int collect_file(struct collector *collector, int dirfd, const char *name, const char *path,
    const struct stat *st, struct digest *ret_digest);
/* The target of a symlink, in the arena. */
int collect_link(struct collector *collector, int dirfd, const char *name, const struct stat *st,
    char **ret_target);
int collect_refuse(struct collector *collector, const char *path, const struct stat *st);
/* -EINVAL for what an input was bound on: its bytes are not here. */
int collect_refuse_mount_point(
    struct collector *collector, const char *path, const struct stat *st);
int collect_fail(struct collector *collector, int rc, const char *path);

/* NULL where the Command asks for none. */
ReapiNodeProperties *collect_properties(struct collector *collector, const struct stat *st);

/* The directory beneath dirfd; opened even where the action took our right to. */
int collect_open_directory(struct collector *collector, int dirfd, const char *name, int *ret_fd);

/* collect_tree.c: a whole directory; the place stays the caller's. */
int collect_directory(struct collector *collector, const struct place *place, const char *path,
    ReapiOutputDirectory *output);

/* The names in a directory, in the arena; fd stays the caller's. */
int collect_names(struct collector *collector, int fd, char ***ret_names, size_t *ret_count);

/*
 * collect_lower.c.  What lies below an overlay, by name; at most one of the three is not NULL.
 */
struct lower_entry {
	const ReapiFileNode *file;
	const ReapiSymlinkNode *symlink;
	const ReapiDirectoryNode *directory;
};
struct lower_entry lower_find(const ReapiDirectory *lower, const char *name);
int lower_load(
    struct collector *collector, const ReapiDigest *digest, const ReapiDirectory **ret_lower);
/* Its bytes are in the store, or -ENOENT. */
int lower_file(struct collector *collector, const ReapiFileNode *file, const char *path);
ReapiNodeProperties *lower_properties(
    struct collector *collector, const ReapiNodeProperties *had, uint32_t mode);
/* The mark of something deleted; a directory that hides what was there before. */
bool upper_is_whiteout(const struct collector *collector, const struct stat *st);
bool upper_is_opaque(const struct collector *collector, int fd);
/*
 * The directory `name` of a place: -ENOENT, -ENOTDIR and -ELOOP when there is none.
 * *ret_place's fd, if any, is the caller's.
 */
int place_enter(struct collector *collector, const struct place *place, const char *name,
    struct place *ret_place);
void place_leave(struct place *place);

#endif
