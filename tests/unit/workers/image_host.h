/* Images of a throwaway host's trees. */
#ifndef TESTS_IMAGE_HOST_H
#define TESTS_IMAGE_HOST_H

#include "cas/image.h"
#include "cas/image_format.h"
#include "tests/unit/workers/stage_host.h"

/* Where the kernel mounts an image from a file: not on tmpfs. */
static inline const char *
volume(void)
{
	const char *tmp = getenv("TMPDIR");

	return tmp != NULL ? tmp : "/var/tmp";
}

static inline int
setup(void **state)
{
	struct host *host = malloc(sizeof *host);

	host_start(host, volume());
	*state = host;
	return 0;
}

static inline int
teardown(void **state)
{
	host_stop(*state);
	free(*state);
	return 0;
}

struct image {
	struct tree_dir *root;
	uint8_t *bytes;
	size_t len;
	uid_t uid;
	gid_t gid;
	size_t every; /* of so many files of a directory one is looked at */
	bool is_bare; /* its blobs are not stored */
};

static inline struct tree_dir *
load(struct host *host, const struct digest *root)
{
	struct tree_loader loader;
	struct tree_dir *dir;

	tree_loader_start(&loader, host->cas, host->arena);
	HOST_TRY("load", tree_load(&loader, root, 0, &dir, &host->err));
	tree_loader_free(&loader);
	return dir;
}

static inline int
check(struct host *host, const struct image *image, struct index_tree *ret_totals)
{
	return image_check(
	    host->arena, image->bytes, image->len, image->uid, image->gid, NULL, NULL, ret_totals);
}

/* And what is encoded passes the check. */
static inline struct image
encode_for(struct host *host, const struct digest *root, uid_t uid, gid_t gid)
{
	struct image image = {.root = load(host, root), .uid = uid, .gid = gid, .every = 1};
	struct index_tree totals = {0}, *want = &image.root->totals;

	HOST_TRY("encode",
	    image_encode(host->arena, image.root, uid, gid, &image.bytes, &image.len, &host->err));
	HOST_TRY("check", check(host, &image, &totals));
	HOST_TRY("totals", memcmp(&totals, want, sizeof totals) == 0 ? 0 : -EINVAL);
	return image;
}

static inline struct image
encode(struct host *host, const struct digest *root)
{
	return encode_for(host, root, 0, 0);
}

static inline ReapiFileNode *
with_mtime(struct host *host, ReapiFileNode *file, int64_t seconds, int32_t nanos)
{
	Google__Protobuf__Timestamp *mtime = arena_alloc(host->arena, sizeof *mtime);

	google__protobuf__timestamp__init(mtime);
	mtime->seconds = seconds;
	mtime->nanos = nanos;
	if (file->node_properties == NULL)
		file->node_properties = REAPI_NEW(host->arena, node_properties);
	file->node_properties->mtime = mtime;
	return file;
}

static inline ReapiFileNode *
with_mode(struct host *host, ReapiFileNode *file, uint32_t value)
{
	Google__Protobuf__UInt32Value *mode = arena_alloc(host->arena, sizeof *mode);

	google__protobuf__uint32_value__init(mode);
	mode->value = value;
	if (file->node_properties == NULL)
		file->node_properties = REAPI_NEW(host->arena, node_properties);
	file->node_properties->unix_mode = mode;
	return file;
}

/* Lists of a size, where DIR_APPEND would copy for ever. */
static inline void
dir_room(struct host *host, ReapiDirectory *dir, size_t files, size_t directories, size_t symlinks)
{
	dir->files = arena_alloc(host->arena, (files + 1) * sizeof *dir->files);
	dir->directories = arena_alloc(host->arena, (directories + 1) * sizeof *dir->directories);
	dir->symlinks = arena_alloc(host->arena, (symlinks + 1) * sizeof *dir->symlinks);
}

static inline ReapiFileNode *
file_new(struct host *host, const char *name, const struct digest *digest)
{
	ReapiFileNode *file = REAPI_NEW(host->arena, file_node);

	file->name = arena_strdup(host->arena, name);
	file->digest = reapi_digest_new(host->arena, digest);
	return file;
}

static inline const char *
letters(struct host *host, char letter, size_t len)
{
	char *text = arena_alloc(host->arena, len + 1);

	return memset(text, letter, len);
}

/* One of each, with names on both sides of "." and "..". */
static inline struct digest
small_tree(struct host *host)
{
	ReapiDirectory *deep = dir_new(host), *a = dir_new(host), *root = dir_new(host);
	struct digest bytes = host_put(host, "bytes", 5);

	dir_add_file(host, deep, "y", "why", false);
	struct digest deep_digest = dir_put(host, deep);
	dir_add_file(host, a, "run", "#!/bin/sh\n", true);
	dir_add_file(host, a, "empty", "", false);
	dir_add_file(host, a, "empty-run", "", true);
	dir_add_symlink(host, a, "link", "run");
	dir_add_dir(host, a, "deep", &deep_digest);
	struct digest a_digest = dir_put(host, a);
	dir_add_dir(host, root, "a", &a_digest);
	dir_add_dir(host, root, "...", &deep_digest);
	dir_add_dir(host, root, "b", &digest_empty);
	dir_add_file(host, root, "-first", "first", false);
	dir_add_file(host, root, ".-", "between", false);
	dir_add_file(host, root, "\xff", "last", true);
	dir_add_symlink(host, root, "!", "/nowhere");
	with_mtime(host, dir_add_digest(host, root, "old", &bytes, false), -1, 999999999);
	with_mtime(host, dir_add_digest(host, root, "new", &bytes, true), INT64_C(1) << 34, 1);
	with_mtime(host, dir_add_digest(host, root, "same", &bytes, true), IMAGE_TIME_S, 0);
	with_mode(host, dir_add_digest(host, root, "mode", &bytes, false), 06751);
	with_mode(host, dir_add_digest(host, root, "mode-0", &bytes, true), 0);
	with_mode(host, dir_add_digest(host, root, "mode-empty", &digest_empty, true), 0110);
	with_mtime(host, root->files[root->n_files - 1], 86400, 5);
	return dir_put(host, root);
}

#endif
