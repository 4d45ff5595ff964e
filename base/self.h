/* This program's own file, the programs beside it (0 or -errno), and its environment. */
#ifndef BASE_SELF_H
#define BASE_SELF_H

#include <stddef.h>

int self_path(char *path, size_t size);
/* The program of that name in the same directory, if it can be executed. */
int self_beside(const char *name, char *path, size_t size);
char **self_environ(void);

#endif
