/*
 * What this worker knows of kinds of actions (cas/action_kinds.h), and what it learns.
 *
 * Worker, one thread.  Kinds that are proved are kept in a small table, so that an action of one
 * costs a look at the time of kinds/: whatever is put or forgotten there, by anybody, empties the
 * table.  Nothing here fails: a kind that cannot be read or written is unproved.
 */
#ifndef WORKERS_JOB_KINDS_H
#define WORKERS_JOB_KINDS_H

#include <stdint.h>

#include "cas/action_kinds.h"
#include "shm/slot.h"

enum { JOB_KINDS_KEPT = 256 };

struct job_kinds {
	int state_fd;
	struct slot *slot;
	int64_t changed_us; /* of kinds/, when the table was begun */
	struct job_kind_kept {
		uint64_t hash; /* of the name; 0: free */
		enum action_kind_state state;
	} kept[JOB_KINDS_KEPT];
};

void job_kinds_init(struct job_kinds *kinds, int state_fd, struct slot *slot);
void job_kind_get(
    struct job_kinds *kinds, const char *program, const char *label, struct action_kind *ret_kind);
/* An action of this unproved kind has proved it; or has failed both ways. */
void job_kind_proved(
    struct job_kinds *kinds, struct action_kind *kind, enum action_kind_state state);
void job_kind_failed(struct job_kinds *kinds, struct action_kind *kind);

#endif
