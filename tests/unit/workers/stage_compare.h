/*
 * What is to be seen of a staged tree, from its Merkle tree, and the records of what was
 * (action_walk.h), compared entry by entry: names, types, modes, bytes, targets, times that were
 * asked for, and whose it is.
 */
#ifndef TESTS_STAGE_COMPARE_H
#define TESTS_STAGE_COMPARE_H

#include <inttypes.h>
#include <limits.h>

#include "cas/digest_map.h"
#include "tests/unit/workers/action_walk.h"
#include "tests/unit/workers/stage_host.h"

/* What blobs hold, as action_walk.h hashes it: kept, so that a blob may be lost meanwhile. */
struct look_bytes {
	struct digest_map map;
	uint64_t *hashes;
	size_t count, room;
};

/* What is to be seen, and the records of what was. */
struct look {
	struct host *host;
	struct look_bytes *bytes;
	const struct stage_request *request; /* NULL: a cached tree, no sandbox */
	const struct stage_report *report;
	const uint8_t *at, *end;
	bool any_owner; /* whoever looked is not the action's user */
	bool all_own, is_writable; /* the inputs: whose, and of which modes */
	int differences;
};

static inline uint64_t
look_hash_of(const struct look *look, const struct digest *digest)
{
	struct look_bytes *bytes = look->bytes;
	struct host *host = look->host;
	bool is_new;
	uint8_t *data;
	size_t len;

	if (digest_is_empty(digest))
		return ACTION_HASH_START;
	uint32_t *number = digest_map_add(&bytes->map, digest, &is_new);
	if (!is_new)
		return bytes->hashes[*number];
	HOST_TRY("blob", cas_read(host->cas, digest, 1 << 30, &data, &len));
	if (bytes->count == bytes->room) {
		bytes->room = bytes->room == 0 ? 256 : bytes->room * 2;
		bytes->hashes = reallocarray(bytes->hashes, bytes->room, sizeof(uint64_t));
		HOST_TRY("memory", bytes->hashes == NULL ? -ENOMEM : 0);
	}
	*number = (uint32_t)bytes->count;
	bytes->hashes[bytes->count++] = action_hash(ACTION_HASH_START, data, len);
	free(data);
	return bytes->hashes[*number];
}

/* `path` is `other` or lies below it. */
static inline bool
path_is_below(const char *path, const char *other)
{
	size_t len = strlen(other);

	return len == 0 ||
	    (strncmp(path, other, len) == 0 && (path[len] == '/' || path[len] == '\0'));
}

/* An output, or in one. */
static inline bool
request_is_output(const struct stage_request *request, const char *path)
{
	for (size_t i = 0; request != NULL && i < request->output_count; i++)
		if (path_is_below(path, request->output_paths[i]))
			return true;
	for (size_t i = 0; request != NULL && i < request->output_directory_count; i++)
		if (path_is_below(path, request->output_directories[i]))
			return true;
	return false;
}

/* Has to be a directory: leads to an output, or is one, or is on the way to where it works. */
static inline bool
request_is_made(const struct stage_request *request, const char *path)
{
	if (request == NULL)
		return false;
	if (path_is_below(request->working_directory, path))
		return true;
	for (size_t i = 0; i < request->output_count; i++)
		if (path_is_below(request->output_paths[i], path) &&
		    strcmp(request->output_paths[i], path) != 0)
			return true;
	for (size_t i = 0; i < request->output_directory_count; i++)
		if (path_is_below(request->output_directories[i], path))
			return true;
	return false;
}

struct look_want {
	const char *name;
	const ReapiFileNode *file;
	const ReapiSymlinkNode *symlink;
	bool is_directory;
	struct digest digest;
};

static inline int
look_by_name(const void *a, const void *b)
{
	const struct look_want *x = a, *y = b;

	return strcmp(x->name, y->name);
}

/* The first component below `path` of something that has to be made, if the tree lacks it. */
static inline void
look_want_made(struct look *look, const char *path, const char *made, struct look_want *wants,
    size_t *inout_count)
{
	struct arena *arena = look->host->arena;
	const char *below = made + (path[0] == '\0' ? 0 : strlen(path) + 1);

	if (!path_is_below(made, path) || strlen(made) <= strlen(path))
		return;
	char *name = arena_printf(arena, "%.*s", (int)strcspn(below, "/"), below);
	char *full = path[0] == '\0' ? name : arena_printf(arena, "%s/%s", path, name);
	if (!request_is_made(look->request, full))
		return;
	for (size_t i = 0; i < *inout_count; i++)
		if (strcmp(wants[i].name, name) == 0)
			return;
	wants[(*inout_count)++] =
	    (struct look_want){.name = name, .is_directory = true, .digest = digest_empty};
}

/* Everything that has to be in a directory, sorted. */
static inline struct look_want *
look_wants(struct look *look, const char *path, const struct digest *digest, size_t *ret_count)
{
	struct host *host = look->host;
	const struct stage_request *request = look->request;
	ReapiDirectory *message;

	HOST_TRY("Directory", directory_load(host->cas, host->arena, digest, &message, &host->err));
	size_t count = 0,
	       room = message->n_files + message->n_symlinks + message->n_directories + 1;
	if (request != NULL)
		room += request->output_count + request->output_directory_count;
	struct look_want *wants = arena_alloc(host->arena, room * sizeof(*wants));
	for (size_t i = 0; i < message->n_files; i++)
		wants[count++] =
		    (struct look_want){.name = message->files[i]->name, .file = message->files[i]};
	for (size_t i = 0; i < message->n_symlinks; i++)
		wants[count++] = (struct look_want){
		    .name = message->symlinks[i]->name, .symlink = message->symlinks[i]};
	for (size_t i = 0; i < message->n_directories; i++) {
		wants[count] =
		    (struct look_want){.name = message->directories[i]->name, .is_directory = true};
		HOST_TRY("digest",
		    reapi_digest_get(message->directories[i]->digest, &wants[count].digest));
		count++;
	}
	if (request != NULL) {
		look_want_made(look, path, request->working_directory, wants, &count);
		for (size_t i = 0; i < request->output_count; i++)
			look_want_made(look, path, request->output_paths[i], wants, &count);
		for (size_t i = 0; i < request->output_directory_count; i++)
			look_want_made(look, path, request->output_directories[i], wants, &count);
	}
	qsort(wants, count, sizeof(*wants), look_by_name);
	*ret_count = count;
	return wants;
}

/* The record that comes next; NULL at the end. */
static inline const struct action_record *
look_peek(const struct look *look, struct action_record *record)
{
	if ((size_t)(look->end - look->at) < sizeof(*record))
		return NULL;
	memcpy(record, look->at, sizeof(*record));
	return record;
}

static inline void
look_next(struct look *look, const struct action_record *record)
{
	look->at += sizeof(*record) + record->name_len + record->target_len;
}

static inline const char *
look_shown(const struct look *look, const char *path, const struct action_record *record)
{
	return arena_printf(look->host->arena, "%.200s%s%.*s", path, path[0] == '\0' ? "" : "/",
	    record->name_len, (const char *)look->at + sizeof(*record));
}

#define LOOK_DIFFERS(look, path, ...)                                                              \
	do {                                                                                       \
		if ((look)->differences++ < 10) {                                                  \
			fprintf(stderr, "%.300s: ", path);                                         \
			fprintf(stderr, __VA_ARGS__);                                              \
			fputc('\n', stderr);                                                       \
		}                                                                                  \
	} while (0)

static inline void
look_compare_file(
    struct look *look, const char *path, const ReapiFileNode *file, const struct action_record *got)
{
	struct host *host = look->host;
	const ReapiNodeProperties *properties = file->node_properties;
	bool is_output = request_is_output(look->request, path);
	/* Below an overlay of all its inputs an action needs no write bit. */
	bool is_lower =
	    look->report != NULL && look->report->has_overlay && look->report->overlay.is_owned;
	mode_t mode = file->is_executable ? 0555 : 0444;
	struct digest digest;

	if (properties != NULL && properties->unix_mode != NULL)
		mode = (properties->unix_mode->value & 0555) | 0444;
	if (look->is_writable || (is_output && !is_lower))
		mode |= 0200;
	if (!S_ISREG(got->mode)) {
		LOOK_DIFFERS(look, path, "no file, mode %o", got->mode);
		return;
	}
	if ((got->mode & 07777) != mode)
		LOOK_DIFFERS(look, path, "mode %o, not %o", got->mode & 07777, (unsigned)mode);
	HOST_TRY("digest", reapi_digest_get(file->digest, &digest));
	if (got->size != (uint64_t)digest.size_bytes || got->hash != look_hash_of(look, &digest))
		LOOK_DIFFERS(look, path, "other bytes");
	if (properties != NULL && properties->mtime != NULL &&
	    (got->mtime_s != properties->mtime->seconds ||
		got->mtime_ns != (uint32_t)properties->mtime->nanos))
		LOOK_DIFFERS(
		    look, path, "mtime %" PRId64 ".%09" PRIu32, got->mtime_s, got->mtime_ns);
	if (!look->any_owner && got->is_own != (look->all_own || is_output))
		LOOK_DIFFERS(look, path, got->is_own ? "the action's own" : "not the action's own");
}

static inline void look_compare_directory(
    struct look *look, const char *path, uint32_t depth, const struct digest *digest);

static inline void
look_compare_entry(struct look *look, const char *path, uint32_t depth,
    const struct look_want *want, const struct action_record *got)
{
	const char *target = (const char *)look->at + sizeof(*got) + got->name_len;

	look_next(look, got);
	if (want->file != NULL) {
		look_compare_file(look, path, want->file, got);
		return;
	}
	if (want->symlink != NULL) {
		if (!S_ISLNK(got->mode) || got->target_len != strlen(want->symlink->target) ||
		    memcmp(target, want->symlink->target, got->target_len) != 0)
			LOOK_DIFFERS(look, path, "no symlink, or to %.*s", got->target_len, target);
		return;
	}
	bool is_spine =
	    request_is_made(look->request, path) || request_is_output(look->request, path);
	if (!S_ISDIR(got->mode)) {
		LOOK_DIFFERS(look, path, "no directory, mode %o", got->mode);
		return;
	}
	if ((got->mode & 07777) != 0755)
		LOOK_DIFFERS(look, path, "directory of mode %o", got->mode & 07777);
	if (!look->any_owner && got->is_own != (look->all_own || is_spine))
		LOOK_DIFFERS(look, path, got->is_own ? "the action's own" : "not the action's own");
	look_compare_directory(look, path, depth + 1, &want->digest);
}

static inline void
look_compare_directory(
    struct look *look, const char *path, uint32_t depth, const struct digest *digest)
{
	struct arena *arena = look->host->arena;
	struct action_record got;
	size_t count;
	struct look_want *wants = look_wants(look, path, digest, &count);

	for (size_t i = 0; i < count; i++) {
		const struct look_want *want = &wants[i];
		const char *below = want->name;
		if (strlen(path) >= PATH_MAX) /* no request names anything down here */
			below = path;
		else if (path[0] != '\0')
			below = arena_printf(arena, "%s/%s", path, want->name);
		const char *name;
		int order = -1; /* of what comes, compared with what has to */
		while (look_peek(look, &got) != NULL && got.depth >= depth && order < 0) {
			name = (const char *)look->at + sizeof(got);
			order = got.depth > depth ? -1 : strncmp(name, want->name, got.name_len);
			if (order == 0 && want->name[got.name_len] != '\0')
				order = -1;
			if (order < 0) {
				LOOK_DIFFERS(look, look_shown(look, path, &got), "too much");
				look_next(look, &got);
			}
		}
		if (order == 0)
			look_compare_entry(look, below, depth, want, &got);
		else
			LOOK_DIFFERS(look, below, "not there");
	}
	while (look_peek(look, &got) != NULL && got.depth >= depth) {
		LOOK_DIFFERS(look, look_shown(look, path, &got), "too much");
		look_next(look, &got);
	}
}

#endif
