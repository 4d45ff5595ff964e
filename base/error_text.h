/*
 * The words that go with a negative errno: which thing, what went wrong, what to do.
 *
 * Any process, any thread; the caller owns the struct, and may pass NULL where it wants no words.
 * Functions that take one return -errno and set the words on failure only.  The first cause is the
 * one worth reading: error_set overwrites, so call it where the decision is made, once.
 */
#ifndef BASE_ERROR_TEXT_H
#define BASE_ERROR_TEXT_H

struct error_text {
	char text[1024];
};

/* Returns `rc`, so that a failing path reads: return error_set(err, rc, "%s: cannot ...", name). */
int error_set(struct error_text *err, int rc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same with ": strerror(-rc)" appended. */
int error_errno(struct error_text *err, int rc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
