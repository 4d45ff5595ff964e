#include "cas/directory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "cas/internal.h"
#include "cas/message.h"

enum { NS_PER_S = 1000000000 };

static int
name_check(const char *name, const char *kind, struct error_text *err)
{
	int rc = fs_name_check(name, strlen(name));

	if (rc != 0)
		return error_set(
		    err, -EINVAL, "Directory: '%.255s' cannot be the name of a %s", name, kind);
	return 0;
}

static int
node_check(const char *name, const ReapiDigest *digest, const char *kind, struct error_text *err)
{
	struct digest ignored;
	int rc = name_check(name, kind, err);

	if (rc == 0 && reapi_digest_get(digest, &ignored) != 0)
		rc = error_set(
		    err, -EINVAL, "Directory: %s '%s' has no digest or a broken one", kind, name);
	return rc;
}

static int
file_check(const ReapiFileNode *file, struct error_text *err)
{
	const ReapiNodeProperties *properties = file->node_properties;
	int rc = node_check(file->name, file->digest, "file", err);

	if (rc != 0 || properties == NULL || properties->mtime == NULL)
		return rc;
	if (properties->mtime->nanos < 0 || properties->mtime->nanos >= NS_PER_S)
		return error_set(err, -EINVAL, "Directory: file '%s' has an mtime of %d ns",
		    file->name, properties->mtime->nanos);
	return 0;
}

static int
nodes_check(const ReapiDirectory *directory, struct error_text *err)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < directory->n_files; i++)
		rc = file_check(directory->files[i], err);
	for (size_t i = 0; rc == 0 && i < directory->n_directories; i++)
		rc = node_check(directory->directories[i]->name, directory->directories[i]->digest,
		    "directory", err);
	for (size_t i = 0; rc == 0 && i < directory->n_symlinks; i++) {
		const ReapiSymlinkNode *link = directory->symlinks[i];

		rc = name_check(link->name, "symlink", err);
		if (rc == 0 && link->target[0] == '\0')
			rc = error_set(
			    err, -EINVAL, "Directory: symlink '%s' has no target", link->name);
	}
	return rc;
}

static int
string_compare(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool
strings_sorted(const char *const *names, size_t count)
{
	for (size_t i = 1; i < count; i++)
		if (strcmp(names[i - 1], names[i]) > 0)
			return false;
	return true;
}

/* Names of all kinds live in one directory. */
static int
doubles_check(const ReapiDirectory *directory, struct error_text *err)
{
	size_t total = directory->n_files + directory->n_directories + directory->n_symlinks;
	const char **names = calloc(total + 1, sizeof(*names));
	size_t count = 0;
	int rc = 0;

	if (names == NULL)
		return error_errno(err, -ENOMEM, "Directory of %zu entries", total);
	for (size_t i = 0; i < directory->n_files; i++)
		names[count++] = directory->files[i]->name;
	for (size_t i = 0; i < directory->n_directories; i++)
		names[count++] = directory->directories[i]->name;
	for (size_t i = 0; i < directory->n_symlinks; i++)
		names[count++] = directory->symlinks[i]->name;
	if (!strings_sorted(names, count))
		qsort(names, count, sizeof(*names), string_compare);
	for (size_t i = 1; rc == 0 && i < count; i++)
		if (strcmp(names[i - 1], names[i]) == 0)
			rc = error_set(err, -EINVAL, "Directory: '%s' is there twice", names[i]);
	free(names);
	return rc;
}

int
directory_check(const ReapiDirectory *directory, struct error_text *err)
{
	int rc = nodes_check(directory, err);

	return rc != 0 ? rc : doubles_check(directory, err);
}

int
directory_load(struct cas *cas, struct arena *arena, const struct digest *digest,
    ReapiDirectory **ret_directory, struct error_text *err)
{
	ReapiDirectory *directory;
	char text[DIGEST_TEXT_SIZE];
	struct error_text why;
	void *message;
	int rc;

	if (digest_is_empty(digest)) {
		*ret_directory = REAPI_NEW(arena, directory);
		return 0;
	}
	rc = message_load(cas, arena, digest, MESSAGE_TYPE(directory), "Directory", &message, err);
	if (rc != 0)
		return rc;
	directory = message;
	rc = directory_check(directory, &why);
	if (rc != 0)
		return error_set(
		    err, rc, "%s: %.800s", digest_to_text(digest, '/', text), why.text);
	*ret_directory = directory;
	return 0;
}

static int
file_compare(const void *a, const void *b)
{
	return strcmp((*(ReapiFileNode *const *)a)->name, (*(ReapiFileNode *const *)b)->name);
}

static int
directory_node_compare(const void *a, const void *b)
{
	return strcmp(
	    (*(ReapiDirectoryNode *const *)a)->name, (*(ReapiDirectoryNode *const *)b)->name);
}

static int
symlink_compare(const void *a, const void *b)
{
	return strcmp((*(ReapiSymlinkNode *const *)a)->name, (*(ReapiSymlinkNode *const *)b)->name);
}

static void
pointers_sort(void *base, size_t count, int (*compare)(const void *, const void *))
{
	if (count > 1)
		qsort(base, count, sizeof(void *), compare);
}

void
directory_sort(ReapiDirectory *directory)
{
	pointers_sort(directory->files, directory->n_files, file_compare);
	pointers_sort(directory->directories, directory->n_directories, directory_node_compare);
	pointers_sort(directory->symlinks, directory->n_symlinks, symlink_compare);
}

int
directory_store(
    struct cas *cas, struct arena *arena, ReapiDirectory *directory, struct digest *ret_digest)
{
	size_t len;
	uint8_t *data;

	directory_sort(directory);
	data = reapi_encode(arena, &directory->base, &len);
	return cas_put_bytes(cas, data, len, ret_digest);
}
