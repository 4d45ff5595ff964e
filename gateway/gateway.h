/*
 * The gateway process: what all its threads share.
 *
 * Private to gateway/.  One main thread with the event loop (the supervisor's channel, timers,
 * HTTP) and the pollers of rpc.h, which run the services.  `limits` and the pointers are set before
 * the first poller runs and stay; each part that changes has a lock of its own, named in its
 * header.
 *
 * Order of locks: a call's (rpc.h) first, then one of a part's; no part takes another part's but
 * operations -> link.
 */
#ifndef GATEWAY_GATEWAY_H
#define GATEWAY_GATEWAY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "cas/store.h"
#include "shm/counters.h"
#include "shm/region.h"
#include "shm/slot.h"

struct event_base;
struct link;
struct operations;
struct uploads;

enum {
	/*
	 * Clients take 4 MiB in a message unless told otherwise.  A batch may have this much in its
	 * blobs: what is left holds the digests around some thousands of small ones.
	 */
	BATCH_BYTES_MAX = 3 << 20,
	ANSWER_BYTES_MAX = (4 << 20) - (16 << 10),
};

struct gateway_limits {
	uint64_t message_max, blob_max, cas_size; /* bytes; cas_size 0: none */
	uint32_t streams_max, orphan_grace_ms;
};

struct gateway {
	int state_fd;
	struct region *region;
	struct slot *slot;
	struct gateway_limits limits;
	struct cas *cas; /* for writers and to be dup'ed; a poller reads through service_cas() */
	struct event_base *base;
	struct link *link;
	struct uploads *uploads;
	struct operations *operations;
	atomic_bool draining; /* no new actions */
	atomic_uint asked_for_room_s; /* when the janitor was told last that the store is full */
};

#endif
