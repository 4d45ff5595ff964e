/*
 * An entry's bytes are the ActionResult's followed by a seal: one more field, unknown to the
 * schema, with the SHA-256 of what comes before it.  Nothing here waits for the disk, and a file
 * that a power cut left empty would otherwise read as a success without outputs.
 */
#include "cas/action_cache.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/fs.h"
#include "cas/digest_map.h"
#include "cas/directory.h"
#include "cas/hash.h"
#include "cas/internal.h"
#include "cas/message.h"

/* Field 536870911 (the largest), a byte string of 32. */
static const uint8_t SEAL_TAG[] = {0xfa, 0xff, 0xff, 0xff, 0x0f, DIGEST_HASH_BYTES};
enum { SEAL_SIZE = sizeof(SEAL_TAG) + DIGEST_HASH_BYTES };

static const char *
entry_name(const struct digest *action, char *name)
{
	return cas_blob_name(action, false, name);
}

static int
entry_write(struct cas *cas, const char *name, const void *result, size_t len)
{
	struct digest sum;
	struct temp temp;
	int rc = hash_bytes(result, len, &sum);

	if (rc == 0)
		rc = temp_open(cas, &temp);
	if (rc != 0)
		return rc;
	rc = fs_write_all(temp.fd, result, len);
	if (rc == 0)
		rc = fs_write_all(temp.fd, SEAL_TAG, sizeof(SEAL_TAG));
	if (rc == 0)
		rc = fs_write_all(temp.fd, sum.hash, sizeof(sum.hash));
	if (rc == 0 && FAULTY(renameat, renameat(cas->tmp_fd, temp.name, cas->ac_fd, name)) != 0)
		rc = -errno;
	if (rc == 0)
		temp.name[0] = '\0';
	temp_discard(cas, &temp);
	return rc;
}

int
action_cache_put(struct cas *cas, const struct digest *action, const void *result, size_t len)
{
	char name[CAS_NAME_SIZE];
	struct arena *arena;
	int rc = cas_usable(cas, true);

	if (rc != 0)
		return rc;
	if (len > CAS_MESSAGE_MAX)
		return -EFBIG;
	arena = arena_new();
	if (REAPI_DECODE(arena, action_result, result, len) == NULL)
		rc = -EINVAL;
	arena_free(arena);
	return rc != 0 ? rc : entry_write(cas, entry_name(action, name), result, len);
}

static bool
seal_holds(const uint8_t *data, size_t len)
{
	const uint8_t *seal = data + len - SEAL_SIZE;
	struct digest found;

	return len >= SEAL_SIZE && memcmp(seal, SEAL_TAG, sizeof(SEAL_TAG)) == 0 &&
	    hash_bytes(data, len - SEAL_SIZE, &found) == 0 &&
	    memcmp(found.hash, seal + sizeof(SEAL_TAG), sizeof(found.hash)) == 0;
}

static void
entry_remove(struct cas *cas, const char *name)
{
	if (cas->writable)
		unlinkat(cas->ac_fd, name, 0);
}

static int
entry_read(struct cas *cas, struct arena *arena, const char *name, ReapiActionResult **ret_result)
{
	ReapiActionResult *result = NULL;
	uint8_t *data;
	size_t len;
	int rc = fs_read_file(cas->ac_fd, name, CAS_MESSAGE_MAX + SEAL_SIZE, &data, &len);

	if (rc == -ENOENT)
		return rc;
	if (rc == 0) {
		if (seal_holds(data, len))
			result = REAPI_DECODE(arena, action_result, data, len - SEAL_SIZE);
		free(data);
	}
	if (rc != 0 && rc != -EFBIG && rc != -EINVAL)
		return rc;
	if (result == NULL) {
		entry_remove(cas, name);
		return -ENOENT;
	}
	*ret_result = result;
	return 0;
}

/* Hands each digest on once. */
struct blob_visit {
	struct digest_map seen, trees;
	int (*on_blob)(void *arg, const struct digest *digest);
	void *arg;
};

static int
visit_digest(struct blob_visit *visit, const struct digest *digest)
{
	bool is_new;

	digest_map_add(&visit->seen, digest, &is_new);
	return is_new ? visit->on_blob(visit->arg, digest) : 0;
}

static int
visit_message(struct blob_visit *visit, const ReapiDigest *message)
{
	struct digest digest;

	return reapi_digest_get(message, &digest) != 0 ? -EINVAL : visit_digest(visit, &digest);
}

static int
visit_directory_files(struct blob_visit *visit, const ReapiDirectory *directory)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < directory->n_files; i++)
		rc = visit_message(visit, directory->files[i]->digest);
	return rc;
}

/* Each Tree is read once, and its memory given back, however often and however many are named. */
static int
visit_tree_files(struct cas *cas, struct blob_visit *visit, const struct digest *digest)
{
	struct arena *arena = arena_new();
	ReapiTree *tree;
	void *message;
	int rc;

	rc = message_load(cas, arena, digest, MESSAGE_TYPE(tree), "Tree", &message, NULL);
	if (rc == 0) {
		tree = message;
		if (tree->root != NULL)
			rc = visit_directory_files(visit, tree->root);
		for (size_t i = 0; rc == 0 && i < tree->n_children; i++)
			rc = visit_directory_files(visit, tree->children[i]);
	} else if (rc == -EBADMSG) {
		rc = -ENOENT;
	}
	arena_free(arena);
	return rc;
}

static int
visit_tree(struct cas *cas, struct blob_visit *visit, const ReapiDigest *tree_digest)
{
	struct digest digest;
	bool is_new;
	int rc;

	if (reapi_digest_get(tree_digest, &digest) != 0)
		return -EINVAL;
	digest_map_add(&visit->trees, &digest, &is_new);
	if (!is_new)
		return 0;
	rc = visit_digest(visit, &digest);
	return rc == 0 ? visit_tree_files(cas, visit, &digest) : rc;
}

static int
on_walked_directory(void *arg, const struct digest *digest, const ReapiDirectory *directory)
{
	struct blob_visit *visit = arg;
	int rc = visit_digest(visit, digest);

	return rc != 0 ? rc : visit_directory_files(visit, directory);
}

static int
visit_output_directory(
    struct cas *cas, struct blob_visit *visit, const ReapiOutputDirectory *output)
{
	const struct tree_visitor visitor = {visit, on_walked_directory, NULL};
	struct digest root;
	int rc = 0;

	if (output->tree_digest != NULL)
		rc = visit_tree(cas, visit, output->tree_digest);
	if (rc != 0 || output->root_directory_digest == NULL)
		return rc;
	if (reapi_digest_get(output->root_directory_digest, &root) != 0)
		return -EINVAL;
	rc = tree_walk(cas, &root, &visitor, NULL);
	return rc == -EBADMSG ? -ENOENT : rc;
}

int
action_result_blobs(struct cas *cas, struct arena *arena, const ReapiActionResult *result,
    int (*on_blob)(void *arg, const struct digest *digest), void *arg)
{
	struct blob_visit visit = {.on_blob = on_blob, .arg = arg};
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < result->n_output_files; i++)
		rc = visit_message(&visit, result->output_files[i]->digest);
	if (rc == 0 && result->stdout_digest != NULL)
		rc = visit_message(&visit, result->stdout_digest);
	if (rc == 0 && result->stderr_digest != NULL)
		rc = visit_message(&visit, result->stderr_digest);
	for (size_t i = 0; rc == 0 && i < result->n_output_directories; i++)
		rc = visit_output_directory(cas, &visit, result->output_directories[i]);
	digest_map_fini(&visit.seen);
	digest_map_fini(&visit.trees);
	return rc;
}

static int
blob_present(void *arg, const struct digest *digest)
{
	int rc = cas_has(arg, digest);

	return rc < 0 ? rc : rc == 1 ? 0 : -ENOENT;
}

int
action_cache_get(struct cas *cas, struct arena *arena, const struct digest *action,
    ReapiActionResult **ret_result)
{
	char name[CAS_NAME_SIZE];
	ReapiActionResult *result;
	int rc = cas_usable(cas, false);

	entry_name(action, name);
	if (rc == 0 && cas->writable)
		utimensat(cas->ac_fd, name, NULL, AT_SYMLINK_NOFOLLOW);
	if (rc == 0)
		rc = entry_read(cas, arena, name, &result);
	if (rc != 0)
		return rc;
	rc = action_result_blobs(cas, arena, result, blob_present, cas);
	if (rc == -ENOENT || rc == -EINVAL) {
		entry_remove(cas, name);
		return rc == -ENOENT ? -ESTALE : -ENOENT;
	}
	if (rc == 0)
		*ret_result = result;
	return rc;
}
