/*
 * Recycled sandboxes against full placement: whatever the action before did in them, as far as its
 * rights go, the next one's tree is entry by entry what placing everything gives.
 *
 *   test_recycle vandal ROOT SEED UID [PATH]...   is that action: harms ROOT at random, but
 *                                                 for those paths, which are sealed
 */
#include <sys/wait.h>
#include <sys/xattr.h>

#include <grp.h>
#include <spawn.h>

#include "base/log.h"
#include "tests/cmocka_wrap.h"
#include "tests/unit/workers/stage_host.h"

static char *self;

enum { ACTION_UID = 58777, PATHS_MAX = 4096, REQUESTS = 5 };

/* The vandal. */

struct paths {
	char *list[PATHS_MAX];
	size_t count;
	char **spared; /* NULL-terminated */
	const char *root;
};

static bool
is_spared(const struct paths *paths, const char *path)
{
	const char *below = path + strlen(paths->root) + 1;

	for (char **spared = paths->spared; *spared != NULL; spared++)
		if (strcmp(below, *spared) == 0)
			return true;
	return false;
}

static void
collect_paths(struct paths *paths, const char *top)
{
	DIR *dir = opendir(top);

	for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
		char path[4096];
		struct stat st;
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
		    paths->count == PATHS_MAX)
			continue;
		snprintf(path, sizeof path, "%s/%s", top, entry->d_name);
		if (is_spared(paths, path))
			continue;
		paths->list[paths->count++] = strdup(path);
		if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode))
			collect_paths(paths, path);
	}
	if (dir != NULL)
		closedir(dir);
}

/* Other bytes of the same size, and the old times put back: only ctime tells. */
static void
write_quietly(const char *path)
{
	struct stat st;

	if (lstat(path, &st) != 0 || !S_ISREG(st.st_mode))
		return;
	chmod(path, 0644);
	int fd = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return;
	if (pwrite(fd, "#", 1, 0) == 1 && st.st_size == 0 && ftruncate(fd, 0) != 0)
		perror("ftruncate");
	fchmod(fd, st.st_mode & 07777);
	struct timespec times[2] = {st.st_atim, st.st_mtim};
	futimens(fd, times);
	close(fd);
}

static void
swap_names(const char *a, const char *b)
{
	char aside[4200];

	snprintf(aside, sizeof aside, "%s.aside", a);
	if (rename(a, aside) == 0 && rename(b, a) == 0)
		rename(aside, b);
}

static void
replace(const char *path, uint64_t *seed)
{
	if (unlink(path) != 0 && rmdir(path) != 0)
		return;
	if (dice(seed, 3) == 0) {
		if (symlink("/etc/passwd", path) != 0)
			perror(path);
	} else if (dice(seed, 2) == 0) {
		mkdir(path, 0755);
	} else {
		close(open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444));
	}
}

static void
add_something(const char *path, uint64_t *seed)
{
	char below[4200];

	snprintf(below, sizeof below, "%s/stray%u", path, dice(seed, 5));
	if (dice(seed, 2) == 0) {
		close(open(below, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
		return;
	}
	mkdir(below, 0700);
	strlcat(below, "/inside", sizeof below);
	close(open(below, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

static void
harm(const struct paths *paths, uint64_t *seed)
{
	const char *path = paths->list[dice(seed, (uint32_t)paths->count)];
	const char *other = paths->list[dice(seed, (uint32_t)paths->count)];
	char beside[4200];

	switch (dice(seed, 10)) {
	case 0:
	case 1:
		write_quietly(path);
		break;
	case 2:
		chmod(path, dice(seed, 2) == 0 ? 0777 : 0);
		break;
	case 3:
		swap_names(path, other);
		break;
	case 4:
		replace(path, seed);
		break;
	case 5:
	case 6:
		add_something(path, seed);
		break;
	case 7:
		snprintf(beside, sizeof beside, "%s.linked", path);
		if (link(path, beside) != 0 && rename(path, beside) == 0 && dice(seed, 2) == 0)
			mkdir(path, 0755);
		break;
	case 8:
		setxattr(path, "user.vandal", "x", 1, 0);
		break;
	default:
		unlink(path);
	}
}

static int
vandal(char **argv)
{
	static struct paths paths;
	uint64_t seed = strtoull(argv[3], NULL, 10);
	uid_t uid = (uid_t)atoi(argv[4]);

	paths.root = argv[2];
	paths.spared = argv + 5;
	if (uid != geteuid() && (setgroups(0, NULL) != 0 || setgid(uid) != 0 || setuid(uid) != 0))
		return 1;
	collect_paths(&paths, argv[2]);
	if (dice(&seed, 5) == 0)
		chmod(argv[2], 0700);
	if (dice(&seed, 5) == 0)
		add_something(argv[2], &seed);
	if (dice(&seed, 20) == 0)
		setxattr(argv[2], "user.vandal", "x", 1, 0);
	for (uint32_t i = paths.count == 0 ? 0 : dice(&seed, 8); i > 0; i--)
		harm(&paths, &seed);
	return 0;
}

static void
run_vandal(struct host *host, uint64_t seed, uid_t uid)
{
	char root[512], seed_text[32], uid_text[16];
	const struct seal *seal = &host->report.seal;
	char *argv[2 * SEAL_PATHS_MAX] = {self, (char *)"vandal", root, seed_text, uid_text, NULL};
	size_t argc = 5;
	int status;
	pid_t pid;

	snprintf(root, sizeof root, "%s/sandboxes/%s/root", host->dir, host->sandbox.name);
	snprintf(seed_text, sizeof seed_text, "%llu", (unsigned long long)seed);
	snprintf(uid_text, sizeof uid_text, "%u", (unsigned)uid);
	for (size_t i = 0; host->report.is_sealed && i < seal->input_count; i++)
		argv[argc++] = (char *)seal->inputs[i];
	for (size_t i = 0; host->report.is_sealed && i < seal->holder_count; i++)
		argv[argc++] = (char *)seal->holders[i];
	assert_int_equal(posix_spawn(&pid, self, NULL, NULL, argv, environ), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* The comparison. */

static int
differ(const char *path, const char *what)
{
	fprintf(stderr, "%s: %s\n", path, what);
	return 1;
}

static int
compare_bytes(int a, int b, const char *path)
{
	struct digest left, right;

	if (a < 0 || b < 0 || hash_fd(a, &left) != 0 || hash_fd(b, &right) != 0)
		return differ(path, "cannot be read");
	return digest_equal(&left, &right) ? 0 : differ(path, "other bytes");
}

static int compare_directories(int a, int b, const char *path);

static int
compare_entries(int a, int b, const char *name, const char *path)
{
	char left[512], right[512];
	struct stat sa, sb;
	int differences = 0;

	if (fstatat(a, name, &sa, AT_SYMLINK_NOFOLLOW) != 0 ||
	    fstatat(b, name, &sb, AT_SYMLINK_NOFOLLOW) != 0)
		return differ(path, "in one of them only");
	if (sa.st_mode != sb.st_mode)
		differences += differ(path, "another type or mode");
	if (sa.st_uid != sb.st_uid || sa.st_gid != sb.st_gid)
		differences += differ(path, "another owner");
	if (differences > 0)
		return differences;
	if (S_ISLNK(sa.st_mode)) {
		ssize_t la = readlinkat(a, name, left, sizeof left);
		ssize_t lb = readlinkat(b, name, right, sizeof right);
		return la == lb && la >= 0 && memcmp(left, right, (size_t)la) == 0
		    ? 0
		    : differ(path, "another target");
	}
	int fa = openat(a, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	int fb = openat(b, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fs_has_xattrs(fa) != fs_has_xattrs(fb))
		differences += differ(path, "an attribute");
	differences +=
	    S_ISDIR(sa.st_mode) ? compare_directories(fa, fb, path) : compare_bytes(fa, fb, path);
	close(fa);
	close(fb);
	return differences;
}

/* Recycled against placed. */
static int
compare_directories(int a, int b, const char *path)
{
	char below[4096];
	int differences = 0;

	if (count_entries(a) != count_entries(b))
		differences += differ(path, "another number of entries");
	DIR *dir = fdopendir(openat(b, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
		differences += compare_entries(a, b, entry->d_name, below);
	}
	if (dir != NULL)
		closedir(dir);
	return differences;
}

/* Hosts and trees. */

static uint64_t
counter(const struct host *host, enum counter which)
{
	static uint64_t values[COUNTER_COUNT];

	counters_read(host->region, values);
	return values[which];
}

static size_t
host_count(struct host *host, const char *folder)
{
	int fd = openat(host->config.state_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	size_t count = fd < 0 ? 0 : count_entries(fd);

	if (fd >= 0)
		close(fd);
	return count;
}

static struct stager *
make_stager(
    struct host *host, struct host_config *config, enum engine engine, uid_t uid, bool seals)
{
	struct stager_config stager_config = {
	    .host = config,
	    .probe = &host->probe,
	    .isolation = ISOLATION_NONE,
	    .action_uid = uid,
	    .uid_differs = uid != geteuid(),
	    .seals_inputs = seals,
	};
	struct stager *stager;

	*config = host->config;
	config->engine = engine;
	assert_int_equal(
	    stager_new(&stager_config, host->region, host->slot, host->cas, &stager, &host->err),
	    0);
	return stager;
}

/* Another Directory that has much in common with this one. */
static struct digest
change_tree(struct host *host, uint64_t *seed, const struct digest *digest)
{
	struct digest below;
	ReapiDirectory *dir;

	if (digest_is_empty(digest))
		return random_tree(host, seed, 1);
	HOST_TRY("load", directory_load(host->cas, host->arena, digest, &dir, &host->err));
	if (dir->n_files > 0 && dice(seed, 3) == 0)
		dir->n_files--;
	if (dir->n_symlinks > 0 && dice(seed, 4) == 0)
		dir->symlinks[0]->target = (char *)"elsewhere";
	if (dir->n_files > 0 && dice(seed, 2) == 0) {
		ReapiFileNode *file = dir->files[dice(seed, (uint32_t)dir->n_files)];
		below = host_put(host, seed, sizeof *seed);
		file->digest = reapi_digest_new(host->arena, &below);
		file->is_executable = dice(seed, 2) == 0;
	}
	if (dice(seed, 3) == 0) {
		char name[32];
		snprintf(name, sizeof name, "added%u", dice(seed, 1000000));
		dir_add_file(host, dir, name, name, false);
	}
	if (dir->n_directories > 0 && dice(seed, 6) == 0)
		dir->n_directories--;
	for (size_t i = 0; i < dir->n_directories; i++) {
		if (dice(seed, 2) == 0)
			continue;
		reapi_digest_get(dir->directories[i]->digest, &below);
		below = change_tree(host, seed, &below);
		dir->directories[i]->digest = reapi_digest_new(host->arena, &below);
	}
	return dir_put(host, dir);
}

/* Enough files to be worth it, and directories that the requests name. */
static struct digest
make_root(struct host *host, uint64_t *seed)
{
	ReapiDirectory *root = dir_new(host);
	char name[32];

	random_files(host, seed, root);
	for (int i = 1; i <= 6; i++) {
		struct digest below = random_tree(host, seed, 3);
		snprintf(name, sizeof name, "d%d", i);
		dir_add_dir(host, root, name, &below);
	}
	dir_add_file(host, root, "in-and-out", "both", false);
	return dir_put(host, root);
}

static const struct stage_request *
pick_request(uint64_t *seed, const struct digest *root)
{
	static const char *const paths[REQUESTS][3] = {{"out/x", "out/deep/y", "in-and-out"},
	    {"d1/o", "d1/d1/o", "d2/new/o"}, {"top", "d3/d1/d1/o", "d1/o"}, {"out/x", "d2/o", "z"},
	    {"d1", "d4/d2/x", "z"}};
	static const char *const directories[] = {"d3", "made/empty"};
	static struct stage_request request;
	uint32_t which = dice(seed, REQUESTS);

	request = (struct stage_request){
	    .root = *root,
	    .working_directory = dice(seed, 3) == 0 ? "d5" : "",
	    .output_paths = paths[which],
	    .output_count = 3,
	    .output_directories = directories,
	    .output_directory_count = dice(seed, 3),
	};
	return &request;
}

/* Both ways into sandboxes of their own; 0: the same, or the same refusal. */
static int
stage_both(struct host *host, struct stager *recycler, struct stager *placer,
    const struct stage_request *request, uid_t uid)
{
	struct sandbox placed;
	struct stage_report report;
	uid_t owner = uid == geteuid() ? (uid_t)-1 : uid;
	int rc, differences = 0;

	assert_int_equal(
	    sandbox_make(host->config.state_fd, host->slot, HOST_SLOT, owner, &placed, &host->err),
	    0);
	rc = stage_compose(placer, request, &placed, &report, &host->err);
	assert_int_equal(sandbox_make(host->config.state_fd, host->slot, HOST_SLOT, owner,
			     &host->sandbox, &host->err),
	    0);
	assert_int_equal(
	    stage_compose(recycler, request, &host->sandbox, &host->report, &host->err), rc);
	if (rc == 0) {
		differences =
		    compare_directories(host->sandbox.rootfd, placed.rootfd, host->sandbox.name);
		if (host->report.files_placed != report.files_placed ||
		    host->report.bytes_placed != report.bytes_placed)
			differences += differ("report", "another number of files or bytes");
		struct stat st;
		fstat(host->sandbox.rootfd, &st);
		if ((st.st_mode & 07777) != 0755)
			differences += differ("root", "another mode");
	}
	stage_release(placer, &report, &host->err);
	sandbox_release(host->config.state_fd, host->slot, &placed);
	slot_set_sandbox(host->slot, host->sandbox.number);
	return rc == 0 ? differences : -1;
}

static void
finish_action(struct host *host, struct stager *recycler)
{
	stage_release(recycler, &host->report, &host->err);
	stage_keep(recycler, &host->sandbox);
	assert_int_equal(sandbox_release(host->config.state_fd, host->slot, &host->sandbox), 0);
	assert_null(host_leak(host));
}

static void
check_vandals(enum engine engine, uid_t uid, bool seals, unsigned rounds, uint64_t seed)
{
	static struct host host;
	struct host_config with, without;

	host_start(&host, "/dev/shm");
	host.config.recycle = true;
	struct stager *recycler = make_stager(&host, &with, engine, uid, seals);
	host.config.recycle = false;
	struct stager *placer = make_stager(&host, &without, engine, uid, false);
	struct digest root = make_root(&host, &seed);
	for (unsigned i = 0; i < rounds; i++) {
		uint64_t before = seed;
		if (i > 0 && dice(&seed, 3) != 0)
			root = change_tree(&host, &seed, &root);
		if (dice(&seed, 25) == 0)
			root = make_root(&host, &seed);
		int rc = stage_both(&host, recycler, placer, pick_request(&seed, &root), uid);
		if (rc > 0)
			fail_msg("engine %d uid %u round %u seed %llu", engine, (unsigned)uid, i,
			    (unsigned long long)before);
		if (rc < 0) { /* an output where a file is: the next one */
			stage_release(recycler, &host.report, &host.err);
			sandbox_release(host.config.state_fd, host.slot, &host.sandbox);
			root = make_root(&host, &seed);
			continue;
		}
		if (dice(&seed, 4) != 0)
			run_vandal(&host, before, uid);
		finish_action(&host, recycler);
		if (i % 16 == 15)
			fs_remove_tree(host.config.state_fd, "trash");
		fs_mkdir(host.config.state_fd, "trash", 0700);
	}
	print_message("engine %d, uid %u: %llu of %u recycled, %llu given up, %llu harmed\n",
	    engine, (unsigned)uid, (unsigned long long)counter(&host, COUNTER_recycle_hits), rounds,
	    (unsigned long long)counter(&host, COUNTER_recycle_given_up),
	    (unsigned long long)counter(&host, COUNTER_recycle_harmed));
	assert_true(counter(&host, COUNTER_recycle_hits) > rounds / 3);
	assert_true(counter(&host, COUNTER_recycle_harmed) > 0);
	assert_int_equal(
	    counter(&host, COUNTER_recycle_hits) + counter(&host, COUNTER_recycle_given_up),
	    counter(&host, COUNTER_recycle_tries));
	assert_int_equal(counter(&host, COUNTER_cas_corrupt), 0);
	stager_free(recycler);
	stager_free(placer);
	assert_int_equal(host_count(&host, "recycled"), 0);
	host_stop(&host);
}

static void
test_one_uid_by_copies(void **state)
{
	(void)state;
	check_vandals(ENGINE_AUTO, geteuid(), false, 150, 1);
	check_vandals(ENGINE_COPY, geteuid(), false, 100, 2);
}

static void
test_one_uid_by_clones(void **state)
{
	(void)state;
	check_vandals(ENGINE_CLONEFILE, geteuid(), false, 150, 3);
}

static void
test_own_uid_by_links(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	check_vandals(ENGINE_AUTO, ACTION_UID, false, 200, 4);
}

static void
test_own_uid_by_clones(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	check_vandals(ENGINE_CLONEFILE, ACTION_UID, false, 150, 5);
}

/* As on a Mac, the seal kept by the vandal itself: what is sealed is not looked at. */
static void
test_sealed(void **state)
{
	(void)state;
	check_vandals(ENGINE_CLONEFILE, geteuid(), true, 150, 7);
	check_vandals(ENGINE_COPY, geteuid(), true, 100, 8);
}

static void
test_seal_rules(void **state)
{
	static const char *inputs[] = {"in", "d/a \"b\""}, *holders[] = {"d"};
	const struct seal seal = {
	    .inputs = inputs, .input_count = 2, .holders = holders, .holder_count = 1};
	char rules[512];

	(void)state;
	assert_int_equal(seal_rules(&seal, "/s\\r", rules, sizeof rules), 0);
	assert_string_equal(rules,
	    "(deny file-write* (subpath \"/s\\\\r/in\")(subpath \"/s\\\\r/d/a \\\"b\\\"\"))"
	    "(deny file-link (subpath \"/s\\\\r/in\")(subpath \"/s\\\\r/d/a \\\"b\\\"\"))"
	    "(deny file-write-unlink (literal \"/s\\\\r/d\"))");
	for (size_t size = 1; size < strlen(rules); size += 7)
		assert_int_equal(seal_rules(&seal, "/s\\r", (char[512]){0}, size), -E2BIG);
}

/* As on a volume whose clock ticks: files placed just before are not trusted. */
static void
test_coarse_clock(void **state)
{
	char *argv[] = {self, (char *)"coarse", NULL};
	int status;
	pid_t pid;

	(void)state;
#ifndef RAMET_FAULTS
	print_message("skipped: built without faults\n");
	skip();
#endif
	setenv("RAMET_FAIL", "clock:1:5:0", 1);
	int rc = posix_spawn(&pid, self, NULL, NULL, argv, environ);
	unsetenv("RAMET_FAIL");
	assert_int_equal(rc, 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* One tree, again and again, its files placed at once and never touched: too fresh to tell. */
static int
coarse(void)
{
	static struct host host;
	struct host_config config;
	uint64_t seed = 6, harmed;

	host_start(&host, "/dev/shm");
	host.config.recycle = true;
	host.stager = make_stager(&host, &config, ENGINE_COPY, geteuid(), false);
	struct digest root = make_root(&host, &seed);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(host_stage_root(&host, &root), 0);
		assert_int_equal(host_compare(&host, &root, NULL), 0);
		usleep(50000);
		finish_action(&host, host.stager);
		harmed = counter(&host, COUNTER_recycle_harmed);
		if (i == 0)
			assert_int_equal(harmed, 0);
		else
			assert_true(harmed > 0 && counter(&host, COUNTER_recycle_hits) > 0);
	}
	host_stop(&host);
	return 0;
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_coarse_clock),
	    cmocka_unit_test(test_seal_rules),
	    cmocka_unit_test(test_sealed),
	    cmocka_unit_test(test_one_uid_by_copies),
	    cmocka_unit_test(test_one_uid_by_clones),
	    cmocka_unit_test(test_own_uid_by_links),
	    cmocka_unit_test(test_own_uid_by_clones),
	};

	if (argc >= 5 && strcmp(argv[1], "vandal") == 0)
		return vandal(argv);
	if (argc == 2 && strcmp(argv[1], "coarse") == 0)
		return coarse();
	self = realpath("/proc/self/exe", NULL);
	if (self == NULL)
		self = argv[0];
	log_open(open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
