/*
 * What a host was told: the flags and the configuration file of rametd, once parsed.
 *
 * Filled by the supervisor before it forks; workers and janitor read their inherited copy.
 */
#ifndef BASE_HOST_CONFIG_H
#define BASE_HOST_CONFIG_H

#include <sys/types.h>

#include <stdbool.h>
#include <stdint.h>

enum engine { /* --engine */
	ENGINE_AUTO,
	ENGINE_BIND,
	ENGINE_OVERLAY,
	ENGINE_IMAGE,
	ENGINE_CLONEFILE,
	ENGINE_REFLINK,
	ENGINE_HARDLINK,
	ENGINE_COPY,
	ENGINE_COUNT
};
extern const char *const engine_names[ENGINE_COUNT];

enum isolation { /* --isolation: how an action is kept to itself */
	ISOLATION_AUTO, /* the best that a real try at start finds */
	ISOLATION_ROOT, /* namespaces, made by root; actions under uids of their own */
	ISOLATION_USER, /* namespaces below a user namespace */
	ISOLATION_NONE, /* process group and descent only */
	ISOLATION_COUNT
};
extern const char *const isolation_names[ISOLATION_COUNT];

enum stage_ahead { /* --stage-ahead: the next action's sandbox, while one runs */
	STAGE_AHEAD_AUTO, /* where staging takes the longer the more files there are */
	STAGE_AHEAD_NO,
	STAGE_AHEAD_YES,
	STAGE_AHEAD_COUNT
};
extern const char *const stage_ahead_names[STAGE_AHEAD_COUNT];

struct host_config {
	char state_dir[4096]; /* absolute, no symlink in it */
	int state_fd;
	unsigned workers;
	uint32_t link_cap;
	uint32_t index_entries;
	uint64_t index_bytes; /* cached trees' private bytes, 0: no limit of their own */
	uint64_t cas_size_bytes; /* 0: no limit */
	uint32_t cas_grace_s;
	enum engine engine;
	enum isolation isolation;
	bool guard_learning; /* failed actions of a kind that is not proved run again, as writers */
	enum stage_ahead stage_ahead;
	bool recycle; /* without mount namespaces finished sandboxes are used again */
	bool network_host; /* --network=host: actions see the host's network */
	uid_t action_uid_base; /* root only: actions of worker slot s run as base + s */
	uint32_t timeout_default_s, timeout_max_s; /* 0: none */
	uint32_t kill_grace_ms; /* between SIGTERM and SIGKILL */
	uint64_t log_cap_bytes; /* each of an action's stdout and stderr */
};

#endif
