#include "cas/ingest.h"

#include <sys/stat.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cas/directory.h"
#include "cas/ingest_scan.h"
#include "cas/internal.h"

enum { THREADS_MAX = 64, FILES_PER_THREAD_MIN = 16, RACY_S = 2 };

/* The files to be read, handed out one by one. */
struct reading {
	int root_fd;
	struct found **files;
	size_t count;
	atomic_size_t next;
	atomic_bool failed;
	pthread_mutex_t lock; /* of what follows */
	int rc;
	struct error_text *err;
	uint64_t bytes_stored;
};

struct reader {
	struct reading *reading;
	struct cas *cas;
	pthread_t thread;
};

static int
file_read(struct cas *cas, int root_fd, struct found *found, struct error_text *err)
{
	struct file_identity before, after;
	struct stat st;
	int rc = 0,
	    fd = openat(root_fd, found->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return error_errno(err, -errno, "%s: cannot read", found->path);
	if (fstat(fd, &st) != 0)
		rc = error_errno(err, -errno, "%s", found->path);
	else if (!S_ISREG(st.st_mode))
		rc = error_set(err, -EINVAL, "%s: no longer a file", found->path);
	if (rc == 0) {
		file_identity_get(&st, &before);
		found->executable = (st.st_mode & S_IXUSR) != 0;
		rc = cas_put_fd(cas, fd, &found->digest);
		if (rc != 0)
			error_errno(err, rc, "%s: cannot store", found->path);
	}
	if (rc == 0 && fstat(fd, &st) == 0) {
		file_identity_get(&st, &after);
		found->identity = before;
		found->lasting = file_identity_equal(&before, &after) &&
		    before.size_bytes == found->digest.size_bytes;
	}
	close(fd);
	return rc;
}

static void
read_failed(struct reading *reading, int rc, const struct error_text *err)
{
	pthread_mutex_lock(&reading->lock);
	if (reading->rc == 0) {
		reading->rc = rc;
		if (reading->err != NULL)
			*reading->err = *err;
	}
	pthread_mutex_unlock(&reading->lock);
	atomic_store_explicit(&reading->failed, true, memory_order_relaxed);
}

static void *
reader_main(void *arg)
{
	struct reader *reader = arg;
	struct reading *reading = reader->reading;
	uint64_t stored_before = reader->cas->stored_bytes;
	struct error_text err;

	while (!atomic_load_explicit(&reading->failed, memory_order_relaxed)) {
		size_t i = atomic_fetch_add_explicit(&reading->next, 1, memory_order_relaxed);
		int rc;

		if (i >= reading->count)
			break;
		rc = file_read(reader->cas, reading->root_fd, reading->files[i], &err);
		if (rc != 0)
			read_failed(reading, rc, &err);
	}
	pthread_mutex_lock(&reading->lock);
	reading->bytes_stored += reader->cas->stored_bytes - stored_before;
	pthread_mutex_unlock(&reading->lock);
	return NULL;
}

static unsigned
threads_wanted(unsigned asked, size_t files)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	size_t count = asked != 0 ? asked : cores > 0 ? (size_t)cores : 1;

	if (count > files / FILES_PER_THREAD_MIN + 1)
		count = files / FILES_PER_THREAD_MIN + 1;
	return count > THREADS_MAX ? THREADS_MAX : (unsigned)count;
}

/* The calling thread is a reader too, so that a thread that cannot be had is only a slower ingest.
 */
static int
files_read(struct cas *cas, struct reading *reading, unsigned threads)
{
	struct reader readers[THREADS_MAX] = {{.reading = reading, .cas = cas}};
	unsigned started = 1;

	pthread_mutex_init(&reading->lock, NULL);
	for (; started < threads_wanted(threads, reading->count); started++) {
		struct reader *reader = &readers[started];

		reader->reading = reading;
		if (cas_dup(cas, &reader->cas) != 0)
			break;
		if (pthread_create(&reader->thread, NULL, reader_main, reader) != 0) {
			cas_close(reader->cas);
			break;
		}
	}
	reader_main(&readers[0]);
	for (unsigned i = 1; i < started; i++) {
		pthread_join(readers[i].thread, NULL);
		cas_close(readers[i].cas);
	}
	pthread_mutex_destroy(&reading->lock);
	return reading->rc;
}

/* Moves the files that must be read to the front of `files`; returns how many. */
static int
files_recognise(
    struct cas *cas, const struct ingest_cache *cache, struct ingest_scan *scan, size_t *ret_count)
{
	size_t unknown = 0;

	for (size_t i = 0; i < scan->file_count; i++) {
		struct found *found = scan->files[i];
		const struct ingest_known *known = ingest_cache_find(cache, found->path);
		int rc = 0;

		if (known != NULL && file_identity_equal(&known->identity, &found->identity)) {
			rc = cas_has(cas, &known->digest);
			if (rc < 0)
				return error_errno(scan->err, rc, "%s", found->path);
		}
		if (rc == 1) {
			found->digest = known->digest;
			found->lasting = true;
		} else {
			scan->files[i] = scan->files[unknown];
			scan->files[unknown++] = found;
		}
	}
	*ret_count = unknown;
	return 0;
}

static void
file_node(struct arena *arena, ReapiDirectory *directory, const struct found *found)
{
	ReapiFileNode *node = REAPI_NEW(arena, file_node);

	node->name = (char *)(uintptr_t)found->name;
	node->digest = reapi_digest_new(arena, &found->digest);
	node->is_executable = found->executable;
	directory->files[directory->n_files++] = node;
}

static void
directory_node(struct arena *arena, ReapiDirectory *directory, const struct found *found)
{
	ReapiDirectoryNode *node = REAPI_NEW(arena, directory_node);

	node->name = (char *)(uintptr_t)found->name;
	node->digest = reapi_digest_new(arena, &found->digest);
	directory->directories[directory->n_directories++] = node;
}

static void
symlink_node(struct arena *arena, ReapiDirectory *directory, const struct found *found)
{
	ReapiSymlinkNode *node = REAPI_NEW(arena, symlink_node);

	node->name = (char *)(uintptr_t)found->name;
	node->target = (char *)(uintptr_t)found->target;
	directory->symlinks[directory->n_symlinks++] = node;
}

static int
directory_put(struct cas *cas, struct arena *arena, struct found *found, struct ingest_stats *stats)
{
	ReapiDirectory *directory;
	size_t size = (found->count + 1) * sizeof(void *);

	for (size_t i = 0; i < found->count; i++) {
		int rc = found->entries[i]->kind == FOUND_DIRECTORY
		    ? directory_put(cas, arena, found->entries[i], stats)
		    : 0;

		if (rc != 0)
			return rc;
	}
	arena_reset(arena);
	directory = REAPI_NEW(arena, directory);
	directory->files = arena_alloc(arena, size);
	directory->directories = arena_alloc(arena, size);
	directory->symlinks = arena_alloc(arena, size);
	for (size_t i = 0; i < found->count; i++) {
		if (found->entries[i]->kind == FOUND_FILE) {
			file_node(arena, directory, found->entries[i]);
			stats->bytes += (uint64_t)found->entries[i]->digest.size_bytes;
		} else if (found->entries[i]->kind == FOUND_DIRECTORY) {
			directory_node(arena, directory, found->entries[i]);
		} else {
			symlink_node(arena, directory, found->entries[i]);
		}
	}
	return directory_store(cas, arena, directory, &found->digest);
}

/* A file changed in the last tick may change again without any of its times showing it. */
static void
cache_write(struct cas *cas, const char *root, const struct ingest_scan *scan, int64_t now_s)
{
	struct ingest_known *entries = calloc(scan->file_count + 1, sizeof(*entries));
	int64_t newest_ns = (now_s - RACY_S) * 1000000000;
	size_t count = 0;

	if (entries == NULL)
		return;
	for (size_t i = 0; i < scan->file_count; i++) {
		const struct found *found = scan->files[i];

		if (!found->lasting || found->identity.mtime_ns > newest_ns ||
		    found->identity.ctime_ns > newest_ns)
			continue;
		entries[count++] = (struct ingest_known){
		    .path = found->path, .identity = found->identity, .digest = found->digest};
	}
	ingest_cache_save(cas->state_fd, root, entries, count);
	free(entries);
}

static int
tree_read(struct cas *cas, const char *root, const struct ingest_options *options,
    struct ingest_scan *scan, struct digest *ret_root)
{
	int64_t now_s = options->now_s != 0 ? options->now_s : (int64_t)clock_realtime_s();
	uint64_t stored_before = cas->stored_bytes;
	struct reading reading = {.root_fd = scan->root_fd, .err = scan->err};
	struct ingest_cache cache;
	struct found found;
	int rc;

	ingest_cache_load(cas->state_fd, root, &cache);
	rc = ingest_scan(scan, &found);
	if (rc == 0)
		rc = files_recognise(cas, &cache, scan, &reading.count);
	reading.files = scan->files;
	if (rc == 0 && reading.count > 0) {
		rc = files_read(cas, &reading, options->threads);
		scan->stats->bytes_stored = reading.bytes_stored;
		stored_before = cas->stored_bytes;
	}
	if (rc == 0) {
		struct arena *arena = arena_new();

		rc = directory_put(cas, arena, &found, scan->stats);
		arena_free(arena);
		if (rc != 0)
			error_errno(scan->err, rc, "%s: cannot store a Directory", root);
	}
	if (rc == 0) {
		scan->stats->files_hashed = reading.count;
		scan->stats->bytes_stored += cas->stored_bytes - stored_before;
		if (reading.count > 0 || cache.count != scan->file_count)
			cache_write(cas, root, scan, now_s);
		*ret_root = found.digest;
	}
	ingest_cache_fini(&cache);
	return rc;
}

int
ingest_tree(struct cas *cas, const char *path, const struct ingest_options *options,
    struct digest *ret_root, struct ingest_stats *ret_stats, struct error_text *err)
{
	static const struct ingest_options defaults = {0};
	uint64_t start_us = clock_monotonic_us();
	struct ingest_stats stats = {0};
	struct ingest_scan scan = {.err = err, .stats = &stats};
	char *root = realpath(path, NULL);
	int rc = cas_usable(cas, true);

	if (options == NULL)
		options = &defaults;
	scan.excludes = options->excludes;
	if (rc == 0 && root == NULL)
		rc = -errno;
	if (rc == 0 && fstat(cas->state_fd, &scan.state) != 0)
		rc = -errno;
	scan.root_fd = rc != 0 ? -1 : open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (scan.root_fd < 0) {
		rc = error_errno(err, rc != 0 ? rc : -errno, "%s", path);
		free(root);
		return rc;
	}
	scan.arena = arena_new();
	rc = tree_read(cas, root, options, &scan, ret_root);
	arena_free(scan.arena);
	free(scan.files);
	close(scan.root_fd);
	free(root);
	stats.elapsed_us = clock_monotonic_us() - start_us;
	if (rc == 0 && ret_stats != NULL)
		*ret_stats = stats;
	return rc;
}
