/*
 * What Execute and WaitExecution stream: an operation's view as the API's Operation message.
 *
 * Gateway.  Everything lives in the arena.
 */
#ifndef GATEWAY_EXECUTION_ANSWER_H
#define GATEWAY_EXECUTION_ANSWER_H

#include "gateway/inline.h"
#include "gateway/operations.h"
#include "gateway/wire_messages.h"

/* What the message carries, or names; NULL: there is none, or it is gone. */
ReapiActionResult *execution_result(
    struct cas *cas, struct arena *arena, const struct msg_done *done);

/* An operation as it stands. */
Operation *execution_answer(struct cas *cas, struct arena *arena, struct operation *operation,
    const struct operation_view *view, const struct inline_wish *wish);

/* One that ended before it began: its result was there. */
Operation *execution_answer_cached(struct arena *arena, const char *instance,
    const struct digest *action, ReapiActionResult *result);

#endif
