/*
 * A damaged index file: a fresh one with a tree, an inside entry, a pin and a claim in it, some of
 * whose bytes are then overwritten.  The input: the file's size (2 bytes, in 256ths of what it
 * should be; 0: left alone), then changes of 12 bytes each: area, index in it, offset, value.
 *
 * Whatever it holds, the tools' readers and the supervisor's opening neither crash nor hang, and
 * after the opening the index can be used.
 */
#include <sys/stat.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/fs.h"
#include "shm/index.h"
#include "shm/internal.h"

enum { ENTRIES = 2 * INDEX_WAYS, CHANGE_SIZE = 12, WORKER = SLOT_WORKER_FIRST };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static char top[256];
static int state_fd;
static uint8_t *fresh;
static size_t fresh_size;

/* index_check waits before it looks again; nobody else writes here. */
int
nanosleep(const struct timespec *wanted, struct timespec *left)
{
	(void)wanted;
	(void)left;
	return 0;
}

static void
remove_all(void)
{
	fs_remove_tree(AT_FDCWD, top);
}

static struct digest
digest_number(uint8_t number)
{
	struct digest digest = {.size_bytes = number};

	memset(digest.hash, number, sizeof(digest.hash));
	return digest;
}

static struct slot *
worker_of(struct region *region)
{
	slot_assign(region, WORKER);
	slot_activate(region, WORKER, getpid());
	return slot_at(region, WORKER);
}

static void
use(struct region *region, uint8_t number, struct index_pin *ret_pin)
{
	const struct index_tree tree = {.files = 3, .directories = 1, .bytes = 100};
	struct digest digest = digest_number(number), inside = digest_number(number + 1);
	struct slot *slot = slot_at(region, WORKER);
	struct index_claim claim;

	CHECK(index_claim(region, slot, &digest, &claim) == 0);
	CHECK(index_publish(region, slot, &claim, &tree, ret_pin) == 0);
	CHECK(index_add_inside(region, slot, ret_pin, &inside, "a/b", &tree) == 0);
}

/* As a host leaves it that was killed at work. */
int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const struct region_config config = {.entry_count = ENTRIES, .link_cap = 4};
	const char *tmp = getenv("TMPDIR");
	struct digest digest = digest_number(9);
	enum region_origin origin;
	struct region *region;
	struct index_claim claim;
	struct index_pin pin;

	(void)argc;
	(void)argv;
	snprintf(top, sizeof(top), "%s/ramet-test.XXXXXX", tmp != NULL ? tmp : "/tmp");
	CHECK(mkdtemp(top) != NULL);
	atexit(remove_all);
	state_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(region_open(state_fd, &config, &origin, &region, NULL) == 0);
	(void)worker_of(region);
	use(region, 1, &pin);
	CHECK(index_claim(region, slot_at(region, WORKER), &digest, &claim) == 0);
	region_close(region);
	CHECK(fs_read_file(state_fd, "index", 64 << 20, &fresh, &fresh_size) == 0);
	return 0;
}

struct area {
	size_t start, each, count;
};

static struct area
area_of(uint8_t number)
{
	struct region_plan plan;

	region_plan_make(ENTRIES, &plan);
	switch (number % 6) {
	case 0:
		return (struct area){0, sizeof(struct layout_header), 1};
	case 1:
		return (struct area){plan.slots, sizeof(struct slot), SLOT_COUNT_MAX};
	case 2:
		return (struct area){plan.gate, LAYOUT_LINE, LINK_CAP_MAX + 2};
	case 3:
		return (struct area){plan.heads, sizeof(struct layout_head), ENTRIES / INDEX_WAYS};
	case 4:
		return (struct area){plan.hot, sizeof(struct layout_hot), ENTRIES};
	default:
		return (struct area){plan.cold, sizeof(struct layout_cold), ENTRIES};
	}
}

static void
change_one(int fd, const uint8_t *change)
{
	struct area area = area_of(change[0]);
	size_t offset = ((size_t)change[2] | (size_t)change[3] << 8) % area.each;
	size_t at = area.start + change[1] % area.count * area.each + offset;
	size_t room = area.each - offset;

	CHECK(pwrite(fd, change + 4, room < 8 ? room : 8, (off_t)at) > 0);
}

static void
index_write(const uint8_t *data, size_t size)
{
	int fd = openat(state_fd, "index", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	CHECK(fd >= 0);
	CHECK(fs_write_all(fd, fresh, fresh_size) == 0);
	for (size_t i = 2; i + CHANGE_SIZE <= size; i += CHANGE_SIZE)
		change_one(fd, data + i);
	if (size >= 2 && (data[0] | data[1]) != 0)
		CHECK(ftruncate(fd, (off_t)((data[0] | (size_t)data[1] << 8) * fresh_size / 256)) ==
		    0);
	close(fd);
}

static void
report(void *arg, const char *text)
{
	CHECK(text[0] != '\0');
	++*(unsigned *)arg;
}

static void
read_all(const struct region *region)
{
	uint64_t values[COUNTER_COUNT];
	struct index_info info;
	struct slot_info slot;
	unsigned told = 0;

	counters_read(region, values);
	/* All alike, and each costs as much as the whole rest: so a few of them. */
	for (uint32_t i = 0; i < SLOT_COUNT_MAX; i += i < 4 ? 1 : 36) {
		slot_read(region, i, &slot);
		CHECK(memchr(slot.label, '\0', sizeof(slot.label)) != NULL);
	}
	for (uint32_t i = 0; i <= region_entry_count(region); i++)
		if (index_read(region, i, &info) == 0)
			CHECK(memchr(info.path, '\0', sizeof(info.path)) != NULL);
	for (uint8_t i = 0; i < 12; i++) {
		struct digest digest = digest_number(i);
		uint32_t entry = 0;

		if (index_find(region, &digest, &entry) == 0)
			CHECK(entry < region_entry_count(region));
	}
	CHECK(index_check(region, report, &told) == told);
}

static void
attach(void)
{
	struct error_text err = {""};
	struct region *region;

	if (region_attach(state_fd, &region, &err) == 0) {
		read_all(region);
		region_close(region);
	} else {
		CHECK(err.text[0] != '\0');
	}
}

/* All that a worker and a janitor do, on what the supervisor took over. */
static void
open_and_use(void)
{
	const struct region_config config = {.entry_count = ENTRIES, .link_cap = 4};
	struct error_text err = {""};
	char location[INDEX_LOCATION_SIZE];
	enum region_origin origin;
	struct region *region;
	struct index_pin pin;
	struct slot *slot;
	unsigned told = 0;

	CHECK(region_open(state_fd, &config, &origin, &region, &err) == 0);
	CHECK(origin == REGION_WARM || err.text[0] != '\0');
	slot = worker_of(region);
	for (uint8_t i = 0; i < 12; i++) {
		struct digest digest = digest_number(i);
		struct index_claim claim;

		if (index_pin(region, slot, &digest, &pin) == 0) {
			index_location(region, &pin, location);
			CHECK(memchr(location, '\0', sizeof(location)) != NULL);
		} else if (index_claim(region, slot, &digest, &claim) == 0) {
			index_abandon(region, slot, &claim);
		}
	}
	index_unpin_all(region, slot);
	for (uint32_t i = 0; i < region_entry_count(region); i++) {
		struct digest digest;

		if (index_evict_begin(region, slot, i, &digest) == 0)
			index_evict_finish(region, slot, i);
	}
	CHECK(index_check(region, report, &told) == told);
	region_close(region);
}

static void
remove_set_aside(void)
{
	DIR *dir = opendir(top);
	struct dirent *entry;

	CHECK(dir != NULL);
	while ((entry = readdir(dir)) != NULL)
		if (strncmp(entry->d_name, "index.", 6) == 0)
			unlinkat(state_fd, entry->d_name, 0);
	closedir(dir);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	index_write(data, size);
	attach();
	open_and_use();
	remove_set_aside();
	return 0;
}
