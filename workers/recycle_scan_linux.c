#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fs.h"
#include "workers/recycle_scan.h"

enum { BUFFER_BYTES = 32 << 10 };

/* Flags that new entries inherit or that change what the directory means. */
enum {
	FLAGS_ODD = FS_SYNC_FL | FS_DIRSYNC_FL | FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NOATIME_FL |
	    FS_NODUMP_FL | FS_COMPR_FL | FS_NOCOMP_FL | FS_NOCOW_FL | FS_JOURNAL_DATA_FL |
	    FS_CASEFOLD_FL
};

static int64_t
nanoseconds(const struct timespec *time)
{
	return (int64_t)time->tv_sec * 1000000000 + time->tv_nsec;
}

static void
take_stat(const struct stat *st, struct scan_stat *ret_stat)
{
	*ret_stat = (struct scan_stat){
	    .inode = st->st_ino,
	    .size = (uint64_t)st->st_size,
	    .mtime_ns = nanoseconds(&st->st_mtim),
	    .ctime_ns = nanoseconds(&st->st_ctim),
	    .mode = st->st_mode,
	    .uid = st->st_uid,
	};
}

static int
add_entry(struct scan_list *list, int fd, const char *name)
{
	struct scan_stat stat;
	struct stat st;

	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return 0;
	if (FAULTY(scan, fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW)) != 0)
		return -errno;
	take_stat(&st, &stat);
	scan_add(list, name, &stat);
	return 0;
}

int
scan_directory(struct arena *arena, int fd, struct scan_entry **ret_entries, size_t *ret_count)
{
	static _Alignas(struct dirent64) char buffer[BUFFER_BYTES];
	struct scan_list list = {.arena = arena};
	ssize_t len;

	if (lseek(fd, 0, SEEK_SET) != 0)
		return -errno;
	while ((len = getdents64(fd, buffer, sizeof buffer)) > 0) {
		const struct dirent64 *entry;
		for (ssize_t at = 0; at < len; at += entry->d_reclen) {
			entry = (const struct dirent64 *)(const void *)(buffer + at);
			int rc = add_entry(&list, fd, entry->d_name);
			if (rc != 0)
				return rc;
		}
	}
	if (len < 0)
		return -errno;
	scan_sort(&list);
	*ret_entries = list.entries;
	*ret_count = list.count;
	return 0;
}

int
scan_self(int fd, struct scan_stat *ret_stat, dev_t *ret_device)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return -errno;
	take_stat(&st, ret_stat);
	*ret_device = st.st_dev;
	return 0;
}

int
scan_is_plain(int fd)
{
	int flags = 0, rc = fs_has_xattrs(fd);

	if (rc != 0)
		return rc < 0 ? rc : 0;
	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0)
		return errno == ENOTTY || errno == EOPNOTSUPP ? 1 : -errno;
	return (flags & FLAGS_ODD) == 0;
}
