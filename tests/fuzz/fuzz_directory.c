/*
 * A Directory's bytes from anywhere: decoded, checked, sorted and encoded again, without a store.
 *
 * What passes the check has plain names, and its canonical form decodes to itself.
 */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/fs.h"
#include "cas/directory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_names(const ReapiDirectory *directory)
{
	struct digest digest;

	for (size_t i = 0; i < directory->n_files; i++) {
		const char *name = directory->files[i]->name;

		CHECK(fs_name_check(name, strlen(name)) == 0);
		CHECK(reapi_digest_get(directory->files[i]->digest, &digest) == 0);
	}
	for (size_t i = 0; i < directory->n_directories; i++)
		CHECK(strchr(directory->directories[i]->name, '/') == NULL);
	for (size_t i = 0; i < directory->n_symlinks; i++)
		CHECK(directory->symlinks[i]->target[0] != '\0');
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena *arena = arena_new();
	ReapiDirectory *directory = REAPI_DECODE(arena, directory, data, size);
	struct error_text err;

	if (directory != NULL && directory_check(directory, &err) == 0) {
		uint8_t *encoded, *again;
		size_t len, again_len;

		check_names(directory);
		directory_sort(directory);
		encoded = reapi_encode(arena, &directory->base, &len);
		directory = REAPI_DECODE(arena, directory, encoded, len);
		CHECK(directory != NULL);
		directory_sort(directory);
		again = reapi_encode(arena, &directory->base, &again_len);
		CHECK(len == again_len);
		CHECK(memcmp(encoded, again, len) == 0);
	}
	arena_free(arena);
	return 0;
}
