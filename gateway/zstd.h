/*
 * Blobs in zstd frames, whole ones; streams use <zstd.h> in bytestream_read.c and upload.c.
 *
 * Gateway.  What comes is input: a frame may claim any size, so the size of the blob bounds what is
 * made of it.  Errors: -EBADMSG no frame, cut, or not of `size` bytes.
 */
#ifndef GATEWAY_ZSTD_H
#define GATEWAY_ZSTD_H

#include <stddef.h>
#include <stdint.h>

struct arena;

enum { ZSTD_LEVEL = 1 }; /* a loopback or a local network: the processor is the scarce thing */

int zstd_unpack(
    struct arena *arena, const uint8_t *data, size_t len, size_t size, uint8_t **ret_data);
/* NULL: no smaller that way. */
uint8_t *zstd_pack(struct arena *arena, const uint8_t *data, size_t len, size_t *ret_len);

#endif
