/*
 * The actions in flight and lately ended, and who watches them.
 *
 * Gateway; one table, one lock, any thread.  An operation is one job of the supervisor's; several
 * calls may watch it (identical actions are joined), and a call watches one.  The table learns of
 * changes from the supervisor (operations_on_..., in the main thread) and wakes the watchers'
 * calls.
 *
 *   Execute: operations_join_or_start
 *
 *   WaitExecution: operations_join
 *
 *   both: operation_look, in on_woken and on_sent, until it says is_done; operation_leave, in
 * on_end
 *
 * An operation that has nobody left is cancelled after the grace time.  One that has ended stays
 * for whoever comes back: RETAIN_DELIVERED_S after its end has reached somebody, else RETAIN_S;
 * then the supervisor is told to forget it too.  A gateway started anew adopts all of them under
 * their old names (supervisor/gateway.h).
 *
 * Ownership: whoever joins or follows holds the operation until operation_leave, which also says
 * whether its end was delivered.  The result's message points into the operation and lives as long.
 */
#ifndef GATEWAY_OPERATIONS_H
#define GATEWAY_OPERATIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/fault.h"
#include "gateway/gateway.h"
#include "gateway/rpc.h"
#include "ipc/messages.h"

enum {
	OPERATION_NAME_SIZE = 512,
	RETAIN_S = 600,
	/* (crash tests, whose builds have faults, have no half minute) */
	RETAIN_DELIVERED_S = FAULTS_COMPILED_IN ? 2 : 30,
	OPERATIONS_ENDED_MAX = 1024, /* the oldest are forgotten */
};

struct operation;

struct operation_wish {
	const char *instance;
	struct digest action, cache_key;
	bool has_cache_key;
	bool alone; /* do_not_cache: no other's result, and nobody else gets this one */
	bool skip_cache_lookup;
	int32_t priority;
	uint32_t seen_s;
	const char *label;
};

/* What a watcher sees; a newer version means that something changed. */
struct operation_view {
	uint64_t version;
	bool is_started, is_done;
	bool is_cancelled; /* by us: nobody had waited for it */
	uint32_t worker;
	uint64_t number, attempt, queued_us;
	const struct msg_done *done; /* where is_done */
};

struct operations *operations_new(struct gateway *gateway);
void operations_free(struct operations *operations);

/* The call is woken at each change from now on.  *ret_merged: it was in flight already. */
struct operation *operations_join_or_start(struct operations *operations,
    const struct operation_wish *wish, struct rpc_call *call, bool *ret_merged);
/* NULL: there is none of that name. */
struct operation *operations_join(
    struct operations *operations, const char *name, struct rpc_call *call);
/* Without watching: for its output.  The call is woken at each change and at each tick. */
struct operation *operations_follow(
    struct operations *operations, const char *instance, const char *id, struct rpc_call *call);
void operation_leave(struct operations *operations, struct operation *operation,
    struct rpc_call *call, bool delivered);

const char *operation_name(const struct operation *operation);
const char *operation_id(const struct operation *operation);
const char *operation_instance(const struct operation *operation);
const struct digest *operation_action(const struct operation *operation);
void operation_look(
    struct operations *operations, struct operation *operation, struct operation_view *ret_view);

/* The main thread: what the supervisor says. */
int operations_on_adopt(struct operations *operations, const struct msg_adopt *adopt);
void operations_on_started(struct operations *operations, const struct msg_started *started);
int operations_on_done(struct operations *operations, const struct message *done);
void operations_on_refused(struct operations *operations, const struct msg_refused *refused);
/* ... and that time passes: what is to be done later.  False: nothing waits for the next tick. */
bool operations_tick(struct operations *operations);
unsigned operations_live(struct operations *operations);

#endif
