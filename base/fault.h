/*
 * Faults on demand, for tests: die at a named point, or make a named call fail.
 *
 * Any process.  Compiled in only with -DRAMET_FAULTS (V=debug, V=asan); otherwise both macros cost
 * nothing.  Controlled by the environment, read once per process:
 *
 *   RAMET_CRASH=point[:n]     raise SIGKILL when `point` is passed the n-th time (default 1)
 *   RAMET_CRASH_ONCE=path     only the process that can create `path` dies (O_EXCL), so that the
 *                             restarted one goes on
 *   RAMET_FAIL=call:n:errno[:count]   the n-th call named `call` fails with errno (a number), and
 *                             so do the count-1 after it (default 1; 0 means all)
 *
 * A test may say from within what is to fail: fault_set("call:n:errno[:count]"), NULL for nothing;
 * processes forked afterwards, or since the first such call, see the same, and count together.
 * fault_struck: how often one has failed since.  One thread, while no other process is at it.
 *
 * Every crash point is declared in crash_points.def, so that a test can run through all of them;
 * every fault name in fault_calls.def.
 */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#ifdef RAMET_FAULTS
enum crash_point {
#define CRASH(name, where) CRASH_##name,
#include "base/crash_points.def"
#undef CRASH
	CRASH_POINT_COUNT
};
enum fault_call {
#define FAULT(name) FAULT_##name,
#include "base/fault_calls.def"
#undef FAULT
	FAULT_CALL_COUNT
};
void crash_point(enum crash_point point);
int fault_inject(enum fault_call call);
void fault_set(const char *fail);
unsigned fault_struck(void);
int fault_is_armed(void); /* one of the two counts: keep what is counted in one order */
enum { FAULTS_COMPILED_IN = 1 };
#define CRASH_POINT(name) crash_point(CRASH_##name)
/* Evaluates to -1 with errno set when the fault strikes, else to the call's own value. */
#define FAULTY(name, expression) (fault_inject(FAULT_##name) != 0 ? -1 : (expression))
#else
enum { FAULTS_COMPILED_IN = 0 };
#define fault_is_armed() 0
#define CRASH_POINT(name) ((void)0)
#define FAULTY(name, expression) (expression)
static inline void
fault_set(const char *fail)
{
	(void)fail;
}
static inline unsigned
fault_struck(void)
{
	return 0;
}
#endif

#endif
