#include "supervisor/state_dir.h"

#include <sys/param.h>
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <libutil.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/trash.h"

static const struct {
	const char *name;
	mode_t mode;
} folders[] = {
    {"cas", 0755},
    {"ac", 0755},
    {"trees", 0755},
    {"images", 0755},
    {"sandboxes", 0711},
    {"recycled", 0700},
    {"trash", TRASH_MODE},
    {"ingest", 0700},
    {"suspect", 0700},
};

static int
say(struct error_text *err, int rc, const char *path, const char *name)
{
	const char *slash = name[0] != '\0' ? "/" : "";

	if (rc == -EROFS)
		return error_set(err, rc,
		    "%s%s%s: the volume is read-only: mount it writable or choose another --state",
		    path, slash, name);
	if (rc == -EACCES || rc == -EPERM)
		return error_errno(
		    err, rc, "%s%s%s: cannot be used as state directory", path, slash, name);
	return error_errno(err, rc, "%s%s%s: cannot be made", path, slash, name);
}

static int
make_path(const char *path)
{
	char part[MAXPATHLEN];
	char *slash = part;

	if (strlcpy(part, path, sizeof(part)) >= sizeof(part))
		return -ENAMETOOLONG;
	while ((slash = strchr(slash + 1, '/')) != NULL) {
		*slash = '\0';
		if (mkdir(part, 0755) != 0 && errno != EEXIST && errno != EROFS && errno != EACCES)
			return -errno;
		*slash = '/';
	}
	return mkdir(part, 0711) != 0 && errno != EEXIST ? -errno : 0;
}

static int
make_folders(int state_fd, const char *path, struct error_text *err)
{
	size_t i;
	int rc;

	for (i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		rc = fs_mkdir(state_fd, folders[i].name, folders[i].mode);
		if (rc != 0)
			return say(err, rc, path, folders[i].name);
	}
	return 0;
}

int
state_dir_open(const char *path, struct host_config *host, struct error_text *err)
{
	char *real;
	int fd, rc;

	rc = make_path(path);
	if (rc != 0)
		return say(err, rc, path, "");
	real = realpath(path, NULL);
	if (real == NULL)
		return say(err, -errno, path, "");
	rc = strlcpy(host->state_dir, real, sizeof(host->state_dir)) >= sizeof(host->state_dir)
	    ? -ENAMETOOLONG
	    : 0;
	free(real);
	if (rc != 0)
		return say(err, rc, path, "");
	fd = open(host->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return say(err, -errno, path, "");
	rc = make_folders(fd, path, err);
	if (rc == 0)
		host->state_fd = fd;
	else
		close(fd);
	return rc;
}

/* The file that we hold locked is the one in our directory. */
static bool
is_pid_file(const struct host_config *host, const struct pidfh *pidfile)
{
	struct stat held, named;

	return fstat(pidfile_fileno(pidfile), &held) == 0 &&
	    fstatat(host->state_fd, "ramet.pid", &named, AT_SYMLINK_NOFOLLOW) == 0 &&
	    held.st_dev == named.st_dev && held.st_ino == named.st_ino;
}

int
state_dir_lock(const struct host_config *host, struct pidfh **ret_pidfile,
    uint32_t *ret_last_start_s, struct error_text *err)
{
	char path[sizeof(host->state_dir) + 16];
	struct pidfh *pidfile;
	struct stat st;
	uint32_t last;
	pid_t other = 0;

	snprintf(path, sizeof(path), "%s/ramet.pid", host->state_dir);
	last = stat(path, &st) == 0 ? (uint32_t)st.st_mtime : 0;
	pidfile = pidfile_open(path, 0644, &other);
	if (pidfile == NULL && errno == EEXIST)
		return error_set(err, -EEXIST,
		    "%s: in use by another host (pid %ld): stop it (ramet stop) or choose another --state",
		    host->state_dir, (long)other);
	if (pidfile == NULL)
		return say(err, -errno, host->state_dir, "ramet.pid");
	fcntl(pidfile_fileno(pidfile), F_SETFD, FD_CLOEXEC);
	if (!is_pid_file(host, pidfile)) {
		pidfile_close(pidfile);
		return error_set(err, -ESTALE,
		    "%s: it was replaced while the host started: start it again", host->state_dir);
	}
	*ret_pidfile = pidfile;
	*ret_last_start_s = last;
	return 0;
}

void
state_dir_unlock(const struct host_config *host, struct pidfh *pidfile)
{
	if (is_pid_file(host, pidfile))
		unlinkat(host->state_fd, "ramet.pid", 0);
	pidfile_close(pidfile);
}
