#include "base/self.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

int
self_beside(const char *name, char *path, size_t size)
{
	char *slash;
	int rc = self_path(path, size);

	if (rc != 0)
		return rc;
	slash = strrchr(path, '/');
	if (slash == NULL)
		return -ENOENT;
	slash[1] = '\0';
	if (strlcat(path, name, size) >= size)
		return -ENAMETOOLONG;
	return access(path, X_OK) == 0 ? 0 : -errno;
}
