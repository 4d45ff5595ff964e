/*
 * Reading one message of the Remote Execution API from the store.
 *
 * The files of cas/.  Reads, verifies and decodes; the words say which message and why: absent, too
 * large, not matching its digest, not such a message, or text with an embedded NUL (the field is
 * named).
 */
#ifndef CAS_MESSAGE_H
#define CAS_MESSAGE_H

#include "base/error_text.h"
#include "cas/reapi.h"
#include "cas/store.h"

#define MESSAGE_TYPE(lower_name) &build__bazel__remote__execution__v2__##lower_name##__descriptor

int message_load(struct cas *cas, struct arena *arena, const struct digest *digest,
    const ProtobufCMessageDescriptor *type, const char *kind, void **ret_message,
    struct error_text *err);

#endif
