#include "base/trash.h"

#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "janitor/internal.h"
#include "shm/counters.h"

int
trash_put(struct janitor *janitor, const char *folder, const char *name)
{
	static unsigned counter;
	int state_fd = janitor->config->state_fd;
	char from[320], as[96];

	snprintf(from, sizeof(from), "%s/%s", folder, name);
	snprintf(as, sizeof(as), "janitor.%ld.%llu.%u", (long)getpid(),
	    (unsigned long long)clock_realtime_us(), counter++);
	return trash_move(state_fd, from, state_fd, as);
}

static void
remove_one(struct janitor *janitor, int dirfd, const char *name)
{
	int rc;

	rc = fs_remove_tree(dirfd, name);
	if (rc == 0) {
		COUNTER_ADD(janitor->slot, trash_removed, 1);
		janitor->said_stuck = false;
	} else if (!janitor->said_stuck) {
		log_warn("trash/%s: cannot be deleted: %s", name, strerror(-rc));
		janitor->said_stuck = true;
	}
	janitor->trash_stays = janitor->trash_stays || rc != 0;
}

int
trash_empty(struct janitor *janitor)
{
	struct dirent *entry;
	int fd, rc = 0;
	DIR *dir;

	janitor->trash_stays = false;
	fd = openat(janitor->config->state_fd, "trash", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	dir = fdopendir(fd);
	if (dir == NULL) {
		rc = -errno;
		close(fd);
		return rc;
	}
	while (rc == 0 && (entry = readdir(dir)) != NULL) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		remove_one(janitor, fd, entry->d_name);
		rc = janitor_attend(janitor);
	}
	closedir(dir);
	return rc;
}
