#include <sys/acl.h>
#include <sys/attr.h>
#include <sys/clonefile.h>
#include <sys/stat.h>

#include <copyfile.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fs.h"
#include "base/fs_os.h"

/* As <sys/xattr.h> has it, which not every cross compiler brings along. */
ssize_t flistxattr(int fd, char *names, size_t size, int options);
ssize_t fgetxattr(
    int fd, const char *name, void *value, size_t size, uint32_t position, int options);

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
fs_has_xattrs(int fd)
{
	char names[1024];
	ssize_t len = flistxattr(fd, names, sizeof(names), 0);
	acl_t acl;

	if (len < 0)
		return errno == ERANGE ? 1 : errno == ENOTSUP ? 0 : -errno;
	for (const char *name = names; name < names + len; name += strlen(name) + 1)
		if (strcmp(name, "com.apple.provenance") != 0)
			return 1;
	acl = acl_get_fd_np(fd, ACL_TYPE_EXTENDED);
	if (acl == NULL)
		return 0;
	acl_free(acl);
	return 1;
}

ssize_t
fs_get_xattr(int fd, const char *name, void *value, size_t size)
{
	ssize_t len = fgetxattr(fd, name, value, size, 0, 0);

	return len < 0 ? -errno : len;
}

/* There is no call that tells. */
int
fs_has_writers(int fd)
{
	(void)fd;
	return 0;
}

int
fs_clone(int src_dirfd, const char *src, int dst_dirfd, const char *dst)
{
	if (FAULTY(reflink, clonefileat(src_dirfd, src, dst_dirfd, dst, CLONE_NOFOLLOW)) == 0)
		return 0;
	return -errno;
}
