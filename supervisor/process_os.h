/*
 * What the systems do differently about processes.  process_linux.c, process_darwin.c.
 *
 * Supervisor.
 */
#ifndef SUPERVISOR_PROCESS_OS_H
#define SUPERVISOR_PROCESS_OS_H

#include <sys/types.h>

#include <stdbool.h>

/* Descendants of a dead child become ours, where the system can do that. */
void process_adopt_orphans(void);

/*
 * False where the process of a client is in another pid or user namespace than ours, or cannot be
 * looked at: an action of some host, say, though its uid is ours.  Always true where there are no
 * namespaces, and where our own cannot be read.
 */
bool process_is_near(pid_t pid);

/* In a forked child: die when the parent does, where the system can do that.  -ESRCH: it has. */
int process_die_with_parent(pid_t parent);

/*
 * Kills what dead children left behind: orphans that became ours and of which is_ours() says no,
 * and the process group `action_pid` (0: none) of a dead worker's action where there is no such
 * thing. Looks again until it sees no new one (1,024 at most); what they leave comes to us when
 * they are reaped, which is the time for another call.  Returns how many were killed.
 */
unsigned process_kill_strays(bool (*is_ours)(void *arg, pid_t pid), void *arg, pid_t action_pid);

#endif
