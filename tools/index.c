/* ramet index: what the DirectoryCache holds, read-only and live. */
#include "shm/index.h"

#include <sys/stat.h>

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cas/action_kinds.h"
#include "tools/text.h"
#include "tools/tool.h"

static const char *const state_names[] = {"absent", "claimed", "building", "ready", "leaving"};

static const char *
state_name(enum index_state state)
{
	return (unsigned)state < sizeof(state_names) / sizeof(state_names[0]) ? state_names[state]
									      : "?";
}

enum { INDEX_LONG = OPTION_FIRST, INDEX_FORGET };
static const struct option index_options[] = {
    {"long", no_argument, NULL, INDEX_LONG},
    {"forget", required_argument, NULL, INDEX_FORGET},
    TOOL_OPTIONS,
};

static uint32_t
age_s(const struct index_info *info)
{
	uint32_t now = clock_realtime_s();

	return now > info->last_used_s ? now - info->last_used_s : 0;
}

static void
location(const struct index_info *info, char *text, size_t size)
{
	char name[DIGEST_TEXT_SIZE];

	index_tree_name(info->inside ? &info->host : &info->directory, name);
	snprintf(text, size, "%s/%s%s%s", index_folder(&info->directory), name,
	    info->inside ? "/" : "", info->inside ? info->path : "");
}

static void
print_row(uint32_t entry, const struct index_info *info, bool whole)
{
	char digest[DIGEST_TEXT_SIZE], bytes[32], age[32], where[INDEX_LOCATION_SIZE + 8];

	struct digest directory = index_directory_of(&info->directory);

	digest_to_text(&directory, '/', digest);
	text_bytes(info->tree.bytes, bytes);
	text_duration((uint64_t)age_s(info) * 1000000, age);
	location(info, where, sizeof(where));
	printf("%-70s %-8s %4" PRIu32 " %7" PRIu32 " %10s %7" PRIu64 " %12s", digest,
	    state_name(info->state), info->pins, info->tree.files, bytes, info->hits, age);
	if (whole)
		printf(" %7" PRIu32 " %6" PRIu32 " %11" PRIu32 " %9" PRIu32, entry,
		    info->generation, info->tree.directories, info->tree.build_us);
	printf("  %s\n", where);
}

static int
list(struct region *region, bool whole)
{
	uint32_t count = region_entry_count(region), shown = 0, torn = 0;

	printf("%-70s %-8s %4s %7s %10s %7s %12s", "digest", "state", "pins", "files", "bytes",
	    "hits", "unused for");
	if (whole)
		printf(" %7s %6s %11s %9s", "entry", "gen", "directories", "build us");
	printf("  location\n");
	for (uint32_t entry = 0; entry < count; entry++) {
		struct index_info info;
		int rc = index_read(region, entry, &info);

		torn += rc == -EAGAIN;
		shown += rc == 0;
		if (rc == 0)
			print_row(entry, &info, whole);
	}
	printf("%" PRIu32 " of %" PRIu32 " entries\n", shown, count);
	if (torn > 0)
		warnx("%" PRIu32 " entries kept changing and are not shown", torn);
	return 0;
}

static int
show(struct tool *tool, struct region *region, const char *text)
{
	char name[DIGEST_TEXT_SIZE], where[INDEX_LOCATION_SIZE + 8], bytes[32];
	struct index_info info;
	struct digest digest;
	uint32_t entry;
	int rc;

	if (digest_from_text(text, &digest) != 0)
		usage_error(tool, "%s: not a digest (64 hex digits, '/', the size)", text);
	rc = index_find(region, &digest, &entry);
	if (rc == 0)
		rc = index_read(region, entry, &info);
	if (rc == -EAGAIN)
		die("%s: its entry kept changing: try again", text);
	if (rc != 0)
		die("%s: not in the index", text);
	location(&info, where, sizeof(where));
	printf("digest        %s\n", digest_to_text(&info.directory, '/', name));
	printf("entry         %" PRIu32 "\n", entry);
	printf("generation    %" PRIu32 "\n", info.generation);
	printf("state         %s\n", state_name(info.state));
	if (info.state == INDEX_BUILDING || info.state == INDEX_LEAVING ||
	    info.state == INDEX_CLAIMED)
		printf("by slot       %" PRIu32 "\n", info.owner);
	printf("location      %s/%s\n", tool->state, where);
	if (info.inside)
		printf("inside        %s\n", digest_to_text(&info.host, '/', name));
	printf("pins          %" PRIu32 "\n", info.pins);
	printf("files         %" PRIu32 "\n", info.tree.files);
	printf("directories   %" PRIu32 "\n", info.tree.directories);
	printf("symlinks      %" PRIu32 "\n", info.tree.symlinks);
	printf("bytes         %" PRIu64 " (%s)\n", info.tree.bytes,
	    text_bytes(info.tree.bytes, bytes));
	printf("private bytes %" PRIu64 "\n", info.tree.private_bytes);
	printf("built in      %" PRIu32 " us\n", info.tree.build_us);
	printf("hits          %" PRIu64 "\n", info.hits);
	printf("unused for    %" PRIu32 " s\n", age_s(&info));
	return 0;
}

static void
report(void *arg, const char *text)
{
	(void)arg;
	printf("%s\n", text);
}

/*
 * READY entries of their own whose tree is not there.  The entry is read again before it is
 * believed: the janitor may just have taken both.
 */
static unsigned
check_entries(struct tool *tool, struct region *region)
{
	uint32_t count = region_entry_count(region);
	unsigned breaches = 0;

	for (uint32_t entry = 0; entry < count; entry++) {
		char where[INDEX_LOCATION_SIZE + 8];
		struct index_info info, again;
		struct stat st;

		if (index_read(region, entry, &info) != 0 || info.state != INDEX_READY)
			continue;
		location(&info, where, sizeof(where));
		if (fstatat(tool->state_fd, where, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    (index_is_image(&info.directory) ? S_ISREG(st.st_mode) : S_ISDIR(st.st_mode)))
			continue;
		if (index_read(region, entry, &again) != 0 || again.state != INDEX_READY ||
		    again.generation != info.generation)
			continue;
		printf("entry %" PRIu32 " is ready, but %s is no %s\n", entry, where,
		    index_is_image(&info.directory) ? "file" : "directory");
		breaches++;
	}
	return breaches;
}

static bool
has_entry(struct region *region, const char *name)
{
	struct index_info info;
	struct digest digest;
	uint32_t entry;

	if (digest_from_text(name, &digest) != 0 || index_find(region, &digest, &entry) != 0)
		return false;
	return index_read(region, entry, &info) == -EAGAIN || !info.inside;
}

/* Trees on disk without an entry; temporary ones (being built) have no digest's name. */
static unsigned
check_trees(struct tool *tool, struct region *region)
{
	int fd = openat(tool->state_fd, "trees", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *item;
	struct digest digest;
	unsigned breaches = 0;
	DIR *dir;

	if (fd < 0 && errno == ENOENT)
		return 0;
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (dir == NULL)
		die("%s/trees: %s", tool->state, strerror(errno));
	while ((item = readdir(dir)) != NULL) {
		struct stat st;

		if (digest_from_text(item->d_name, &digest) != 0 || has_entry(region, item->d_name))
			continue;
		if (fstatat(fd, item->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
			continue; /* it has just gone */
		if (has_entry(region, item->d_name))
			continue; /* it has just come */
		printf("trees/%s has no entry\n", item->d_name);
		breaches++;
	}
	closedir(dir);
	return breaches;
}

static int
check(struct tool *tool, struct region *region)
{
	unsigned breaches = index_check(region, report, NULL);

	breaches += check_entries(tool, region);
	breaches += check_trees(tool, region);
	if (breaches > 0) {
		warnx("%u rules broken", breaches);
		return 1;
	}
	printf("every rule holds\n");
	return 0;
}

static int
print_kind(void *arg, const struct action_kind *kind)
{
	uint32_t now = clock_realtime_s();
	char age[32];

	text_duration(now > kind->since_s ? (uint64_t)(now - kind->since_s) * 1000000 : 0, age);
	printf("%-8s %6" PRIu32 " %12s  %s\n", action_kind_state_names[kind->state], kind->failed,
	    age, kind->name);
	++*(unsigned *)arg;
	return 0;
}

/* Kinds of actions: what each has shown; or one is forgotten, or all. */
static int
kinds(struct tool *tool, const char *forget)
{
	unsigned count = 0;
	int rc;

	if (forget == NULL) {
		printf("%-8s %6s %12s  kind\n", "state", "failed", "for");
		rc = action_kinds_each(tool->state_fd, print_kind, &count);
		if (rc != 0)
			die("%s/kinds: %s", tool->state, strerror(-rc));
		printf("%u kinds\n", count);
		return 0;
	}
	rc = action_kinds_forget(tool->state_fd, strcmp(forget, "all") == 0 ? NULL : forget);
	if (rc == -ENOENT)
		die("%s: no such kind (ramet index kinds lists them)", forget);
	if (rc != 0)
		die("%s/kinds: %s", tool->state, strerror(-rc));
	return 0;
}

int
command_index(struct tool *tool, int argc, char **argv)
{
	struct region *region;
	const char *what, *forget = NULL;
	bool whole = false;
	int option, status, left;

	while ((option = getopt_long(argc, argv, "l", index_options, NULL)) != -1) {
		if (option == INDEX_LONG || option == 'l')
			whole = true;
		else if (option == INDEX_FORGET)
			forget = optarg;
		else
			tool_option(tool, option, optarg);
	}
	what = argv[optind];
	left = argc - optind;
	if (what == NULL)
		usage_error(tool, "ls, show, check or kinds?");
	if (left != (strcmp(what, "show") == 0 ? 2 : 1))
		usage_error(tool, "%s: wrong number of arguments", what);
	if (strcmp(what, "ls") != 0 && strcmp(what, "show") != 0 && strcmp(what, "check") != 0 &&
	    strcmp(what, "kinds") != 0)
		usage_error(tool, "%s: neither ls nor show nor check nor kinds", what);
	if (forget != NULL && strcmp(what, "kinds") != 0)
		usage_error(tool, "--forget: of kinds only");
	tool_state(tool, false);
	if (strcmp(what, "kinds") == 0)
		return kinds(tool, forget);
	region = tool_region(tool);
	if (strcmp(what, "ls") == 0)
		status = list(region, whole);
	else if (strcmp(what, "show") == 0)
		status = show(tool, region, argv[optind + 1]);
	else
		status = check(tool, region);
	region_close(region);
	return status;
}
