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

enum maker { MAKER_UNKNOWN, MAKER_LIVES, MAKER_DEAD };

/* The name says whose it is: "<pid>.<n>". */
static enum maker
maker_of(const char *name)
{
	char *end;
	long pid;

	if (*name < '1' || *name > '9')
		return MAKER_UNKNOWN;
	pid = strtol(name, &end, 10);
	if (*end != '.' || (long)(pid_t)pid != pid)
		return MAKER_UNKNOWN;
	return kill((pid_t)pid, 0) == 0 || errno == EPERM ? MAKER_LIVES : MAKER_DEAD;
}

/* The change time: an output on its way in has its action's modification time. */
static int
temp_see(void *arg, const struct scan_entry *entry)
{
	const struct age *age = arg;
	enum maker maker = maker_of(entry->name);

	if (S_ISDIR(entry->st.st_mode) || maker == MAKER_LIVES)
		return 0;
	if (maker == MAKER_UNKNOWN && file_ctime_ns(&entry->st) / 1000000000 > age->before_s)
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
