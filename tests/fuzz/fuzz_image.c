/*
 * Any bytes as an image, and any Directory as a tree.
 *
 * The input as an image: what follows the first 1024 bytes, up to a whole block, under a seal of
 * its own; what is accepted is told consistently, and not with one more byte changed.  The input as
 * a Directory, above empty ones: what is encoded is accepted.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "cas/directory.h"
#include "cas/image.h"
#include "cas/image_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int
add_blob(void *arg, const struct digest *digest, bool executable)
{
	struct index_tree *told = arg;

	(void)executable;
	CHECK(digest->size_bytes > 0);
	told->files++;
	told->bytes += (uint64_t)digest->size_bytes;
	return 0;
}

static void
try_image(struct arena *arena, const uint8_t *data, size_t size)
{
	size_t len = (IMAGE_SUPER_AT + size + IMAGE_BLOCK - 1) / IMAGE_BLOCK * IMAGE_BLOCK;
	struct index_tree told = {0}, totals = {0};
	uint8_t *bytes = calloc(1, len); /* so that a read behind it is seen */

	CHECK(bytes != NULL);
	memcpy(bytes + IMAGE_SUPER_AT, data, size);
	image_seal(bytes, len);
	int rc = image_check(arena, bytes, len, 0, 0, add_blob, &told, &totals);
	CHECK(rc == 0 || rc == -EBADMSG);
	if (rc == 0) {
		CHECK(told.bytes == totals.bytes && told.files <= totals.files);
		CHECK(totals.directories > 0);
		bytes[data[size - 1] * (len / 256)] ^= 1;
		CHECK(image_check(arena, bytes, len, 0, 0, NULL, NULL, NULL) == -EBADMSG);
	} else {
		CHECK(told.files == 0 && totals.directories == 0);
	}
	free(bytes);
}

static void
try_directory(struct arena *arena, ReapiDirectory *message)
{
	ReapiDirectory *nothing = REAPI_NEW(arena, directory);
	struct tree_dir empty = {.message = nothing, .children_read = true};
	struct tree_dir root = {.message = message, .children_read = true};
	struct index_tree totals;
	uint8_t *bytes;
	size_t len;

	root.children = arena_alloc(arena, (message->n_directories + 1) * sizeof(void *));
	for (size_t i = 0; i < message->n_directories; i++)
		root.children[i] = &empty;
	root.totals.directories = 1 + (uint32_t)message->n_directories;
	root.totals.files = (uint32_t)message->n_files;
	root.totals.symlinks = (uint32_t)message->n_symlinks;
	if (image_encode(arena, &root, 0, 0, &bytes, &len, NULL) != 0)
		return;
	CHECK(image_check(arena, bytes, len, 0, 0, NULL, NULL, &totals) == 0);
	CHECK(totals.files == root.totals.files && totals.symlinks == root.totals.symlinks);
	CHECK(totals.directories == root.totals.directories);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena *arena = arena_new();
	ReapiDirectory *directory = REAPI_DECODE(arena, directory, data, size);

	if (size > 0)
		try_image(arena, data, size);
	if (directory != NULL && directory_check(directory, NULL) == 0)
		try_directory(arena, directory);
	arena_free(arena);
	return 0;
}
