/*
 * What placing costs on this volume and system: one number a step, in nanoseconds.
 *
 * Measured by the supervisor once at each start, by trials in the state directory (cost_measure),
 * smoothed with what earlier starts found and kept as STATE/costs (cost_keep), inherited by the
 * workers, whose planner chooses by it.  Trials are noisy and ratios matter: a number moves a
 * quarter of the way towards what the last trial found, unless that is more than four times off
 * (another volume, another machine), when it is taken as it is.
 *
 * cost_measure fills in what it can try and leaves the rest as cost_default has it; it takes some
 * tens of milliseconds.  cost_keep and cost_read: 0 or -errno; a file that is
 * missing (-ENOENT) or damaged (-EBADMSG) costs nothing but the memory.  The file is written by
 * rename: after a crash it is the old or the new one.
 */
#ifndef WORKERS_COST_H
#define WORKERS_COST_H

#include <stdint.h>

enum cost_item {
	COST_LINK, /* one file, by hard link */
	COST_LINK_THREADS, /* likewise, when several threads make them in different directories */
	COST_COPY, /* one small file, by copy */
	COST_DIRECTORY, /* mkdir */
	COST_UNLINK, /* one file, when it is deleted again */
	COST_READ, /* one Directory message: read, verified, decoded */
	COST_TREE, /* what a cached tree costs beside its files: claim, rename, publish */
	COST_BIND, /* one subtree, any size, its mount point included */
	COST_OVERLAY, /* one mount, any size */
	COST_IMAGE, /* one image: written and mounted, any size */
	COST_IMAGE_FILE, /* one file more in it: encoded, its blob looked for */
	COST_CLONE_ENTRY, /* one file or directory, where a directory is cloned in one call */
	COST_TOUCH, /* the action opens and reads a file, linked or bound */
	COST_TOUCH_OVERLAY, /* what that costs more below an overlay */
	COST_TOUCH_IMAGE, /* likewise in an image */
	COST_COUNT
};

struct cost_model {
	uint32_t ns[COST_COUNT];
};

/* An action looks at about so many of its inputs, of a hundred. */
enum { COST_TOUCHED_PERCENT = 10 };

/* Threads of one tree, the tree's own included. */
enum { COST_LINK_THREADS_MAX = 4, COST_LINK_THREADS_WORTH_PERCENT = 87 };

extern const char *const cost_names[COST_COUNT];
extern const char *const cost_words[COST_COUNT];

void cost_default(struct cost_model *ret_costs);

/*
 * dirfd: an empty directory of the caller's on the volume, whose absolute name is `path`; what is
 * made in it stays.  can_image: images work here.
 */
void cost_measure(int dirfd, const char *path, int can_image, struct cost_model *ret_costs);

/*
 * What was expected to take so long took so long: an item moves an eighth of the way, from at most
 * four times off.  A worker corrects its own copy so, as it goes; what is kept stays as measured.
 */
void cost_learn(
    struct cost_model *costs, enum cost_item item, uint64_t expected_ns, uint64_t actual_ns);

/* How many threads may make links of one tree: 1 unless that is clearly faster here. */
unsigned cost_link_threads(const struct cost_model *costs);

/*
 * One link of several threads, for each link of one thread, in thousandths; 0: it cannot be told.
 * dirfd has blobs/00/<n>, `blobs` of them.
 */
uint32_t cost_try_threads(int dirfd, unsigned blobs);

int cost_read(int state_fd, struct cost_model *ret_costs);
/* Smooths `costs`, just measured, with those kept, and keeps the result. */
int cost_keep(int state_fd, struct cost_model *costs);

/* What differs between systems: the trials that mount. */
struct cost_trial {
	int dirfd; /* has tree/d<i>/f<j> and blobs/ab/<hash> */
	const char *path;
	unsigned directories, files; /* in each */
	int blob_bytes;
	int can_image;
};
void cost_measure_mounts(const struct cost_trial *trial, struct cost_model *costs);
/* Opens and reads each file of a tree; the time of one, in nanoseconds, or 0. */
uint32_t cost_touch(int tree_fd, const struct cost_trial *trial);

/*
 * The time of a step: the median of its samples, because a machine that does other things too makes
 * some of them very long.  begin before each step, end after it.
 */
enum { COST_SAMPLES_MAX = 128 };
struct cost_samples {
	uint64_t began_ns;
	uint32_t ns[COST_SAMPLES_MAX];
	unsigned count;
};
void cost_begin(struct cost_samples *samples);
void cost_end(struct cost_samples *samples, unsigned steps); /* steps: how many in one */
uint32_t cost_median(const struct cost_samples *samples); /* 0: there are none */

#endif
