/*
 * The host at the other end of ramet.sock: connected to, started where none runs, listened to.
 *
 * `ramet` alone.  host_connect ends in die() when it cannot; `start`: start rametd (beside our own
 * file, else from PATH) where nobody listens, and say so on stderr.
 */
#ifndef TOOLS_HOST_H
#define TOOLS_HOST_H

#include "ipc/channel.h"
#include "tools/tool.h"

struct channel *host_connect(struct tool *tool, bool start, int64_t *ret_pid);

/* The path of rametd, or its bare name for a look-up in PATH. */
void host_program(char *path, size_t size);

/*
 * SIGINT, SIGTERM and SIGHUP end host_wait with -EINTR from then on; host_interrupted() is the
 * signal's number, 0 when none came.
 */
void host_catch_signals(void);
int host_interrupted(void);

/* The next message; writes what is queued meanwhile.  -EINTR, -ETIMEDOUT, the channel's errors. */
int host_wait(struct channel *channel, struct message *ret_message, int timeout_ms);

/* Sends, and waits for `ok`; a `refused` ends in die(). */
void host_request(struct channel *channel, const struct message *request);

/*
 * One request that asks for `ok`, on a connection of its own, for whoever has more to do than to
 * die: 0 or -errno; -ECONNREFUSED or -ENOENT where no host listens, -EPERM: refused.
 */
int host_tell(struct tool *tool, const struct message *request);

#endif
