#include <sys/resource.h>

#include "janitor/internal.h"

enum { NICE = 10 };

void
priority_lower(void)
{
	(void)setpriority(PRIO_PROCESS, 0, NICE);
	(void)setiopolicy_np(IOPOL_TYPE_DISK, IOPOL_SCOPE_PROCESS, IOPOL_UTILITY);
}
