/*
 * Links by one thread and by several, in turns, into the same kind of directories: how far a second
 * thread comes depends on the volume (btrfs has one lock for all) and on the cores.
 */
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fs.h"
#include "workers/cost.h"

enum { ROUNDS_MIN = 3, ROUNDS_MAX = 6, TRIAL_DIRECTORIES = 32, TRIAL_FILES = 12 };
enum { PART_MIN = 1000 / COST_LINK_THREADS_MAX, PART_MAX = 1200 };

struct trial {
	int dirfd, tree_fd;
	unsigned blobs;
	_Atomic unsigned next; /* directory */
	atomic_bool failed;
};

static bool
fill(struct trial *trial, unsigned directory)
{
	char from[80], to[16];

	snprintf(to, sizeof to, "d%u", directory);
	int fd = openat(trial->tree_fd, to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return false;
	bool is_good = true;
	for (unsigned i = 0; is_good && i < TRIAL_FILES; i++) {
		snprintf(from, sizeof from, "blobs/00/%064u",
		    (directory * TRIAL_FILES + i) % trial->blobs);
		snprintf(to, sizeof to, "f%u", i);
		is_good = linkat(trial->dirfd, from, fd, to, 0) == 0;
	}
	close(fd);
	return is_good;
}

static void *
work(void *arg)
{
	struct trial *trial = arg;
	unsigned directory;

	while ((directory = atomic_fetch_add(&trial->next, 1)) < TRIAL_DIRECTORIES)
		if (!fill(trial, directory))
			trial->failed = true;
	return NULL;
}

static bool
tree_make(struct trial *trial, const char *name)
{
	char path[16];

	if (mkdirat(trial->dirfd, name, 0755) != 0 ||
	    fs_open_beneath(trial->dirfd, name, &trial->tree_fd) != 0)
		return false;
	for (unsigned i = 0; i < TRIAL_DIRECTORIES; i++) {
		snprintf(path, sizeof path, "d%u", i);
		if (mkdirat(trial->tree_fd, path, 0755) != 0)
			trial->failed = true;
	}
	return true;
}

/* The time of all links, in samples; threads beside this one. */
static bool
run(struct trial *trial, const char *name, unsigned threads, struct cost_samples *samples)
{
	pthread_t started[COST_LINK_THREADS_MAX];
	unsigned count = 0;

	if (!tree_make(trial, name))
		return false;
	trial->next = 0;
	cost_begin(samples);
	while (count < threads && pthread_create(&started[count], NULL, work, trial) == 0)
		count++;
	work(trial);
	for (unsigned i = 0; i < count; i++)
		pthread_join(started[i], NULL);
	cost_end(samples, 1);
	close(trial->tree_fd);
	return !trial->failed;
}

static uint32_t
least(const struct cost_samples *samples)
{
	uint32_t ns = UINT32_MAX;

	for (unsigned i = 0; i < samples->count; i++)
		if (samples->ns[i] < ns)
			ns = samples->ns[i];
	return ns;
}

/* Of `one`, in thousandths; within what can be, or a busy moment would outweigh what is kept. */
static uint32_t
part_of(const struct cost_samples *several, const struct cost_samples *one)
{
	uint64_t part = (uint64_t)least(several) * 1000 / least(one);

	return part < PART_MIN ? PART_MIN : part > PART_MAX ? PART_MAX : (uint32_t)part;
}

/* What else the machine does can only make them slower: a clear answer is taken at once. */
uint32_t
cost_try_threads(int dirfd, unsigned blobs)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	struct cost_samples one = {0}, several = {0};
	unsigned threads =
	    cores < COST_LINK_THREADS_MAX - 1 ? (unsigned)cores : COST_LINK_THREADS_MAX - 1;
	char name[16];

	if (cores < 2)
		return 0;
	for (unsigned i = 0; i < 2 * ROUNDS_MAX; i++) {
		struct trial trial = {.dirfd = dirfd, .blobs = blobs};
		bool is_one = i % 2 == 0;
		snprintf(name, sizeof name, "links%u", i);
		if (!run(&trial, name, is_one ? 0 : threads, is_one ? &one : &several))
			return 0;
		if (!is_one && i + 1 >= 2 * ROUNDS_MIN &&
		    part_of(&several, &one) <= 10 * COST_LINK_THREADS_WORTH_PERCENT)
			break;
	}
	return part_of(&several, &one);
}
