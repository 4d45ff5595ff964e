/*
 * ContentAddressableStorage.GetTree: each distinct Directory below a root, once, in pages.
 *
 * A page token says how many Directories came before and of which root: asked again with it, the
 * tree is walked again and that many are passed over.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cas/directory.h"
#include "cas/wire.h"
#include "gateway/methods.h"
#include "gateway/service.h"

enum {
	PAGE_BYTES_MAX = 1 << 20,
	PAGE_DIRECTORIES_MAX = 10000,
	TAG_DIRECTORY = 1 << 3 | 2,
	TAG_TOKEN = 2 << 3 | 2,
};

struct tree_answer {
	struct digest root;
	struct digest *directories; /* in the order of the walk */
	size_t count, room, next, page;
};

static int
on_directory(void *arg, const struct digest *digest, const ReapiDirectory *directory)
{
	struct tree_answer *answer = arg;

	if (answer->count == answer->room) {
		size_t room = answer->room == 0 ? 64 : 2 * answer->room;
		struct digest *more = reallocarray(answer->directories, room, sizeof(*more));

		if (more == NULL)
			return -ENOMEM;
		answer->directories = more;
		answer->room = room;
	}
	answer->directories[answer->count++] = *digest;
	return 0;
}

/* What is there is given and the rest left out; without its root there is no tree. */
static int
on_missing(void *arg, const struct digest *digest)
{
	const struct tree_answer *answer = arg;

	return digest_equal(digest, &answer->root) ? -ENOENT : 0;
}

static void
token_make(const struct tree_answer *answer, char token[64])
{
	char hex[DIGEST_HEX_SIZE];

	snprintf(token, 64, "%zu-%.16s", answer->next, digest_to_hex(&answer->root, hex));
}

static bool
token_take(struct tree_answer *answer, const char *token)
{
	char again[64];
	char *end;

	if (token[0] == '\0')
		return true;
	if (token[0] < '0' || token[0] > '9')
		return false;
	errno = 0;
	answer->next = strtoull(token, &end, 10);
	if (errno != 0 || answer->next > answer->count)
		return false;
	token_make(answer, again);
	return strcmp(again, token) == 0;
}

static void
append(uint8_t *out, size_t *at, uint8_t tag, const void *data, size_t len)
{
	out[(*at)++] = tag;
	*at += wire_put_varint(len, out + *at);
	memcpy(out + *at, data, len);
	*at += len;
}

/* Directories as they lie in the store, so that their digests hold for the client too. */
static int
page_fill(struct cas *cas, struct tree_answer *answer, uint8_t *out, size_t room, size_t *ret_len)
{
	size_t at = 0, count = 0;

	while (answer->next < answer->count && count < answer->page) {
		const struct digest *digest = &answer->directories[answer->next];
		uint8_t *data;
		size_t len;
		int rc;

		if (count > 0 && at + (size_t)digest->size_bytes + 96 > room)
			break;
		rc = cas_read(cas, digest, room - 96, &data, &len);
		if (rc == -ENOENT || rc == -EBADMSG) { /* gone since the walk */
			answer->next++;
			continue;
		}
		if (rc != 0)
			return rc;
		append(out, &at, TAG_DIRECTORY, data, len);
		free(data);
		answer->next++;
		count++;
	}
	*ret_len = at;
	return 0;
}

/* A page of a usual size; where one Directory alone is larger, it makes the page. */
static void
page_send(struct rpc_call *call, struct tree_answer *answer)
{
	struct cas *cas = service_cas(call);
	size_t room = PAGE_BYTES_MAX, len;
	char token[64];
	uint8_t *out;
	int rc;

	if (cas == NULL)
		return;
	if (answer->next < answer->count &&
	    (size_t)answer->directories[answer->next].size_bytes + 96 > room)
		room = (size_t)answer->directories[answer->next].size_bytes + 96;
	out = rpc_send_begin(call, room + 96);
	rc = page_fill(cas, answer, out, room, &len);
	if (rc != 0) {
		rpc_send_drop(call);
		service_fail(call, rc, "a Directory");
		return;
	}
	if (answer->next < answer->count) {
		token_make(answer, token);
		append(out, &len, TAG_TOKEN, token, strlen(token));
	}
	rpc_send_commit(call, len);
}

static void
tree_start(struct rpc_call *call, struct tree_answer *answer, struct cas *cas,
    const ReapiGetTreeRequest *request)
{
	const struct tree_visitor visitor = {answer, on_directory, on_missing};
	struct error_text err = {""};
	int rc;

	rc = tree_walk(cas, &answer->root, &visitor, &err);
	if (rc == -ENOENT || rc == -EBADMSG) {
		rpc_finish(call, RPC_NOT_FOUND, "the root Directory is not in the store");
		return;
	}
	if (rc != 0) {
		rpc_finish(call, service_code(rc), "%s", err.text);
		return;
	}
	answer->page = PAGE_DIRECTORIES_MAX;
	if (request->page_size > 0 && (size_t)request->page_size < answer->page)
		answer->page = (size_t)request->page_size;
	if (!token_take(answer, request->page_token)) {
		rpc_finish(call, RPC_INVALID_ARGUMENT, "the page token is not of this tree");
		return;
	}
	page_send(call, answer);
}

static void
on_get_tree(struct rpc_call *call, void *state, const uint8_t *data, size_t len)
{
	struct tree_answer *answer = state;
	struct arena *arena = arena_new();
	const ReapiGetTreeRequest *request =
	    service_decode(call, arena, REAPI_TYPE(get_tree_request), data, len);
	struct cas *cas;

	if (request == NULL || !service_instance(call, request->instance_name) ||
	    !service_digest_function(call, (int)request->digest_function) ||
	    !service_digest(call, request->root_digest, "root_digest", &answer->root))
		goto out;
	if (request->page_size < 0)
		rpc_finish(call, RPC_INVALID_ARGUMENT, "page_size %d", request->page_size);
	else if ((cas = service_cas(call)) != NULL)
		tree_start(call, answer, cas, request);
out:
	arena_free(arena);
}

static void
on_page_sent(struct rpc_call *call, void *state)
{
	struct tree_answer *answer = state;

	if (answer->next < answer->count)
		page_send(call, answer);
	else
		rpc_finish(call, RPC_OK, "%s", "");
}

static void
on_end(struct rpc_call *call, void *state)
{
	struct tree_answer *answer = state;

	free(answer->directories);
	answer->directories = NULL;
}

const struct rpc_method method_get_tree = {
    .path = REAPI_METHOD("ContentAddressableStorage", "GetTree"),
    .state_size = sizeof(struct tree_answer),
    .on_message = on_get_tree,
    .on_sent = on_page_sent,
    .on_end = on_end};
