/*
 * The messages between ramet's processes as C structs, and their bytes.
 *
 * Any process.  messages.def is the one schema; this header turns it into `struct msg_<name>`, and
 * messages.c into encoder, decoder and checker.  A body is msgpack: [version, type, seq, map], the
 * map from small integer keys to values.  Text and bytes in a decoded message point into the buffer
 * it was decoded from and live as long as it does.
 *
 * Everything decoded is input: lengths are capped by the schema, the walk is bounded (depth 4, 64
 * KiB) before msgpack-c sees it (walk.h).  Errors: -EPROTO malformed, a key twice, a NUL in a text,
 * or a required field missing; -E2BIG over a cap; -ENOMSG an unknown type (the caller may skip it);
 * encoding also gives -EINVAL for a value that no decoder would take.
 */
#ifndef IPC_MESSAGES_H
#define IPC_MESSAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"

enum { IPC_VERSION = 1, IPC_FRAME_MAX = 65536, IPC_U64S_MAX = 64 };

struct msg_text {
	const char *data; /* not NUL-terminated; NULL when absent */
	uint32_t len;
};
struct msg_u64s {
	uint32_t count;
	uint64_t values[IPC_U64S_MAX];
};

/* Each kind's C type. */
#define IPC_TYPE_U64 uint64_t
#define IPC_TYPE_I64 int64_t
#define IPC_TYPE_BOOL bool
#define IPC_TYPE_DIGEST struct digest
#define IPC_TYPE_TEXT struct msg_text
#define IPC_TYPE_BYTES struct msg_text
#define IPC_TYPE_U64S struct msg_u64s

enum msg_type {
#define MESSAGE(name, number, sender, help) MSG_##name = number,
#define FIELD(...)
#define END(name)
#include "ipc/messages.def"
#undef MESSAGE
#undef FIELD
#undef END
};

/*
 * has_<field> says whether a field came.  Sending: required fields always go; an optional one goes
 * when has_<field> is set or its value is not zero.
 */
#define IPC_FIELD(message, key, kind, max, field, required, help)                                  \
	IPC_TYPE_##kind field;                                                                     \
	bool has_##field;
#define MESSAGE(name, number, sender, help) struct msg_##name {
#define FIELD(...) IPC_FIELD(__VA_ARGS__)
#define END(name)                                                                                  \
	char end_of_##name;                                                                        \
	}                                                                                          \
	;
#include "ipc/messages.def"
#undef MESSAGE
#undef FIELD
#undef END

struct message {
	enum msg_type type;
	uint32_t seq;
	union {
#define MESSAGE(name, number, sender, help) struct msg_##name name;
#define FIELD(...)
#define END(name)
#include "ipc/messages.def"
#undef MESSAGE
#undef FIELD
#undef END
	};
};

enum job_status {
	JOB_OK, /* the action ran to its end, whatever its exit code; or came from the cache */
	JOB_TIMEOUT, /* its timeout ended it; the result holds what there is */
	JOB_MISSING, /* blobs are missing: `missing` lists all */
	JOB_INVALID, /* the action cannot be run as it is: bad tree, bad path, bad Command */
	JOB_FAILED, /* the host could not run it (disk full, I/O error, ...) */
	JOB_WORKER_LOST, /* its worker died each time */
	JOB_CANCELLED,
	JOB_UNMET, /* it made an output that is not of the kind it was asked for */
	JOB_DISK_FULL, /* the host has no room for its inputs or outputs */
	JOB_STATUS_COUNT
};
extern const char *const job_status_names[JOB_STATUS_COUNT]; /* "ok", "timeout", ... */

/* Indexes into done.metrics.  Ways as in enum place_way: files of way w at METRIC_WAY_FILES + w. */
enum job_metric {
	METRIC_FILES_PLACED,
	METRIC_BYTES_PLACED,
	METRIC_SUBTREES_PLACED,
	METRIC_DIRECTORIES_MADE,
	METRIC_SUBTREES_BUILT, /* those of SUBTREES_PLACED that had to be built first */
	METRIC_QUEUE_US,
	METRIC_LOAD_US,
	METRIC_STAGE_US,
	METRIC_EXEC_US,
	METRIC_COLLECT_US,
	METRIC_TOTAL_US,
	METRIC_MAX_RSS, /* bytes */
	METRIC_USER_US,
	METRIC_SYSTEM_US,
	METRIC_OUTPUT_FILES,
	METRIC_OUTPUT_BYTES,
	METRIC_FALLBACKS,
	METRIC_WAY_FILES,
	METRIC_WAY_SUBTREES = METRIC_WAY_FILES + 8,
	METRIC_COUNT = METRIC_WAY_SUBTREES + 8,
};
extern const char *const job_metric_names[METRIC_COUNT]; /* "files_placed", ..., "hardlink_files" */

/* A NUL-terminated text as a field's value; and the other way, cut to size. */
struct msg_text msg_text(const char *text);
char *msg_text_copy(struct msg_text text, char *buffer, size_t size);

/* The whole frame (u32 length, big endian, then the body) into `frame`, IPC_FRAME_MAX + 4 bytes. */
int message_encode(const struct message *message, uint8_t *frame, size_t *ret_len);
/* The body alone, without the length. */
int message_decode(const uint8_t *body, size_t len, struct message *ret_message);

const char *message_name(enum msg_type type);

#endif
