#include "cas/suspect.h"

#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"

#define FOLDER "suspect"
#define BLOB_PREFIX "blob."

enum { PATH_SIZE = sizeof(FOLDER "/" BLOB_PREFIX) + DIGEST_TEXT_SIZE };

static void
path_of(enum suspect_kind kind, const struct digest *digest, char *path)
{
	char text[DIGEST_TEXT_SIZE];

	snprintf(path, PATH_SIZE, FOLDER "/%s%s", kind == SUSPECT_BLOB ? BLOB_PREFIX : "",
	    digest_to_text(digest, '-', text));
}

/* Root's tool in a user's state directory must not keep that user's janitor out. */
static int
folder_make(int state_fd)
{
	struct stat st;
	int rc = fs_mkdir(state_fd, FOLDER, 0700);

	if (rc != 0)
		return rc;
	if (fstat(state_fd, &st) != 0)
		return -errno;
	if (st.st_uid != geteuid() &&
	    fchownat(state_fd, FOLDER, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) != 0)
		return -errno;
	return 0;
}

static int
note_make(int state_fd, const char *path)
{
	int fd = openat(state_fd, path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

int
suspect_note(int state_fd, enum suspect_kind kind, const struct digest *digest)
{
	char path[PATH_SIZE];
	int rc;

	path_of(kind, digest, path);
	rc = note_make(state_fd, path);
	if (rc != -ENOENT)
		return rc;
	rc = folder_make(state_fd);
	return rc != 0 ? rc : note_make(state_fd, path);
}

bool
suspect_is_noted(int state_fd, enum suspect_kind kind, const struct digest *digest)
{
	char path[PATH_SIZE];
	struct stat st;

	path_of(kind, digest, path);
	return fstatat(state_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

int
suspect_forget(int state_fd, enum suspect_kind kind, const struct digest *digest)
{
	char path[PATH_SIZE];

	path_of(kind, digest, path);
	return unlinkat(state_fd, path, 0) != 0 && errno != ENOENT ? -errno : 0;
}

static int
name_give(const char *name,
    int (*on_note)(void *arg, enum suspect_kind kind, const struct digest *digest), void *arg)
{
	const size_t len = strlen(BLOB_PREFIX);
	bool is_blob = strncmp(name, BLOB_PREFIX, len) == 0;
	char text[DIGEST_TEXT_SIZE];
	struct digest digest;

	if (is_blob)
		name += len;
	/* As we write it, or forgetting it would miss it. */
	if (digest_from_text(name, &digest) != 0 ||
	    strcmp(digest_to_text(&digest, '-', text), name) != 0)
		return 0;
	return on_note(arg, is_blob ? SUSPECT_BLOB : SUSPECT_TREE, &digest);
}

int
suspect_each(int state_fd,
    int (*on_note)(void *arg, enum suspect_kind kind, const struct digest *digest), void *arg)
{
	int rc = 0, fd = openat(state_fd, FOLDER, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct dirent *entry;
	DIR *dir;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	dir = fdopendir(fd);
	if (dir == NULL) {
		rc = -errno;
		close(fd);
		return rc;
	}
	while (rc == 0 && (entry = readdir(dir)) != NULL)
		rc = name_give(entry->d_name, on_note, arg);
	closedir(dir);
	return rc;
}
