/*
 * The bounded walk over a msgpack body, before msgpack-c sees it: msgpack-c believes the lengths in
 * its input and allocates for them.
 *
 * messages.c alone (and its tests).  Reads `len` bytes, allocates nothing, does not recurse.  0
 * when the bytes are exactly one value, nothing deeper than WALK_DEPTH_MAX containers, every length
 * within the buffer, no extension types; else -EPROTO.
 */
#ifndef IPC_WALK_H
#define IPC_WALK_H

#include <stddef.h>
#include <stdint.h>

enum { WALK_DEPTH_MAX = 4 };

int walk_check(const uint8_t *data, size_t len);

#endif
