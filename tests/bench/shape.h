/*
 * The trees that the bench stages: the shapes of small, flat, deep and wide inputs.
 *
 * Bench programs, one thread.  A shape's files are put into the store once (shape_fill), each with
 * bytes of its own, so that each is an inode of its own as a real build's inputs are.  A *variant*
 * is a tree over the same blobs whose file names, and so all of whose Directory digests, were never
 * seen before (shape_variant): what is staged from it is staged cold.  shape_change and
 * shape_rename make a tree that differs from the one before in some files' bytes or in one
 * directory's name: all that is beside these was seen.  Trees lie below "in/" of an
 * input root that has nothing else, and the action's output is "out/result": as a build action has
 * it, the inputs can be shared whole and the output's directory is the action's own.
 *
 * What the plain loops need (names, paths, blob names) is made ready by shape_variant, so that they
 * make system calls and nothing else.
 */
#ifndef BENCH_SHAPE_H
#define BENCH_SHAPE_H

#include <sys/types.h>

#include "cas/store.h"

#define SHAPE_OUTPUT "out/result"

/* Of the directories below in/: none; d0/d1/...; ten and the others in these; twelve in each. */
enum layout { LAYOUT_FLAT, LAYOUT_CHAIN, LAYOUT_TWO_LEVELS, LAYOUT_DEEP };

struct shape {
	const char *name;
	unsigned files, file_bytes, directories; /* below in/ */
	enum layout layout;
};

extern const struct shape shapes[];
extern const size_t shapes_count;

struct shape_file {
	unsigned directory;
	struct digest digest;
	char blob[CAS_NAME_SIZE];
	char name[48];
	char path[192]; /* from the input root */
};

struct filled_shape {
	const struct shape *shape;
	struct shape_file *files;
	char (*directories)[128]; /* paths from the input root, parents first; [0] is "in" */
	unsigned directory_count;
	struct digest root;
};

/* Exit with a message on failure. */
void shape_fill(struct cas *cas, const struct shape *shape, struct filled_shape *ret_filled);
void shape_free(struct filled_shape *filled);

/* The same tree once more; shape_restore makes a changed copy that again. */
void shape_copy(const struct filled_shape *from, struct filled_shape *ret_filled);
void shape_restore(const struct filled_shape *from, struct filled_shape *filled);

void shape_variant(struct cas *cas, struct filled_shape *filled);
/* The same names, and other bytes (32 KiB at most) in `count` files far from each other: their
 * Directories and those above them are new. */
void shape_change(struct cas *cas, struct filled_shape *filled, unsigned count);
/* One directory, as deep as most, has a name that it never had: those above it are new. */
void shape_rename(struct cas *cas, struct filled_shape *filled);

/* The limit: mkdirat, openat and linkat of the current variant into rootfd, and nothing else. */
void shape_link(const struct filled_shape *filled, int blobs_fd, int rootfd);
/* The limit of deleting it: unlinkat, and nothing else. */
void shape_unlink(const struct filled_shape *filled, int rootfd);

/* Reads one page of `percent` in a hundred of the files, from a root that holds the tree; the files
 * read, or -errno. */
int shape_touch(const struct filled_shape *filled, int rootfd, unsigned percent);

#endif
