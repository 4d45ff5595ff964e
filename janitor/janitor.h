/*
 * The janitor process: everything slow that can wait.
 *
 * Forked by the supervisor, one on a host, in slot SLOT_JANITOR.  It deletes what lies in trash/,
 * evicts cached trees (least recently used first, never a pinned one) when the index holds too many
 * entries or private bytes, evicts blobs when the store is over its size, clears what dead
 * processes left (cas/tmp, trees/ without a READY entry, sandboxes of no live slot), verifies blobs
 * after the machine went down, counts the store, builds trees that workers placed again without
 * finding them cached, and drops trees that are not what their digests say (what notes in suspect/
 * name, and one tree each minute unasked).  It works when told to (`sweep`), and every minute.  It
 * can be killed at any point; the next one goes on.
 */
#ifndef JANITOR_JANITOR_H
#define JANITOR_JANITOR_H

#include <stdbool.h>

#include "base/host_config.h"
#include "shm/region.h"
#include "workers/probe.h"

struct janitor_start {
	const struct host_config *config;
	const struct probe *probe;
	struct region *region;
	int socket_fd;
	bool is_first; /* of its host: no action runs before it is ready, so suspects are looked at
			  first */
};
_Noreturn void janitor_main(const struct janitor_start *start);

#endif
