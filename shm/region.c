#include "shm/region.h"

#include <sys/mman.h>
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
#include "shm/internal.h"
#include "shm/region_os.h"

#define REGION_NAME "index"

enum { LINK_CAP_DEFAULT = 64 };

static uint64_t
hash_bytes(uint64_t hash, const void *data, size_t len)
{
	const unsigned char *bytes = data;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
	return hash;
}

uint64_t
region_fingerprint(void)
{
	const uint64_t facts[] = {sizeof(struct layout_header), sizeof(struct slot),
	    sizeof(struct layout_gate), sizeof(struct layout_head), sizeof(struct layout_hot),
	    sizeof(struct layout_cold), offsetof(struct slot, pending),
	    offsetof(struct slot, label), offsetof(struct slot, words),
	    offsetof(struct slot, leases), offsetof(struct slot, wanted),
	    offsetof(struct slot, wanted_done), offsetof(struct slot, counters),
	    offsetof(struct layout_gate, cells), offsetof(struct layout_head, claimer),
	    offsetof(struct layout_hot, key), offsetof(struct layout_hot, host),
	    offsetof(struct layout_hot, bytes), offsetof(struct layout_hot, published_us),
	    offsetof(struct layout_cold, path), SLOT_COUNT_MAX, SLOT_LEASES, LINK_CAP_MAX,
	    INDEX_WAYS, INDEX_PATH_SIZE, COUNTER_COUNT, WORD_CLEARED};
	uint64_t hash = hash_bytes(UINT64_C(0xcbf29ce484222325), facts, sizeof(facts));

	for (int c = 0; c < COUNTER_COUNT; c++) {
		unsigned char kind = (unsigned char)counter_table[c].kind;

		hash = hash_bytes(hash, counter_table[c].name, strlen(counter_table[c].name) + 1);
		hash = hash_bytes(hash, &kind, 1);
	}
	return hash;
}

void
region_plan_make(uint32_t entry_count, struct region_plan *ret_plan)
{
	struct region_plan plan = {.slots = LAYOUT_HEADER_SIZE};

	plan.gate = plan.slots + sizeof(struct slot) * SLOT_COUNT_MAX;
	plan.heads = plan.gate + sizeof(struct layout_gate);
	plan.hot = plan.heads + sizeof(struct layout_head) * (entry_count / INDEX_WAYS);
	plan.cold = plan.hot + sizeof(struct layout_hot) * (uint64_t)entry_count;
	plan.size = plan.cold + sizeof(struct layout_cold) * (uint64_t)entry_count;
	*ret_plan = plan;
}

static bool
entry_count_valid(uint32_t count)
{
	return count >= INDEX_ENTRIES_MIN && count <= INDEX_ENTRIES_MAX &&
	    (count & (count - 1)) == 0;
}

static uint32_t
entry_count_round(uint32_t wanted)
{
	uint32_t count = INDEX_ENTRIES_MIN;

	if (wanted == 0)
		wanted = INDEX_ENTRIES_DEFAULT;
	while (count < wanted && count < INDEX_ENTRIES_MAX)
		count *= 2;
	return count;
}

static int
header_map(int fd, uint64_t size, bool writable, struct region **ret_region)
{
	int protection = PROT_READ | (writable ? PROT_WRITE : 0);
	struct region *region;
	void *base;

	base = mmap(NULL, size, protection, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		return -errno;
	region = calloc(1, sizeof(*region));
	if (region == NULL) {
		munmap(base, size);
		return -ENOMEM;
	}
	region->header = base;
	region->size = size;
	region->writable = writable;
	*ret_region = region;
	return 0;
}

/* From an entry count that has been checked. */
static void
region_point(struct region *region, uint32_t entry_count)
{
	unsigned char *base = (unsigned char *)region->header;
	struct region_plan plan;

	region_plan_make(entry_count, &plan);
	region->entry_count = entry_count;
	region->slots = (struct slot *)(base + plan.slots);
	region->gate = (struct layout_gate *)(base + plan.gate);
	region->heads = (struct layout_head *)(base + plan.heads);
	region->hot = (struct layout_hot *)(base + plan.hot);
	region->cold = (struct layout_cold *)(base + plan.cold);
}

static int
header_check_plan(const struct layout_header *header, uint64_t file_size, uint32_t entry_count,
    struct error_text *err)
{
	struct region_plan plan;

	if (!entry_count_valid(entry_count))
		return error_set(err, -EPROTO,
		    REGION_NAME ": impossible number of entries (%" PRIu32 ")", entry_count);
	region_plan_make(entry_count, &plan);
	if (plan.size != file_size || atom_load_relaxed(&header->file_size) != file_size)
		return error_set(err, -EPROTO,
		    REGION_NAME ": has %" PRIu64 " bytes, should have %" PRIu64 " (truncated?)",
		    file_size, plan.size);
	if (atom_load_relaxed(&header->slots_offset) != plan.slots ||
	    atom_load_relaxed(&header->gate_offset) != plan.gate ||
	    atom_load_relaxed(&header->heads_offset) != plan.heads ||
	    atom_load_relaxed(&header->hot_offset) != plan.hot ||
	    atom_load_relaxed(&header->cold_offset) != plan.cold ||
	    atom_load_relaxed(&header->slot_count) != SLOT_COUNT_MAX ||
	    atom_load_relaxed(&header->gate_cells) != LINK_CAP_MAX ||
	    atom_load_relaxed(&header->ways) != INDEX_WAYS)
		return error_set(err, -EPROTO, REGION_NAME ": damaged header (an offset is wrong)");
	return 0;
}

static int
header_check(const struct layout_header *header, uint64_t file_size, uint32_t *ret_entry_count,
    struct error_text *err)
{
	uint32_t entry_count = atom_load_acquire(&header->entry_count);
	uint32_t version = atom_load_relaxed(&header->version);
	int rc;

	if (atom_load_relaxed(&header->magic) != LAYOUT_MAGIC)
		return error_set(err, -EPROTO, REGION_NAME ": not an index of ramet's");
	if (version != LAYOUT_VERSION)
		return error_set(err, -EPROTO,
		    REGION_NAME ": layout version %" PRIu32 ", this program has %d", version,
		    LAYOUT_VERSION);
	if (atom_load_relaxed(&header->fingerprint) != region_fingerprint())
		return error_set(err, -EPROTO,
		    REGION_NAME
		    ": made by another build of ramet (the layout's fingerprint differs)");
	if (atom_load_acquire(&header->ready) != LAYOUT_READY)
		return error_set(err, -EPROTO, REGION_NAME ": never finished");
	rc = header_check_plan(header, file_size, entry_count, err);
	if (rc == 0)
		*ret_entry_count = entry_count;
	return rc;
}

/* Opens, maps and checks the file of that name. */
static int
region_map(int state_fd, bool writable, struct region **ret_region, struct error_text *err)
{
	struct region *region = NULL;
	uint32_t entry_count = 0;
	struct stat st;
	int fd, rc;

	fd = openat(state_fd, REGION_NAME,
	    (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return error_errno(err, -errno, REGION_NAME ": cannot open");
	if (fstat(fd, &st) != 0) {
		rc = error_errno(err, -errno, REGION_NAME ": cannot stat");
		goto out;
	}
	if (!S_ISREG(st.st_mode) || st.st_size < LAYOUT_HEADER_SIZE) {
		rc = error_set(err, -EPROTO,
		    REGION_NAME ": not an index of ramet's (%" PRId64 " bytes)",
		    (int64_t)st.st_size);
		goto out;
	}
	rc = header_map(fd, (uint64_t)st.st_size, writable, &region);
	if (rc != 0) {
		error_errno(err, rc, REGION_NAME ": cannot map");
		goto out;
	}
	rc = header_check(region->header, (uint64_t)st.st_size, &entry_count, err);
	if (rc != 0)
		goto out;
	region_point(region, entry_count);
	*ret_region = region;
	region = NULL;
out:
	region_close(region);
	close(fd);
	return rc;
}

static uint64_t
instance_make(void)
{
	uint64_t facts[3] = {clock_realtime_us(), (uint64_t)getpid(), os_boot_id()};
	uint64_t hash = hash_bytes(UINT64_C(0xcbf29ce484222325), facts, sizeof(facts));

	return hash != 0 ? hash : 1;
}

static void
header_fill(struct layout_header *header, uint32_t entry_count)
{
	struct region_plan plan;

	region_plan_make(entry_count, &plan);
	atom_store_relaxed(&header->magic, LAYOUT_MAGIC);
	atom_store_relaxed(&header->version, LAYOUT_VERSION);
	atom_store_relaxed(&header->fingerprint, region_fingerprint());
	atom_store_relaxed(&header->file_size, plan.size);
	atom_store_relaxed(&header->instance, instance_make());
	atom_store_relaxed(&header->slot_count, SLOT_COUNT_MAX);
	atom_store_relaxed(&header->entry_count, entry_count);
	atom_store_relaxed(&header->gate_cells, LINK_CAP_MAX);
	atom_store_relaxed(&header->ways, INDEX_WAYS);
	atom_store_relaxed(&header->slots_offset, plan.slots);
	atom_store_relaxed(&header->gate_offset, plan.gate);
	atom_store_relaxed(&header->heads_offset, plan.heads);
	atom_store_relaxed(&header->hot_offset, plan.hot);
	atom_store_relaxed(&header->cold_offset, plan.cold);
}

static int
file_size_set(int fd, uint64_t size)
{
	int rc = os_file_reserve(fd, size);

	if (rc == 0 && ftruncate(fd, (off_t)size) != 0)
		rc = -errno;
	return rc;
}

static int
region_create(
    int state_fd, uint32_t entry_count, struct region **ret_region, struct error_text *err)
{
	struct region *region = NULL;
	struct region_plan plan;
	char temp[64];
	int fd, rc;

	region_plan_make(entry_count, &plan);
	snprintf(temp, sizeof(temp), ".tmp." REGION_NAME ".%d", (int)getpid());
	unlinkat(state_fd, temp, 0);
	fd = openat(state_fd, temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return error_errno(err, -errno, "%s: cannot create", temp);
	rc = file_size_set(fd, plan.size);
	if (rc == 0)
		rc = header_map(fd, plan.size, true, &region);
	if (rc != 0) {
		error_errno(err, rc, "%s: cannot make %" PRIu64 " bytes", temp, plan.size);
		goto out;
	}
	region_point(region, entry_count);
	header_fill(region->header, entry_count);
	atom_store_release(&region->header->ready, LAYOUT_READY);
	if (renameat(state_fd, temp, state_fd, REGION_NAME) != 0) {
		rc = error_errno(err, -errno, "%s: cannot rename to " REGION_NAME, temp);
		goto out;
	}
	*ret_region = region;
	region = NULL;
out:
	region_close(region);
	if (rc != 0)
		unlinkat(state_fd, temp, 0);
	close(fd);
	return rc;
}

/* Nobody lives: gives back whatever anybody held, and sets the levels right. */
static void
region_repair_all(struct region *region)
{
	index_repair_all(region);
	slot_repair_all(region);
	gate_reset(region);
	index_recount(region);
	atom_store_relaxed(&region->header->slot_high, 0);
}

static int
region_set_aside(int state_fd, struct error_text *err)
{
	char name[64];

	snprintf(name, sizeof(name), REGION_NAME ".bad.%" PRIu64, clock_realtime_us() / 1000000);
	if (renameat(state_fd, REGION_NAME, state_fd, name) != 0)
		return error_errno(err, -errno, REGION_NAME ": cannot rename to %s", name);
	if (err != NULL) {
		size_t len = strlen(err->text);

		snprintf(err->text + len, sizeof(err->text) - len, " (kept as %s, starting afresh)",
		    name);
	}
	return 0;
}

static void
region_begin(struct region *region, const struct region_config *config)
{
	region->booted_since = os_boot_id() != atom_load_relaxed(&region->header->boot_id);
	region->clean_stop_s = atom_load_relaxed(&region->header->clean_stop_s);
	region->opened_s = atom_load_relaxed(&region->header->opened_s);
	atom_store_seq(&region->header->needed_since_s, 0);
	region_set_link_cap(region, config->link_cap != 0 ? config->link_cap : LINK_CAP_DEFAULT);
}

int
region_open(int state_fd, const struct region_config *config, enum region_origin *ret_origin,
    struct region **ret_region, struct error_text *err)
{
	uint32_t wanted = entry_count_round(config->entry_count);
	enum region_origin origin = REGION_WARM;
	struct region *region = NULL;
	struct error_text why = {""};
	int rc;

	rc = region_map(state_fd, true, &region, &why);
	if (rc == 0 && config->entry_count != 0 && region->entry_count != wanted) {
		rc = error_set(&why, -EPROTO,
		    REGION_NAME ": has %" PRIu32 " entries, configured are %" PRIu32,
		    region->entry_count, wanted);
		region_close(region);
		region = NULL;
	}
	if (rc == 0) {
		region_repair_all(region);
	} else if (rc == -ENOENT || rc == -EPROTO || rc == -ELOOP || rc == -EISDIR) {
		origin = rc == -ENOENT ? REGION_CREATED : REGION_SET_ASIDE;
		rc = origin == REGION_SET_ASIDE ? region_set_aside(state_fd, &why) : 0;
		if (rc == 0)
			rc = region_create(
			    state_fd, wanted, &region, origin == REGION_CREATED ? &why : NULL);
	}
	if (err != NULL && (rc != 0 || origin == REGION_SET_ASIDE))
		*err = why;
	if (rc != 0)
		return rc;
	region_begin(region, config);
	*ret_origin = origin;
	*ret_region = region;
	return 0;
}

int
region_join(int state_fd, uint64_t instance, struct region **ret_region, struct error_text *err)
{
	struct region *region;
	int rc;

	rc = region_map(state_fd, true, &region, err);
	if (rc != 0)
		return rc;
	if (region_instance(region) != instance) {
		region_close(region);
		return error_set(err, -ESTALE, REGION_NAME ": is another one by now");
	}
	*ret_region = region;
	return 0;
}

int
region_attach(int state_fd, struct region **ret_region, struct error_text *err)
{
	return region_map(state_fd, false, ret_region, err);
}

void
region_close(struct region *region)
{
	if (region == NULL)
		return;
	munmap(region->header, region->size);
	free(region);
}

bool
region_is_writable(const struct region *region)
{
	return region->writable;
}

uint32_t
region_entry_count(const struct region *region)
{
	return region->entry_count;
}

uint32_t
region_link_cap(const struct region *region)
{
	return atom_load_relaxed(&region->gate->cap);
}

void
region_set_link_cap(struct region *region, uint32_t cap)
{
	CHECK(region->writable);
	if (cap < 1)
		cap = 1;
	if (cap > LINK_CAP_MAX)
		cap = LINK_CAP_MAX;
	/* The mark belongs to the cap it was made under. */
	if (cap != atom_load_relaxed(&region->gate->cap)) {
		for (uint32_t n = 0; n < SLOT_COUNT_MAX; n++)
			COUNTER_SET(slot_at(region, n), link_gate_high_water, 0);
	}
	atom_store_relaxed(&region->gate->cap, cap);
	COUNTER_SET(slot_at(region, SLOT_SUPERVISOR), link_gate_cap, cap);
}

uint64_t
region_instance(const struct region *region)
{
	return atom_load_relaxed(&region->header->instance);
}

uint32_t
region_clean_stop_s(const struct region *region)
{
	return region->writable ? region->clean_stop_s
				: atom_load_relaxed(&region->header->clean_stop_s);
}

uint32_t
region_opened_s(const struct region *region)
{
	return region->opened_s;
}

void
region_mark_begun(struct region *region)
{
	CHECK(region->writable);
	atom_store_relaxed(&region->header->opened_s, clock_realtime_s());
	atom_store_release(&region->header->clean_stop_s, 0);
	atom_store_release(&region->header->boot_id, os_boot_id());
}

void
region_mark_clean_stop(struct region *region)
{
	CHECK(region->writable);
	region->clean_stop_s = clock_realtime_s();
	atom_store_relaxed(&region->header->clean_stop_s, region->clean_stop_s);
}

void
region_set_needed_since(struct region *region, uint32_t since_s)
{
	CHECK(region->writable);
	atom_store_seq(&region->header->needed_since_s, since_s);
}

uint32_t
region_needed_since(const struct region *region)
{
	return atom_load_seq(&region->header->needed_since_s);
}

bool
region_booted_since(const struct region *region)
{
	return region->booted_since;
}
