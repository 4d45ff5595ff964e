#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "tests/bench/isolate_child.h"

/* There is no mount namespace here, and so no bind: the child is a plain one. */
void
isolate_open(const char *state_dir)
{
	(void)state_dir;
}

int
isolate_prepare(const struct isolated *isolated)
{
	const struct bench_placed *placed = isolated->placed;

	return placed != NULL && bench_has_mounts(placed) ? -ENOTSUP : 0;
}

int
isolate_enter(const struct isolated *isolated, uint64_t *ret_mount_ns)
{
	int fd;

	*ret_mount_ns = 0;
	if (isolated->placed != NULL)
		return isolated->placed->sandbox.rootfd;
	fd = open(isolated->tree, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

void
isolate_settle(int fd)
{
	if (fsync(fd) < 0)
		err(1, "sync");
}
