#include <sys/attr.h>
#include <sys/stat.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fs.h"
#include "workers/recycle_scan.h"

enum { BUFFER_BYTES = 64 << 10 };

/* Kinds of objects, as <sys/vnode.h> has them, which not every cross compiler brings along. */
enum { OBJECT_FILE = 1, OBJECT_DIRECTORY = 2, OBJECT_SYMLINK = 5 };

static const struct attrlist asked = {
    .bitmapcount = ATTR_BIT_MAP_COUNT,
    .commonattr = ATTR_CMN_RETURNED_ATTRS | ATTR_CMN_NAME | ATTR_CMN_ERROR | ATTR_CMN_OBJTYPE |
	ATTR_CMN_MODTIME | ATTR_CMN_CHGTIME | ATTR_CMN_OWNERID | ATTR_CMN_ACCESSMASK |
	ATTR_CMN_FILEID,
    .fileattr = ATTR_FILE_DATALENGTH,
};

/* Attributes come packed, on four bytes, in the order of their bits; the error before the name. */
struct reader {
	const char *at, *end;
	bool is_short;
};

static void
take(struct reader *reader, void *to, size_t size)
{
	if ((size_t)(reader->end - reader->at) < size) {
		reader->is_short = true;
		memset(to, 0, size);
		return;
	}
	memcpy(to, reader->at, size);
	reader->at += (size + 3) & ~(size_t)3;
}

static const char *
take_name(struct reader *reader)
{
	const char *base = reader->at;
	attrreference_t reference;

	take(reader, &reference, sizeof reference);
	if (reader->is_short || reference.attr_dataoffset < 0 || reference.attr_length == 0 ||
	    (int64_t)reference.attr_dataoffset + reference.attr_length > reader->end - base ||
	    base[reference.attr_dataoffset + (int64_t)reference.attr_length - 1] != '\0') {
		reader->is_short = true;
		return "";
	}
	return base + reference.attr_dataoffset;
}

static int64_t
nanoseconds(const struct timespec *time)
{
	return (int64_t)time->tv_sec * 1000000000 + time->tv_nsec;
}

static uint32_t
type_bits(fsobj_type_t type)
{
	switch (type) {
	case OBJECT_FILE:
		return S_IFREG;
	case OBJECT_DIRECTORY:
		return S_IFDIR;
	case OBJECT_SYMLINK:
		return S_IFLNK;
	default:
		return S_IFIFO; /* or a device, a socket: nothing that we place */
	}
}

static int
add_record(struct scan_list *list, struct reader *reader)
{
	struct scan_stat stat = {0};
	attribute_set_t got;
	struct timespec mtime, ctime;
	fsobj_type_t type;
	uint32_t error = 0, mask;
	off_t length;

	take(reader, &got, sizeof got);
	if ((got.commonattr & ATTR_CMN_ERROR) != 0)
		take(reader, &error, sizeof error);
	if (error != 0)
		return -(int)error;
	if ((asked.commonattr & ~got.commonattr & ~(attrgroup_t)ATTR_CMN_ERROR) != 0)
		return -ENOTSUP;
	const char *name = take_name(reader);
	take(reader, &type, sizeof type);
	take(reader, &mtime, sizeof mtime);
	take(reader, &ctime, sizeof ctime);
	take(reader, &stat.uid, sizeof stat.uid);
	take(reader, &mask, sizeof mask);
	take(reader, &stat.inode, sizeof stat.inode);
	if ((got.fileattr & ATTR_FILE_DATALENGTH) != 0) {
		take(reader, &length, sizeof length);
		stat.size = (uint64_t)length;
	}
	if (reader->is_short)
		return -EIO;
	stat.mode = type_bits(type) | (mask & 07777);
	stat.mtime_ns = nanoseconds(&mtime);
	stat.ctime_ns = nanoseconds(&ctime);
	scan_add(list, name, &stat);
	return 0;
}

static int
add_records(struct scan_list *list, const char *buffer, int count)
{
	const char *end = buffer + BUFFER_BYTES;

	for (int i = 0; i < count; i++) {
		uint32_t len;
		memcpy(&len, buffer, sizeof len);
		if (len < sizeof len || len > (size_t)(end - buffer))
			return -EIO;
		struct reader reader = {.at = buffer + sizeof len, .end = buffer + len};
		int rc = add_record(list, &reader);
		if (rc != 0)
			return rc;
		buffer += len;
	}
	return 0;
}

int
scan_directory(struct arena *arena, int fd, struct scan_entry **ret_entries, size_t *ret_count)
{
	static _Alignas(8) char buffer[BUFFER_BYTES];
	struct scan_list list = {.arena = arena};
	int count;

	if (lseek(fd, 0, SEEK_SET) != 0)
		return -errno;
	do {
		struct attrlist attributes = asked;
		count = FAULTY(scan, getattrlistbulk(fd, &attributes, buffer, sizeof buffer, 0));
		if (count < 0)
			return -errno;
		int rc = add_records(&list, buffer, count);
		if (rc != 0)
			return rc;
	} while (count > 0);
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
	*ret_stat = (struct scan_stat){
	    .inode = st.st_ino,
	    .size = (uint64_t)st.st_size,
	    .mtime_ns = nanoseconds(&st.st_mtimespec),
	    .ctime_ns = nanoseconds(&st.st_ctimespec),
	    .mode = st.st_mode,
	    .uid = st.st_uid,
	};
	*ret_device = st.st_dev;
	return 0;
}

int
scan_is_plain(int fd)
{
	struct stat st;
	int rc = fs_has_xattrs(fd);

	if (rc != 0)
		return rc < 0 ? rc : 0;
	if (fstat(fd, &st) != 0)
		return -errno;
	return st.st_flags == 0;
}
