#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cas/directory.h"
#include "workers/collect_internal.h"

enum { WRITES_TEXT_MAX = 1 << 20 };

/* The walk of one sandbox. */
struct writes {
	struct collector *collector;
	FILE *out;
	const char *const *declared; /* relative to the input root */
	size_t declared_count;
	size_t said; /* bytes */
	bool cut;
};

static int directory_walk(
    struct writes *writes, const struct place *place, const char *path, unsigned depth);

/* A line each, whatever the name. */
static void
say(struct writes *writes, const char *what, const char *path, bool is_directory)
{
	char text[PATH_MAX + 16];
	size_t len = strlcpy(text, path, sizeof(text));

	if (writes->said + len > WRITES_TEXT_MAX) {
		writes->cut = true;
		return;
	}
	for (char *at = text; *at != '\0'; at++)
		if ((unsigned char)*at < ' ')
			*at = '?';
	fprintf(writes->out, "%s %s%s\n", what, text, is_directory ? "/" : "");
	writes->said += len + strlen(what) + 3;
}

/* A declared output, or below one. */
static bool
is_declared(const struct writes *writes, const char *path)
{
	for (size_t i = 0; i < writes->declared_count; i++) {
		size_t len = strlen(writes->declared[i]);

		if (len == 0 ||
		    (strncmp(path, writes->declared[i], len) == 0 &&
			(path[len] == '\0' || path[len] == '/')))
			return true;
	}
	return false;
}

/* On the way to an output or the working directory: staging made it, or could have. */
static bool
is_on_the_way(const struct writes *writes, const char *path)
{
	const char *cwd = writes->collector->request->command->working_directory;
	size_t len = strlen(path);

	for (size_t i = 0; i < writes->declared_count; i++)
		if (strncmp(writes->declared[i], path, len) == 0 && writes->declared[i][len] == '/')
			return true;
	return strncmp(cwd, path, len) == 0 && (cwd[len] == '/' || cwd[len] == '\0');
}

static int
inner_walk(struct writes *writes, const struct place *place, const char *name, const char *path,
    unsigned depth)
{
	struct place inner;
	int rc = place_enter(writes->collector, place, name, &inner);

	if (rc != 0)
		return collect_fail(writes->collector, rc, path);
	rc = directory_walk(writes, &inner, path, depth + 1);
	place_leave(&inner);
	return rc;
}

static int
entry_look(struct writes *writes, const struct place *place, const char *name, const char *path,
    unsigned depth)
{
	struct lower_entry had = lower_find(place->lower, name);
	bool was_there = had.file != NULL || had.symlink != NULL || had.directory != NULL;
	struct stat st;

	if (is_declared(writes, path))
		return 0;
	if (fstatat(place->fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return collect_fail(writes->collector, -errno, path);
	if (upper_is_whiteout(writes->collector, &st)) {
		if (was_there)
			say(writes, "deleted", path, had.directory != NULL);
		return 0;
	}
	if (S_ISDIR(st.st_mode) && (had.directory != NULL || is_on_the_way(writes, path)))
		return inner_walk(writes, place, name, path, depth);
	say(writes, was_there ? "changed" : "made", path, S_ISDIR(st.st_mode));
	return 0;
}

/* Deleted as a whole, with all that was in it, and made again. */
static bool
was_replaced(const struct writes *writes, const struct place *place)
{
	return place->fd >= 0 && upper_is_opaque(writes->collector, place->fd);
}

static int
directory_walk(struct writes *writes, const struct place *place, const char *path, unsigned depth)
{
	struct arena *arena = writes->collector->arena;
	char **names;
	size_t count;
	int rc;

	if (was_replaced(writes, place) && !is_on_the_way(writes, path)) {
		say(writes, "changed", path, true);
		return 0;
	}
	if (depth > TREE_DEPTH_MAX)
		return 0; /* no input lies so deep */
	rc = collect_names(writes->collector, place->fd, &names, &count);
	for (size_t i = 0; rc == 0 && i < count; i++) {
		const char *below =
		    arena_printf(arena, "%s%s%s", path, path[0] == '\0' ? "" : "/", names[i]);
		rc = entry_look(writes, place, names[i], below, depth);
	}
	return rc;
}

static int
root_walk(struct writes *writes, int rootfd)
{
	const struct stage_overlay *overlay = writes->collector->request->overlay;
	struct place root = {.fd = rootfd};
	int rc = lower_load(writes->collector,
	    reapi_digest_new(writes->collector->arena, &overlay->digest), &root.lower);

	return rc != 0 ? collect_fail(writes->collector, rc, "input root")
		       : directory_walk(writes, &root, "", 0);
}

int
collect_writes(struct cas *cas, struct arena *arena, struct sandbox *sandbox,
    const struct collect_request *request, const char *const *outputs, size_t output_count,
    char **ret_text, size_t *ret_len, struct error_text *err)
{
	struct collector collector = {.cas = cas, .arena = arena, .request = request, .err = err};
	struct writes writes = {
	    .collector = &collector, .declared = outputs, .declared_count = output_count};
	struct stat st;
	int rc;

	if (request->overlay == NULL || !request->overlay->is_owned)
		return error_set(err, -ENOTSUP, "its inputs did not lie below an overlay");
	if (fstat(sandbox->rootfd, &st) != 0)
		return error_errno(err, -errno, "%s/root: cannot look at it", sandbox->name);
	collector.owner = st.st_uid;
	writes.out = open_memstream(ret_text, ret_len);
	if (writes.out == NULL)
		return error_set(err, -ENOMEM, "no memory for the list of writes");
	rc = root_walk(&writes, sandbox->rootfd);
	if (rc == 0 && writes.cut)
		fputs("... and more\n", writes.out);
	if (fclose(writes.out) != 0 && rc == 0)
		rc = error_set(err, -ENOMEM, "no memory for the list of writes");
	if (rc != 0)
		free(*ret_text);
	return rc;
}
