#include "cas/scan.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cas/internal.h"

int
scan_folder(
    int dirfd, const char *name, int (*see)(void *arg, const struct scan_entry *entry), void *arg)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct dirent *dirent;
	DIR *dir;
	int rc = 0;

	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (dir == NULL) {
		rc = -errno;
		close(fd);
		return rc;
	}
	while (rc == 0 && (errno = 0, dirent = readdir(dir)) != NULL) {
		struct scan_entry entry = {.dirfd = fd, .name = dirent->d_name};

		if (strcmp(entry.name, ".") == 0 || strcmp(entry.name, "..") == 0)
			continue;
		if (fstatat(fd, entry.name, &entry.st, AT_SYMLINK_NOFOLLOW) == 0)
			rc = see(arg, &entry);
	}
	if (rc == 0 && errno != 0)
		rc = -errno;
	closedir(dir);
	return rc;
}

struct blob_scan {
	char folder[3];
	int (*see)(void *arg, const struct scan_entry *entry);
	void *arg;
};

/* "<hash>" or "<hash>.x", in the folder of its first byte. */
static int
blob_see(void *arg, const struct scan_entry *entry)
{
	const struct blob_scan *scan = arg;
	struct scan_entry blob = *entry;
	size_t len = strlen(entry->name);

	blob.executable =
	    len == DIGEST_HEX_SIZE + 1 && strcmp(entry->name + DIGEST_HEX_SIZE - 1, ".x") == 0;
	if (len != DIGEST_HEX_SIZE - 1 && !blob.executable)
		return 0;
	if (!S_ISREG(entry->st.st_mode) || strncmp(entry->name, scan->folder, 2) != 0)
		return 0;
	if (digest_hash_from_hex(entry->name, blob.digest.hash) != 0)
		return 0;
	return scan->see(scan->arg, &blob);
}

static int
scan_all(int dirfd, int (*see)(void *arg, const struct scan_entry *entry), void *arg)
{
	struct blob_scan scan = {.see = see, .arg = arg};
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < 256; i++) {
		snprintf(scan.folder, sizeof(scan.folder), "%02x", i);
		rc = scan_folder(dirfd, scan.folder, blob_see, &scan);
		if (rc == -ENOENT)
			rc = 0;
	}
	return rc;
}

int
scan_blobs(struct cas *cas, int (*see)(void *arg, const struct scan_entry *entry), void *arg)
{
	return scan_all(cas->cas_fd, see, arg);
}

int
scan_actions(struct cas *cas, int (*see)(void *arg, const struct scan_entry *entry), void *arg)
{
	return scan_all(cas->ac_fd, see, arg);
}
