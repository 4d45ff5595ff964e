/* What fs.c asks of the system's own file (fs_linux.c, fs_darwin.c).  base/ only. */
#ifndef BASE_FS_OS_H
#define BASE_FS_OS_H

#include <sys/types.h>

/*
 * Copies by the kernel from the descriptors' offsets.  0: all bytes up to the source's end are
 * copied; -EOPNOTSUPP: nothing was, copy by hand; another -errno: failed.
 */
int fs_copy_kernel(int in_fd, int out_fd);

#endif
