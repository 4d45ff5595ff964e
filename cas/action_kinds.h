/*
 * What is remembered about kinds of actions: whether they write into their inputs.
 *
 * A kind is a program and, where the client gives one, a label (its mnemonic and target).  It is
 * *unproved* until an action of it has succeeded under guard (then it is *guarded*), or has failed
 * under guard and succeeded where it may write into its inputs (then it is a *writer*).  `failed`
 * counts the actions of an unproved kind that failed both ways: at ACTION_KIND_FAILED_MAX the
 * failures are its own, and it is guarded.
 *
 * One small file a kind, kinds/<SHA-256 of its name>, which appears by rename; the last one wins.
 * It ends with the SHA-256 of the rest, so that a file torn by a power cut is no kind: -EBADMSG,
 * and it is removed.  Workers put, the janitor cleans, the tools list and forget, at any time.
 * After a crash: perhaps a temporary file, which action_kinds_clean removes.
 */
#ifndef CAS_ACTION_KINDS_H
#define CAS_ACTION_KINDS_H

#include <stdint.h>

enum { ACTION_KIND_NAME_SIZE = 256, ACTION_KIND_FAILED_MAX = 3 };

enum action_kind_state {
	ACTION_KIND_UNPROVED,
	ACTION_KIND_GUARDED,
	ACTION_KIND_WRITER,
	ACTION_KIND_STATE_COUNT
};
extern const char *const action_kind_state_names[ACTION_KIND_STATE_COUNT];

struct action_kind {
	char name[ACTION_KIND_NAME_SIZE];
	enum action_kind_state state;
	uint32_t failed;
	uint32_t since_s; /* when it became what it is, CLOCK_REALTIME */
};

/* label: may be "" or the program again.  Control characters become '?'. */
void action_kind_name(const char *program, const char *label, char *ret_name);

/* -ENOENT: nothing is known of it; ret_kind is then a new one, unproved. */
int action_kind_get(int state_fd, const char *name, struct action_kind *ret_kind);
int action_kind_put(int state_fd, const struct action_kind *kind);

/* Damaged ones are skipped.  A callback that returns other than 0 ends it. */
int action_kinds_each(
    int state_fd, int (*on_kind)(void *arg, const struct action_kind *kind), void *arg);
/* One, or with NULL all.  -ENOENT: there is none of that name. */
int action_kinds_forget(int state_fd, const char *name);
/* Those not put for age_s, and temporary files a minute old. */
int action_kinds_clean(int state_fd, uint32_t age_s);

#endif
