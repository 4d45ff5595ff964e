#include "base/fault.h"

#ifdef RAMET_FAULTS

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const crash_names[] = {
#define CRASH(name, where) #name,
#include "base/crash_points.def"
#undef CRASH
};
static const char *const call_names[] = {
#define FAULT(name) #name,
#include "base/fault_calls.def"
#undef FAULT
};

static struct {
	int loaded;
	int crash_at; /* point, or -1 */
	long crash_left;
	const char *once;
	int fail_at; /* call, or -1 */
	long fail_skip, fail_count;
	int fail_errno;
} plan = {.crash_at = -1, .fail_at = -1};

static int
name_find(const char *const *names, int count, const char *name, size_t len)
{
	for (int i = 0; i < count; i++)
		if (strlen(names[i]) == len && strncmp(names[i], name, len) == 0)
			return i;
	fprintf(stderr, "fault: no such point or call: %s\n", name);
	abort();
}

static void
plan_load(void)
{
	const char *crash = getenv("RAMET_CRASH");
	const char *fail = getenv("RAMET_FAIL");

	plan.loaded = 1;
	if (crash != NULL && *crash != '\0') {
		size_t len = strcspn(crash, ":");

		plan.crash_at = name_find(crash_names, CRASH_POINT_COUNT, crash, len);
		plan.crash_left = crash[len] == ':' ? atol(crash + len + 1) : 1;
		plan.once = getenv("RAMET_CRASH_ONCE");
	}
	if (fail != NULL && *fail != '\0') {
		size_t len = strcspn(fail, ":");
		long count = 1;

		plan.fail_at = name_find(call_names, FAULT_CALL_COUNT, fail, len);
		if (sscanf(fail + len, ":%ld:%d:%ld", &plan.fail_skip, &plan.fail_errno, &count) <
		    2)
			abort();
		plan.fail_count = count == 0 ? -1 : count;
	}
}

void
crash_point(enum crash_point point)
{
	if (!plan.loaded)
		plan_load();
	if (plan.crash_at != (int)point || --plan.crash_left != 0)
		return;
	if (plan.once != NULL) {
		int fd = open(plan.once, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);

		if (fd < 0)
			return;
		close(fd);
	}
	kill(getpid(), SIGKILL);
}

int
fault_inject(enum fault_call call)
{
	if (!plan.loaded)
		plan_load();
	if (plan.fail_at != (int)call)
		return 0;
	if (plan.fail_skip > 1) {
		plan.fail_skip--;
		return 0;
	}
	if (plan.fail_count == 0)
		return 0;
	if (plan.fail_count > 0)
		plan.fail_count--;
	errno = plan.fail_errno;
	return -1;
}

#endif
