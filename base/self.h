/* This program's own file, to find rametd beside it (0 or -errno), and its environment. */
#ifndef BASE_SELF_H
#define BASE_SELF_H

#include <stddef.h>

int self_path(char *path, size_t size);
char **self_environ(void);

#endif
