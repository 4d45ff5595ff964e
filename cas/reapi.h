/*
 * The Remote Execution API's messages under short names, decoded into an arena.
 *
 * Any process; an arena is one thread's.  proto/remote_execution.proto is the schema; protobuf-c
 * makes the structs.  What is decoded lives in the arena and goes with it, all at once; nothing is
 * freed singly.  Absent submessages are NULL: check each.  A message with a NUL inside a string is
 * refused here (protobuf-c would cut the string); broken digests, bad names and the rest are
 * refused by the *_check functions in directory.h and action.h.
 *
 * Encoding is canonical (protobuf-c writes fields in the order of their numbers).
 */
#ifndef CAS_REAPI_H
#define CAS_REAPI_H

#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "proto/remote_execution.pb-c.h"
#include "proto/well_known.pb-c.h"

#define REAPI(name) Build__Bazel__Remote__Execution__V2__##name
typedef REAPI(Action) ReapiAction;
typedef REAPI(ActionResult) ReapiActionResult;
typedef REAPI(Command) ReapiCommand;
typedef REAPI(Command__EnvironmentVariable) ReapiEnvironmentVariable;
typedef REAPI(Digest) ReapiDigest;
typedef REAPI(Directory) ReapiDirectory;
typedef REAPI(DirectoryNode) ReapiDirectoryNode;
typedef REAPI(ExecutedActionMetadata) ReapiExecutedActionMetadata;
typedef REAPI(FileNode) ReapiFileNode;
typedef REAPI(NodeProperties) ReapiNodeProperties;
typedef REAPI(OutputDirectory) ReapiOutputDirectory;
typedef REAPI(OutputFile) ReapiOutputFile;
typedef REAPI(OutputSymlink) ReapiOutputSymlink;
typedef REAPI(Platform) ReapiPlatform;
typedef REAPI(Platform__Property) ReapiPlatformProperty;
typedef REAPI(SymlinkNode) ReapiSymlinkNode;
typedef REAPI(Tree) ReapiTree;

struct arena;
struct arena *arena_new(void); /* CHECKs on no memory: arenas are small */
void arena_reset(struct arena *arena); /* keeps its largest block */
void arena_free(struct arena *arena);
void *arena_alloc(struct arena *arena, size_t size); /* zeroed, 16-aligned, never NULL */
char *arena_strdup(struct arena *arena, const char *text);
char *arena_printf(struct arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* NULL: not such a message.  The bytes may be freed afterwards. */
void *reapi_decode(
    struct arena *arena, const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t len);
/* The same; what it may become in memory is bounded: 2 bytes of an empty submessage are 64 there.
 */
void *reapi_decode_within(struct arena *arena, const ProtobufCMessageDescriptor *type,
    const uint8_t *data, size_t len, size_t memory_max);
/* Likewise, of a client's request: its strings are UTF-8 (wire_check_strict, also for ret_field).
 */
void *reapi_decode_strict(struct arena *arena, const ProtobufCMessageDescriptor *type,
    const uint8_t *data, size_t len, size_t memory_max, const char **ret_field);
#define REAPI_DECODE(arena, lower_name, data, len)                                                 \
	reapi_decode((arena), &build__bazel__remote__execution__v2__##lower_name##__descriptor,    \
	    (data), (len))

/* A message with its defaults set, in the arena: REAPI_NEW(arena, Action, action). */
void *reapi_new(struct arena *arena, const ProtobufCMessageDescriptor *type);
#define REAPI_NEW(arena, lower_name)                                                               \
	reapi_new((arena), &build__bazel__remote__execution__v2__##lower_name##__descriptor)

/* The message's bytes, in the arena. */
uint8_t *reapi_encode(struct arena *arena, const ProtobufCMessage *message, size_t *ret_len);

/* -EINVAL: absent, not 64 lower-case hex characters, a negative size. */
int reapi_digest_get(const ReapiDigest *from, struct digest *ret_digest);
ReapiDigest *reapi_digest_new(struct arena *arena, const struct digest *digest);

/* Of CLOCK_REALTIME in microseconds. */
Google__Protobuf__Timestamp *reapi_timestamp_new(struct arena *arena, uint64_t us);

#endif
