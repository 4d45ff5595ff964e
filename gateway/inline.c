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

static bool
is_wished(const struct inline_wish *wish, const char *path)
{
	for (size_t i = 0; i < wish->path_count; i++)
		if (strcmp(wish->paths[i], path) == 0)
			return true;
	return false;
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
	for (size_t i = 0; wish->path_count > 0 && i < result->n_output_files; i++)
		if (is_wished(wish, result->output_files[i]->path))
			fill(cas, arena, result->output_files[i]->digest,
			    &result->output_files[i]->contents, &room);
}
