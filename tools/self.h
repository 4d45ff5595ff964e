/* Where this program's own file lies, to find rametd beside it.  0 or -errno. */
#ifndef TOOLS_SELF_H
#define TOOLS_SELF_H

#include <stddef.h>

int self_path(char *path, size_t size);

#endif
