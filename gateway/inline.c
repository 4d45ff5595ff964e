#include "gateway/inline.h"

#include <stdlib.h>
#include <string.h>

static void
fill(struct cas *cas, struct arena *arena, const ReapiDigest *message, ProtobufCBinaryData *raw,
    size_t *room)
{
	struct digest digest;
	uint8_t *data;
	size_t len;

	if (raw->len > 0 || reapi_digest_get(message, &digest) != 0 ||
	    (uint64_t)digest.size_bytes > *room || cas_read(cas, &digest, *room, &data, &len) != 0)
		return;
	raw->data = arena_alloc(arena, len + 1);
	memcpy(raw->data, data, len);
	raw->len = len;
	*room -= len;
	free(data);
}

static int
path_compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
files_fill(struct cas *cas, struct arena *arena, const struct inline_wish *wish,
    ReapiActionResult *result, size_t *room)
{
	size_t count = wish->path_count < INLINE_PATHS_MAX ? wish->path_count : INLINE_PATHS_MAX;
	char **paths = arena_alloc(arena, (count + 1) * sizeof(void *));

	for (size_t i = 0; i < count; i++)
		paths[i] = wish->paths[i];
	qsort(paths, count, sizeof(void *), path_compare);
	for (size_t i = 0; i < result->n_output_files; i++) {
		ReapiOutputFile *file = result->output_files[i];

		if (bsearch(&file->path, paths, count, sizeof(void *), path_compare) != NULL)
			fill(cas, arena, file->digest, &file->contents, room);
	}
}

void
inline_contents(
    struct cas *cas, struct arena *arena, const struct inline_wish *wish, ReapiActionResult *result)
{
	size_t room = INLINE_BYTES_MAX;

	if (wish->out && result->stdout_digest != NULL)
		fill(cas, arena, result->stdout_digest, &result->stdout_raw, &room);
	if (wish->err && result->stderr_digest != NULL)
		fill(cas, arena, result->stderr_digest, &result->stderr_raw, &room);
	if (wish->path_count > 0)
		files_fill(cas, arena, wish, result, &room);
}
