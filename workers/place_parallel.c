#include "workers/place_parallel.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"

enum {
	NAME_SIZE = 256,
	RUNNING_FREE =
	    1, /* of what runs besides: some is gone in a moment, the kernel's own threads */
};

/* A directory of the tree; all of a level come before those of the next. */
struct item {
	const struct tree_dir *dir;
	const char *name; /* in its parent */
	size_t parent;
	size_t path_len; /* below the tree, without the NUL */
};

struct crew {
	const struct place_policy *policy;
	int root_fd;
	struct item *items;
	pthread_mutex_t store_lock; /* every hand's placer->lock */

	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t more;
	size_t made, taken; /* of items: their directories are there; a hand has taken them */
	bool all_made, has_failed;
};

/* A thread. */
struct hand {
	struct crew *crew;
	struct placer placer;
	pthread_t thread;
	size_t failed_at; /* item, where rc is not 0 */
	int rc;
};

bool
place_parallel_fits(
    const struct placer *placer, const struct place_policy *policy, const struct tree_dir *dir)
{
	return placer->link_threads > 1 && !policy->record && policy->order[0] == PLACE_HARDLINK &&
	    dir->totals.files >= PLACE_PARALLEL_FILES_MIN &&
	    dir->totals.directories >= PLACE_PARALLEL_DIRECTORIES_MIN && !fault_is_armed();
}

/*
 * By the slots, which also tell who has only just begun or will go on in a moment, and by the
 * system, which knows of other work than ours.
 */
unsigned
place_parallel_threads(const struct placer *placer, unsigned running)
{
	unsigned busy = slot_busy_others(placer->region, placer->slot);
	unsigned cap = region_link_cap(placer->region), threads = placer->link_threads;

	if (running > busy + 1 + RUNNING_FREE)
		busy = running - 1 - RUNNING_FREE;
	if (busy + 1 >= placer->cores)
		return 1;
	if (threads > placer->cores - busy + 1)
		threads = placer->cores - busy + 1;
	return threads < cap ? threads : cap;
}

/* Deeper ones are placed with the directory that they lie in, by one thread. */
static bool
has_children_in_list(const struct item *item)
{
	return item->path_len + 1 + NAME_SIZE < PLACE_PATH_SIZE;
}

static char *
item_path(const struct crew *crew, size_t index, char *path)
{
	const struct item *item = &crew->items[index];

	path[item->path_len] = '\0';
	for (; index != 0; index = item->parent, item = &crew->items[index]) {
		size_t len = strlen(item->name);
		memcpy(path + item->path_len - len, item->name, len);
		if (item->parent != 0)
			path[item->path_len - len - 1] = '/';
	}
	return path;
}

static int
item_open(const struct crew *crew, size_t index)
{
	char path[PLACE_PATH_SIZE];
	const char *name = index == 0 ? "." : item_path(crew, index, path);
	int fd = FAULTY(
	    openat, openat(crew->root_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));

	return fd < 0 ? -errno : fd;
}

static int
failed_below(const struct crew *crew, struct placer *placer, int rc, size_t index)
{
	char path[PLACE_PATH_SIZE];

	return index == 0 ? rc : placer_below(placer, rc, item_path(crew, index, path));
}

static int
open_failed(const struct crew *crew, struct placer *placer, int rc, size_t index)
{
	char path[PLACE_PATH_SIZE];

	return placer_failed(
	    placer, rc, "open this directory", index == 0 ? "." : item_path(crew, index, path));
}

static int
hand_place(struct hand *hand, size_t index)
{
	struct crew *crew = hand->crew;
	const struct item *item = &crew->items[index];
	const ReapiDirectory *message = item->dir->message;
	struct place_cursor cursor;

	if (message->n_files == 0 && message->n_symlinks == 0 && has_children_in_list(item))
		return 0;
	int fd = item_open(crew, index);
	if (fd < 0)
		return open_failed(crew, &hand->placer, fd, index);
	int rc = place_entries(&hand->placer, crew->policy, fd, message);
	if (rc == 0 && !has_children_in_list(item)) {
		cursor_init(&cursor, fd);
		rc = place_directories(&hand->placer, crew->policy, &cursor, item->dir);
		cursor_fini(&cursor);
	}
	close(fd);
	return rc == 0 ? 0 : failed_below(crew, &hand->placer, rc, index);
}

/* False: there is nothing left to be done. */
static bool
take(struct crew *crew, size_t *ret_index)
{
	pthread_mutex_lock(&crew->lock);
	while (!crew->has_failed && !crew->all_made && crew->taken == crew->made)
		pthread_cond_wait(&crew->more, &crew->lock);
	bool taken = !crew->has_failed && crew->taken < crew->made;
	if (taken)
		*ret_index = crew->taken++;
	pthread_mutex_unlock(&crew->lock);
	return taken;
}

static void
give_up(struct crew *crew)
{
	pthread_mutex_lock(&crew->lock);
	crew->has_failed = true;
	pthread_cond_broadcast(&crew->more);
	pthread_mutex_unlock(&crew->lock);
}

/*
 * A hand that fails stops.  The others end what they have taken, all of which comes before what
 * nobody has: so the first that fails is always found.
 */
static void *
hand_work(void *arg)
{
	struct hand *hand = arg;

	while (hand->rc == 0 && take(hand->crew, &hand->failed_at)) {
		hand->rc = hand_place(hand, hand->failed_at);
		if (hand->rc != 0)
			give_up(hand->crew);
	}
	return NULL;
}

static void
tell_made(struct crew *crew, size_t made, bool is_last)
{
	pthread_mutex_lock(&crew->lock);
	crew->made = made;
	crew->all_made = is_last;
	pthread_cond_broadcast(&crew->more);
	pthread_mutex_unlock(&crew->lock);
}

/* Those in the directory of an item; they join the list. */
static int
make_children(struct crew *crew, struct placer *placer, size_t index, size_t *count)
{
	const struct item *item = &crew->items[index];
	const ReapiDirectory *message = item->dir->message;

	if (message->n_directories == 0 || !has_children_in_list(item))
		return 0;
	int rc = 0, fd = item_open(crew, index);
	if (fd < 0)
		return open_failed(crew, placer, fd, index);
	for (size_t i = 0; rc == 0 && i < message->n_directories; i++) {
		const char *name = message->directories[i]->name;
		rc = place_directory(placer, crew->policy->owner, fd, name);
		crew->items[(*count)++] = (struct item){
		    .dir = item->dir->children[i],
		    .name = name,
		    .parent = index,
		    .path_len = (index == 0 ? 0 : item->path_len + 1) + strlen(name),
		};
	}
	close(fd);
	return rc == 0 ? 0 : failed_below(crew, placer, rc, index);
}

/* To the end even when a file fails meanwhile: so it is always the same failure that is told. */
static int
make_directories(struct crew *crew, struct placer *placer)
{
	size_t count = 1;
	int rc = 0;

	for (size_t index = 0; rc == 0 && index < count; index++) {
		size_t before = count;
		rc = make_children(crew, placer, index, &count);
		if (rc == 0 && count != before)
			tell_made(crew, count, false);
	}
	if (rc != 0)
		give_up(crew);
	else
		tell_made(crew, count, true);
	return rc;
}

static void
hand_init(struct hand *hand, struct crew *crew, struct placer *lead)
{
	*hand = (struct hand){.crew = crew, .placer = *lead};
	hand->placer.tally = (struct place_tally){0};
	hand->placer.lead = lead;
	hand->placer.lock = &crew->store_lock;
}

/* Their signals are the caller's. */
static unsigned
hands_start(struct hand *hands, unsigned count)
{
	sigset_t all, before;
	unsigned started = 1;

	sigfillset(&all);
	if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0)
		return started;
	while (started < count &&
	    pthread_create(&hands[started].thread, NULL, hand_work, &hands[started]) == 0)
		started++;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return started;
}

static void
tally_add(struct place_tally *tally, const struct place_tally *more)
{
	for (int way = 0; way < PLACE_WAY_COUNT; way++) {
		tally->files[way] += more->files[way];
		tally->bytes[way] += more->bytes[way];
	}
	tally->files_all += more->files_all;
	tally->bytes_all += more->bytes_all;
	tally->private_bytes += more->private_bytes;
	tally->directories += more->directories;
	tally->symlinks += more->symlinks;
	tally->empty_files += more->empty_files;
	tally->exec_variants += more->exec_variants;
	tally->fallbacks += more->fallbacks;
}

/* What they did goes to the placer; so does the first failure, unless a directory's is there. */
static int
hands_join(struct hand *hands, unsigned count, struct placer *placer, int rc)
{
	const struct hand *first = NULL;

	for (unsigned i = 0; i < count; i++) {
		const struct hand *hand = &hands[i];
		if (i > 0)
			pthread_join(hand->thread, NULL);
		tally_add(&placer->tally, &hand->placer.tally);
		if (hand->rc != 0 && (first == NULL || hand->failed_at < first->failed_at))
			first = hand;
	}
	if (rc != 0 || first == NULL)
		return rc;
	return placer_failed(placer, first->rc, first->placer.failed, first->placer.path);
}

int
place_parallel(struct placer *placer, const struct place_policy *policy, int dirfd,
    const struct tree_dir *dir, unsigned threads)
{
	struct crew crew = {
	    .policy = policy,
	    .root_fd = dirfd,
	    .items = calloc((size_t)dir->totals.directories + 1, sizeof *crew.items),
	    .store_lock = PTHREAD_MUTEX_INITIALIZER,
	    .lock = PTHREAD_MUTEX_INITIALIZER,
	    .more = PTHREAD_COND_INITIALIZER,
	    .made = 1,
	};
	struct hand *hands = calloc(threads, sizeof *hands);
	int rc = 1;

	if (crew.items == NULL || hands == NULL)
		goto out;
	crew.items[0] = (struct item){.dir = dir};
	for (unsigned i = 0; i < threads; i++)
		hand_init(&hands[i], &crew, placer);
	unsigned started = hands_start(hands, threads);
	rc = make_directories(&crew, placer);
	hand_work(&hands[0]);
	rc = hands_join(hands, started, placer, rc);
out:
	pthread_cond_destroy(&crew.more);
	pthread_mutex_destroy(&crew.lock);
	pthread_mutex_destroy(&crew.store_lock);
	free(hands);
	free(crew.items);
	return rc;
}
