#include "base/fault.h"

#ifdef RAMET_FAULTS

#include <sys/mman.h>

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
} plan = {.crash_at = -1};

struct failing {
	int at; /* call, or -1 */
	long first, count; /* the first to fail, 1 or more; how many, 0: all from there on */
	int error;
	_Atomic long calls;
	_Atomic unsigned struck;
};
static struct failing from_environment = {.at = -1};
static struct failing *failing = &from_environment; /* or in memory that processes share */

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
fail_parse(const char *fail)
{
	size_t len = strcspn(fail, ":");

	failing->count = 1;
	failing->at = name_find(call_names, FAULT_CALL_COUNT, fail, len);
	if (sscanf(fail + len, ":%ld:%d:%ld", &failing->first, &failing->error, &failing->count) <
	    2)
		abort();
	if (failing->first < 1)
		failing->first = 1;
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
	if (fail != NULL && *fail != '\0')
		fail_parse(fail);
}

void
fault_set(const char *fail)
{
	if (!plan.loaded)
		plan_load();
	if (failing == &from_environment) {
		void *shared = mmap(NULL, sizeof(*failing), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

		if (shared == MAP_FAILED)
			abort();
		failing = shared;
	}
	failing->at = -1;
	failing->calls = 0;
	failing->struck = 0;
	if (fail != NULL)
		fail_parse(fail);
}

unsigned
fault_struck(void)
{
	return failing->struck;
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
fault_is_armed(void)
{
	if (!plan.loaded)
		plan_load();
	return plan.crash_at != -1 || failing->at != -1;
}

int
fault_inject(enum fault_call call)
{
	if (!plan.loaded)
		plan_load();
	if (failing->at != (int)call)
		return 0;
	long turn = ++failing->calls;
	if (turn < failing->first ||
	    (failing->count != 0 && turn >= failing->first + failing->count))
		return 0;
	failing->struck++;
	errno = failing->error;
	return -1;
}

#endif
