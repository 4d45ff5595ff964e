#include "workers/job_kinds.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "cas/file_times.h"
#include "shm/counters.h"

/* Within this the time of a directory may not tell one change from the next. */
enum { CLOCK_GRAIN_US = 50000 };

void
job_kinds_init(struct job_kinds *kinds, int state_fd, struct slot *slot)
{
	memset(kinds, 0, sizeof(*kinds));
	kinds->state_fd = state_fd;
	kinds->slot = slot;
}

/* Empties the table when kinds/ has changed; false when it is not to be filled now. */
static bool
table_check(struct job_kinds *kinds)
{
	struct stat st;

	if (fstatat(kinds->state_fd, "kinds", &st, AT_SYMLINK_NOFOLLOW) != 0)
		memset(&st, 0, sizeof(st));
	int64_t changed_us = file_mtime_ns(&st) / 1000;
	if (changed_us != kinds->changed_us) {
		memset(kinds->kept, 0, sizeof(kinds->kept));
		kinds->changed_us = changed_us;
	}
	return (int64_t)clock_realtime_us() - changed_us > CLOCK_GRAIN_US;
}

static uint64_t
hash_of(const char *name)
{
	uint64_t hash = 14695981039346656037ull;

	for (; *name != '\0'; name++)
		hash = (hash ^ (unsigned char)*name) * 1099511628211ull;
	return hash == 0 ? 1 : hash;
}

void
job_kind_get(
    struct job_kinds *kinds, const char *program, const char *label, struct action_kind *ret_kind)
{
	struct action_kind kind = {.state = ACTION_KIND_UNPROVED};
	struct job_kind_kept *kept;
	bool may_keep = table_check(kinds);
	uint64_t hash;
	int rc;

	action_kind_name(program, label, kind.name);
	hash = hash_of(kind.name);
	kept = &kinds->kept[hash % JOB_KINDS_KEPT];
	if (kept->hash == hash) {
		kind.state = kept->state;
		*ret_kind = kind;
		return;
	}
	rc = action_kind_get(kinds->state_fd, kind.name, ret_kind);
	if (rc == -EBADMSG)
		COUNTER_ADD(kinds->slot, kinds_damaged, 1);
	if (may_keep && rc == 0 && ret_kind->state != ACTION_KIND_UNPROVED)
		*kept = (struct job_kind_kept){hash, ret_kind->state};
}

static void
put(struct job_kinds *kinds, const struct action_kind *kind)
{
	int rc = action_kind_put(kinds->state_fd, kind);

	if (rc != 0)
		log_warn("kinds: cannot keep that \"%s\" is %s: %s", kind->name,
		    action_kind_state_names[kind->state], strerror(-rc));
}

void
job_kind_proved(struct job_kinds *kinds, struct action_kind *kind, enum action_kind_state state)
{
	kind->state = state;
	kind->since_s = clock_realtime_s();
	if (state == ACTION_KIND_WRITER) {
		COUNTER_ADD(kinds->slot, kinds_writers, 1);
		log_info("kinds: \"%s\" writes into its inputs: it gets them below an overlay from "
			 "now on (ramet index kinds)",
		    kind->name);
	} else {
		COUNTER_ADD(kinds->slot, kinds_guarded, 1);
	}
	put(kinds, kind);
}

void
job_kind_failed(struct job_kinds *kinds, struct action_kind *kind)
{
	if (++kind->failed >= ACTION_KIND_FAILED_MAX) {
		job_kind_proved(kinds, kind, ACTION_KIND_GUARDED);
		return;
	}
	kind->since_s = clock_realtime_s();
	put(kinds, kind);
}
