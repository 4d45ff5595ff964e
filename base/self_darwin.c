#include <crt_externs.h>
#include <errno.h>
#include <limits.h>
#include <mach-o/dyld.h>
#include <stdlib.h>
#include <string.h>

#include "base/self.h"

int
self_path(char *path, size_t size)
{
	char raw[PATH_MAX], real[PATH_MAX];
	uint32_t raw_size = sizeof(raw);

	if (_NSGetExecutablePath(raw, &raw_size) != 0)
		return -ENAMETOOLONG;
	if (realpath(raw, real) == NULL)
		return -errno;
	return strlcpy(path, real, size) < size ? 0 : -ENAMETOOLONG;
}

char **
self_environ(void)
{
	return *_NSGetEnviron();
}
