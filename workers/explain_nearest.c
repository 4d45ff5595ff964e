#include <stdlib.h>
#include <string.h>

#include "cas/directory.h"
#include "workers/explain.h"

/* A look at so many Directory messages is enough for an answer, and does not keep one waiting. */
enum { LOOKS_MAX = 20000, SHOWN_MAX = 12, DEPTH_MAX = 32 };

/* An entry of a Directory, whatever it is: what stands there, as text. */
struct item {
	const char *name;
	const char *what; /* its digest, or a symlink's target */
	struct digest directory; /* a directory's */
	char kind; /* f, x, d or l */
};

struct items {
	struct item *items;
	size_t count;
};

static int
by_name(const void *a, const void *b)
{
	return strcmp(((const struct item *)a)->name, ((const struct item *)b)->name);
}

static struct items
items_of(struct arena *arena, const ReapiDirectory *message)
{
	size_t count = message->n_files + message->n_directories + message->n_symlinks, n = 0;
	struct items items = {.items = arena_alloc(arena, (count + 1) * sizeof(struct item))};

	for (size_t i = 0; i < message->n_files; i++)
		items.items[n++] = (struct item){.name = message->files[i]->name,
		    .what = message->files[i]->digest->hash,
		    .kind = message->files[i]->is_executable ? 'x' : 'f'};
	for (size_t i = 0; i < message->n_directories; i++) {
		struct item *item = &items.items[n++];
		*item = (struct item){.name = message->directories[i]->name,
		    .what = message->directories[i]->digest->hash,
		    .kind = 'd'};
		(void)reapi_digest_get(message->directories[i]->digest, &item->directory);
	}
	for (size_t i = 0; i < message->n_symlinks; i++)
		items.items[n++] = (struct item){.name = message->symlinks[i]->name,
		    .what = message->symlinks[i]->target,
		    .kind = 'l'};
	items.count = n;
	qsort(items.items, n, sizeof(struct item), by_name);
	return items;
}

static bool
is_same(const struct item *a, const struct item *b)
{
	return a->kind == b->kind && strcmp(a->what, b->what) == 0;
}

/* How many entries both have. */
static size_t
in_common(const struct items *ours, const struct items *theirs)
{
	size_t same = 0, i = 0, j = 0;

	while (i < ours->count && j < theirs->count) {
		int order = strcmp(ours->items[i].name, theirs->items[j].name);
		same += order == 0 && is_same(&ours->items[i], &theirs->items[j]);
		i += order <= 0;
		j += order >= 0;
	}
	return same;
}

/* What differs, as far as there is room, is printed with its path. */
struct difference {
	struct cas *cas;
	struct arena *arena;
	FILE *out;
	unsigned shown, left;
};

static void print_difference(struct difference *difference, const char *path,
    const struct items *ours, const struct items *theirs, unsigned depth);

static void
print_one(struct difference *difference, const char *path, char mark)
{
	if (difference->shown == SHOWN_MAX) {
		difference->left++;
		return;
	}
	difference->shown++;
	fprintf(difference->out, "        %c %.400s\n", mark, path);
}

static bool
items_load(struct difference *difference, const struct item *item, struct items *ret_items)
{
	struct error_text unused;
	ReapiDirectory *message;

	if (item->kind != 'd' ||
	    directory_load(
		difference->cas, difference->arena, &item->directory, &message, &unused) != 0)
		return false;
	*ret_items = items_of(difference->arena, message);
	return true;
}

/* Two that differ: of two directories, by what is in them. */
static void
print_pair(struct difference *difference, const char *path, const struct item *ours,
    const struct item *theirs, unsigned depth)
{
	struct items inner, outer;

	if (is_same(ours, theirs))
		return;
	if (depth < DEPTH_MAX && items_load(difference, ours, &inner) &&
	    items_load(difference, theirs, &outer))
		print_difference(difference, path, &inner, &outer, depth + 1);
	else
		print_one(difference, path, '!');
}

static void
print_difference(struct difference *difference, const char *path, const struct items *ours,
    const struct items *theirs, unsigned depth)
{
	size_t i = 0, j = 0;

	while (i < ours->count || j < theirs->count) {
		int order = i == ours->count ? 1
		    : j == theirs->count     ? -1
					     : strcmp(ours->items[i].name, theirs->items[j].name);
		const char *name = order <= 0 ? ours->items[i].name : theirs->items[j].name;
		const char *below =
		    path[0] == '\0' ? name : arena_printf(difference->arena, "%s/%s", path, name);
		if (order == 0)
			print_pair(difference, below, &ours->items[i], &theirs->items[j], depth);
		else
			print_one(difference, below, order < 0 ? '+' : '-');
		i += order <= 0;
		j += order >= 0;
	}
}

/* Likeness: entries in common, of all that either has. */
static double
likeness(size_t same, const struct items *a, const struct items *b)
{
	size_t all = a->count + b->count - same;

	return all == 0 ? 0 : (double)same / (double)all;
}

struct nearest {
	struct index_info info;
	double likeness;
};

static bool
entry_read(const struct region *region, struct cas *cas, uint32_t entry, struct arena *arena,
    struct index_info *info, ReapiDirectory **ret_message)
{
	struct error_text unused;

	return index_read(region, entry, info) == 0 && info->state == INDEX_READY &&
	    !index_is_image(&info->directory) &&
	    directory_load(cas, arena, &info->directory, ret_message, &unused) == 0;
}

static void
look_at_all(
    const struct region *region, struct cas *cas, const struct items *ours, struct nearest *nearest)
{
	uint32_t count = region_entry_count(region), looks = 0;
	struct arena *arena = arena_new();

	for (uint32_t entry = 0; entry < count && looks < LOOKS_MAX; entry++) {
		struct index_info info;
		ReapiDirectory *message;
		if (!entry_read(region, cas, entry, arena, &info, &message))
			continue;
		struct items theirs = items_of(arena, message);
		double found = likeness(in_common(ours, &theirs), ours, &theirs);
		looks++;
		if (found > nearest->likeness)
			*nearest = (struct nearest){info, found};
		arena_reset(arena);
	}
	arena_free(arena);
}

void
explain_nearest(
    const struct region *region, struct cas *cas, const struct plan_node *node, FILE *out)
{
	struct nearest nearest = {.likeness = 0};
	struct arena *arena = arena_new();
	struct difference difference = {.cas = cas, .arena = arena, .out = out};
	struct items ours = items_of(arena, node->dir->message);
	char digest[DIGEST_TEXT_SIZE], name[DIGEST_TEXT_SIZE];
	struct error_text unused;
	ReapiDirectory *message;

	look_at_all(region, cas, &ours, &nearest);
	fprintf(out, "    %s (%s)\n", node->path[0] == '\0' ? "." : node->path,
	    digest_to_text(&node->digest, '/', digest));
	if (nearest.likeness > 0 &&
	    directory_load(cas, arena, &nearest.info.directory, &message, &unused) == 0) {
		struct items theirs = items_of(arena, message);
		fprintf(out, "      nearest: trees/%s%s%s, %zu of %zu entries the same; differs:\n",
		    index_tree_name(&nearest.info.host, name), nearest.info.inside ? "/" : "",
		    nearest.info.path, in_common(&ours, &theirs), ours.count);
		print_difference(&difference, "", &ours, &theirs, 0);
		if (difference.left > 0)
			fprintf(out, "          and %u more\n", difference.left);
	} else {
		fprintf(out, "      nothing cached has an entry in common with it\n");
	}
	arena_free(arena);
}
