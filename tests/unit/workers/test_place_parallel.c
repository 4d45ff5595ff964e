/*
 * A tree placed by several threads: the same tree and the same figures as by one, failures that do
 * not depend on which thread met them, and nothing held by a process that is killed meanwhile.
 *
 *   test_place_parallel work DIR   places trees by threads until it is killed
 */
#include <sys/time.h>
#include <sys/wait.h>

#include <pthread.h>
#include <signal.h>
#include <spawn.h>

#include "base/log.h"
#include "shm/internal.h"
#include "tests/cmocka_wrap.h"
#include "tests/unit/workers/stage_host.h"
#include "workers/cores.h"
#include "workers/place_parallel.h"
#include "workers/stage_internal.h"

enum { DIRS = 30, FILES = 20, THREADS = 4, KILLS = 12, LINKS_MOST = 66000 };

static char *self;

static const struct place_policy by_link = {
    .order = {PLACE_HARDLINK, PLACE_COPY}, .count = 2, .owner = (uid_t)-1};

struct fixture {
	struct host host;
	struct placer placer;
	struct tree_loader loader;
	struct digest root;
	struct tree_dir *tree;
	int fd; /* what is placed into */
};

/* DIRS directories in groups of ten below three, each with FILES files, all with bytes of their
 * own; a few twins, empty files, programs, symlinks and empty directories. */
static struct digest
make_leaf(struct host *host, unsigned number)
{
	ReapiDirectory *dir = dir_new(host);
	char name[32], text[32];

	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof name, "f%02u", i);
		snprintf(text, sizeof text, "%u.%u", number, i);
		dir_add_file(host, dir, name, i == 7 ? "" : i == 8 ? "twin" : text, i % 5 == 0);
	}
	dir_add_symlink(host, dir, "link", "f01");
	dir_add_dir(host, dir, "none", &digest_empty);
	return dir_put(host, dir);
}

static struct digest
make_tree(struct host *host)
{
	ReapiDirectory *root = dir_new(host);
	char name[32];

	for (unsigned group = 0; group < DIRS / 10; group++) {
		ReapiDirectory *dir = dir_new(host);
		for (unsigned i = 0; i < 10; i++) {
			struct digest leaf = make_leaf(host, group * 10 + i);
			snprintf(name, sizeof name, "d%u", i);
			dir_add_dir(host, dir, name, &leaf);
		}
		struct digest digest = dir_put(host, dir);
		snprintf(name, sizeof name, "g%u", group);
		dir_add_dir(host, root, name, &digest);
	}
	dir_add_file(host, root, "top", "top", false);
	return dir_put(host, root);
}

static void
load(struct fixture *f, const struct digest *root)
{
	f->root = *root;
	tree_loader_start(&f->loader, f->host.cas, f->host.arena);
	assert_int_equal(tree_load(&f->loader, root, 0, &f->tree, &f->host.err), 0);
	assert_int_equal(f->loader.missing_count, 0);
}

static void
place_into(struct fixture *f, const char *name)
{
	int dirfd = f->host.config.state_fd;

	if (f->fd >= 0)
		close(f->fd);
	assert_int_equal(fs_mkdir(dirfd, name, 0755), 0);
	assert_int_equal(fs_open_beneath(dirfd, name, &f->fd), 0);
	placer_start(&f->placer);
}

static void
start(struct fixture *f, const char *below)
{
	memset(f, 0, sizeof *f);
	f->fd = -1;
	host_start(&f->host, below);
	placer_init(&f->placer, f->host.region, f->host.slot, f->host.cas);
	struct digest root = make_tree(&f->host);
	load(f, &root);
	place_into(f, "one");
}

static void
stop(struct fixture *f)
{
	close(f->fd);
	placer_fini(&f->placer);
	tree_loader_free(&f->loader);
	assert_int_equal(gate_in_flight(f->host.region), 0);
	host_stop(&f->host);
}

static int
place(struct fixture *f, unsigned threads)
{
	return place_parallel(&f->placer, &by_link, f->fd, f->tree, threads);
}

static void
expect_tree(struct fixture *f)
{
	struct compare compare = {.host = &f->host};

	compare_directory(&compare, f->fd, "", &f->root);
	assert_int_equal(compare.differences, 0);
}

static void
the_same_tree_and_figures(void **state)
{
	struct fixture f;

	start(&f, "/dev/shm");
	struct place_cursor cursor;
	cursor_init(&cursor, f.fd);
	assert_int_equal(place_tree(&f.placer, &by_link, &cursor, f.tree), 0);
	cursor_fini(&cursor);
	expect_tree(&f);
	struct place_tally alone = f.placer.tally;
	assert_int_equal(alone.files_all, DIRS * FILES + 1);
	assert_int_equal(alone.directories, DIRS * 2 + DIRS / 10);
	for (unsigned threads = 1; threads <= 9; threads += threads == THREADS ? 5 : 1) {
		char name[32];
		snprintf(name, sizeof name, "by%u", threads);
		place_into(&f, name);
		assert_int_equal(place(&f, threads), 0);
		expect_tree(&f);
		alone.exec_variants = f.placer.tally.exec_variants; /* made once */
		assert_memory_equal(&f.placer.tally, &alone, sizeof alone);
	}
	stop(&f);
}

/* Paths longer than one call takes: from there on it is one thread's. */
static void
very_deep(void **state)
{
	enum { LEVELS = 40, NAME = 120 };
	struct fixture f;
	char name[NAME + 1];

	start(&f, "/dev/shm");
	struct digest digest = f.root;
	for (unsigned level = 0; level < LEVELS; level++) {
		ReapiDirectory *dir = dir_new(&f.host);
		memset(name, 'a' + (int)level % 26, NAME);
		name[NAME] = '\0';
		dir_add_dir(&f.host, dir, name, &digest);
		dir_add_file(&f.host, dir, "f", name, false);
		digest = dir_put(&f.host, dir);
	}
	load(&f, &digest);
	assert_int_equal(place(&f, THREADS), 0);
	expect_tree(&f);
	assert_int_equal(f.placer.tally.files_all, DIRS * FILES + 1 + LEVELS);
	stop(&f);
}

static void
lose(struct fixture *f, const char *text)
{
	struct digest digest;

	assert_int_equal(hash_bytes(text, strlen(text), &digest), 0);
	cas_drop(f->host.cas, &digest);
}

static void
the_first_failure_is_told(void **state)
{
	struct fixture f;
	char name[32];

	start(&f, "/dev/shm");
	lose(&f, "4.3");
	lose(&f, "5.1");
	lose(&f, "25.1");
	for (int i = 0; i < 30; i++) {
		snprintf(name, sizeof name, "try%d", i);
		place_into(&f, name);
		assert_int_equal(place(&f, THREADS), -ENOENT);
		assert_string_equal(f.placer.path, "g0/d4/f03");
		assert_string_equal(f.placer.failed, "link it from the CAS");
	}
	/* A directory's comes before any file's. */
	place_into(&f, "clash");
	assert_int_equal(fs_mkdir_path(f.fd, "g2", 0755), 0);
	assert_int_equal(place(&f, THREADS), -EINVAL);
	assert_string_equal(f.placer.path, "g2");
	assert_string_equal(f.placer.failed, "clash");
	stop(&f);
}

/* A store on another volume: each file is copied, and that is said once. */
static void
fall_backs_are_said_once(void **state)
{
	struct fixture f;
	char elsewhere[] = "/tmp/ramet-place.XXXXXX", text[4096];
	struct stat here, there;

	start(&f, "/dev/shm");
	assert_non_null(mkdtemp(elsewhere));
	assert_int_equal(chmod(elsewhere, 0755), 0);
	assert_int_equal(stat(elsewhere, &there), 0);
	assert_int_equal(fstat(f.host.config.state_fd, &here), 0);
	int log_fd = openat(f.host.config.state_fd, "log", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	int into = open(elsewhere, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (here.st_dev != there.st_dev) {
		unsigned empty = DIRS, lines = 0;
		log_open(log_fd, LOG_LEVEL_WARN);
		assert_int_equal(place_parallel(&f.placer, &by_link, into, f.tree, THREADS), 0);
		log_open(STDERR_FILENO, LOG_LEVEL_INFO);
		assert_int_equal(f.placer.tally.fallbacks, DIRS * FILES + 1 - empty);
		assert_int_equal(f.placer.tally.files[PLACE_COPY], DIRS * FILES + 1 - empty);
		ssize_t len = pread(log_fd, text, sizeof text, 0);
		for (ssize_t i = 0; i < len; i++)
			lines += text[i] == '\n';
		assert_int_equal(lines, 1);
		close(f.fd);
		f.fd = into;
		expect_tree(&f);
	} else
		close(into);
	close(log_fd);
	assert_int_equal(fs_remove_tree(AT_FDCWD, elsewhere), 0);
	stop(&f);
}

/* Uses up a blob's links; false where there is no end to them. */
static bool
use_up(struct fixture *f, const char *blob)
{
	char name[32];

	assert_int_equal(fs_mkdir(f->host.config.state_fd, "used", 0755), 0);
	for (unsigned i = 0; i < LINKS_MOST; i++) {
		snprintf(name, sizeof name, "used/%u", i);
		if (linkat(cas_dirfd(f->host.cas), blob, f->host.config.state_fd, name, 0) == 0)
			continue;
		assert_int_equal(errno, EMLINK);
		return true;
	}
	return false;
}

/*
 * Every thread runs into it at once: there is one second inode, not one for each.  A link that was
 * looking at the first inode when the second took its name may still be the first's: the name it
 * lost left room for one.
 */
static void
too_many_links_mint_once(void **state)
{
	struct fixture f;
	char blob[CAS_NAME_SIZE], name[32];
	struct stat first, second, st;
	unsigned of_first = 0;

	start(&f, "/tmp");
	struct digest twin = host_put(&f.host, "one for all", 11);
	cas_blob_name(&twin, false, blob);
	if (!use_up(&f, blob)) {
		stop(&f);
		skip();
	}
	ReapiDirectory *dir = dir_new(&f.host), *root = dir_new(&f.host);
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof name, "f%02u", i);
		dir_add_digest(&f.host, dir, name, &twin, false);
	}
	struct digest leaf = dir_put(&f.host, dir);
	for (unsigned i = 0; i < DIRS; i++) {
		snprintf(name, sizeof name, "d%02u", i);
		dir_add_dir(&f.host, root, name, &leaf);
	}
	struct digest digest = dir_put(&f.host, root);
	load(&f, &digest);
	log_open(STDERR_FILENO, LOG_LEVEL_ERROR);
	assert_int_equal(place(&f, THREADS), 0);
	log_open(STDERR_FILENO, LOG_LEVEL_INFO);
	expect_tree(&f);
	assert_int_equal(fstatat(f.host.config.state_fd, "used/0", &first, 0), 0);
	assert_int_equal(fstatat(cas_dirfd(f.host.cas), blob, &second, 0), 0);
	for (unsigned i = 0; i < DIRS * FILES; i++) {
		snprintf(name, sizeof name, "d%02u/f%02u", i / FILES, i % FILES);
		assert_int_equal(fstatat(f.fd, name, &st, 0), 0);
		if (st.st_ino == first.st_ino)
			of_first++;
		else
			assert_int_equal(st.st_ino, second.st_ino);
	}
	assert_in_range(of_first, 0, 1);
	assert_int_equal(second.st_nlink, DIRS * FILES - of_first + 1);
	assert_in_range(f.placer.tally.fallbacks, 1, THREADS);
	assert_int_equal(f.placer.tally.files[PLACE_HARDLINK], DIRS * FILES);
	stop(&f);
}

static pthread_t main_thread;
static volatile sig_atomic_t alarms, alarms_elsewhere;

static void
on_alarm(int number)
{
	(void)number;
	alarms++;
	if (!pthread_equal(pthread_self(), main_thread))
		alarms_elsewhere++;
}

static void
signals_are_the_callers(void **state)
{
	struct fixture f;
	struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART}, before;
	struct itimerval often = {{0, 100}, {0, 100}}, never = {{0, 0}, {0, 0}};
	char name[32];

	start(&f, "/dev/shm");
	main_thread = pthread_self();
	assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
	assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
	for (int i = 0; i < 200 && alarms < 20; i++) {
		snprintf(name, sizeof name, "try%d", i);
		place_into(&f, name);
		assert_int_equal(place(&f, THREADS), 0);
	}
	assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
	assert_int_equal(sigaction(SIGALRM, &before, NULL), 0);
	assert_true(alarms > 0);
	assert_int_equal(alarms_elsewhere, 0);
	stop(&f);
}

/* Permits of all threads together are bounded as one's. */
static void
below_the_bound(void **state)
{
	struct fixture f;
	uint64_t values[COUNTER_COUNT];

	start(&f, "/dev/shm");
	region_set_link_cap(f.host.region, 2);
	assert_int_equal(place(&f, 8), 0);
	expect_tree(&f);
	counters_read(f.host.region, values);
	assert_in_range(values[COUNTER_link_gate_high_water], 1, 2);
	stop(&f);
}

static void
set_phase(struct fixture *f, uint32_t number, enum slot_phase phase)
{
	slot_assign(f->host.region, number);
	slot_activate(f->host.region, number, getpid());
	slot_set_phase(slot_at(f->host.region, number), phase);
}

static void
how_many(void **state)
{
	struct fixture f;

	start(&f, "/dev/shm");
	slot_set_phase(f.host.slot, SLOT_STAGING);
#define HOW_MANY() place_parallel_threads(&f.placer, 1)
	f.placer.cores = 8;
	f.placer.link_threads = 4;
	assert_int_equal(HOW_MANY(), 4);
	f.placer.cores = 2;
	assert_int_equal(HOW_MANY(), 3);
	slot_set_phase(f.host.slot, SLOT_RUNNING); /* beside its action */
	assert_int_equal(HOW_MANY(), 1);
	slot_set_phase(f.host.slot, SLOT_STAGING);
	f.placer.cores = 1;
	assert_int_equal(HOW_MANY(), 1);
	f.placer.cores = 3;
	set_phase(&f, HOST_SLOT + 1, SLOT_IDLE);
	assert_int_equal(HOW_MANY(), 4);
	set_phase(&f, HOST_SLOT + 2, SLOT_RUNNING);
	assert_int_equal(HOW_MANY(), 3);
	set_phase(&f, HOST_SLOT + 3, SLOT_STAGING);
	assert_int_equal(HOW_MANY(), 1);
	slot_retire(f.host.region, HOST_SLOT + 3);
	slot_retire(f.host.region, HOST_SLOT + 2);
	region_set_link_cap(f.host.region, 2);
	assert_int_equal(HOW_MANY(), 2);
	region_set_link_cap(f.host.region, 1);
	assert_int_equal(HOW_MANY(), 1);
	region_set_link_cap(f.host.region, 8);
	/* Other work than ours, as the system sees it; 0 where it does not say. */
	f.placer.cores = 4;
	assert_int_equal(place_parallel_threads(&f.placer, 0), 4);
	assert_int_equal(place_parallel_threads(&f.placer, 3), 4);
	assert_int_equal(place_parallel_threads(&f.placer, 4), 3);
	assert_int_equal(place_parallel_threads(&f.placer, 5), 1);
	assert_int_equal(place_parallel_threads(&f.placer, 99), 1);
#undef HOW_MANY
	stop(&f);
}

static void
which_trees(void **state)
{
	struct fixture f;
	struct place_policy recorded = by_link, copies = {.order = {PLACE_COPY}, .count = 1};

	start(&f, "/dev/shm");
	f.tree->totals.files = PLACE_PARALLEL_FILES_MIN;
	assert_false(
	    place_parallel_fits(&f.placer, &by_link, f.tree)); /* nobody said that it helps */
	f.placer.link_threads = 4;
	assert_true(place_parallel_fits(&f.placer, &by_link, f.tree));
	recorded.record = true;
	assert_false(place_parallel_fits(&f.placer, &recorded, f.tree));
	assert_false(place_parallel_fits(&f.placer, &copies, f.tree));
	f.tree->totals.files = PLACE_PARALLEL_FILES_MIN - 1;
	assert_false(place_parallel_fits(&f.placer, &by_link, f.tree));
	f.tree->totals.files = PLACE_PARALLEL_FILES_MIN;
	f.tree->totals.directories = PLACE_PARALLEL_DIRECTORIES_MIN - 1;
	assert_false(place_parallel_fits(&f.placer, &by_link, f.tree));
	stop(&f);
}

static void
what_runs(void **state)
{
	unsigned running = cores_running();

	if (access("/proc/loadavg", R_OK) == 0)
		assert_in_range(running, 1, 100000);
	else
		assert_int_equal(running, 0);
}

static void
only_where_it_is_faster(void **state)
{
	struct cost_model costs;

	cost_default(&costs);
	assert_int_equal(cost_link_threads(&costs), 1);
	costs.ns[COST_LINK] = 4000;
	costs.ns[COST_LINK_THREADS] = 3600;
	assert_int_equal(cost_link_threads(&costs), 1);
	costs.ns[COST_LINK_THREADS] = 3400;
	assert_int_equal(cost_link_threads(&costs), COST_LINK_THREADS_MAX);
}

/* As a worker does it: a cached tree, bound. */
static void
stager_threads(struct host *host)
{
	host->probe.costs.ns[COST_LINK_THREADS] = 1;
	host_stager(host, ENGINE_BIND, ISOLATION_USER, geteuid());
	host->stager->placer.cores = 1000; /* idle, whatever else the machine does */
}

static struct digest
below_another_name(struct host *host, const struct digest *tree, const char *name)
{
	ReapiDirectory *root = dir_new(host);

	dir_add_dir(host, root, "in", tree);
	dir_add_file(host, root, name, "", false);
	return dir_put(host, root);
}

static void
a_cached_tree(void **state)
{
	static struct host host;

	host_start(&host, "/dev/shm");
	struct digest tree = make_tree(&host), root = below_another_name(&host, &tree, "x");
	stager_threads(&host);
	assert_int_equal(host_stage_root(&host, &root), 0);
	assert_int_equal(host.report.subtrees_built, 1);
	assert_int_equal(host.report.files[PLACE_BIND], DIRS * FILES + 1);
	assert_int_equal(host_compare(&host, &root, NULL), 0);
	assert_int_equal(host_release(&host), 0);
	assert_null(host_leak(&host));
	host_stop(&host);
}

/* A tree that nobody has had, again and again. */
static int
work(const char *dir)
{
	static struct host host;
	char text[32];

	strlcpy(host.dir, dir, sizeof host.dir);
	host_open(&host);
	host_take_slot(&host);
	stager_threads(&host);
	for (unsigned i = 0;; i++) {
		struct digest leaf, tree = make_tree(&host);
		ReapiDirectory *top = dir_new(&host);
		snprintf(text, sizeof text, "%d.%u", (int)getpid(), i);
		dir_add_dir(&host, top, text, &tree);
		leaf = dir_put(&host, top);
		struct digest root = below_another_name(&host, &leaf, text);
		int rc = host_stage_root(&host, &root);
		if (rc != 0 || host_release(&host) != 0) {
			fprintf(stderr, "%s\n", host.err.text);
			return 1;
		}
	}
}

static void
killed_while_threads_place(void **state)
{
	static struct host host;
	uint64_t seed = 7;

	host_start(&host, "/dev/shm");
	slot_retire(host.region, HOST_SLOT);
	for (int i = 0; i < KILLS; i++) {
		char *argv[] = {self, (char *)"work", host.dir, NULL};
		uint64_t before[COUNTER_COUNT], now[COUNTER_COUNT];
		struct slot_repaired repaired;
		pid_t pid;
		int status;

		slot_assign(host.region, HOST_SLOT);
		counters_read(host.region, before);
		assert_int_equal(posix_spawn(&pid, self, NULL, NULL, argv, environ), 0);
		/* Once it is at work, at any moment of it. */
		do {
			usleep(500);
			counters_read(host.region, now);
			assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
		} while (now[COUNTER_stage_trees] < before[COUNTER_stage_trees] + 2);
		usleep(dice(&seed, 8000));
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		slot_repair(host.region, HOST_SLOT, &repaired);
		assert_int_equal(gate_in_flight(host.region), 0);
		host_take_slot(&host);
		struct slot_info info;
		slot_read(host.region, HOST_SLOT, &info);
		assert_int_equal(info.pins + info.permits + info.builds, 0);
		slot_retire(host.region, HOST_SLOT);
	}
	host_take_slot(&host);
	struct digest tree = make_tree(&host), root = below_another_name(&host, &tree, "after");
	stager_threads(&host);
	assert_int_equal(host_stage_root(&host, &root), 0);
	assert_int_equal(host_compare(&host, &root, NULL), 0);
	assert_int_equal(host_release(&host), 0);
	host_stop(&host);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_same_tree_and_figures),
	    cmocka_unit_test(very_deep),
	    cmocka_unit_test(the_first_failure_is_told),
	    cmocka_unit_test(fall_backs_are_said_once),
	    cmocka_unit_test(too_many_links_mint_once),
	    cmocka_unit_test(signals_are_the_callers),
	    cmocka_unit_test(below_the_bound),
	    cmocka_unit_test(how_many),
	    cmocka_unit_test(which_trees),
	    cmocka_unit_test(what_runs),
	    cmocka_unit_test(only_where_it_is_faster),
	    cmocka_unit_test(a_cached_tree),
	    cmocka_unit_test(killed_while_threads_place),
	};

	self = argv[0];
	if (argc == 3 && strcmp(argv[1], "work") == 0)
		return work(argv[2]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
