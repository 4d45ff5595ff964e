#include <errno.h>
#include <unistd.h>

#include "base/self.h"

int
self_path(char *path, size_t size)
{
	ssize_t len = readlink("/proc/self/exe", path, size);

	if (len < 0)
		return -errno;
	if ((size_t)len >= size)
		return -ENAMETOOLONG;
	path[len] = '\0';
	return 0;
}

char **
self_environ(void)
{
	return environ;
}
