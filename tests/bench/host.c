#include "tests/bench/host.h"

#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "tests/bench/shape.h"

static const char *const folders[] = {"trees", "sandboxes", "trash"};

static void
configure(const char *state_dir, struct host_config *config)
{
	char real[PATH_MAX];

	if (realpath(state_dir, real) == NULL)
		err(1, "%s", state_dir);
	*config = (struct host_config){
	    .workers = 8, .link_cap = 64, .action_uid_base = 70000, .kill_grace_ms = 1000};
	if (strlcpy(config->state_dir, real, sizeof(config->state_dir)) >=
	    sizeof(config->state_dir))
		errx(1, "%s: too long", state_dir);
	config->state_fd = open(real, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (config->state_fd < 0)
		err(1, "%s", state_dir);
}

void
bench_host_open(const char *state_dir, struct bench_host *ret_host)
{
	struct bench_host *host = ret_host;
	struct error_text words;
	enum region_origin origin;
	char why[256];
	size_t i;
	int rc;

	*host = (struct bench_host){.slot_number = SLOT_WORKER_FIRST};
	configure(state_dir, &host->config);
	for (i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		rc = fs_mkdir(host->config.state_fd, folders[i], 0755);
		if (rc < 0)
			errx(1, "%s/%s: %s", state_dir, folders[i], strerror(-rc));
	}
	if (cas_open(host->config.state_fd, true, &host->cas, &words) < 0)
		errx(1, "%s", words.text);
	if (region_open(host->config.state_fd, &(struct region_config){.link_cap = 64}, &origin,
		&host->region, &words) < 0)
		errx(1, "%s", words.text);
	probe_run(&host->config, &host->probe);
	if (probe_choose(&host->probe, &host->config, &host->isolation, why, sizeof(why)) < 0)
		errx(1, "isolation: %s", why);
	slot_assign(host->region, host->slot_number);
	slot_activate(host->region, host->slot_number, getpid());
	host->slot = slot_at(host->region, host->slot_number);
	slot_set_phase(host->slot, SLOT_STAGING); /* as a worker that has something to do */
}

void
bench_host_take(struct bench_host *host, uint32_t slot_number)
{
	struct cas *cas;
	int rc;

	rc = cas_dup(host->cas, &cas);
	if (rc < 0)
		errx(1, "cas_dup: %s", strerror(-rc));
	host->cas = cas;
	host->slot_number = slot_number;
	slot_assign(host->region, slot_number);
	slot_activate(host->region, slot_number, getpid());
	host->slot = slot_at(host->region, slot_number);
	slot_set_phase(host->slot, SLOT_STAGING);
}

void
bench_host_close(struct bench_host *host)
{
	slot_retire(host->region, host->slot_number);
	cas_close(host->cas);
	region_close(host->region);
	close(host->config.state_fd);
}

void
bench_stager_open(struct bench_host *host, enum engine engine, struct bench_stager *ret_stager)
{
	bool root = host->isolation == ISOLATION_ROOT;
	struct stager_config config = {
	    .host = &ret_stager->config,
	    .probe = &host->probe,
	    .isolation = host->isolation,
	    .action_uid = root ? host->config.action_uid_base + host->slot_number : getuid(),
	    .uid_differs = root,
	};
	struct error_text words;

	ret_stager->config = host->config;
	ret_stager->config.engine = engine;
	if (stager_new(&config, host->region, host->slot, host->cas, &ret_stager->stager, &words) <
	    0)
		errx(1, "stager: %s", words.text);
}

void
bench_stager_close(struct bench_stager *stager)
{
	stager_free(stager->stager);
	stager->stager = NULL;
}

/* PLACE_WAY_COUNT: the planner's choice. */
static enum place_way
way_of(enum engine engine)
{
	static const enum place_way ways[ENGINE_COUNT] = {
	    [ENGINE_AUTO] = PLACE_WAY_COUNT,
	    [ENGINE_BIND] = PLACE_BIND,
	    [ENGINE_OVERLAY] = PLACE_OVERLAY,
	    [ENGINE_IMAGE] = PLACE_IMAGE,
	    [ENGINE_CLONEFILE] = PLACE_CLONEFILE,
	    [ENGINE_REFLINK] = PLACE_REFLINK,
	    [ENGINE_HARDLINK] = PLACE_HARDLINK,
	    [ENGINE_COPY] = PLACE_COPY,
	};

	return ways[engine];
}

bool
bench_engine_works(const struct bench_host *host, enum engine engine, const char **ret_why)
{
	enum place_way way = way_of(engine);

	if (way == PLACE_WAY_COUNT || host->probe.ways[way].works)
		return true;
	*ret_why = host->probe.ways[way].why;
	return false;
}

bool
bench_has_mounts(const struct bench_placed *placed)
{
	return placed->report.bind_count > 0 || placed->report.has_overlay;
}

/* For the planner any way is the right one. */
static bool
placed_as_told(const struct stage_report *report, enum engine engine)
{
	enum place_way way = way_of(engine);

	if (report->fallbacks == 0 &&
	    (way == PLACE_WAY_COUNT || report->files[way] + report->subtrees[way] > 0))
		return true;
	warnx("%s placed nothing, or not all: %llu fall-backs", engine_names[engine],
	    (unsigned long long)report->fallbacks);
	return false;
}

bool
bench_place(struct bench_host *host, struct bench_stager *stager, const struct digest *root,
    struct bench_placed *ret_placed)
{
	static const char *const outputs[] = {SHAPE_OUTPUT};
	struct stage_request request = {
	    .root = *root, .working_directory = "", .output_paths = outputs, .output_count = 1};
	bool root_owner = host->isolation == ISOLATION_ROOT;
	struct error_text words;

	if (sandbox_make(host->config.state_fd, host->slot, host->slot_number,
		root_owner ? host->config.action_uid_base + host->slot_number : (uid_t)-1,
		&ret_placed->sandbox, &words) < 0)
		errx(1, "%s", words.text);
	if (stage_compose(
		stager->stager, &request, &ret_placed->sandbox, &ret_placed->report, &words) < 0)
		errx(1, "%s", words.text);
	return placed_as_told(&ret_placed->report, stager->config.engine);
}

void
bench_release(struct bench_host *host, struct bench_stager *stager, struct bench_placed *placed)
{
	struct error_text words;
	int rc;

	if (stage_release(stager->stager, &placed->report, &words) < 0)
		errx(1, "%s", words.text);
	rc = sandbox_release(host->config.state_fd, host->slot, &placed->sandbox);
	if (rc < 0)
		errx(1, "sandbox_release: %s", strerror(-rc));
}

void
bench_empty_trash(struct bench_host *host)
{
	struct dirent *entry;
	DIR *trash;
	int fd, rc;

	fd = openat(host->config.state_fd, "trash", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	trash = fd < 0 ? NULL : fdopendir(fd);
	if (trash == NULL)
		err(1, "trash");
	while ((entry = readdir(trash)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		rc = fs_remove_tree(fd, entry->d_name);
		if (rc < 0)
			errx(1, "trash/%s: %s", entry->d_name, strerror(-rc));
	}
	closedir(trash);
}
