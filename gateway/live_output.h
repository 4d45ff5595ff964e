/*
 * An action's stdout or stderr, read while the action writes it.
 *
 * Gateway, in handlers of one call.  While the action runs it is the file in its sandbox, which the
 * worker writes; when it has ended it is what the result holds: the same bytes.  The call follows
 * the operation: it is woken when something changes, and some times a second.
 *
 * live_output_read: bytes; 0 at the end; -EAGAIN nothing yet; -ESTALE the action's worker died and
 * it was started again, so what was read is not the beginning of what comes now; -ENODATA it ended
 * without a result, so nobody knows whether what was read is all.
 */
#ifndef GATEWAY_LIVE_OUTPUT_H
#define GATEWAY_LIVE_OUTPUT_H

#include <sys/types.h>

#include <stdint.h>

#include "gateway/gateway.h"
#include "gateway/resource_name.h"
#include "gateway/rpc.h"

struct live_output;

/* NULL: no operation of that name. */
struct live_output *live_output_open(struct gateway *gateway, struct rpc_call *call,
    const struct resource_name *name, int64_t offset);
void live_output_close(struct live_output *live, struct rpc_call *call);
ssize_t live_output_read(struct live_output *live, struct cas *cas, uint8_t *data, size_t size);

#endif
