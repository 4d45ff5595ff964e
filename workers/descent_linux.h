/*
 * All living processes that descend from this one, for an action without namespaces.
 *
 * The init of such an action is a subreaper: whoever double-forks away comes back as its child, so
 * descent is complete.  A process that forks while the list is read can be missed: ask again until
 * no child is left (descent_end does).
 */
#ifndef WORKERS_DESCENT_LINUX_H
#define WORKERS_DESCENT_LINUX_H

void descent_signal(int signal_number);

/* SIGKILL to all, and again, until all are gone and reaped; gives up after some seconds. */
void descent_end(void);

#endif
