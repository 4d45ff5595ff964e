/*
 * One action's private place: sandboxes/<slot>.<n>/, with
 *   root/            the spine, where the action's input root is composed (or, without
 *                    namespaces, all of it)
 *   stdout, stderr   what it printed
 *
 * Worker.  sandbox_make writes the number into the slot before the directory is made, and
 * sandbox_release renames it into trash/ and clears the number: O(1), the janitor deletes.  What a
 * dead worker leaves is renamed by whoever repairs its slot (sandbox_discard); -ENOENT is no error
 * there.  A release that fails (-errno) leaves the number in the slot and the sandbox where it is.
 *
 * A worker's folder of kept roots, recycled/<slot>.<n>, goes the same way (recycle.h).
 */
#ifndef WORKERS_SANDBOX_H
#define WORKERS_SANDBOX_H

#include <sys/types.h>

#include <stdbool.h>
#include <stdint.h>

#include "base/error_text.h"
#include "shm/slot.h"

struct sandbox {
	uint64_t number;
	uint32_t slot_number;
	int dirfd; /* sandboxes/<slot>.<n> */
	int rootfd; /* its root/ */
	bool is_ahead; /* it stands in the slot as the next action's */
	char name[64]; /* "<slot>.<n>" */
};

/* uid: owner of root/ ((uid_t)-1: ours). */
int sandbox_make(int state_fd, struct slot *slot, uint32_t slot_number, uid_t uid,
    struct sandbox *ret_sandbox, struct error_text *err);
/* For the next action: closed to the one that runs, until sandbox_adopt makes it the current one.
 */
int sandbox_make_ahead(int state_fd, struct slot *slot, uint32_t slot_number, uid_t uid,
    struct sandbox *ret_sandbox, struct error_text *err);
int sandbox_adopt(struct slot *slot, struct sandbox *sandbox);
int sandbox_release(int state_fd, struct slot *slot, struct sandbox *sandbox);
int sandbox_discard(int state_fd, uint32_t slot_number, uint64_t number);
int sandbox_discard_kept(int state_fd, uint32_t slot_number, uint64_t number);
/* A new root/ in the place of one that has gone; closes rootfd. */
int sandbox_make_root(struct sandbox *sandbox, uid_t uid);

/* Rises within a process and over restarts: also names trees being built, and what goes to trash/.
 */
uint64_t sandbox_next_number(void);

/*
 * What an input is bound on in root/: an empty directory or file, ours, of a mode that nothing else
 * of ours there has, so that collecting knows it where the action has moved it.
 */
enum { MOUNT_POINT_DIRECTORY_MODE = 01555, MOUNT_POINT_FILE_MODE = 01444 };

#endif
