/*
 * Which ways of placing a host has chosen from, kept as STATE/ways for whoever wants to know later:
 * `ramet explain`, which plans as the host's workers do, and a reader at 3 a.m.
 *
 * ways_keep: the supervisor at start, once the probe has been made and the isolation chosen.
 * ways_read: any process.  Lines of a name and a value: engine, isolation, uid_differs, and a line
 * for each way, 1 where it works.  0 or -errno; -ENOENT: no host has run here; -EBADMSG.  Written
 * by rename.
 */
#ifndef WORKERS_WAYS_H
#define WORKERS_WAYS_H

#include "base/host_config.h"
#include "workers/probe.h"

struct ways {
	enum engine engine;
	enum isolation isolation;
	bool uid_differs;
	bool clone_is_native;
	bool works[PLACE_WAY_COUNT];
};

int ways_keep(
    const struct host_config *config, const struct probe *probe, enum isolation isolation);
int ways_read(int state_fd, struct ways *ret_ways);

#endif
