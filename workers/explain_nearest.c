#include <stdlib.h>
#include <string.h>

#include "cas/directory.h"
#include "workers/explain.h"

/* A look at so many Directory messages is enough for an answer, and does not keep one waiting. */
enum { LOOKS_MAX = 20000, SHOWN_MAX = 12 };

/* An entry of a Directory, whatever it is: what stands there, as text. */
struct item {
	const char *name;
	const char *what; /* its digest, or a symlink's target */
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
		items.items[n++] = (struct item){message->files[i]->name,
		    message->files[i]->digest->hash, message->files[i]->is_executable ? 'x' : 'f'};
	for (size_t i = 0; i < message->n_directories; i++)
		items.items[n++] = (struct item){
		    message->directories[i]->name, message->directories[i]->digest->hash, 'd'};
	for (size_t i = 0; i < message->n_symlinks; i++)
		items.items[n++] =
		    (struct item){message->symlinks[i]->name, message->symlinks[i]->target, 'l'};
	items.count = n;
	qsort(items.items, n, sizeof(struct item), by_name);
	return items;
}

static bool
is_same(const struct item *a, const struct item *b)
{
	return a->kind == b->kind && strcmp(a->what, b->what) == 0;
}

/* How many entries both have; with `out`, what differs, as many as fit. */
static size_t
compare(const struct items *ours, const struct items *theirs, FILE *out)
{
	size_t same = 0, shown = 0, left = 0, i = 0, j = 0;

	while (i < ours->count || j < theirs->count) {
		int order = i == ours->count ? 1
		    : j == theirs->count     ? -1
					     : strcmp(ours->items[i].name, theirs->items[j].name);
		const char *name = order <= 0 ? ours->items[i].name : theirs->items[j].name;
		char mark = order < 0 ? '+' : order > 0 ? '-' : '!';
		bool equal = order == 0 && is_same(&ours->items[i], &theirs->items[j]);
		same += equal;
		i += order <= 0;
		j += order >= 0;
		if (equal || out == NULL)
			continue;
		if (shown < SHOWN_MAX)
			fprintf(out, "        %c %.200s\n", mark, name);
		shown += shown < SHOWN_MAX;
		left += shown == SHOWN_MAX;
	}
	if (out != NULL && left > 1)
		fprintf(out, "          and %zu more\n", left - 1);
	return same;
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
		double found = likeness(compare(ours, &theirs, NULL), ours, &theirs);
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
		    nearest.info.path, compare(&ours, &theirs, NULL), ours.count);
		compare(&ours, &theirs, out);
	} else {
		fprintf(out, "      nothing cached has an entry in common with it\n");
	}
	arena_free(arena);
}
