/* ramet index: what the DirectoryCache holds, read-only and live. */
#include "shm/index.h"

#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cas/action_kinds.h"
#include "tools/check.h"
#include "tools/text.h"
#include "tools/tool.h"

static const char *const state_names[] = {"absent", "claimed", "building", "ready", "leaving"};

static const char *
state_name(enum index_state state)
{
	return (unsigned)state < sizeof(state_names) / sizeof(state_names[0]) ? state_names[state]
									      : "?";
}

enum { INDEX_LONG = OPTION_FIRST, INDEX_FORGET, INDEX_DEEP };
static const struct option option_table[] = {
    {"long", no_argument, NULL, INDEX_LONG},
    {"forget", required_argument, NULL, INDEX_FORGET},
    {"deep", no_argument, NULL, INDEX_DEEP},
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

/* The entry of a digest that was given, or it ends here. */
static void
find(struct tool *tool, struct region *region, const char *text, uint32_t *ret_entry,
    struct index_info *ret_info)
{
	struct digest digest;
	int rc;

	if (digest_from_text(text, &digest) != 0)
		usage_error(tool, "%s: not a digest (64 hex digits, '/', the size)", text);
	rc = index_find(region, &digest, ret_entry);
	if (rc == -ENOENT) {
		digest = index_image_key(&digest);
		rc = index_find(region, &digest, ret_entry);
	}
	if (rc == 0)
		rc = index_read(region, *ret_entry, ret_info);
	if (rc == -EAGAIN)
		die("%s: its entry kept changing: try again", text);
	if (rc != 0)
		die("%s: not in the index", text);
}

static int
show(struct tool *tool, struct region *region, const char *text)
{
	char name[DIGEST_TEXT_SIZE], where[INDEX_LOCATION_SIZE + 8], bytes[32];
	struct index_info info;
	uint32_t entry;

	find(tool, region, text, &entry, &info);
	location(&info, where, sizeof(where));
	struct digest directory = index_directory_of(&info.directory);
	printf("digest        %s\n", digest_to_text(&directory, '/', name));
	printf("kind          %s\n", index_is_image(&info.directory) ? "image" : "tree");
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

/* All of it, or one directory with the tree that it lies in. */
static int
check(struct tool *tool, struct region *region, const char *text, bool deep)
{
	struct index_info info;
	uint32_t entry;

	if (text == NULL)
		return check_index(tool, region, NULL, deep);
	find(tool, region, text, &entry, &info);
	return check_index(tool, region, &info.host, deep);
}

struct index_options {
	bool whole, deep;
	const char *forget;
};

static struct index_options
parse_options(struct tool *tool, int argc, char **argv)
{
	struct index_options options = {.forget = NULL};
	int option;

	while ((option = getopt_long(argc, argv, "l", option_table, NULL)) != -1) {
		if (option == INDEX_LONG || option == 'l')
			options.whole = true;
		else if (option == INDEX_FORGET)
			options.forget = optarg;
		else if (option == INDEX_DEEP)
			options.deep = true;
		else
			tool_option(tool, option, optarg);
	}
	return options;
}

enum index_verb { VERB_LS, VERB_SHOW, VERB_CHECK, VERB_KINDS, VERB_COUNT };
static const struct {
	const char *name;
	int arguments_min, arguments_max;
} verbs[VERB_COUNT] = {
    [VERB_LS] = {"ls", 0, 0},
    [VERB_SHOW] = {"show", 1, 1},
    [VERB_CHECK] = {"check", 0, 1},
    [VERB_KINDS] = {"kinds", 0, 0},
};

static enum index_verb
parse_verb(struct tool *tool, const struct index_options *options, const char *what, int arguments)
{
	enum index_verb verb = VERB_LS;

	if (what == NULL)
		usage_error(tool, "ls, show, check or kinds?");
	while (verb < VERB_COUNT && strcmp(what, verbs[verb].name) != 0)
		verb++;
	if (verb == VERB_COUNT)
		usage_error(tool, "%s: neither ls nor show nor check nor kinds", what);
	else if (arguments < verbs[verb].arguments_min || arguments > verbs[verb].arguments_max)
		usage_error(tool, "%s: wrong number of arguments", what);
	if (options->forget != NULL && verb != VERB_KINDS)
		usage_error(tool, "--forget: of kinds only");
	if (options->deep && verb != VERB_CHECK)
		usage_error(tool, "--deep: of check only");
	return verb;
}

int
command_index(struct tool *tool, int argc, char **argv)
{
	struct index_options options = parse_options(tool, argc, argv);
	const char *what = argv[optind];
	enum index_verb verb = parse_verb(tool, &options, what, argc - optind - 1);
	const char *digest = what == NULL ? NULL : argv[optind + 1];
	struct region *region;
	int status;

	tool_state(tool, false);
	if (verb == VERB_KINDS)
		return kinds(tool, options.forget);
	region = tool_region(tool);
	if (verb == VERB_LS)
		status = list(region, options.whole);
	else if (verb == VERB_SHOW)
		status = show(tool, region, digest);
	else
		status = check(tool, region, digest, options.deep);
	region_close(region);
	return status;
}
