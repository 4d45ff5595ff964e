/* FindMissingBlobs, BatchUpdateBlobs, BatchReadBlobs and GetTree, as a client sees them. */
#include <zstd.h>

#include "tests/cmocka_wrap.h"
#include "tests/unit/gateway/gateway_host.h"

static ReapiDigest *
digest_new(const struct digest *digest)
{
	return reapi_digest_new(host.arena, digest);
}

static char *
text(const char *value)
{
	return arena_strdup(host.arena, value);
}

/* Bytes that no other blob has. */
static uint8_t *
fresh(size_t len)
{
	static unsigned number;
	uint8_t *data = arena_alloc(host.arena, len + 24);

	snprintf((char *)data, len + 24, "fresh blob %u", ++number);
	for (size_t i = 20; i < len; i++)
		data[i] = (uint8_t)(i * 31 / 7 + number);
	return data;
}

static struct digest
digest_of(const uint8_t *data, size_t len)
{
	struct digest digest;

	assert_int_equal(hash_bytes(data, len, &digest), 0);
	return digest;
}

static void
expect_code(struct rpc_call *call, enum rpc_code code)
{
	assert_true(call->ended);
	if (call->code != code)
		fail_msg("code %d (%s), expected %d", call->code, call->text, code);
	if (code != RPC_OK)
		assert_true(call->text[0] != '\0');
}

static const struct rpc_method *const unary[] = {&method_find_missing_blobs,
    &method_batch_update_blobs, &method_batch_read_blobs, &method_get_tree};

/* Bytes that are no message, a bad instance, another digest function: each method says no. */
static void
what_no_method_takes(void **state)
{
	static const uint8_t broken[][8] = {{0x0a, 0xff}, {0x12, 0x05, 0x0a}, {0x07}, {0xff}};
	static const char *const wrong[] = {"/", "a//b", "x/blobs", "uploads", "a\nb"};
	struct rpc_call *call;

	for (size_t m = 0; m < sizeof(unary) / sizeof(unary[0]); m++) {
		for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
			call = call_new(&host.gateway, unary[m]);
			call_message(call, broken[i], strlen((const char *)broken[i]));
			expect_code(call, RPC_INVALID_ARGUMENT);
			call_free(call);
		}
		for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
			uint8_t request[64] = {0x0a, (uint8_t)strlen(wrong[i])}; /* instance_name */

			memcpy(request + 2, wrong[i], strlen(wrong[i]));
			call = call_new(&host.gateway, unary[m]);
			call_message(call, request, 2 + strlen(wrong[i]));
			expect_code(call, RPC_INVALID_ARGUMENT);
			call_free(call);
		}
	}
}

static ReapiFindMissingBlobsRequest *
find_of(const struct digest *digests, size_t count)
{
	ReapiFindMissingBlobsRequest *request = REAPI_NEW(host.arena, find_missing_blobs_request);

	request->blob_digests = arena_alloc(host.arena, (count + 1) * sizeof(ReapiDigest *));
	for (size_t i = 0; i < count; i++)
		request->blob_digests[request->n_blob_digests++] = digest_new(&digests[i]);
	return request;
}

static void
each_missing_one_once(void **state)
{
	uint8_t *there = fresh(100), *gone = fresh(200);
	struct digest digests[] = {host_put(there, 100), digest_of(gone, 200), digest_empty,
	    digest_of(gone, 200), digest_of(gone, 199), digest_of(there, 100)};
	uint64_t asked = host_counter(COUNTER_blobs_asked);
	const ReapiFindMissingBlobsResponse *response;
	struct rpc_call *call;

	call = host_call(&method_find_missing_blobs, &find_of(digests, 6)->base);
	expect_code(call, RPC_OK);
	response = host_answer(call, 0, REAPI_TYPE(find_missing_blobs_response));
	assert_int_equal(response->n_missing_blob_digests, 2);
	assert_int_equal(response->missing_blob_digests[0]->size_bytes, 200);
	assert_int_equal(response->missing_blob_digests[1]->size_bytes, 199);
	assert_int_equal(host_counter(COUNTER_blobs_asked), asked + 6);
	call_free(call);
	/* the right bytes under the wrong size are another blob */
	digests[0].size_bytes = 101;
	call = host_call(&method_find_missing_blobs, &find_of(digests, 1)->base);
	response = host_answer(call, 0, REAPI_TYPE(find_missing_blobs_response));
	assert_int_equal(response->n_missing_blob_digests, 1);
	call_free(call);
	call = host_call(&method_find_missing_blobs, &find_of(digests, 0)->base);
	expect_code(call, RPC_OK);
	call_free(call);
}

static void
digests_that_are_none(void **state)
{
	ReapiFindMissingBlobsRequest *request = find_of(&digest_empty, 1);
	static const char *const hashes[] = {"", "abc", "../../../../../../etc/passwd",
	    "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855"};
	struct rpc_call *call;

	for (size_t i = 0; i < sizeof(hashes) / sizeof(hashes[0]); i++) {
		request->blob_digests[0]->hash = text(hashes[i]);
		call = host_call(&method_find_missing_blobs, &request->base);
		expect_code(call, RPC_INVALID_ARGUMENT);
		call_free(call);
	}
	request = find_of(&digest_empty, 1);
	request->blob_digests[0]->size_bytes = -1;
	call = host_call(&method_find_missing_blobs, &request->base);
	expect_code(call, RPC_INVALID_ARGUMENT);
	call_free(call);
	request = find_of(&digest_empty, 1);
	request->digest_function = 9; /* BLAKE3 */
	call = host_call(&method_find_missing_blobs, &request->base);
	expect_code(call, RPC_INVALID_ARGUMENT);
	call_free(call);
}

static ReapiBatchUpdateBlobsRequest *
batch_new(size_t room)
{
	ReapiBatchUpdateBlobsRequest *request = REAPI_NEW(host.arena, batch_update_blobs_request);

	request->requests = arena_alloc(host.arena, room * sizeof(void *));
	return request;
}

static ReapiBatchUpdateRequest *
batch_add(ReapiBatchUpdateBlobsRequest *request, const struct digest *digest, const uint8_t *data,
    size_t len)
{
	ReapiBatchUpdateRequest *one = REAPI_NEW(host.arena, batch_update_blobs_request__request);

	one->digest = digest == NULL ? NULL : digest_new(digest);
	one->data = (ProtobufCBinaryData){len, (uint8_t *)(uintptr_t)data};
	request->requests[request->n_requests++] = one;
	return one;
}

/* Each blob has an answer of its own, in order; the bad ones harm no good one. */
static void
a_batch_of_good_and_bad(void **state)
{
	static const enum rpc_code expected[] = {RPC_OK, RPC_INVALID_ARGUMENT, RPC_INVALID_ARGUMENT,
	    RPC_INVALID_ARGUMENT, RPC_OK, RPC_INVALID_ARGUMENT, RPC_OK, RPC_INVALID_ARGUMENT,
	    RPC_INVALID_ARGUMENT};
	ReapiBatchUpdateBlobsRequest *request = batch_new(9);
	const ReapiBatchUpdateBlobsResponse *response;
	uint8_t *good = fresh(1000), *other = fresh(1000), *packed = arena_alloc(host.arena, 2000);
	struct digest good_digest = digest_of(good, 1000), other_digest = digest_of(other, 1000),
		      wrong;
	size_t len = ZSTD_compress(packed, 2000, other, 1000, 1);
	struct rpc_call *call;

	batch_add(request, &good_digest, good, 1000);
	batch_add(request, NULL, good, 1000);
	batch_add(request, &good_digest, good, 999); /* fewer */
	wrong = good_digest;
	wrong.hash[0] ^= 1;
	batch_add(request, &wrong, good, 1000); /* other */
	batch_add(request, &digest_empty, NULL, 0);
	batch_add(request, &other_digest, packed, len - 1)->compressor = COMPRESSOR(ZSTD);
	batch_add(request, &other_digest, packed, len)->compressor = COMPRESSOR(ZSTD);
	wrong = other_digest;
	wrong.size_bytes = 999; /* the frame has more */
	batch_add(request, &wrong, packed, len)->compressor = COMPRESSOR(ZSTD);
	batch_add(request, &good_digest, good, 1000)->compressor = 2; /* DEFLATE */
	call = host_call(&method_batch_update_blobs, &request->base);
	expect_code(call, RPC_OK);
	response = host_answer(call, 0, REAPI_TYPE(batch_update_blobs_response));
	assert_int_equal(response->n_responses, 9);
	for (size_t i = 0; i < 9; i++)
		if (response->responses[i]->status->code != (int)expected[i])
			fail_msg("blob %zu: %d", i, response->responses[i]->status->code);
	assert_int_equal(cas_has(host.gateway.cas, &good_digest), 1);
	assert_int_equal(cas_has(host.gateway.cas, &other_digest), 1);
	assert_int_equal(cas_has(host.gateway.cas, &wrong), 0);
	call_free(call);
}

/* What does not fit in one batch is said of all of it, by what the digests say. */
static void
a_batch_that_is_too_large(void **state)
{
	ReapiBatchUpdateBlobsRequest *request = batch_new(4);
	struct digest digest = digest_of(fresh(30), 30);
	static uint8_t bomb[BATCH_BYTES_MAX / 8];
	struct rpc_call *call;
	uint8_t *zeros = calloc(1, BATCH_BYTES_MAX);
	const ReapiBatchUpdateBlobsResponse *response;
	size_t len;

	digest.size_bytes = BATCH_BYTES_MAX + 1;
	batch_add(request, &digest, bomb, 1)->compressor = COMPRESSOR(ZSTD);
	call = host_call(&method_batch_update_blobs, &request->base);
	expect_code(call, RPC_INVALID_ARGUMENT);
	call_free(call);
	request->requests[0]->digest->size_bytes = INT64_MAX;
	batch_add(request, &digest, bomb, 1)->digest->size_bytes = INT64_MAX;
	call = host_call(&method_batch_update_blobs, &request->base);
	expect_code(call, RPC_INVALID_ARGUMENT);
	call_free(call);
	/* just as much as may be, out of a small frame */
	request = batch_new(1);
	digest = digest_of(zeros, BATCH_BYTES_MAX);
	len = ZSTD_compress(bomb, sizeof(bomb), zeros, BATCH_BYTES_MAX, 1);
	batch_add(request, &digest, bomb, len)->compressor = COMPRESSOR(ZSTD);
	call = host_call(&method_batch_update_blobs, &request->base);
	expect_code(call, RPC_OK);
	response = host_answer(call, 0, REAPI_TYPE(batch_update_blobs_response));
	assert_int_equal(response->responses[0]->status->code, 0);
	call_free(call);
	free(zeros);
}

/* Over its size the janitor is told; far over it nothing more is taken. */
static void
a_full_store(void **state)
{
	enum { FAR = 40 << 20 };
	ReapiBatchUpdateBlobsRequest *request = batch_new(1);
	uint64_t refused = host_counter(COUNTER_uploads_refused);
	uint8_t *data = fresh(5000), *much = calloc(1, FAR);
	struct digest digest = digest_of(data, 5000), far;
	const ReapiBatchUpdateBlobsResponse *response;
	struct message message;
	struct rpc_call *call;

	batch_add(request, &digest, data, 5000);
	far = host_put(much, FAR);
	free(much);
	host.gateway.limits.cas_size = 1000;
	call = host_call(&method_batch_update_blobs, &request->base);
	response = host_answer(call, 0, REAPI_TYPE(batch_update_blobs_response));
	assert_int_equal(response->responses[0]->status->code, RPC_RESOURCE_EXHAUSTED);
	assert_non_null(strstr(response->responses[0]->status->message, "--cas-size"));
	assert_true(link_next(&message));
	assert_int_equal(message.type, MSG_sweep);
	assert_int_equal(host_counter(COUNTER_uploads_refused), refused + 1);
	assert_int_equal(cas_has(host.gateway.cas, &digest), 0);
	call_free(call);
	cas_drop(host.gateway.cas, &far);
	call = host_call(&method_batch_update_blobs, &request->base);
	assert_int_equal(cas_has(host.gateway.cas, &digest), 1);
	call_free(call);
}

static struct rpc_call *
read_call(const struct digest *digests, size_t count, bool zstd)
{
	static Build__Bazel__Remote__Execution__V2__Compressor__Value accepted[] = {
	    COMPRESSOR(IDENTITY), COMPRESSOR(ZSTD)};
	ReapiBatchReadBlobsRequest *request = REAPI_NEW(host.arena, batch_read_blobs_request);

	request->digests = arena_alloc(host.arena, (count + 1) * sizeof(ReapiDigest *));
	for (size_t i = 0; i < count; i++)
		request->digests[request->n_digests++] = digest_new(&digests[i]);
	request->acceptable_compressors = accepted;
	request->n_acceptable_compressors = zstd ? 2 : 1;
	return host_call(&method_batch_read_blobs, &request->base);
}

static void
blobs_are_read_back(void **state)
{
	uint8_t *small = fresh(30), *large = fresh(50000), unpacked[50000];
	struct digest digests[] = {
	    host_put(small, 30), digest_of(fresh(9), 9), digest_empty, host_put(large, 50000)};
	ReapiBatchReadBlobsResponse *response;
	struct rpc_call *call;

	for (int zstd = 0; zstd < 2; zstd++) {
		call = read_call(digests, 4, zstd);
		expect_code(call, RPC_OK);
		response = host_answer(call, 0, REAPI_TYPE(batch_read_blobs_response));
		assert_int_equal(response->n_responses, 4);
		assert_int_equal(response->responses[0]->compressor, COMPRESSOR(IDENTITY));
		assert_int_equal(response->responses[0]->data.len, 30);
		assert_memory_equal(response->responses[0]->data.data, small, 30);
		assert_int_equal(response->responses[1]->status->code, RPC_NOT_FOUND);
		assert_int_equal(response->responses[1]->digest->size_bytes, 9);
		assert_int_equal(response->responses[2]->status->code, RPC_OK);
		assert_int_equal(response->responses[2]->data.len, 0);
		if (zstd) {
			assert_int_equal(response->responses[3]->compressor, COMPRESSOR(ZSTD));
			assert_int_equal(ZSTD_decompress(unpacked, sizeof(unpacked),
					     response->responses[3]->data.data,
					     response->responses[3]->data.len),
			    50000);
			assert_memory_equal(unpacked, large, 50000);
		} else {
			assert_memory_equal(response->responses[3]->data.data, large, 50000);
		}
		call_free(call);
	}
}

/* No more than fits in a message that any client takes. */
static void
an_answer_has_its_limits(void **state)
{
	enum { COUNT = 40, SIZE = 70000 };
	struct digest digests[COUNT], one;
	struct rpc_call *call;

	for (size_t i = 0; i < COUNT; i++)
		digests[i] = host_put(fresh(SIZE), SIZE);
	call = read_call(digests, COUNT, false);
	expect_code(call, RPC_OK);
	assert_true(call->sent[0].len > (size_t)COUNT * SIZE);
	assert_true(call->sent[0].len < 4 << 20);
	call_free(call);
	one = digests[0];
	one.size_bytes = BATCH_BYTES_MAX + 1;
	call = read_call(&one, 1, false);
	expect_code(call, RPC_INVALID_ARGUMENT);
	call_free(call);
}

/* A Directory with that many files, and these below it. */
static struct digest
directory_put(unsigned files, const struct digest *below, size_t count)
{
	ReapiDirectory *directory = REAPI_NEW(host.arena, directory);

	directory->files = arena_alloc(host.arena, (files + 1) * sizeof(ReapiFileNode *));
	for (unsigned i = 0; i < files; i++) {
		ReapiFileNode *node = REAPI_NEW(host.arena, file_node);

		node->name = arena_printf(host.arena, "f%06u", i);
		node->digest = digest_new(&digest_empty);
		directory->files[directory->n_files++] = node;
	}
	directory->directories =
	    arena_alloc(host.arena, (count + 1) * sizeof(ReapiDirectoryNode *));
	for (size_t i = 0; i < count; i++) {
		ReapiDirectoryNode *node = REAPI_NEW(host.arena, directory_node);

		node->name = arena_printf(host.arena, "d%06zu", i);
		node->digest = digest_new(&below[i]);
		directory->directories[directory->n_directories++] = node;
	}
	return host_put_message(&directory->base);
}

static struct rpc_call *
tree_call(const struct digest *root, int page_size, const char *token)
{
	ReapiGetTreeRequest *request = REAPI_NEW(host.arena, get_tree_request);

	request->root_digest = digest_new(root);
	request->page_size = page_size;
	request->page_token = text(token);
	return host_call(&method_get_tree, &request->base);
}

/* How many Directories in all; the token of the last answer must be empty. */
static size_t
directories_in(const struct rpc_call *call)
{
	size_t count = 0;

	for (size_t i = 0; i < call->sent_count; i++) {
		const ReapiGetTreeResponse *page =
		    host_answer(call, i, REAPI_TYPE(get_tree_response));

		assert_non_null(page);
		count += page->n_directories;
		assert_int_equal(page->next_page_token[0] == '\0', i == call->sent_count - 1);
	}
	return count;
}

static void
a_tree_each_directory_once(void **state)
{
	struct digest leaf = directory_put(3, NULL, 0), below[] = {leaf, leaf, leaf}, middle, root;
	struct rpc_call *call;
	const ReapiGetTreeResponse *page;

	middle = directory_put(1, below, 3);
	below[1] = middle;
	root = directory_put(2, below, 2);
	call = tree_call(&root, 0, "");
	expect_code(call, RPC_OK);
	assert_int_equal(call->sent_count, 1);
	assert_int_equal(directories_in(call), 3);
	page = host_answer(call, 0, REAPI_TYPE(get_tree_response));
	assert_int_equal(page->directories[0]->n_files, 2); /* the root comes first */
	call_free(call);
	/* the empty tree is there without being put */
	call = tree_call(&digest_empty, 0, "");
	expect_code(call, RPC_OK);
	assert_int_equal(directories_in(call), 1);
	call_free(call);
}

static void
a_tree_in_pages(void **state)
{
	struct digest below[10], root, other;
	struct rpc_call *call;
	const ReapiGetTreeResponse *page;
	char token[64];

	for (unsigned i = 0; i < 10; i++)
		below[i] = directory_put(20 + i, NULL, 0);
	root = directory_put(0, below, 10);
	other = directory_put(1, below, 10);
	call = tree_call(&root, 4, "");
	expect_code(call, RPC_OK);
	assert_int_equal(call->sent_count, 3);
	assert_int_equal(directories_in(call), 11);
	page = host_answer(call, 0, REAPI_TYPE(get_tree_response));
	strlcpy(token, page->next_page_token, sizeof(token));
	call_free(call);
	call = tree_call(&root, 100, token); /* from there on */
	assert_int_equal(directories_in(call), 7);
	call_free(call);
	call = tree_call(&other, 0, token); /* another tree's */
	expect_code(call, RPC_INVALID_ARGUMENT);
	call_free(call);
	token[0] = '9';
	call = tree_call(&root, 0, token);
	expect_code(call, RPC_OK);
	call_free(call);
	for (const char *const *bad = (const char *const[]){"x", "-1", "4", "4-",
		 "99999999999999999999999-0", "12-0000000000000000", " 4-0000000000000000", NULL};
	     *bad != NULL; bad++) {
		call = tree_call(&root, 0, *bad);
		expect_code(call, RPC_INVALID_ARGUMENT);
		call_free(call);
	}
	call = tree_call(&root, -1, "");
	expect_code(call, RPC_INVALID_ARGUMENT);
	call_free(call);
}

/* Pages of a usual size; a Directory that is larger makes one of its own. */
static void
a_tree_of_large_directories(void **state)
{
	struct digest below[4], root;
	struct rpc_call *call;

	for (unsigned i = 0; i < 4; i++)
		below[i] = directory_put(i % 2 == 0 ? 20000 : 10 + i, NULL, 0);
	below[2] = directory_put(20001, NULL, 0);
	root = directory_put(0, below, 4);
	assert_true(below[0].size_bytes > 1 << 20);
	call = tree_call(&root, 0, "");
	expect_code(call, RPC_OK);
	assert_int_equal(directories_in(call), 5);
	for (size_t i = 0; i < call->sent_count; i++)
		assert_true(call->sent[i].len < (size_t)below[2].size_bytes + (1 << 20));
	call_free(call);
}

/* Without its root there is no tree; what else is missing is left out. */
static void
a_tree_with_holes(void **state)
{
	struct digest below[2] = {directory_put(41, NULL, 0)}, root;
	struct rpc_call *call;

	below[1] = digest_of(fresh(50), 50);
	root = directory_put(0, below, 2);
	call = tree_call(&root, 0, "");
	expect_code(call, RPC_OK);
	assert_int_equal(directories_in(call), 2);
	call_free(call);
	call = tree_call(&below[1], 0, "");
	expect_code(call, RPC_NOT_FOUND);
	call_free(call);
	root = host_put("no Directory", 12);
	call = tree_call(&root, 0, "");
	expect_code(call, RPC_INVALID_ARGUMENT);
	call_free(call);
}

/* A client that reads slowly, and one that goes between two pages. */
static void
a_tree_one_page_at_a_time(void **state)
{
	struct digest below[10], root;
	ReapiGetTreeRequest *request = REAPI_NEW(host.arena, get_tree_request);
	struct rpc_call *call = call_new(&host.gateway, &method_get_tree);
	const uint8_t *data;
	size_t len;

	for (unsigned i = 0; i < 10; i++)
		below[i] = directory_put(60 + i, NULL, 0);
	root = directory_put(0, below, 10);
	request->root_digest = digest_new(&root);
	request->page_size = 3;
	data = reapi_encode(host.arena, &request->base, &len);
	call->stalled = true;
	call_message(call, data, len);
	assert_int_equal(call->sent_count, 1);
	call_leave(call);
	assert_int_equal(call->sent_count, 1);
	call_free(call);
}

#define TEST(name) cmocka_unit_test_teardown(name, host_renew)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(what_no_method_takes),
	    TEST(each_missing_one_once),
	    TEST(digests_that_are_none),
	    TEST(a_batch_of_good_and_bad),
	    TEST(a_batch_that_is_too_large),
	    TEST(a_full_store),
	    TEST(blobs_are_read_back),
	    TEST(an_answer_has_its_limits),
	    TEST(a_tree_each_directory_once),
	    TEST(a_tree_in_pages),
	    TEST(a_tree_of_large_directories),
	    TEST(a_tree_with_holes),
	    TEST(a_tree_one_page_at_a_time),
	};

	return cmocka_run_group_tests(tests, host_open, host_close);
}
