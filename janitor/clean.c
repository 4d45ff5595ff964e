#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "janitor/internal.h"

enum { SET_ASIDE_AGE_S = 7 * 86400 };

/* Each name in a folder of the state directory; 0 or -errno ends it. */
static int
each_name(struct janitor *janitor, const char *folder,
    void (*on_name)(struct janitor *janitor, const char *name))
{
	struct dirent *entry;
	int fd, rc = 0;
	DIR *dir;

	fd = openat(janitor->config->state_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	dir = fdopendir(fd);
	if (dir == NULL) {
		rc = -errno;
		close(fd);
		return rc;
	}
	while (rc == 0 && (entry = readdir(dir)) != NULL) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		on_name(janitor, entry->d_name);
		rc = janitor_attend(janitor);
	}
	closedir(dir);
	return rc;
}

static void
put_away(struct janitor *janitor, const char *folder, const char *name)
{
	int rc;

	rc = trash_put(janitor, folder, name);
	if (rc == 0)
		log_debug("%s/%s: left by the dead, into the trash", folder, name);
	else if (rc != -ENOENT)
		log_warn("%s/%s: cannot be put into the trash: %s", folder, name, strerror(-rc));
}

/* "<prefix><owner>.<number>" and nothing else. */
static bool
parse_name(const char *name, const char *prefix, uint32_t *ret_owner, uint64_t *ret_number)
{
	size_t len = strlen(prefix);
	int end = -1;

	if (strncmp(name, prefix, len) != 0 ||
	    sscanf(name + len, "%" SCNu32 ".%" SCNu64 "%n", ret_owner, ret_number, &end) != 2)
		return false;
	return end > 0 && name[len + (size_t)end] == '\0';
}

/*
 * A sandbox stands in its slot before it is made and until it is in the trash: one that was seen in
 * the folder, and that its slot does not name afterwards, is nobody's.
 */
static void
clean_sandbox(struct janitor *janitor, const char *name)
{
	struct slot_info info;
	uint64_t number;
	uint32_t slot;

	if (!parse_name(name, "", &slot, &number) || slot >= SLOT_COUNT_MAX)
		return;
	slot_read(janitor->region, slot, &info);
	if (info.sandbox != number && info.ahead != number)
		put_away(janitor, "sandboxes", name);
}

/* Likewise a worker's folder of kept ones. */
static void
clean_kept(struct janitor *janitor, const char *name)
{
	struct slot_info info;
	uint64_t number;
	uint32_t slot;

	if (!parse_name(name, "", &slot, &number) || slot >= SLOT_COUNT_MAX)
		return;
	slot_read(janitor->region, slot, &info);
	if (info.kept != number)
		put_away(janitor, "recycled", name);
}

/* Likewise a tree or image under its temporary name, and a slot that builds nothing. */
static void
clean_building(struct janitor *janitor, const char *folder, const char *name)
{
	struct slot_info info;
	uint64_t number;
	uint32_t slot;

	if (!parse_name(name, "building.", &slot, &number) || slot >= SLOT_COUNT_MAX)
		return;
	slot_read(janitor->region, slot, &info);
	if (info.builds == 0)
		put_away(janitor, folder, name);
}

/* What has no READY entry is deleted by who holds the claim, so that nobody publishes it meanwhile.
 */
static void
clean_unknown(struct janitor *janitor, const char *name, const struct digest *key)
{
	struct index_claim claim;

	if (index_claim(janitor->region, janitor->slot, key, &claim) != 0)
		return;
	put_away(janitor, index_folder(key), name);
	index_abandon(janitor->region, janitor->slot, &claim);
}

static void
clean_key(struct janitor *janitor, const char *name, const struct digest *key)
{
	struct index_info info;
	uint32_t entry;

	if (index_find(janitor->region, key, &entry) == 0 &&
	    index_read(janitor->region, entry, &info) == 0)
		return; /* somebody's: READY, or being built, or leaving */
	clean_unknown(janitor, name, key);
}

static void
clean_tree(struct janitor *janitor, const char *name)
{
	struct digest directory;

	if (digest_from_text(name, &directory) != 0)
		clean_building(janitor, "trees", name);
	else
		clean_key(janitor, name, &directory);
}

static void
clean_image(struct janitor *janitor, const char *name)
{
	struct digest directory, key;

	if (digest_from_text(name, &directory) != 0) {
		clean_building(janitor, "images", name);
		return;
	}
	key = index_image_key(&directory);
	clean_key(janitor, name, &key);
}

int
clean_entries(struct janitor *janitor)
{
	uint32_t count = region_entry_count(janitor->region), entry;
	char path[8 + DIGEST_TEXT_SIZE], name[DIGEST_TEXT_SIZE];
	struct index_info info;
	struct stat st;

	for (entry = 0; entry < count; entry++) {
		if (index_read(janitor->region, entry, &info) != 0 || info.inside ||
		    info.state != INDEX_READY)
			continue;
		snprintf(path, sizeof(path), "%s/%s", index_folder(&info.directory),
		    index_tree_name(&info.directory, name));
		if (fstatat(janitor->config->state_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 ||
		    errno != ENOENT)
			continue;
		tree_condemn(janitor, entry, &info.directory, "it is not there any more");
	}
	return janitor_attend(janitor);
}

/* An index that could not be trusted is kept for a week, for whoever wants to know why. */
static void
clean_index(struct janitor *janitor, const char *name)
{
	int state_fd = janitor->config->state_fd;
	struct stat st;

	if (strncmp(name, "index.bad.", 10) != 0 && strncmp(name, "index.unclean.", 14) != 0)
		return;
	if (fstatat(state_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
	    st.st_mtime + SET_ASIDE_AGE_S < (time_t)clock_realtime_s() &&
	    unlinkat(state_fd, name, 0) == 0)
		log_info("%s: deleted, being a week old", name);
}

/* "<prefix>...<pid>...": what a process was making when it was killed. */
static bool
maker_is_dead(const char *name)
{
	unsigned long pid = 0;

	for (const char *part = strchr(name, '.'); part != NULL && pid == 0;
	     part = strchr(part + 1, '.')) {
		char *end;

		pid = strtoul(part + 1, &end, 10);
		if (*end != '.' && *end != '\0')
			pid = 0;
	}
	return pid > 1 && pid <= INT32_MAX && kill((pid_t)pid, 0) != 0 && errno == ESRCH;
}

static void
clean_leftover(struct janitor *janitor, const char *folder, const char *name)
{
	if ((strncmp(name, ".tmp.", 5) == 0 || strncmp(name, "probe.", 6) == 0) &&
	    maker_is_dead(name))
		put_away(janitor, folder, name);
}

static void
clean_top(struct janitor *janitor, const char *name)
{
	clean_index(janitor, name);
	clean_leftover(janitor, ".", name);
}

static void
clean_cas(struct janitor *janitor, const char *name)
{
	clean_leftover(janitor, "cas", name);
}

static void
clean_ingest(struct janitor *janitor, const char *name)
{
	clean_leftover(janitor, "ingest", name);
}

int
clean_leftovers(struct janitor *janitor)
{
	int rc = each_name(janitor, ".", clean_top);

	if (rc == 0)
		rc = each_name(janitor, "cas", clean_cas);
	return rc != 0 ? rc : each_name(janitor, "ingest", clean_ingest);
}

int
clean_sandboxes(struct janitor *janitor)
{
	int rc = each_name(janitor, "sandboxes", clean_sandbox);

	return rc != 0 ? rc : each_name(janitor, "recycled", clean_kept);
}

int
clean_trees(struct janitor *janitor)
{
	int rc = each_name(janitor, "trees", clean_tree);

	return rc != 0 ? rc : each_name(janitor, "images", clean_image);
}
