#include "workers/recycle.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/trash.h"
#include "workers/recycle_internal.h"

enum { ROOTS_MAX = 8, OLD_MAX = 16384, IN_VAIN_MAX = 8 };

const struct recycle_limits recycle_limits_default = {
    .roots = 4,
    .entries = 200000,
    .private_bytes = 1ull << 30,
    .unused_s = 60,
    .files_min = 8,
};

struct recycle {
	struct stager *stager; /* whose turn it is */
	struct stager *first; /* whose it is */
	const struct recycle_limits *limits;
	uint64_t folder; /* recycled/<slot>.<this>; 0: not made */
	int folder_fd;
	bool clock_is_fine;
	struct kept kept[ROOTS_MAX];
	unsigned count;
	struct arena *old_arena;
	struct tree_loader old; /* Directories of what is kept, read once */
	unsigned in_vain, sat_out; /* actions in a row */
	/* Of the sandbox each stager has just staged; dir NULL: it will not be kept. */
	struct kept noted[2];
};

static struct kept *
noted(struct recycle *recycle)
{
	return &recycle->noted[recycle->stager->is_second];
}

void
recycle_use(struct recycle *recycle, struct stager *stager)
{
	recycle->stager = stager;
}

void
recycle_leave(struct recycle *recycle, const struct stager *second)
{
	recycle->stager = recycle->first;
	kept_dir_free(recycle->noted[second->is_second].dir);
	recycle->noted[second->is_second].dir = NULL;
}

int
recycle_new(struct stager *stager, struct recycle **ret_recycle)
{
	struct recycle *recycle = calloc(1, sizeof *recycle);

	if (recycle == NULL)
		return -ENOMEM;
	recycle->stager = recycle->first = stager;
	recycle->limits = &recycle_limits_default;
	recycle->folder_fd = -1;
	recycle->old_arena = arena_new();
	tree_loader_start(&recycle->old, stager->cas, recycle->old_arena);
	*ret_recycle = recycle;
	return 0;
}

bool
recycle_applies(const struct stager_config *config, const struct stage_ways *ways)
{
	return config->host->recycle && config->isolation == ISOLATION_NONE &&
	    !ways->loose.is_writable && !ways->check_links &&
	    (ways->subtree == SUBTREE_FILES || ways->subtree == SUBTREE_CLONE);
}

bool
recycle_takes_part(struct recycle *recycle)
{
	if (recycle->in_vain < IN_VAIN_MAX)
		return true;
	if (++recycle->sat_out < IN_VAIN_MAX)
		return false;
	recycle->sat_out = 0;
	return true;
}

bool
recycle_has_kept(const struct recycle *recycle)
{
	return recycle->count > 0;
}

static void
folder_name(const struct recycle *recycle, char *name, size_t size)
{
	snprintf(name, size, "recycled/%" PRIu32 ".%" PRIu64,
	    slot_number(recycle->stager->region, recycle->stager->slot), recycle->folder);
}

/* The number is in the slot before the folder is there. */
static int
make_folder(struct recycle *recycle)
{
	int state_fd = recycle->stager->state_fd;
	char name[96];

	if (recycle->folder != 0)
		return 0;
	int rc = fs_mkdir(state_fd, "recycled", 0700);
	if (rc != 0)
		return rc;
	recycle->folder = sandbox_next_number();
	slot_set_kept(recycle->stager->slot, recycle->folder);
	folder_name(recycle, name, sizeof name);
	rc = FAULTY(mkdirat, mkdirat(state_fd, name, 0700)) != 0 ? -errno : 0;
	if (rc == 0)
		rc = fs_open_beneath(state_fd, name, &recycle->folder_fd);
	if (rc != 0) {
		(void)unlinkat(state_fd, name, AT_REMOVEDIR);
		recycle->folder = 0;
		slot_set_kept(recycle->stager->slot, 0);
		return rc;
	}
	recycle->clock_is_fine = scan_clock_is_fine(recycle->folder_fd);
	return 0;
}

static int
put_away(struct recycle *recycle, int dirfd, const char *name)
{
	char as[64];

	snprintf(as, sizeof as, "recycled.%" PRIu32 ".%" PRIu64,
	    slot_number(recycle->stager->region, recycle->stager->slot), sandbox_next_number());
	int rc = trash_move(dirfd, name, recycle->stager->state_fd, as);
	return rc == -ENOENT ? 0 : rc;
}

static void
name_of(const struct kept *kept, char *name, size_t size)
{
	snprintf(name, size, "%" PRIu64, kept->number);
}

/* Out of the table; its root stays where it is. */
static struct kept
take_out(struct recycle *recycle, unsigned i)
{
	struct kept kept = recycle->kept[i];

	recycle->kept[i] = recycle->kept[--recycle->count];
	return kept;
}

static void
drop(struct recycle *recycle, unsigned i)
{
	struct kept kept = take_out(recycle, i);
	char name[32];

	name_of(&kept, name, sizeof name);
	/* Should it fail, the whole folder goes later. */
	(void)put_away(recycle, recycle->folder_fd, name);
	kept_dir_free(kept.dir);
}

void
recycle_forget(struct recycle *recycle)
{
	kept_dir_free(noted(recycle)->dir);
	noted(recycle)->dir = NULL;
}

void
recycle_drop_all(struct recycle *recycle)
{
	char name[96];

	for (int i = 0; i < 2; i++) {
		kept_dir_free(recycle->noted[i].dir);
		recycle->noted[i].dir = NULL;
	}
	while (recycle->count > 0)
		kept_dir_free(take_out(recycle, 0).dir);
	if (recycle->folder == 0)
		return;
	folder_name(recycle, name, sizeof name);
	close(recycle->folder_fd);
	recycle->folder_fd = -1;
	/* Else it stays in the slot, for who repairs it, and the janitor. */
	if (put_away(recycle, recycle->stager->state_fd, name) == 0)
		slot_set_kept(recycle->stager->slot, 0);
	recycle->folder = 0;
}

void
recycle_free(struct recycle *recycle)
{
	if (recycle == NULL)
		return;
	recycle_drop_all(recycle);
	tree_loader_free(&recycle->old);
	arena_free(recycle->old_arena);
	free(recycle);
}

int
recycle_rest(struct recycle *recycle)
{
	uint32_t now_s = clock_realtime_s(), limit_s = recycle->limits->unused_s;
	int next_s = -1;

	for (unsigned i = recycle->count; i-- > 0;) {
		uint32_t unused_s =
		    now_s - recycle->kept[i].used_s; /* large: the clock went back */
		if (unused_s >= limit_s)
			drop(recycle, i);
		else if (next_s < 0 || (int)(limit_s - unused_s) < next_s)
			next_s = (int)(limit_s - unused_s);
	}
	return next_s;
}

static struct recycling
begin(struct recycle *recycle, const struct stage_ways *ways)
{
	const struct stager_config *config = &recycle->stager->config;

	if (recycle->old.count > OLD_MAX) {
		tree_loader_free(&recycle->old);
		arena_reset(recycle->old_arena);
		tree_loader_start(&recycle->old, recycle->stager->cas, recycle->old_arena);
	}

	struct recycling recycling = {
	    .recycle = recycle,
	    .stager = recycle->stager,
	    .ways = ways,
	    .old = &recycle->old,
	    .seals = config->uid_differs || recycle->stager->is_sealed,
	    .compares_ctime = !config->uid_differs,
	    .fresh_ns = recycle->clock_is_fine ? INT64_MAX : (int64_t)clock_realtime_us() * 1000,
	    .limit_ns = UINT64_MAX,
	};
	recycle_costs_of(
	    &config->probe->costs, ways->loose.order[0] == PLACE_HARDLINK, &recycling.costs);
	return recycling;
}

/* The nearest, when it costs less than to place everything; else -1. */
static int
choose(struct recycling *recycling, const struct want *want)
{
	struct recycle *recycle = recycling->recycle;
	int best = -1;

	for (unsigned i = 0; i < recycle->count; i++) {
		if (recycle_estimate(recycling, &recycle->kept[i], want) != 0 ||
		    recycling->recycle_ns >= recycling->place_ns)
			continue;
		recycling->limit_ns = recycling->recycle_ns;
		best = (int)i;
	}
	return best;
}

/* The kept root in the place of the sandbox's empty one.  1: it is not what it was. */
static int
install(struct recycling *recycling, const struct kept *kept, struct sandbox *sandbox)
{
	struct scan_stat fresh, stat;
	dev_t device;
	char name[32];

	name_of(kept, name, sizeof name);
	int rc = scan_self(sandbox->rootfd, &fresh, &device);
	if (rc != 0)
		return rc;
	if (FAULTY(renameat,
		renameat(recycling->recycle->folder_fd, name, sandbox->dirfd, "root")) != 0)
		return -errno;
	close(sandbox->rootfd);
	sandbox->rootfd = FAULTY(openat,
	    openat(sandbox->dirfd, "root", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
	if (sandbox->rootfd < 0)
		return -errno;
	CRASH_POINT(recycle_installed);
	rc = scan_self(sandbox->rootfd, &stat, &recycling->device);
	if (rc != 0)
		return rc;
	bool is_same = stat_is_same(recycling, &kept->self, &stat) && stat.mode == fresh.mode &&
	    stat.uid == fresh.uid && recycling->device == device && device == kept->device;
	return is_same ? 0 : 1;
}

static int
apply(struct recycling *recycling, struct kept *kept, const struct want *want,
    struct sandbox *sandbox)
{
	struct place_cursor cursor;

	int rc = install(recycling, kept, sandbox);
	if (rc != 0)
		return rc;
	cursor_init(&cursor, sandbox->rootfd);
	rc = recycle_apply(recycling, kept, want, &cursor);
	cursor_fini(&cursor);
	return rc;
}

/* What is half made goes, whatever the sandbox's root is by now; a new one comes. */
static int
give_up(struct recycling *recycling, struct kept *kept, int error, struct sandbox *sandbox,
    struct error_text *err)
{
	struct recycle *recycle = recycling->recycle;
	uid_t uid = kept->self.uid == geteuid() ? (uid_t)-1 : kept->self.uid;
	char name[32];

	name_of(kept, name, sizeof name);
	(void)put_away(recycle, recycle->folder_fd, name); /* if it is still there */
	kept_dir_free(kept->dir);
	COUNTER_ADD(recycle->stager->slot, recycle_given_up, 1);
	placer_fell_back(
	    &recycle->stager->placer, PLACE_RECYCLE, error == 1 ? ESTALE : -error, "all anew");
	int rc = put_away(recycle, sandbox->dirfd, "root");
	if (rc == 0)
		rc = sandbox_make_root(sandbox, uid);
	return rc == 0 ? 1 : error_errno(err, rc, "%s/root: cannot be made anew", sandbox->name);
}

static void
report_recycled(struct recycling *recycling, const struct stage_report *report)
{
	struct stager *stager = recycling->stager;
	const struct kept_counts *remained = &recycling->remained;
	struct stage_report *to = recycling->report;

	*to = *report;
	to->files[PLACE_RECYCLE] += remained->files;
	to->bytes[PLACE_RECYCLE] += remained->bytes;
	to->subtrees[PLACE_RECYCLE]++;
	to->files_placed += remained->files + stager->placer.tally.files_all;
	to->bytes_placed += remained->bytes + stager->placer.tally.bytes_all;
	COUNTER_ADD(stager->slot, recycle_hits, 1);
	COUNTER_ADD(stager->slot, recycle_strays, recycling->strays);
}

/* *kept is out of the table. */
static int
recycle_one(struct recycling *recycling, struct kept *kept, const struct want *want,
    struct sandbox *sandbox, struct error_text *err)
{
	struct recycle *recycle = recycling->recycle;
	struct stager *stager = recycle->stager;
	const struct place_tally tally = stager->placer.tally;
	struct stage_report *report = recycling->report, scratch = *report;

	COUNTER_ADD(stager->slot, recycle_tries, 1);
	recycling->report = &scratch;
	int rc = apply(recycling, kept, want, sandbox);
	recycling->report = report;
	COUNTER_ADD(stager->slot, recycle_looked, recycling->looked);
	COUNTER_ADD(stager->slot, recycle_harmed, recycling->harmed);
	if (rc != 0) {
		uint64_t fallbacks = stager->placer.tally.fallbacks;
		stager->placer.tally = tally;
		stager->placer.tally.fallbacks = fallbacks;
		return give_up(recycling, kept, rc, sandbox, err);
	}
	report_recycled(recycling, &scratch);
	kept->digest = want->digest;
	*noted(recycle) = *kept;
	return 0;
}

int
recycle_try(struct recycle *recycle, const struct stage_ways *ways, const struct plan_node *root,
    struct sandbox *sandbox, struct stage_report *report, struct error_text *err)
{
	const struct want want = {.digest = root->digest, .node = root};
	int rc = 1;

	recycle_forget(recycle);
	if (root->is_whole || recycle->count == 0)
		return 1;
	struct recycling recycling = begin(recycle, ways);
	recycling.report = report;
	int best = choose(&recycling, &want);
	if (best >= 0 && recycle->stager->loader.missing_count == 0) {
		struct kept kept = take_out(recycle, (unsigned)best);
		rc = recycle_one(&recycling, &kept, &want, sandbox, err);
	}
	recycle->in_vain = rc == 0 ? 0 : recycle->in_vain + 1;
	return rc;
}

void
recycle_note(struct recycle *recycle, const struct stage_ways *ways, const struct plan_node *root,
    const struct sandbox *sandbox, uint64_t files)
{
	const struct want want = {.digest = root->digest, .node = root};
	struct kept kept = {.digest = root->digest};
	struct place_cursor cursor;
	struct items items;

	recycle_forget(recycle);
	if (root->is_whole || files < recycle->limits->files_min ||
	    files > recycle->limits->entries || make_folder(recycle) != 0)
		return;
	struct recycling recycling = begin(recycle, ways);
	int rc = scan_self(sandbox->rootfd, &kept.self, &kept.device);
	if (rc == 0)
		rc = items_of_want(&recycling, &want, &items);
	cursor_init(&cursor, sandbox->rootfd);
	if (rc == 0)
		rc = kept_note(&recycling, &cursor, &want, &items, &kept.dir);
	cursor_fini(&cursor);
	if (rc == 0)
		*noted(recycle) = kept;
}

static uint64_t
private_bytes(const struct recycle *recycle, const struct kept *kept)
{
	return recycle->stager->ways[0][0].loose.order[0] == PLACE_COPY ? kept->dir->all.bytes : 0;
}

static unsigned
oldest(const struct recycle *recycle)
{
	unsigned oldest = 0;

	for (unsigned i = 1; i < recycle->count; i++)
		if (recycle->kept[i].number < recycle->kept[oldest].number)
			oldest = i;
	return oldest;
}

/* What was kept longest without use goes, until there is room for one more. */
static void
make_room(struct recycle *recycle, const struct kept *kept)
{
	const struct recycle_limits *limits = recycle->limits;

	for (;;) {
		uint64_t entries = kept->dir->all.entries, bytes = private_bytes(recycle, kept);
		for (unsigned i = 0; i < recycle->count; i++) {
			entries += recycle->kept[i].dir->all.entries;
			bytes += private_bytes(recycle, &recycle->kept[i]);
		}
		if (recycle->count == 0 ||
		    (recycle->count < limits->roots && entries <= limits->entries &&
			bytes <= limits->private_bytes))
			return;
		drop(recycle, oldest(recycle));
	}
}

static bool
is_too_large(const struct recycle *recycle, const struct kept *kept)
{
	return kept->dir->all.entries > recycle->limits->entries ||
	    private_bytes(recycle, kept) > recycle->limits->private_bytes;
}

void
recycle_keep(struct recycle *recycle, struct sandbox *sandbox)
{
	struct kept kept = *noted(recycle);
	char name[32];

	if (kept.dir == NULL)
		return;
	noted(recycle)->dir = NULL;
	kept.number = sandbox->number; /* rises: also the order of use */
	kept.used_s = clock_realtime_s();
	name_of(&kept, name, sizeof name);
	if (is_too_large(recycle, &kept) || fchmod(sandbox->rootfd, 0755) != 0) {
		kept_dir_free(kept.dir);
		return;
	}
	make_room(recycle, &kept);
	if (FAULTY(renameat, renameat(sandbox->dirfd, "root", recycle->folder_fd, name)) != 0) {
		kept_dir_free(kept.dir); /* it goes with its sandbox */
		return;
	}
	CRASH_POINT(recycle_kept);
	recycle->kept[recycle->count++] = kept;
	(void)recycle_rest(recycle);
}
