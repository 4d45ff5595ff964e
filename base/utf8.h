/*
 * Texts from elsewhere: are they well-formed UTF-8 (no overlong forms, no surrogates, nothing above
 * U+10FFFF), and making them fit to be shown.
 *
 * Any process, any thread; pure.  A protobuf string must be, or strict readers refuse all of its
 * message.
 */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

bool utf8_is_valid(const char *text);
bool utf8_are_valid(const void *bytes, size_t len); /* no NUL at their end is needed */

/* Replaces each byte that is no part of a character by '?'.  Returns `text`. */
char *utf8_clean(char *text);

/* The same for what is not printable ASCII: a name from elsewhere on its way to a log or a label.
 */
char *ascii_clean(char *text);

#endif
