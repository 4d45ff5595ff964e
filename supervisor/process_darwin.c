#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "supervisor/process_os.h"

/* Orphans go to launchd: an action is found by its process group instead. */
void
process_adopt_orphans(void)
{
}

bool
process_is_near(pid_t pid)
{
	(void)pid;
	return true;
}

/* No such signal: the end of the stream tells the child. */
int
process_die_with_parent(pid_t parent)
{
	return getppid() == parent ? 0 : -ESRCH;
}

unsigned
process_kill_strays(bool (*is_ours)(void *arg, pid_t pid), void *arg, pid_t action_pid)
{
	(void)is_ours;
	(void)arg;
	if (action_pid <= 1)
		return 0;
	return kill(-action_pid, SIGKILL) == 0;
}
