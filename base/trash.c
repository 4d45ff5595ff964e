#include "base/trash.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fs.h"

enum { TRIES = 3 };

/* 0: worth another try. */
static int
mend(int dirfd, const char *name, int state_fd, int error)
{
	if (error == EACCES)
		return fchmodat(dirfd, name, TRASH_MODE, 0) == 0 ? 0 : -EACCES;
	if (error != ENOENT || faccessat(dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW) != 0)
		return -error;
	return fs_mkdir(state_fd, "trash", TRASH_MODE);
}

int
trash_move(int dirfd, const char *name, int state_fd, const char *as)
{
	char to[TRASH_NAME_SIZE];
	int rc = -EAGAIN;

	snprintf(to, sizeof(to), "trash/%s", as);
	for (int i = 0; i < TRIES; i++) {
		if (FAULTY(renameat, renameat(dirfd, name, state_fd, to)) == 0)
			return 0;
		rc = -errno;
		int mended = mend(dirfd, name, state_fd, -rc);
		if (mended != 0)
			return mended;
	}
	return rc;
}
