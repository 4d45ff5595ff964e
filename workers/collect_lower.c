#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "cas/directory.h"
#include "workers/collect_internal.h"

struct lower_entry
lower_find(const ReapiDirectory *lower, const char *name)
{
	struct lower_entry entry = {NULL, NULL, NULL};

	if (lower == NULL)
		return entry;
	for (size_t i = 0; i < lower->n_files; i++)
		if (strcmp(lower->files[i]->name, name) == 0)
			entry.file = lower->files[i];
	for (size_t i = 0; i < lower->n_symlinks; i++)
		if (strcmp(lower->symlinks[i]->name, name) == 0)
			entry.symlink = lower->symlinks[i];
	for (size_t i = 0; i < lower->n_directories; i++)
		if (strcmp(lower->directories[i]->name, name) == 0)
			entry.directory = lower->directories[i];
	return entry;
}

/* In the collector's arena, like what it names. */
struct lower_kept {
	struct lower_kept *next;
	struct digest digest;
	const ReapiDirectory *directory;
};

/* The way to each output begins at the root: what was read once is kept. */
int
lower_load(struct collector *collector, const ReapiDigest *digest, const ReapiDirectory **ret_lower)
{
	ReapiDirectory *lower;
	struct lower_kept *kept;
	struct digest wanted;
	int rc = reapi_digest_get(digest, &wanted);

	if (rc != 0)
		return rc;
	for (kept = collector->lowers; kept != NULL; kept = kept->next) {
		if (digest_equal(&kept->digest, &wanted)) {
			*ret_lower = kept->directory;
			return 0;
		}
	}
	rc = directory_load(collector->cas, collector->arena, &wanted, &lower, collector->err);
	if (rc != 0)
		return rc;
	kept = arena_alloc(collector->arena, sizeof(*kept));
	*kept = (struct lower_kept){collector->lowers, wanted, lower};
	collector->lowers = kept;
	*ret_lower = lower;
	return 0;
}

int
lower_file(struct collector *collector, const ReapiFileNode *file, const char *path)
{
	struct digest digest;
	bool made;
	int rc = reapi_digest_get(file->digest, &digest);

	if (rc == 0 && !digest_is_empty(&digest))
		rc = cas_ensure(collector->cas, &digest, file->is_executable, &made);
	return rc == 0 ? 0 : collect_fail(collector, rc, path);
}

/* As far as the tree says: an input without a time of its own has none that means anything. */
ReapiNodeProperties *
lower_properties(struct collector *collector, const ReapiNodeProperties *had, uint32_t mode)
{
	ReapiNodeProperties *properties;

	if (!collector->want_mtime && !collector->want_mode)
		return NULL;
	properties = REAPI_NEW(collector->arena, node_properties);
	if (collector->want_mtime && had != NULL)
		properties->mtime = had->mtime;
	if (collector->want_mode) {
		properties->unix_mode =
		    reapi_new(collector->arena, &google__protobuf__uint32_value__descriptor);
		properties->unix_mode->value =
		    had != NULL && had->unix_mode != NULL ? had->unix_mode->value : mode;
	}
	return properties;
}

bool
upper_is_whiteout(const struct collector *collector, const struct stat *st)
{
	return collector->request->overlay != NULL && S_ISCHR(st->st_mode) && st->st_rdev == 0;
}

/*
 * By root the kernel uses the first name, below a user namespace the second; the other one is an
 * attribute like any, which an action may give its directories.
 */
bool
upper_is_opaque(const struct collector *collector, int fd)
{
	const char *name = geteuid() == 0 ? "trusted.overlay.opaque" : "user.overlay.opaque";
	char value;

	return collector->request->overlay != NULL &&
	    fs_get_xattr(fd, name, &value, sizeof(value)) == 1 && value == 'y';
}

static int
lower_enter(struct collector *collector, const struct place *place, const char *name,
    const ReapiDirectory **ret_lower)
{
	struct lower_entry entry = lower_find(place->lower, name);

	*ret_lower = NULL;
	if (entry.directory == NULL)
		return entry.file != NULL ? -ENOTDIR : entry.symlink != NULL ? -ELOOP : -ENOENT;
	return lower_load(collector, entry.directory->digest, ret_lower);
}

int
place_enter(struct collector *collector, const struct place *place, const char *name,
    struct place *ret_place)
{
	struct place inner = {.fd = -1};
	struct stat st;
	int rc = -ENOENT;

	if (place->fd >= 0)
		rc = collect_open_directory(collector, place->fd, name, &inner.fd);
	if (rc == -ENOENT) { /* nothing was made there */
		inner.fd = -1;
		rc = lower_enter(collector, place, name, &inner.lower);
	} else if (rc == -ENOTDIR && fstatat(place->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    upper_is_whiteout(collector, &st)) {
		rc = -ENOENT;
	} else if (rc == 0 && place->lower != NULL && !upper_is_opaque(collector, inner.fd)) {
		rc = lower_enter(collector, place, name, &inner.lower);
		/* Something else was there before, or nothing. */
		rc = rc == -ENOENT || rc == -ENOTDIR || rc == -ELOOP ? 0 : rc;
	}
	if (rc == 0)
		*ret_place = inner;
	else
		place_leave(&inner);
	return rc;
}

void
place_leave(struct place *place)
{
	if (place->fd >= 0)
		close(place->fd);
	place->fd = -1;
}
