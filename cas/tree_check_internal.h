/* What tree_check.c, tree_check_file.c and tree_derive.c share and nobody else includes. */
#ifndef CAS_TREE_CHECK_INTERNAL_H
#define CAS_TREE_CHECK_INTERNAL_H

#include <sys/stat.h>

#include "cas/hash.h"
#include "cas/inode_map.h"
#include "cas/reapi.h"
#include "cas/tree_check.h"

enum { CHECK_BUFFER_SIZE = 256 << 10 };

/* A directory whose turn will come. */
struct check_pending {
	char *path;
	struct digest digest;
	unsigned depth;
};

struct tree_checker {
	struct tree_check_config config;
	struct tree_check_stats stats;
	struct arena *arena; /* one Directory at a time */
	struct hasher *hasher;
	uint8_t *buffer; /* CHECK_BUFFER_SIZE bytes */
	struct inode_map inodes;
	struct check_pending *pending;
	size_t pending_count, pending_room;

	/* Of the tree that is being checked. */
	int top_fd;
	uid_t owner;
	int64_t built_ns;
	unsigned faults;
	bool is_uncompared;
	int ended; /* what `pause` said, 0: nothing yet */
};

/* One directory of it, open. */
struct check_level {
	struct tree_checker *checker;
	const char *path;
	int fd;
	bool is_touched; /* since the tree was built */
};

int check_pause(struct tree_checker *checker);

/* The level at a path; 1: it cannot be opened, which is a fault and has been reported. */
int check_level_open(struct tree_checker *checker, const char *path, struct check_level *ret_level);
void check_level_close(struct check_level *level);

/* name: in the level, "" for itself. */
void check_fault(const struct check_level *level, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void check_blob_fault(const struct check_level *level, const char *name, enum tree_fault_kind kind,
    const struct digest *blob, const char *what);
void check_mode_owner(
    const struct check_level *level, const char *name, const struct stat *st, mode_t mode);
mode_t check_directory_mode(const struct stat *st);

/* tree_check_file.c: a file against its node. */
int check_file(const struct check_level *level, const ReapiFileNode *node, const struct stat *st);
/*
 * A file's digest as it is.  `wanted`: what is known of its inode is believed only if it is that;
 * NULL: in any case.  1: it cannot be read, which is a fault and has been reported.
 */
int check_hash(const struct check_level *level, const char *name, const struct stat *st,
    const struct digest *wanted, struct digest *ret_digest);
/* Its target, in the arena; NULL: likewise. */
const char *check_target(const struct check_level *level, struct arena *arena, const char *name);

/* tree_derive.c: the digest of what lies at a path, made from there.  1: a fault, reported. */
int check_derive(
    struct tree_checker *checker, const char *path, unsigned depth, struct digest *ret_digest);

#endif
