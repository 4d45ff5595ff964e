#include "gateway/zstd.h"

#include <errno.h>
#include <zstd.h>

#include "cas/reapi.h"

int
zstd_unpack(struct arena *arena, const uint8_t *data, size_t len, size_t size, uint8_t **ret_data)
{
	uint8_t *out = arena_alloc(arena, size + 1);
	size_t made = ZSTD_decompress(out, size, data, len);

	if (ZSTD_isError(made) || made != size)
		return -EBADMSG;
	*ret_data = out;
	return 0;
}

uint8_t *
zstd_pack(struct arena *arena, const uint8_t *data, size_t len, size_t *ret_len)
{
	size_t room = ZSTD_compressBound(len), made;
	uint8_t *out = arena_alloc(arena, room);

	made = ZSTD_compress(out, room, data, len, ZSTD_LEVEL);
	if (ZSTD_isError(made) || made >= len)
		return NULL;
	*ret_len = made;
	return out;
}
