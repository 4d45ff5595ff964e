#include "cas/tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "cas/digest_map.h"
#include "cas/directory.h"
#include "cas/hash.h"
#include "cas/wire.h"

enum { TREE_TAG_ROOT = 1 << 3 | 2, TREE_TAG_CHILD = 2 << 3 | 2 };

struct member {
	struct digest digest;
	uint8_t *data;
	uint32_t *children; /* indexes of members, in the order of their names */
	size_t child_count, next;
};

struct tree_builder {
	struct arena *arena;
	struct digest_map indexes;
	struct member *members;
	size_t count, room;
};

struct tree_builder *
tree_builder_new(void)
{
	struct tree_builder *builder = calloc(1, sizeof(*builder));

	CHECK(builder != NULL);
	builder->arena = arena_new();
	return builder;
}

void
tree_builder_free(struct tree_builder *builder)
{
	if (builder == NULL)
		return;
	digest_map_fini(&builder->indexes);
	arena_free(builder->arena);
	free(builder->members);
	free(builder);
}

static int
children_find(struct tree_builder *builder, const ReapiDirectory *directory, struct member *member,
    struct error_text *err)
{
	size_t count = directory->n_directories;

	member->children = arena_alloc(builder->arena, (count + 1) * sizeof(*member->children));
	member->child_count = count;
	for (size_t i = 0; i < count; i++) {
		struct digest digest;
		uint32_t *index;

		CHECK(reapi_digest_get(directory->directories[i]->digest, &digest) == 0);
		index = digest_map_find(&builder->indexes, &digest);
		if (index == NULL)
			return error_set(err, -EINVAL,
			    "Tree: directory '%s' was not added before its parent",
			    directory->directories[i]->name);
		member->children[i] = *index;
	}
	return 0;
}

static void
member_add(struct tree_builder *builder, const struct member *member)
{
	bool is_new;
	uint32_t *index = digest_map_add(&builder->indexes, &member->digest, &is_new);

	if (!is_new)
		return;
	if (builder->count == builder->room) {
		builder->room = builder->room == 0 ? 64 : 2 * builder->room;
		builder->members = reallocarray(builder->members, builder->room, sizeof(*member));
		CHECK(builder->members != NULL);
	}
	CHECK(builder->count < UINT32_MAX);
	*index = (uint32_t)builder->count;
	builder->members[builder->count++] = *member;
}

int
tree_builder_add(struct tree_builder *builder, ReapiDirectory *directory, struct digest *ret_digest,
    struct error_text *err)
{
	struct member member = {0};
	size_t len;
	int rc = directory_check(directory, err);

	if (rc != 0)
		return rc;
	directory_sort(directory);
	rc = children_find(builder, directory, &member, err);
	if (rc != 0)
		return rc;
	member.data = reapi_encode(builder->arena, &directory->base, &len);
	rc = hash_bytes(member.data, len, &member.digest);
	if (rc != 0)
		return error_errno(err, rc, "Tree: cannot hash");
	member_add(builder, &member);
	*ret_digest = member.digest;
	return 0;
}

/*
 * Depth first from the root; a member is placed when all below it are, from the end of `order`
 * forward, so that parents come before children.  Children are entered last name first.
 */
static size_t
members_order(struct tree_builder *builder, uint32_t root, uint32_t *order)
{
	uint32_t *stack = calloc(builder->count, sizeof(*stack));
	uint8_t *entered = calloc(builder->count, 1);
	size_t depth = 0, place = builder->count;

	CHECK(stack != NULL);
	CHECK(entered != NULL);
	stack[depth++] = root;
	entered[root] = 1;
	builder->members[root].next = builder->members[root].child_count;
	while (depth > 0) {
		struct member *member = &builder->members[stack[depth - 1]];
		uint32_t child;

		if (member->next == 0) {
			order[--place] = stack[--depth];
			continue;
		}
		child = member->children[--member->next];
		if (entered[child])
			continue;
		entered[child] = 1;
		builder->members[child].next = builder->members[child].child_count;
		stack[depth++] = child;
	}
	free(entered);
	free(stack);
	return place;
}

static size_t
field_size(const struct member *member)
{
	size_t len = (size_t)member->digest.size_bytes;

	return 1 + wire_put_varint(len, NULL) + len;
}

static size_t
field_put(const struct member *member, uint8_t tag, uint8_t *out)
{
	size_t len = (size_t)member->digest.size_bytes, at = 1;

	out[0] = tag;
	at += wire_put_varint(len, out + at);
	memcpy(out + at, member->data, len);
	return at + len;
}

static int
tree_store(struct tree_builder *builder, struct cas *cas, const uint32_t *order, size_t count,
    struct digest *ret_tree)
{
	size_t size = 0, at = 0;
	uint8_t *data;
	int rc;

	for (size_t i = 0; i < count; i++)
		size += field_size(&builder->members[order[i]]);
	if (size > CAS_MESSAGE_MAX)
		return -EFBIG;
	CHECK(size > 0); /* there is a root */
	data = malloc(size);
	if (data == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		at += field_put(&builder->members[order[i]],
		    i == 0 ? TREE_TAG_ROOT : TREE_TAG_CHILD, data + at);
	CHECK(at == size);
	rc = cas_put_bytes(cas, data, size, ret_tree);
	free(data);
	return rc;
}

int
tree_builder_finish(struct tree_builder *builder, struct cas *cas, const struct digest *root,
    bool directories, struct digest *ret_tree, struct error_text *err)
{
	uint32_t *index = digest_map_find(&builder->indexes, root), *order;
	size_t first;
	int rc = 0;

	if (index == NULL)
		return error_set(err, -EINVAL, "Tree: the root was not added");
	order = calloc(builder->count, sizeof(*order));
	CHECK(order != NULL);
	first = members_order(builder, *index, order);
	for (size_t i = first; rc == 0 && directories && i < builder->count; i++) {
		const struct member *member = &builder->members[order[i]];
		struct digest ignored;

		rc = cas_put_bytes(cas, member->data, (size_t)member->digest.size_bytes, &ignored);
	}
	if (rc == 0)
		rc = tree_store(builder, cas, order + first, builder->count - first, ret_tree);
	free(order);
	return rc != 0 ? error_errno(err, rc, "Tree: cannot store") : 0;
}
