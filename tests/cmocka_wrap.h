/* cmocka with the includes it needs before it, and without what it defines in our way. */
#ifndef TESTS_CMOCKA_WRAP_H
#define TESTS_CMOCKA_WRAP_H

/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */

#endif
