/*
 * A client of the gateway that costs little: calls as they are on the wire, by gRPC's C core.
 *
 * Bench programs that never fork after gateway_connect; one thread.  Everything that does fork
 * (rametd, a copying process) is started before it.  Exit with a message on failure.
 *
 *   gateway_call_start -> gateway_call_send ..., on_sent after each; on_message for each message
 *   that comes -> on_end, once.  Callbacks run in gateway_run and gateway_step, and may start
 * calls.
 */
#ifndef BENCH_GATEWAY_CLIENT_H
#define BENCH_GATEWAY_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gateway_client;
struct gateway_call;

#define EXECUTE_METHOD "/build.bazel.remote.execution.v2.Execution/Execute"
#define FIND_MISSING_METHOD                                                                        \
	"/build.bazel.remote.execution.v2.ContentAddressableStorage/FindMissingBlobs"
#define READ_METHOD "/google.bytestream.ByteStream/Read"
#define WRITE_METHOD "/google.bytestream.ByteStream/Write"

enum { GATEWAY_WHOLE_MAX = 2 << 20 };

struct gateway_call_ops {
	bool one_answer; /* as a unary call has it */
	bool slow; /* the next message is read only after gateway_call_read */
	/* `data` is NULL of a message above GATEWAY_WHOLE_MAX, or where `lengths_only`. */
	bool lengths_only;
	void (*on_message)(void *arg, const uint8_t *data, size_t len); /* may be NULL */
	void (*on_sent)(void *arg, struct gateway_call *call); /* may be NULL */
	/* Code 0: fine.  The call is gone afterwards. */
	void (*on_end)(void *arg, int code, const char *text);
};

/* HOST:PORT, and waits until it is connected. */
struct gateway_client *gateway_connect(const char *target);
void gateway_disconnect(struct gateway_client *client);

/* The message's bytes are copied; `last`: no other will be sent. */
struct gateway_call *gateway_call_start(struct gateway_client *client, const char *method,
    const struct gateway_call_ops *ops, void *arg, const void *message, size_t len, bool last);
/* One message of two parts: `head` is copied, `body` is not and stays until on_sent. */
void gateway_call_send(struct gateway_call *call, const void *head, size_t head_len,
    const void *body, size_t body_len, bool last);
void gateway_call_read(struct gateway_call *call); /* where `slow` */
void gateway_call_cancel(struct gateway_call *call);

/* One event, or none in timeout_ms (-1: waits); false: no call is in flight. */
bool gateway_step(struct gateway_client *client, int timeout_ms);
void gateway_run(struct gateway_client *client); /* until no call is in flight */

/* For on_end: exits unless the code is 0. */
void gateway_must_be_fine(const char *what, int code, const char *text);

#endif
