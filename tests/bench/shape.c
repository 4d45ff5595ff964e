#include "tests/bench/shape.h"

#include <sys/stat.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "cas/directory.h"
#include "cas/reapi.h"

const struct shape shapes[] = {
    {"small_flat", 64, 1024, 1, false},
    {"pcm_cluster", 219, 190 * 1024, 1, false},
    {"deep_nested", 200, 256 * 1024, 5, true},
    {"medium_flat", 635, 290 * 1024, 1, false},
    {"large_flat", 1978, 245 * 1024, 1, false},
    {"p95_dirs", 1978, 24 * 1024, 150, false},
};
const size_t shapes_count = sizeof(shapes) / sizeof(shapes[0]);

/* directories[0] is "in"; a flat shape's files lie there, the others' in the directories below. */
static unsigned
parent_of(const struct shape *shape, unsigned directory)
{
	if (shape->chain)
		return directory - 1;
	return directory <= 10 ? 0 : 1 + directory % 10;
}

static void
name_directories(struct filled_shape *filled)
{
	unsigned i;

	strlcpy(filled->directories[0], "in", sizeof(filled->directories[0]));
	for (i = 1; i < filled->directory_count; i++)
		snprintf(filled->directories[i], sizeof(filled->directories[i]), "%.100s/d%u",
		    filled->directories[parent_of(filled->shape, i)], i - 1);
}

static void
fill_file(struct cas *cas, const struct shape *shape, const void *payload, struct shape_file *file)
{
	int rc = cas_put_bytes(cas, payload, shape->file_bytes, &file->digest);

	if (rc < 0)
		errx(1, "%s: cannot store a blob: %s", shape->name, strerror(-rc));
	cas_blob_name(&file->digest, false, file->blob);
}

void
shape_fill(struct cas *cas, const struct shape *shape, struct filled_shape *ret_filled)
{
	uint8_t *payload = malloc(shape->file_bytes);
	struct shape_file *file;
	unsigned i, below = shape->directories > 1 ? shape->directories : 0;

	*ret_filled = (struct filled_shape){.shape = shape, .directory_count = 1 + below};
	ret_filled->files = calloc(shape->files, sizeof(*ret_filled->files));
	ret_filled->directories = calloc(1 + below, sizeof(*ret_filled->directories));
	if (payload == NULL || ret_filled->files == NULL || ret_filled->directories == NULL)
		err(1, "%s", shape->name);
	arc4random_buf(payload, shape->file_bytes);
	for (i = 0; i < shape->files; i++) {
		file = &ret_filled->files[i];
		memcpy(payload, &i, sizeof(i));
		fill_file(cas, shape, payload, file);
		if (below > 0)
			file->directory = 1 + i * below / shape->files;
	}
	name_directories(ret_filled);
	free(payload);
}

void
shape_free(struct filled_shape *filled)
{
	free(filled->files);
	free(filled->directories);
	*filled = (struct filled_shape){0};
}

static void
name_files(struct filled_shape *filled)
{
	static unsigned variant;
	struct shape_file *file;
	unsigned i;

	variant++;
	for (i = 0; i < filled->shape->files; i++) {
		file = &filled->files[i];
		snprintf(file->name, sizeof(file->name), "source_%05u.%d.%u.o", i, (int)getpid(),
		    variant);
		snprintf(file->path, sizeof(file->path), "%s/%s",
		    filled->directories[file->directory], file->name);
	}
}

static void
add_directory(
    struct arena *arena, ReapiDirectory *parent, const char *path, const struct digest *digest)
{
	ReapiDirectoryNode *node = REAPI_NEW(arena, directory_node);

	node->name =
	    arena_strdup(arena, strrchr(path, '/') != NULL ? strrchr(path, '/') + 1 : path);
	node->digest = reapi_digest_new(arena, digest);
	parent->directories[parent->n_directories++] = node;
}

static ReapiDirectory *
new_directory(struct arena *arena, unsigned files_max, unsigned directories_max)
{
	ReapiDirectory *directory = REAPI_NEW(arena, directory);

	directory->files = arena_alloc(arena, (files_max + 1) * sizeof(void *));
	directory->directories = arena_alloc(arena, (directories_max + 1) * sizeof(void *));
	return directory;
}

static void
store_directory(
    struct cas *cas, struct arena *arena, ReapiDirectory *directory, struct digest *ret_digest)
{
	int rc;

	directory_sort(directory);
	rc = directory_store(cas, arena, directory, ret_digest);
	if (rc < 0)
		errx(1, "cannot store a Directory: %s", strerror(-rc));
}

static void
store_tree(struct cas *cas, struct filled_shape *filled)
{
	struct arena *arena = arena_new();
	ReapiDirectory *root = new_directory(arena, 0, 1);
	ReapiDirectory **directories;
	ReapiFileNode *node;
	struct digest digest;
	unsigned i;

	directories = arena_alloc(arena, filled->directory_count * sizeof(void *));
	for (i = 0; i < filled->directory_count; i++)
		directories[i] =
		    new_directory(arena, filled->shape->files, filled->directory_count);
	for (i = 0; i < filled->shape->files; i++) {
		ReapiDirectory *directory = directories[filled->files[i].directory];

		node = REAPI_NEW(arena, file_node);
		node->name = arena_strdup(arena, filled->files[i].name);
		node->digest = reapi_digest_new(arena, &filled->files[i].digest);
		directory->files[directory->n_files++] = node;
	}
	for (i = filled->directory_count; i-- > 0;) {
		store_directory(cas, arena, directories[i], &digest);
		add_directory(arena, i > 0 ? directories[parent_of(filled->shape, i)] : root,
		    filled->directories[i], &digest);
	}
	store_directory(cas, arena, root, &filled->root);
	arena_free(arena);
}

void
shape_variant(struct cas *cas, struct filled_shape *filled)
{
	name_files(filled);
	store_tree(cas, filled);
}

void
shape_edit(struct cas *cas, struct filled_shape *filled)
{
	uint8_t *payload = malloc(filled->shape->file_bytes);

	if (payload == NULL)
		err(1, "%s", filled->shape->name);
	arc4random_buf(payload, filled->shape->file_bytes);
	fill_file(cas, filled->shape, payload, &filled->files[filled->shape->files / 2]);
	free(payload);
	store_tree(cas, filled);
}

void
shape_link(const struct filled_shape *filled, int blobs_fd, int rootfd)
{
	unsigned i, file = 0;
	int fd;

	for (i = 0; i < filled->directory_count; i++) {
		if (mkdirat(rootfd, filled->directories[i], 0755) < 0)
			err(1, "mkdir %s", filled->directories[i]);
		fd = openat(rootfd, filled->directories[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			err(1, "open %s", filled->directories[i]);
		for (; file < filled->shape->files && filled->files[file].directory == i; file++) {
			if (linkat(blobs_fd, filled->files[file].blob, fd, filled->files[file].name,
				0) < 0)
				err(1, "link %s", filled->files[file].path);
		}
		close(fd);
	}
	CHECK(file == filled->shape->files);
}

static int
touch_file(const char *path, int rootfd)
{
	char page[4096];
	ssize_t n;
	int fd = openat(rootfd, path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	n = pread(fd, page, sizeof(page), 0);
	close(fd);
	return n > 0 ? 0 : -EIO;
}

int
shape_touch(const struct filled_shape *filled, int rootfd, unsigned percent)
{
	unsigned i, step = percent > 0 ? 100 / percent : 0;
	int rc, touched = 0;

	for (i = 0; step > 0 && i < filled->shape->files; i += step) {
		rc = touch_file(filled->files[i].path, rootfd);
		if (rc < 0)
			return rc;
		touched++;
	}
	return touched;
}
