/* What a tree comes to once it is written out, each distinct Directory read once. */
#include <errno.h>

#include "base/check.h"
#include "cas/digest_map.h"
#include "cas/directory.h"

struct count {
	struct cas *cas;
	struct error_text *err;
	struct digest_map entries; /* below a Directory, once it has been read */
};

static int count_level(
    struct count *count, const struct digest *digest, unsigned depth, uint32_t *ret_entries);

static int
count_children(
    struct count *count, const ReapiDirectory *directory, unsigned depth, uint32_t *ret_entries)
{
	uint64_t entries = (uint64_t)directory->n_files + directory->n_symlinks;
	struct digest digest;
	uint32_t below;

	for (size_t i = 0; i < directory->n_directories; i++) {
		int rc;

		CHECK(reapi_digest_get(directory->directories[i]->digest, &digest) == 0);
		rc = count_level(count, &digest, depth + 1, &below);
		if (rc != 0)
			return rc;
		entries += 1 + (uint64_t)below;
		if (entries > TREE_ENTRIES_MAX)
			break;
	}
	if (entries > TREE_ENTRIES_MAX)
		return error_set(count->err, -EINVAL,
		    "the tree has more than %d entries once it is written out", TREE_ENTRIES_MAX);
	*ret_entries = (uint32_t)entries;
	return 0;
}

static int
count_level(struct count *count, const struct digest *digest, unsigned depth, uint32_t *ret_entries)
{
	const uint32_t *known = digest_map_find(&count->entries, digest);
	ReapiDirectory *directory;
	struct arena *arena;
	bool is_new;
	int rc;

	if (known != NULL) {
		*ret_entries = *known;
		return 0;
	}
	if (depth > TREE_DEPTH_MAX)
		return error_set(count->err, -EINVAL, "the tree is more than %d directories deep",
		    TREE_DEPTH_MAX);
	arena = arena_new();
	rc = directory_load(count->cas, arena, digest, &directory, count->err);
	if (rc == 0)
		rc = count_children(count, directory, depth, ret_entries);
	arena_free(arena);
	if (rc == 0)
		*digest_map_add(&count->entries, digest, &is_new) = *ret_entries;
	return rc;
}

int
tree_count(
    struct cas *cas, const struct digest *root, uint32_t *ret_entries, struct error_text *err)
{
	struct count count = {.cas = cas, .err = err};
	int rc = count_level(&count, root, 1, ret_entries);

	digest_map_fini(&count.entries);
	return rc;
}
