/*
 * Slots: who the host's processes are, and what each of them holds.
 *
 * One slot for the supervisor, one each for janitor and gateway, one for each worker.  A slot's
 * owner is its one writer; the supervisor writes it only while nobody owns it.  Calling sequence:
 *
 *   supervisor: slot_assign(i) -> fork -> (child) slot_activate(i) ... (child) slot_retire(i)
 *   supervisor, when the child has been reaped: slot_repair(i), whatever the state it is in
 *
 * State: UNUSED -> ASSIGNED -> ACTIVE -> UNUSED.  A reaped child whose slot is still ASSIGNED or
 * ACTIVE was killed: slot_repair gives back its permits, its pins and its BUILDING entries and
 * frees the slot.  Everything a process holds names the slot *in the thing itself* (the permit's
 * cell, the lease's cell, the entry's word), so the same store that takes a thing says who has it,
 * and there is no moment at which repair could not tell.  See README.md, rule 3.
 *
 * What is shown (phase, action, label) is for people: relaxed, possibly torn, never acted upon.
 */
#ifndef SHM_SLOT_H
#define SHM_SLOT_H

#include <sys/types.h>

#include <stdint.h>

#include "base/digest.h"
#include "shm/region.h"

enum slot_state { SLOT_UNUSED, SLOT_ASSIGNED, SLOT_ACTIVE };
enum slot_phase {
	SLOT_IDLE,
	SLOT_LOADING, /* reading Action, Command and Directory messages, the action cache */
	SLOT_STAGING,
	SLOT_RUNNING,
	SLOT_COLLECTING,
	SLOT_CLEANING,
	SLOT_PHASE_COUNT
};
extern const char *const slot_phase_names[SLOT_PHASE_COUNT];

enum {
	SLOT_LEASES = 256, /* pins one process can hold */
	SLOT_LABEL_SIZE = 64,
	SLOT_WORDS_SIZE = 256,
};

struct slot; /* in the mapping; layout.h */

struct slot *slot_at(struct region *region, uint32_t number);
const struct slot *slot_at_const(const struct region *region, uint32_t number);
uint32_t slot_number(const struct region *region, const struct slot *slot);

void slot_assign(struct region *region, uint32_t number);
void slot_activate(struct region *region, uint32_t number, pid_t pid);
void slot_retire(struct region *region, uint32_t number);

struct slot_repaired {
	uint32_t permits, pins, builds;
	uint64_t sandbox; /* number of the sandbox it used, 0 if none */
	uint64_t ahead; /* of the one it made for the next action, 0 if none */
	uint64_t kept; /* of its folder of kept sandboxes, 0 if none */
	int32_t action_pid; /* process (group) it ran, 0 if none */
	char words[SLOT_WORDS_SIZE]; /* its last words (CHECK), "" if none */
};
void slot_repair(struct region *region, uint32_t number, struct slot_repaired *ret_repaired);

/* Owner: what it is doing now.  Each sets the phase's start time too. */
void slot_set_phase(struct slot *slot, enum slot_phase phase);
void slot_set_action(
    struct slot *slot, const struct digest *action, const char *label, uint32_t attempt);
void slot_set_job(struct slot *slot, uint64_t number); /* before the sandbox */
void slot_clear_action(struct slot *slot);
void slot_set_sandbox(struct slot *slot, uint64_t number); /* before it is made; 0 after release */
/* Likewise, made for the next action; 0 once it is the sandbox, which is said first. */
void slot_set_ahead(struct slot *slot, uint64_t number);
void slot_set_kept(struct slot *slot, uint64_t number); /* likewise, a folder in recycled/ */
void slot_set_action_pid(struct slot *slot, pid_t pid);
char *slot_words(struct slot *slot); /* SLOT_WORDS_SIZE bytes, for check_last_words */

struct slot_info {
	enum slot_state state;
	enum slot_phase phase;
	int32_t pid, action_pid;
	uint32_t attempt;
	uint64_t phase_since_us, action_since_us; /* CLOCK_MONOTONIC */
	uint64_t sandbox, ahead, kept;
	struct digest action;
	char label[SLOT_LABEL_SIZE];
	uint32_t permits, pins, builds;
};
void slot_read(const struct region *region, uint32_t number, struct slot_info *ret_info);

/* How many workers but this one have something to do, at a glance; and its own action, if it runs.
 */
uint32_t slot_busy_others(const struct region *region, const struct slot *slot);

/* The number of the sandbox in which the slot's owner runs that job now; 0: it has none, or does
 * not run it. */
uint64_t slot_sandbox_of_job(const struct region *region, uint32_t number, uint64_t job);

#endif
