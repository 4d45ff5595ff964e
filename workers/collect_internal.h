/* What collect.c and collect_tree.c share: one collection under way.  Nobody else includes it. */
#ifndef WORKERS_COLLECT_INTERNAL_H
#define WORKERS_COLLECT_INTERNAL_H

#include <sys/stat.h>

#include "workers/collect.h"

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

/* collect_tree.c: a whole directory; fd stays the caller's. */
int collect_directory(
    struct collector *collector, int fd, const char *path, ReapiOutputDirectory *output);

#endif
