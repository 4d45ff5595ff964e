#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "cas/reapi.h"

enum { BLOCK_MIN = 16 << 10, BLOCK_GROWTH_MAX = 4 << 20, ALIGNMENT = 16 };

struct block {
	struct block *next;
	size_t size, used; /* of data */
	_Alignas(ALIGNMENT) uint8_t data[];
};

struct arena {
	struct block *blocks; /* the newest first */
};

struct arena *
arena_new(void)
{
	struct arena *arena = calloc(1, sizeof(*arena));

	CHECK(arena != NULL);
	return arena;
}

static void
blocks_free(struct block *block)
{
	while (block != NULL) {
		struct block *next = block->next;

		free(block);
		block = next;
	}
}

void
arena_reset(struct arena *arena)
{
	struct block **largest = &arena->blocks, *kept;

	for (struct block **at = &arena->blocks; *at != NULL; at = &(*at)->next)
		if ((*at)->size > (*largest)->size)
			largest = at;
	kept = *largest;
	if (kept == NULL)
		return;
	*largest = kept->next;
	blocks_free(arena->blocks);
	kept->next = NULL;
	kept->used = 0;
	arena->blocks = kept;
}

void
arena_free(struct arena *arena)
{
	if (arena == NULL)
		return;
	blocks_free(arena->blocks);
	free(arena);
}

static struct block *
block_add(struct arena *arena, size_t size)
{
	size_t wanted = arena->blocks == NULL ? BLOCK_MIN : 2 * arena->blocks->size;
	struct block *block;

	if (wanted > BLOCK_GROWTH_MAX)
		wanted = BLOCK_GROWTH_MAX;
	if (wanted < size)
		wanted = size;
	block = malloc(sizeof(*block) + wanted);
	CHECK(block != NULL);
	block->size = wanted;
	block->used = 0;
	block->next = arena->blocks;
	arena->blocks = block;
	return block;
}

void *
arena_alloc(struct arena *arena, size_t size)
{
	struct block *block = arena->blocks;
	void *place;

	CHECK(size <= SIZE_MAX / 4);
	size = (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
	if (block == NULL || block->size - block->used < size)
		block = block_add(arena, size);
	place = block->data + block->used;
	block->used += size;
	return memset(place, 0, size);
}

char *
arena_strdup(struct arena *arena, const char *text)
{
	size_t size = strlen(text) + 1;

	return memcpy(arena_alloc(arena, size), text, size);
}

char *
arena_printf(struct arena *arena, const char *format, ...)
{
	va_list args, again;
	char *text;
	int len;

	va_start(args, format);
	va_copy(again, args);
	len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	CHECK(len >= 0);
	text = arena_alloc(arena, (size_t)len + 1);
	vsnprintf(text, (size_t)len + 1, format, again);
	va_end(again);
	return text;
}
