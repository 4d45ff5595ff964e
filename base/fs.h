/*
 * What every process does with files, done once and safely: relative to a directory descriptor,
 * never following a symlink that we did not make, descriptors close-on-exec.
 *
 * Any process, any thread.  All return 0 or -errno.  fs_linux.c and fs_darwin.c hold the calls
 * that differ.  After a crash: fs_write_atomic leaves the old or the new file whole, and perhaps a
 * ".tmp.*" beside it; fs_remove_tree can be run again.
 */
#ifndef BASE_FS_H
#define BASE_FS_H

#include <sys/types.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An error means the name is unusable as one path component: '/', NUL, "", ".", "..", too long. */
int fs_name_check(const char *name, size_t len);

/*
 * A relative path of checked components, such as an output's: no leading or trailing '/', no "//",
 * no ".", "..".  The empty path is allowed only with FS_PATH_EMPTY_OK.
 */
enum { FS_PATH_EMPTY_OK = 1 };
int fs_path_check(const char *path, int flags);

/* mkdir, and mkdir -p of a relative path below dirfd; an existing directory is fine,
 * anything else of that name (also a symlink to a directory) is -ENOTDIR. */
int fs_mkdir(int dirfd, const char *name, mode_t mode);
int fs_mkdir_path(int dirfd, const char *path, mode_t mode);

/* Opens the directory at a relative path below dirfd, no symlink at any level.  "" is dirfd. */
int fs_open_beneath(int dirfd, const char *path, int *ret_fd);

/* Removes a file or a whole tree, whatever its modes; a missing one is fine.  No symlink followed.
 */
int fs_remove_tree(int dirfd, const char *name);

/* Reads a regular file whole, at most max bytes (else -EFBIG).  The caller frees *ret_data. */
int fs_read_file(int dirfd, const char *name, size_t max, uint8_t **ret_data, size_t *ret_len);
int fs_read_fd(int fd, size_t max, uint8_t **ret_data, size_t *ret_len);

int fs_write_all(int fd, const void *data, size_t len);
int fs_write_atomic(int dirfd, const char *name, const void *data, size_t len, mode_t mode);

/* All bytes of in_fd, from its start, to out_fd: by the kernel where it can, else by hand. */
int fs_copy(int in_fd, int out_fd);

/* out_fd (empty) shares in_fd's extents.  -EOPNOTSUPP, -EXDEV, -EINVAL...: the volume cannot. */
int fs_reflink(int in_fd, int out_fd);

/* clonefile(2)'s contract: dst must not exist, modes kept, a directory is cloned whole. */
int fs_clone(int src_dirfd, const char *src, int dst_dirfd, const char *dst);

/* rename that fails with -EEXIST where the destination exists. */
int fs_rename_noreplace(int src_dirfd, const char *src, int dst_dirfd, const char *dst);

/*
 * What a file carries beside bytes, mode and owner: an extended attribute or an ACL.  1, 0, or
 * -errno.  What the system itself puts on every file does not count.
 */
int fs_has_xattrs(int fd);
/* An attribute's length, its value in `value`; or -errno. */
ssize_t fs_get_xattr(int fd, const char *name, void *value, size_t size);

/*
 * Whether somebody has the file open, or mapped, for writing; fd is open for reading only, and the
 * file is ours.  1, 0, or -errno (it cannot be told here).  macOS has no call for it: always 0.
 */
int fs_has_writers(int fd);

/* A name nobody else uses: "<prefix>.<pid>.<counter>".  Returns `name`. */
char *fs_temp_name(const char *prefix, char *name, size_t size);

#endif
