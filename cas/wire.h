/*
 * A look at a message's bytes before they are decoded.
 *
 * Any process; reads only.  protobuf-c cuts a string at an embedded NUL and follows submessages to
 * any depth; both are refused here, on the bytes themselves.  -EINVAL, with the field's name in
 * *ret_field (NULL where the bytes are no message at all); ret_field may be NULL.
 */
#ifndef CAS_WIRE_H
#define CAS_WIRE_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

enum { WIRE_DEPTH_MAX = 8 };

/* The same, and every string must be UTF-8, as a client's request has to be.  (What is stored need
 * not: a file's name is whatever a user's file system has.) */
int wire_check_strict(const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t len,
    const char **ret_field);

int wire_check(const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t len,
    const char **ret_field);

/* Appends a varint to `out` (10 bytes at most); returns its length.  out NULL: the length alone. */
size_t wire_put_varint(uint64_t value, uint8_t *out);

#endif
