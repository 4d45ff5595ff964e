/* What is too old: files of dead writers, and entries of the action cache nobody asked for. */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "cas/evict.h"
#include "cas/file_times.h"
#include "cas/internal.h"
#include "cas/scan.h"

struct age {
	int64_t before_s;
	uint64_t removed;
};

static int64_t
age_bound(uint32_t age_s)
{
	return (int64_t)clock_realtime_s() - (int64_t)age_s;
}

static bool
maker_lives(const char *name)
{
	char *end;
	long pid = strtol(name, &end, 10);

	if (end == name || *end != '.' || pid <= 0 || (long)(pid_t)pid != pid)
		return false;
	return kill((pid_t)pid, 0) == 0 || errno == EPERM;
}

/* The change time: an output on its way in has its action's modification time. */
static int
temp_see(void *arg, const struct scan_entry *entry)
{
	const struct age *age = arg;

	if (S_ISDIR(entry->st.st_mode) || maker_lives(entry->name))
		return 0;
	if (file_ctime_ns(&entry->st) / 1000000000 > age->before_s)
		return 0;
	if (unlinkat(entry->dirfd, entry->name, 0) != 0 && errno != ENOENT)
		return -errno;
	return 0;
}

int
evict_clean_temp(struct cas *cas, uint32_t age_s)
{
	struct age age = {.before_s = age_bound(age_s)};
	int rc = cas_usable(cas, true);

	return rc != 0 ? rc : scan_folder(cas->cas_fd, "tmp", temp_see, &age);
}

static int
action_see(void *arg, const struct scan_entry *entry)
{
	struct age *age = arg;

	if (file_mtime_ns(&entry->st) / 1000000000 >= age->before_s)
		return 0;
	if (unlinkat(entry->dirfd, entry->name, 0) == 0)
		age->removed++;
	return 0;
}

int
evict_action_cache(struct cas *cas, uint32_t age_s, uint64_t *ret_removed)
{
	struct age age = {.before_s = age_bound(age_s)};
	int rc = cas_usable(cas, true);

	if (rc == 0)
		rc = scan_actions(cas, action_see, &age);
	if (rc == 0)
		*ret_removed = age.removed;
	return rc;
}
