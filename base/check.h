/*
 * CHECK(condition) guards against our own bugs; it is never compiled out.
 *
 * Any process, any thread.  A failed check writes one line to stderr and aborts; it also stores the
 * line through check_last_words, when the process has given it a place (its slot in shared memory),
 * so that the supervisor can say why a worker died.  Bytes from shared memory, sockets, disk or
 * argv are input: return an error for those, never CHECK them.
 */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

#include <stddef.h>

#define CHECK(condition)                                                                           \
	((condition) ? (void)0 : check_failed(#condition, __FILE__, __LINE__, __func__))

_Noreturn void check_failed(const char *condition, const char *file, int line, const char *func);

/* Where to leave the last words; `place` has `size` bytes and outlives the process's use of it. */
void check_last_words(char *place, size_t size);

#endif
