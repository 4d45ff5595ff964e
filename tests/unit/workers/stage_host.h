/* A throwaway host without processes, random trees, and a comparison with what was asked for. */
#ifndef TESTS_STAGE_HOST_H
#define TESTS_STAGE_HOST_H

#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "cas/directory.h"
#include "cas/hash.h"
#include "shm/gate.h"
#include "shm/index.h"
#include "workers/stage.h"

enum { HOST_SLOT = SLOT_WORKER_FIRST };

struct host {
	char dir[256];
	struct host_config config;
	struct probe probe;
	struct region *region;
	struct slot *slot;
	struct cas *cas;
	struct arena *arena;
	struct stager *stager;
	struct sandbox sandbox;
	struct stage_report report;
	struct error_text err;
};

/* Where a fault may strike while the host is set up: the exit code that says so. */
static int host_exit_code;

#define HOST_TRY(what, rc)                                                                         \
	do {                                                                                       \
		int rc_ = (rc);                                                                    \
		if (rc_ != 0) {                                                                    \
			if (host_exit_code != 0)                                                   \
				_exit(host_exit_code);                                             \
			fprintf(stderr, "%s:%d: %s: %s (%s)\n", __FILE__, __LINE__, what,          \
			    strerror(-rc_), host->err.text);                                       \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

static inline bool
host_can_reflink(struct host *host)
{
	int dirfd = host->config.state_fd;
	int rc = fs_write_atomic(dirfd, "reflink.from", "x", 1, 0644);
	int in = openat(dirfd, "reflink.from", O_RDONLY | O_CLOEXEC);
	int out = openat(dirfd, "reflink.to", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	rc = rc == 0 && in >= 0 && out >= 0 ? fs_reflink(in, out) : -EIO;
	close(in);
	close(out);
	unlinkat(dirfd, "reflink.from", 0);
	unlinkat(dirfd, "reflink.to", 0);
	return rc == 0;
}

/* Opens the host that lies in host->dir. */
static inline void
host_open(struct host *host)
{
	enum region_origin origin;
	struct region_config config = {.entry_count = 4096, .link_cap = 8};

	umask(022);
	strlcpy(host->config.state_dir, host->dir, sizeof host->config.state_dir);
	host->config.state_fd = open(host->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	HOST_TRY("open", host->config.state_fd < 0 ? -errno : 0);
	HOST_TRY("region",
	    region_open(host->config.state_fd, &config, &origin, &host->region, &host->err));
	HOST_TRY("cas", cas_open(host->config.state_fd, true, &host->cas, &host->err));
	host->arena = arena_new();
	host->slot = slot_at(host->region, HOST_SLOT);
	host->sandbox.dirfd = host->sandbox.rootfd = -1;
	cost_default(&host->probe.costs);
	for (int way = PLACE_CLONEFILE; way < PLACE_WAY_COUNT; way++)
		host->probe.ways[way].works = true;
	host->probe.ways[PLACE_REFLINK].works = host_can_reflink(host);
	host->probe.ways[PLACE_BIND].works = true;
}

static inline void
host_take_slot(struct host *host)
{
	slot_assign(host->region, HOST_SLOT);
	slot_activate(host->region, HOST_SLOT, getpid());
}

static inline void
host_start(struct host *host, const char *below)
{
	const char *elsewhere = getenv("RAMET_TEST_DIR"); /* to try another volume by hand */

	memset(host, 0, sizeof *host);
	snprintf(host->dir, sizeof host->dir, "%s/ramet-stage.XXXXXX",
	    elsewhere != NULL ? elsewhere : below);
	HOST_TRY("mkdtemp", mkdtemp(host->dir) == NULL ? -errno : 0);
	HOST_TRY("chmod", chmod(host->dir, 0755) != 0 ? -errno : 0);
	host_open(host);
	HOST_TRY("trees", fs_mkdir(host->config.state_fd, "trees", 0755));
	HOST_TRY("images", fs_mkdir(host->config.state_fd, "images", 0755));
	host_take_slot(host);
}

static inline void
host_close(struct host *host)
{
	stager_free(host->stager);
	host->stager = NULL;
	cas_close(host->cas);
	arena_free(host->arena);
	region_close(host->region);
	close(host->config.state_fd);
}

static inline void
host_stop(struct host *host)
{
	host_close(host);
	HOST_TRY("remove", fs_remove_tree(AT_FDCWD, host->dir));
}

/* A new stager of an engine and an isolation. */
static inline void
host_stager(struct host *host, enum engine engine, enum isolation isolation, uid_t action_uid)
{
	struct stager_config config = {
	    .host = &host->config,
	    .probe = &host->probe,
	    .isolation = isolation,
	    .action_uid = action_uid,
	    .uid_differs = action_uid != geteuid(),
	};

	stager_free(host->stager);
	host->config.engine = engine;
	HOST_TRY("stager",
	    stager_new(&config, host->region, host->slot, host->cas, &host->stager, &host->err));
}

static inline int
host_stage(struct host *host, const struct stage_request *request)
{
	HOST_TRY("sandbox",
	    sandbox_make(host->config.state_fd, host->slot, HOST_SLOT, (uid_t)-1, &host->sandbox,
		&host->err));
	return stage_compose(host->stager, request, &host->sandbox, &host->report, &host->err);
}

static inline int
host_stage_root(struct host *host, const struct digest *root)
{
	struct stage_request request = {.root = *root, .working_directory = ""};
	return host_stage(host, &request);
}

static inline int
host_release(struct host *host)
{
	int rc = stage_release(host->stager, &host->report, &host->err);

	HOST_TRY("release", sandbox_release(host->config.state_fd, host->slot, &host->sandbox));
	return rc;
}

/* Something half-built in a folder of the cache. */
static inline bool
host_has_building(struct host *host, const char *folder)
{
	int fd = openat(host->config.state_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	bool found = false;

	for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
		found |= strncmp(entry->d_name, "building.", 9) == 0;
	if (dir != NULL)
		closedir(dir);
	return found;
}

/* What must be gone after each action, however it went. */
static inline const char *
host_leak(struct host *host)
{
	struct slot_info info;

	slot_read(host->region, slot_number(host->region, host->slot), &info);
	if (info.pins != 0)
		return "a pin";
	if (info.permits != 0)
		return "a permit";
	if (info.builds != 0)
		return "a BUILDING entry";
	if (host_has_building(host, "trees"))
		return "a half-built tree";
	return host_has_building(host, "images") ? "a half-built image" : NULL;
}

/* Directories by hand: dir_new, then add, then dir_put. */
static inline ReapiDirectory *
dir_new(struct host *host)
{
	return REAPI_NEW(host->arena, directory);
}

#define DIR_APPEND(host, dir, list, node)                                                          \
	do {                                                                                       \
		void *grown_ =                                                                     \
		    arena_alloc((host)->arena, ((dir)->n_##list + 1) * sizeof *(dir)->list);       \
		if ((dir)->n_##list > 0)                                                           \
			memcpy(grown_, (dir)->list, (dir)->n_##list * sizeof *(dir)->list);        \
		(dir)->list = grown_;                                                              \
		(dir)->list[(dir)->n_##list++] = (node);                                           \
	} while (0)

static inline ReapiFileNode *
dir_add_digest(struct host *host, ReapiDirectory *dir, const char *name,
    const struct digest *digest, bool executable)
{
	ReapiFileNode *node = REAPI_NEW(host->arena, file_node);

	node->name = arena_strdup(host->arena, name);
	node->digest = reapi_digest_new(host->arena, digest);
	node->is_executable = executable;
	DIR_APPEND(host, dir, files, node);
	return node;
}

static inline struct digest
host_put(struct host *host, const void *data, size_t len)
{
	struct digest digest;

	HOST_TRY("put", cas_put_bytes(host->cas, data, len, &digest));
	return digest;
}

static inline void
dir_add_file(
    struct host *host, ReapiDirectory *dir, const char *name, const char *text, bool executable)
{
	struct digest digest = host_put(host, text, strlen(text));
	dir_add_digest(host, dir, name, &digest, executable);
}

static inline void
dir_add_dir(struct host *host, ReapiDirectory *dir, const char *name, const struct digest *digest)
{
	ReapiDirectoryNode *node = REAPI_NEW(host->arena, directory_node);

	node->name = arena_strdup(host->arena, name);
	node->digest = reapi_digest_new(host->arena, digest);
	DIR_APPEND(host, dir, directories, node);
}

static inline void
dir_add_symlink(struct host *host, ReapiDirectory *dir, const char *name, const char *target)
{
	ReapiSymlinkNode *node = REAPI_NEW(host->arena, symlink_node);

	node->name = arena_strdup(host->arena, name);
	node->target = arena_strdup(host->arena, target);
	DIR_APPEND(host, dir, symlinks, node);
}

static inline struct digest
dir_put(struct host *host, ReapiDirectory *dir)
{
	struct digest digest;

	directory_sort(dir);
	HOST_TRY("directory", directory_store(host->cas, host->arena, dir, &digest));
	return digest;
}

/* As it is: for what directory_store would refuse. */
static inline struct digest
dir_put_raw(struct host *host, ReapiDirectory *dir)
{
	size_t len;
	uint8_t *bytes = reapi_encode(host->arena, &dir->base, &len);
	return host_put(host, bytes, len);
}

/* The same tree for the same seed. */
static inline uint32_t
dice(uint64_t *seed, uint32_t sides)
{
	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*seed >> 33) % sides;
}

static inline void
random_files(struct host *host, uint64_t *seed, ReapiDirectory *dir)
{
	char name[64], text[200];

	for (uint32_t i = dice(seed, 6); i > 0; i--) {
		snprintf(name, sizeof name, "f%u\xc3\xa9 %u", i, dice(seed, 1000));
		memset(text, 'a' + (int)dice(seed, 26), sizeof text);
		text[dice(seed, 4) == 0 ? 0 : dice(seed, sizeof text)] = '\0';
		dir_add_file(host, dir, name, text, dice(seed, 3) == 0);
	}
	for (uint32_t i = dice(seed, 3); i > 0; i--) {
		snprintf(name, sizeof name, "l%u", i);
		snprintf(text, sizeof text, "../nowhere/%u", dice(seed, 9));
		dir_add_symlink(host, dir, name, text);
	}
}

static inline struct digest
random_tree(struct host *host, uint64_t *seed, unsigned depth)
{
	ReapiDirectory *dir = dir_new(host);
	struct digest last = digest_empty;
	char name[32];

	random_files(host, seed, dir);
	for (uint32_t i = depth == 0 ? 0 : dice(seed, 5); i > 0; i--) {
		if (dice(seed, 4) != 0)
			last = random_tree(host, seed, depth - 1);
		snprintf(name, sizeof name, "d%u", i);
		dir_add_dir(host, dir, name, &last);
	}
	return dir_put(host, dir);
}

/* Comparison: follows binds as the kernel would.  Prints what differs; 0 when nothing does. */
struct compare {
	struct host *host;
	const char *const *extra; /* directories that only outputs asked for, NULL-terminated */
	bool is_writable; /* guard off */
	int differences;
};

#define DIFFERS(compare, ...)                                                                      \
	do {                                                                                       \
		fprintf(stderr, __VA_ARGS__);                                                      \
		fputc('\n', stderr);                                                               \
		(compare)->differences++;                                                          \
	} while (0)

static inline const struct stage_bind *
bind_at(struct host *host, const char *path)
{
	for (size_t i = 0; i < host->report.bind_count; i++)
		if (strcmp(host->report.binds[i].target, path) == 0)
			return &host->report.binds[i];
	return NULL;
}

static inline size_t
count_entries(int dirfd)
{
	DIR *dir = fdopendir(openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	size_t count = 0;

	while (dir != NULL && readdir(dir) != NULL)
		count++;
	if (dir != NULL)
		closedir(dir);
	return count - 2;
}

static inline void
compare_file(struct compare *compare, int dirfd, const char *path, const ReapiFileNode *file)
{
	const struct stage_bind *bind = bind_at(compare->host, path);
	struct digest want, got;
	struct stat st;
	mode_t mode = file->is_executable ? 0555 : 0444;

	if (compare->is_writable)
		mode |= 0200;
	int fd = bind == NULL
	    ? openat(dirfd, file->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)
	    : openat(compare->host->config.state_fd, bind->source, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0 || hash_fd(fd, &got) != 0) {
		DIFFERS(compare, "%s: %s", path, strerror(errno));
		return;
	}
	close(fd);
	reapi_digest_get(file->digest, &want);
	if (!digest_equal(&want, &got))
		DIFFERS(compare, "%s: other bytes", path);
	if (!S_ISREG(st.st_mode) || (st.st_mode & 07777) != mode)
		DIFFERS(compare, "%s: mode %o, not %o", path, (unsigned)st.st_mode, mode);
}

static inline void
compare_directory(struct compare *compare, int dirfd, const char *path, const struct digest *digest)
{
	struct host *host = compare->host;
	ReapiDirectory *want;
	char below[4096], target[512];
	struct stat st;
	size_t entries = 0;

	HOST_TRY("load", directory_load(host->cas, host->arena, digest, &want, &host->err));
	if (fstat(dirfd, &st) != 0 || (st.st_mode & 07777) != 0755)
		DIFFERS(compare, "%s: directory of mode %o", path, (unsigned)st.st_mode);
	for (size_t i = 0; compare->extra != NULL && compare->extra[i] != NULL; i++) {
		const char *slash = strrchr(compare->extra[i], '/');
		size_t len = slash == NULL ? 0 : (size_t)(slash - compare->extra[i]);
		entries += strlen(path) == len && strncmp(path, compare->extra[i], len) == 0;
	}
	entries += want->n_files + want->n_directories + want->n_symlinks;
	if (count_entries(dirfd) != entries)
		DIFFERS(compare, "%s: %zu entries, not %zu", path, count_entries(dirfd), entries);
#define BELOW(name) snprintf(below, sizeof below, "%s%s%s", path, path[0] == '\0' ? "" : "/", name)
	for (size_t i = 0; i < want->n_files; i++) {
		BELOW(want->files[i]->name);
		compare_file(compare, dirfd, below, want->files[i]);
	}
	for (size_t i = 0; i < want->n_symlinks; i++) {
		ssize_t len = readlinkat(dirfd, want->symlinks[i]->name, target, sizeof target - 1);
		target[len < 0 ? 0 : len] = '\0';
		if (strcmp(target, want->symlinks[i]->target) != 0)
			DIFFERS(compare, "%s/%s: symlink to \"%s\"", path, want->symlinks[i]->name,
			    target);
	}
	for (size_t i = 0; i < want->n_directories; i++) {
		const char *name = want->directories[i]->name;
		struct digest child;
		BELOW(name);
		const struct stage_bind *bind = bind_at(host, below);
		int fd = bind == NULL
		    ? openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
		    : openat(host->config.state_fd, bind->source,
			  O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0) {
			DIFFERS(compare, "%s: %s", below, strerror(errno));
			continue;
		}
		reapi_digest_get(want->directories[i]->digest, &child);
		compare_directory(compare, fd, below, &child);
		close(fd);
	}
#undef BELOW
}

static inline int
host_compare(struct host *host, const struct digest *root, const char *const *extra)
{
	struct compare compare = {.host = host, .extra = extra};

	compare_directory(&compare, host->sandbox.rootfd, "", root);
	return compare.differences;
}

#endif
