#include <sys/mount.h>
#include <sys/param.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "workers/probe_os.h"

void
probe_volume(int fd, char *name, size_t size)
{
	struct statfs fs;

	strlcpy(name, fstatfs(fd, &fs) == 0 ? fs.f_fstypename : "unknown", size);
}

void
probe_mounts(int dirfd, const char *path, struct probe *probe)
{
	static const enum place_way ways[] = {PLACE_BIND, PLACE_OVERLAY, PLACE_IMAGE};

	for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
		struct probe_way *way = &probe->ways[ways[i]];
		way->error = ENOTSUP;
		strlcpy(way->why, "macOS has no mount namespaces", sizeof way->why);
	}
}

void
probe_explain_isolation(enum isolation isolation, int error, struct probe_way *way)
{
	if (isolation != ISOLATION_NONE)
		strlcpy(way->why, "macOS has no namespaces", sizeof way->why);
}

void
probe_explain_overlay(const char *volume, struct probe_way *way)
{
}

void
probe_explain_reflink(const char *volume, struct probe_way *way)
{
	snprintf(
	    way->remedy, sizeof way->remedy, "%s copies bytes instead; APFS shares them", volume);
}

void
probe_explain_image(const char *volume, struct probe_way *way)
{
}

bool
probe_clone_is_native(void)
{
	return true;
}
