#include <sys/attr.h>
#include <sys/clonefile.h>
#include <sys/stat.h>

#include <copyfile.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fs.h"
#include "base/fs_os.h"

int
fs_copy_kernel(int in_fd, int out_fd)
{
	return fcopyfile(in_fd, out_fd, NULL, COPYFILE_DATA) == 0 ? 0 : -errno;
}

/* APFS clones by name only: there is no way to give an open, empty file another's extents. */
int
fs_reflink(int in_fd, int out_fd)
{
	(void)in_fd;
	(void)out_fd;
	return -EOPNOTSUPP;
}

int
fs_rename_noreplace(int src_dirfd, const char *src, int dst_dirfd, const char *dst)
{
	if (FAULTY(renameat, renameatx_np(src_dirfd, src, dst_dirfd, dst, RENAME_EXCL)) == 0)
		return 0;
	return -errno;
}

int
fs_clone(int src_dirfd, const char *src, int dst_dirfd, const char *dst)
{
	if (FAULTY(reflink, clonefileat(src_dirfd, src, dst_dirfd, dst, CLONE_NOFOLLOW)) == 0)
		return 0;
	return -errno;
}
