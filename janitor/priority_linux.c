#include <sys/resource.h>
#include <sys/syscall.h>

#include <unistd.h>

#include "janitor/internal.h"

enum { IOPRIO_WHO_SELF = 1, IOPRIO_BEST_EFFORT_LAST = 2 << 13 | 7, NICE = 10 };

/* Best effort: where the system says no, the janitor works at everybody's priority. */
void
priority_lower(void)
{
	(void)setpriority(PRIO_PROCESS, 0, NICE);
	(void)syscall(SYS_ioprio_set, IOPRIO_WHO_SELF, 0, IOPRIO_BEST_EFFORT_LAST);
}
