/* The scenarios: what the actors do, and what must hold after every run. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shm/gate.h"
#include "shm/index.h"
#include "shm/internal.h"
#include "tests/explore/explore.h"

enum { TREE_BYTES = 100, LINK_CAP = 2 };

/* Digests: two in bucket 0, the others in bucket 1. */
enum { TREE_A, TREE_B, INNER, FILLER, NEWCOMER, DIGESTS };

/* What the disk would hold, and what the actors saw. */
static struct {
	bool exists[DIGESTS];
	bool existed_at_start[DIGESTS];
	unsigned decided; /* pins that hit or missed */
	unsigned in_flight, most_in_flight;
} model;

static struct digest
digest_number(int n)
{
	struct digest digest = {.size_bytes = n};

	digest.hash[0] = n >= INNER;
	digest.hash[4] = (uint8_t)(n + 1);
	return digest;
}

static int
number_of(const struct digest *digest)
{
	return (int)digest->size_bytes;
}

static void
model_reset(void)
{
	memcpy(model.exists, model.existed_at_start, sizeof(model.exists));
	model.decided = model.in_flight = model.most_in_flight = 0;
}

static int
try_pin(struct region *region, struct slot *slot, int n, struct index_pin *ret_pin)
{
	struct digest digest = digest_number(n);
	int rc = index_pin(region, slot, &digest, ret_pin);

	MUST(rc == 0 || rc == -ENOENT || rc == -EBUSY || rc == -EAGAIN);
	model.decided += rc == 0 || rc == -ENOENT;
	return rc;
}

/* While it is pinned the tree is there, at every moment, and where the index says. */
static void
use_pin(struct region *region, struct slot *slot, int n, int host, const struct index_pin *pin)
{
	char location[INDEX_LOCATION_SIZE];

	for (int look = 0; look < 2; look++) {
		MUST(model.exists[pin->host == pin->entry ? n : host]);
		explore_point();
	}
	MUST(model.exists[pin->host == pin->entry ? n : host]);
	if (host != n && pin->host != pin->entry) {
		index_location(region, pin, location);
		MUST(strcmp(location + strlen(location) - 2, "/p") == 0);
	}
	index_unpin(region, slot, pin);
}

static void
build(struct region *region, struct slot *slot, int n, const struct index_claim *claim)
{
	struct index_tree tree = {.bytes = TREE_BYTES};
	struct index_pin pin;

	explore_point();
	model.exists[n] = true;
	MUST(index_publish(region, slot, claim, &tree, &pin) == 0);
	use_pin(region, slot, n, n, &pin);
}

/* A worker: pin it, or build it, or wait for who builds it, or go without. */
static void
run_worker(struct region *region, struct slot *slot, int n)
{
	struct digest digest = digest_number(n);
	struct index_claim claim;
	struct index_pin pin;
	int rc = try_pin(region, slot, n, &pin);

	if (rc == -ENOENT) {
		rc = index_claim(region, slot, &digest, &claim);
		if (rc == 0) {
			build(region, slot, n, &claim);
			return;
		}
		MUST(rc == -EBUSY || rc == -EEXIST || rc == -EAGAIN || rc == -ENOSPC);
	}
	if (rc == -EBUSY)
		MUST(index_wait(region, &digest, 1000000) == 0);
	if (rc == -EBUSY || rc == -EEXIST)
		rc = try_pin(region, slot, n, &pin);
	if (rc == 0)
		use_pin(region, slot, n, n, &pin);
}

/* As a worker, but it gives its build up. */
static void
run_quitter(struct region *region, struct slot *slot, int n)
{
	struct digest digest = digest_number(n);
	struct index_claim claim;

	if (index_claim(region, slot, &digest, &claim) != 0)
		return;
	explore_point();
	index_abandon(region, slot, &claim);
}

static void
run_pinner(struct region *region, struct slot *slot, int n)
{
	struct index_pin pin;

	if (try_pin(region, slot, n, &pin) == 0)
		use_pin(region, slot, n, n == INNER ? TREE_A : n, &pin);
}

static void
evict_done(struct region *region, struct slot *slot, uint32_t entry, const struct digest *digest)
{
	explore_point();
	model.exists[number_of(digest)] = false;
	explore_point();
	index_evict_finish(region, slot, entry);
}

/* A janitor: one round over the table. */
static void
run_janitor(struct region *region, struct slot *slot, int arg)
{
	struct digest digest;

	(void)arg;
	for (uint32_t entry = 0; entry < INDEX_WAYS; entry++) {
		if (index_evict_begin(region, slot, entry, &digest) == 0)
			evict_done(region, slot, entry, &digest);
	}
}

/* A janitor that gives nobody the tree any more, whoever has it, and looks twice whether it is
 * free. */
static void
run_holder(struct region *region, struct slot *slot, int arg)
{
	struct digest digest;

	(void)arg;
	for (uint32_t entry = 0; entry < INDEX_WAYS; entry++) {
		int rc = index_evict_hold(region, slot, entry);

		if (rc != 0)
			continue;
		for (int look = 0; look < 2; look++) {
			rc = index_evict_settle(region, slot, entry, &digest);
			if (rc == 0)
				break;
			explore_point();
		}
		if (rc == 0)
			evict_done(region, slot, entry, &digest);
		else
			index_evict_cancel(region, slot, entry);
	}
}

static void
run_linker(struct region *region, struct slot *slot, int rounds)
{
	for (int i = 0; i < rounds; i++) {
		uint32_t permit = gate_enter(region, slot);

		explore_point();
		gate_leave(region, slot, permit);
	}
}

/* In flight by our own count: each linker's bit, cleared before it leaves. */
static void
run_counted_linker(struct region *region, struct slot *slot, int cap)
{
	uint32_t permit = gate_enter(region, slot);

	model.in_flight++;
	if (model.in_flight > model.most_in_flight)
		model.most_in_flight = model.in_flight;
	MUST(model.in_flight <= (unsigned)cap);
	explore_point();
	model.in_flight--;
	gate_leave(region, slot, permit);
}

enum { SANDBOX = 7 };

/* What it has staged ahead becomes its sandbox, and then is no more. */
static void
run_adopter(struct region *region, struct slot *slot, int arg)
{
	(void)region;
	(void)arg;
	slot_set_sandbox(slot, SANDBOX);
	slot_set_ahead(slot, 0);
	explore_point();
}

/* A sandbox that its slot does not name is nobody's, and thrown away. */
static void
run_sweeper(struct region *region, struct slot *slot, int number)
{
	struct slot_info info;

	(void)slot;
	slot_read(region, (uint32_t)number, &info);
	MUST(info.sandbox == SANDBOX || info.ahead == SANDBOX);
}

static void
publish_at_start(struct region *region, struct slot *slot, int n)
{
	struct index_tree tree = {.bytes = TREE_BYTES};
	struct digest digest = digest_number(n);
	struct index_claim claim;
	struct index_pin pin;

	MUST(index_claim(region, slot, &digest, &claim) == 0);
	MUST(index_publish(region, slot, &claim, &tree, &pin) == 0);
	if (n == TREE_A) {
		digest = digest_number(INNER);
		MUST(index_add_inside(region, slot, &pin, &digest, "some/p", &tree) == 0);
	}
	index_unpin(region, slot, &pin);
	model.existed_at_start[n] = true;
}

static void
prepare_empty(struct region *region)
{
	(void)region;
	memset(&model, 0, sizeof(model));
}

static void
prepare_ahead(struct region *region)
{
	prepare_empty(region);
	slot_set_ahead(slot_at(region, SLOT_WORKER_FIRST), SANDBOX);
}

static void
prepare_tree(struct region *region)
{
	memset(&model, 0, sizeof(model));
	publish_at_start(region, slot_at(region, SLOT_WORKER_FIRST), TREE_B);
}

/* Bucket 1 is full: an inside entry and another tree. */
static void
prepare_inside(struct region *region)
{
	memset(&model, 0, sizeof(model));
	publish_at_start(region, slot_at(region, SLOT_WORKER_FIRST), TREE_A);
	publish_at_start(region, slot_at(region, SLOT_WORKER_FIRST), FILLER);
}

/* What a janitor left LEAVING is finished by the next one, by what is on the disk. */
static void
verify_resume(struct region *region)
{
	struct slot *slot = slot_at(region, SLOT_JANITOR);
	struct digest digest;
	uint32_t entry = 0;

	while (index_evict_resume(region, slot, &entry, &digest) == 0) {
		if (model.exists[number_of(&digest)])
			index_evict_cancel(region, slot, entry);
		else
			index_evict_finish(region, slot, entry);
	}
}

static void
verify_held(const struct region *region)
{
	for (uint32_t n = 0; n < region_slots_used(region); n++) {
		const struct slot *slot = slot_at_const(region, n);

		for (uint32_t i = 0; i < 4; i++)
			MUST(atom_load_relaxed(&slot->leases[i]) == 0);
		MUST(atom_load_relaxed(&slot->pending) == 0);
	}
	for (uint32_t i = 0; i < 4; i++)
		MUST(atom_load_relaxed(&region->gate->cells[i].holder) == 0);
	for (uint32_t bucket = 0; bucket < region->entry_count / INDEX_WAYS; bucket++)
		MUST(atom_load_relaxed(&region->heads[bucket].claimer) == 0);
}

static uint64_t
verify_entries(const struct region *region)
{
	uint64_t trees = 0;

	for (uint32_t entry = 0; entry < region->entry_count; entry++) {
		const struct layout_hot *hot = &region->hot[entry];
		uint64_t word = atom_load_relaxed(&hot->word);
		struct digest digest;

		MUST(word_state(word) == INDEX_ABSENT || word_state(word) == INDEX_READY);
		MUST(word_owner(word) == 0);
		if (word_state(word) == INDEX_ABSENT || atom_load_relaxed(&hot->host) != entry)
			continue;
		entry_key_read(hot, &digest);
		MUST(model.exists[number_of(&digest)]);
		for (uint32_t other = 0; other < entry; other++)
			MUST(word_state(atom_load_relaxed(&region->hot[other].word)) !=
				INDEX_READY ||
			    !entry_key_is(&region->hot[other], &digest));
		trees++;
	}
	return trees;
}

static uint64_t
sum(const struct region *region, enum counter counter)
{
	uint64_t total = 0;

	for (uint32_t n = 0; n < region_slots_used(region); n++)
		total += atom_load_relaxed(&slot_at_const(region, n)->counters[counter]);
	return total;
}

static void
verify(struct region *region, bool died)
{
	uint64_t trees;

	verify_resume(region);
	verify_held(region);
	trees = verify_entries(region);
	MUST(sum(region, COUNTER_index_trees) == trees);
	MUST(sum(region, COUNTER_index_bytes) == trees * TREE_BYTES);
	if (!died)
		MUST(sum(region, COUNTER_index_hits) + sum(region, COUNTER_index_misses) ==
		    model.decided);
	/* Nothing is stuck: all permits can be had. */
	for (uint32_t i = 0; i < region_link_cap(region); i++)
		gate_leave(region, slot_at(region, SLOT_SUPERVISOR),
		    gate_enter(region, slot_at(region, SLOT_SUPERVISOR)));
}

#define W0 SLOT_WORKER_FIRST
#define W1 (SLOT_WORKER_FIRST + 1)
#define W2 (SLOT_WORKER_FIRST + 2)
#define J SLOT_JANITOR

#define SCENARIO(name, cap, preemptions, deaths, prepare, ...)                                     \
	{                                                                                          \
		name, cap, {__VA_ARGS__}, preemptions, deaths, prepare, model_reset, verify        \
	}

static const struct scenario scenarios[] = {
    SCENARIO("pin, evict", 2, 4, 0, prepare_tree, {run_pinner, TREE_B, W0}, {run_janitor, 0, J}),
    SCENARIO("two build one", 2, 3, 0, prepare_empty, {run_worker, TREE_B, W0},
	{run_worker, TREE_B, W1}),
    SCENARIO("build, abandon", 2, 3, 0, prepare_empty, {run_worker, TREE_B, W0},
	{run_quitter, TREE_B, W1}),
    SCENARIO("build, evict", 2, 3, 0, prepare_empty, {run_worker, TREE_B, W0}, {run_janitor, 0, J}),
    SCENARIO("two pin, evict", 2, 3, 0, prepare_tree, {run_pinner, TREE_B, W0},
	{run_pinner, TREE_B, W1}, {run_janitor, 0, J}),
    SCENARIO("work, pin, evict", 2, 3, 0, prepare_tree, {run_worker, TREE_B, W0},
	{run_pinner, TREE_B, W1}, {run_janitor, 0, J}),
    SCENARIO("pin inside, evict the host, displace", 2, 3, 0, prepare_inside,
	{run_pinner, INNER, W0}, {run_worker, NEWCOMER, W1}, {run_janitor, 0, J}),
    SCENARIO("two pin, hold", 2, 3, 0, prepare_tree, {run_pinner, TREE_B, W0},
	{run_pinner, TREE_B, W1}, {run_holder, 0, J}),
    SCENARIO("pin inside, hold the host, displace", 2, 3, 0, prepare_inside,
	{run_pinner, INNER, W0}, {run_worker, NEWCOMER, W1}, {run_holder, 0, J}),
    SCENARIO("adopt, sweep", 2, 3, 0, prepare_ahead, {run_adopter, 0, W0},
	{run_sweeper, SLOT_WORKER_FIRST, J}),
    SCENARIO("gate, two for one", 1, 5, 0, prepare_empty, {run_linker, 2, W0}, {run_linker, 2, W1}),
    SCENARIO("gate, three for one", 1, 3, 0, prepare_empty, {run_counted_linker, 1, W0},
	{run_counted_linker, 1, W1}, {run_counted_linker, 1, W2}),
    SCENARIO("gate, three for two", 2, 3, 0, prepare_empty, {run_counted_linker, 2, W0},
	{run_counted_linker, 2, W1}, {run_counted_linker, 2, W2}),
    SCENARIO(
	"death: pin, evict", 2, 3, 1, prepare_tree, {run_pinner, TREE_B, W0}, {run_janitor, 0, J}),
    SCENARIO(
	"death: pin, hold", 2, 3, 1, prepare_tree, {run_pinner, TREE_B, W0}, {run_holder, 0, J}),
    SCENARIO("death: two build one", 2, 2, 1, prepare_empty, {run_worker, TREE_B, W0},
	{run_worker, TREE_B, W1}),
    SCENARIO("death: build, evict", 2, 2, 1, prepare_empty, {run_worker, TREE_B, W0},
	{run_janitor, 0, J}),
    SCENARIO("death: pin inside, evict the host, displace", 2, 1, 1, prepare_inside,
	{run_pinner, INNER, W0}, {run_worker, NEWCOMER, W1}, {run_janitor, 0, J}),
    SCENARIO("death: gate, two for one", 1, 3, 1, prepare_empty, {run_linker, 1, W0},
	{run_linker, 1, W1}),
    SCENARIO("death: gate, three for one", 1, 2, 1, prepare_empty, {run_linker, 1, W0},
	{run_linker, 1, W1}, {run_linker, 1, W2}),
};

static void
remove_state(const char *path, int fd)
{
	unlinkat(fd, "index", 0);
	close(fd);
	rmdir(path);
}

static void
run_scenario(int fd, const struct scenario *scenario, struct totals *totals)
{
	struct region_config config = {.entry_count = 2 * INDEX_WAYS, .link_cap = LINK_CAP};
	struct error_text err = {""};
	enum region_origin origin;
	struct region *region;

	unlinkat(fd, "index", 0);
	if (region_open(fd, &config, &origin, &region, &err) != 0) {
		fprintf(stderr, "explore: %s\n", err.text);
		exit(1);
	}
	/* The supervisor's own slot takes part in nothing, but verify uses it. */
	slot_assign(region, SLOT_SUPERVISOR);
	slot_activate(region, SLOT_SUPERVISOR, getpid());
	explore_run(region, scenario, totals);
	region_close(region);
}

static char state_path[] = "/tmp/ramet-explore-XXXXXX";
static int state_fd = -1;

static void
at_exit(void)
{
	remove_state(state_path, state_fd);
}

int
main(int argc, char **argv)
{
	struct totals totals = {0};

	if (mkdtemp(state_path) == NULL ||
	    (state_fd = open(state_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0) {
		perror("explore");
		return 1;
	}
	atexit(at_exit);
	for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
		if (argc < 2 || strstr(scenarios[i].name, argv[1]) != NULL)
			run_scenario(state_fd, &scenarios[i], &totals);
	}
#ifdef RAMET_EXPLORE_MUTANT
	printf("explore: mutant NOT found\n");
	return 1;
#else
	printf("explore: %llu schedules, %llu crashes, 0 failures\n",
	    (unsigned long long)totals.schedules, (unsigned long long)totals.deaths);
	return totals.schedules > 0 ? 0 : 1;
#endif
}
