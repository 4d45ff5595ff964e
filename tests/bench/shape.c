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
    {"small_flat", 64, 1024, 0, LAYOUT_FLAT},
    {"pcm_cluster", 219, 190 * 1024, 0, LAYOUT_FLAT},
    {"deep_nested", 200, 256 * 1024, 5, LAYOUT_CHAIN},
    {"medium_flat", 635, 290 * 1024, 0, LAYOUT_FLAT},
    {"large_flat", 1978, 245 * 1024, 0, LAYOUT_FLAT},
    {"p95_dirs", 1978, 24 * 1024, 150, LAYOUT_TWO_LEVELS},
    {"huge", 20000, 4 * 1024, 2000, LAYOUT_DEEP},
};
const size_t shapes_count = sizeof(shapes) / sizeof(shapes[0]);

enum { CHANGED_BYTES_MAX = 32 * 1024 };

/* directories[0] is "in"; a flat shape's files lie there, the others' in the directories below. */
static unsigned
parent_of(const struct shape *shape, unsigned directory)
{
	switch (shape->layout) {
	case LAYOUT_CHAIN:
		return directory - 1;
	case LAYOUT_TWO_LEVELS:
		return directory <= 10 ? 0 : 1 + directory % 10;
	case LAYOUT_DEEP:
		return (directory - 1) / 12;
	case LAYOUT_FLAT:
		break;
	}
	return 0;
}

static void
name_directory(struct filled_shape *filled, unsigned i, const char *suffix)
{
	if (i == 0)
		snprintf(filled->directories[0], sizeof(filled->directories[0]), "in%s", suffix);
	else
		snprintf(filled->directories[i], sizeof(filled->directories[i]), "%.100s/d%u%s",
		    filled->directories[parent_of(filled->shape, i)], i - 1, suffix);
}

/* `renamed`: the directory whose name has the suffix. */
static void
name_directories(struct filled_shape *filled, unsigned renamed, const char *suffix)
{
	unsigned i;

	for (i = 0; i < filled->directory_count; i++)
		name_directory(filled, i, i == renamed ? suffix : "");
}

static void
fill_file(struct cas *cas, const void *payload, size_t bytes, struct shape_file *file)
{
	int rc = cas_put_bytes(cas, payload, bytes, &file->digest);

	if (rc < 0)
		errx(1, "cannot store a blob: %s", strerror(-rc));
	cas_blob_name(&file->digest, false, file->blob);
}

void
shape_fill(struct cas *cas, const struct shape *shape, struct filled_shape *ret_filled)
{
	uint8_t *payload = malloc(shape->file_bytes);
	struct shape_file *file;
	unsigned i, below = shape->directories;

	*ret_filled = (struct filled_shape){.shape = shape, .directory_count = 1 + below};
	ret_filled->files = calloc(shape->files, sizeof(*ret_filled->files));
	ret_filled->directories = calloc(1 + below, sizeof(*ret_filled->directories));
	if (payload == NULL || ret_filled->files == NULL || ret_filled->directories == NULL)
		err(1, "%s", shape->name);
	arc4random_buf(payload, shape->file_bytes);
	for (i = 0; i < shape->files; i++) {
		file = &ret_filled->files[i];
		memcpy(payload, &i, sizeof(i));
		fill_file(cas, payload, shape->file_bytes, file);
		if (below > 0)
			file->directory = 1 + i * below / shape->files;
	}
	name_directories(ret_filled, 0, "");
	free(payload);
}

void
shape_free(struct filled_shape *filled)
{
	free(filled->files);
	free(filled->directories);
	*filled = (struct filled_shape){0};
}

void
shape_copy(const struct filled_shape *from, struct filled_shape *ret_filled)
{
	*ret_filled = *from;
	ret_filled->files = calloc(from->shape->files, sizeof(*from->files));
	ret_filled->directories = calloc(from->directory_count, sizeof(*from->directories));
	if (ret_filled->files == NULL || ret_filled->directories == NULL)
		err(1, "%s", from->shape->name);
	shape_restore(from, ret_filled);
}

void
shape_restore(const struct filled_shape *from, struct filled_shape *filled)
{
	memcpy(filled->files, from->files, from->shape->files * sizeof(*from->files));
	memcpy(filled->directories, from->directories,
	    from->directory_count * sizeof(*from->directories));
	filled->root = from->root;
}

static void
name_paths(struct filled_shape *filled)
{
	struct shape_file *file;
	unsigned i;

	for (i = 0; i < filled->shape->files; i++) {
		file = &filled->files[i];
		snprintf(file->path, sizeof(file->path), "%s/%s",
		    filled->directories[file->directory], file->name);
	}
}

static void
name_files(struct filled_shape *filled)
{
	static unsigned variant;
	unsigned i;

	variant++;
	for (i = 0; i < filled->shape->files; i++)
		snprintf(filled->files[i].name, sizeof(filled->files[i].name),
		    "source_%05u.%d.%u.o", i, (int)getpid(), variant);
	name_paths(filled);
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

/* Room for what each directory has: most have few. */
static ReapiDirectory **
new_directories(struct arena *arena, const struct filled_shape *filled)
{
	ReapiDirectory **directories =
	    arena_alloc(arena, filled->directory_count * sizeof(ReapiDirectory *));
	unsigned(*counts)[2] = arena_alloc(arena, filled->directory_count * sizeof(*counts));
	unsigned i;

	for (i = 0; i < filled->shape->files; i++)
		counts[filled->files[i].directory][0]++;
	for (i = 1; i < filled->directory_count; i++)
		counts[parent_of(filled->shape, i)][1]++;
	for (i = 0; i < filled->directory_count; i++)
		directories[i] = new_directory(arena, counts[i][0], counts[i][1]);
	return directories;
}

static void
store_tree(struct cas *cas, struct filled_shape *filled)
{
	struct arena *arena = arena_new();
	ReapiDirectory *root = new_directory(arena, 0, 1);
	ReapiDirectory **directories = new_directories(arena, filled);
	ReapiFileNode *node;
	struct digest digest;
	unsigned i;

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
shape_change(struct cas *cas, struct filled_shape *filled, unsigned count)
{
	unsigned files = filled->shape->files, bytes = filled->shape->file_bytes, i;
	uint8_t payload[CHANGED_BYTES_MAX];

	if (bytes > sizeof(payload))
		bytes = sizeof(payload);
	for (i = 0; i < count; i++) {
		arc4random_buf(payload, bytes);
		fill_file(cas, payload, bytes, &filled->files[(2 * i + 1) * files / (2 * count)]);
	}
	store_tree(cas, filled);
}

void
shape_rename(struct cas *cas, struct filled_shape *filled)
{
	static unsigned renamed;
	char suffix[32];

	snprintf(suffix, sizeof(suffix), "_%d_%u", (int)getpid(), renamed++);
	name_directories(filled, filled->directory_count / 2, suffix);
	name_paths(filled);
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

void
shape_unlink(const struct filled_shape *filled, int rootfd)
{
	unsigned i;

	for (i = 0; i < filled->shape->files; i++)
		if (unlinkat(rootfd, filled->files[i].path, 0) < 0)
			err(1, "unlink %s", filled->files[i].path);
	for (i = filled->directory_count; i-- > 0;)
		if (unlinkat(rootfd, filled->directories[i], AT_REMOVEDIR) < 0)
			err(1, "rmdir %s", filled->directories[i]);
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
