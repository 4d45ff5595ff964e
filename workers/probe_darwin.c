#include <sys/mount.h>
#include <sys/param.h>
#include <sys/wait.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "workers/probe_os.h"
#include "workers/seal.h"

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

/* What it must not be able to do, and one thing that it must. */
static const char breaker[] = "exec 2>/dev/null; "
			      "if echo x >in/f || chmod 600 in/f || touch in/new || rm in/f || "
			      "ln in/f out/l || mv in/f out/f || mv in out/in || mv d e || "
			      "echo x >d/in/f || ln d/in/f l; then exit 1; fi; "
			      "echo x >out/o && mv out/o d/o && rm d/o";

static void
run_breaker(const char *root)
{
	static const char *inputs[] = {"in", "d/in"}, *holders[] = {"d"};
	static const struct seal seal = {
	    .inputs = inputs, .input_count = 2, .holders = holders, .holder_count = 1};
	static char profile[SEAL_RULES_SIZE];
	int len = snprintf(profile, sizeof profile, "(version 1)(allow default)");

	if (chdir(root) == 0 &&
	    seal_rules(&seal, root, profile + len, sizeof profile - (size_t)len) == 0)
		execl("/usr/bin/sandbox-exec", "sandbox-exec", "-p", profile, "/bin/sh", "-c",
		    breaker, (char *)NULL);
	_exit(127);
}

bool
probe_seal(int dirfd, const char *path)
{
	static const char *const directories[] = {
	    "seal", "seal/in", "seal/out", "seal/d", "seal/d/in"};
	char root[PATH_MAX];
	int status = -1;

	snprintf(root, sizeof root, "%s/seal", path);
	for (size_t i = 0; i < sizeof directories / sizeof directories[0]; i++)
		if (fs_mkdir(dirfd, directories[i], 0755) != 0)
			return false;
	if (fs_write_atomic(dirfd, "seal/in/f", "x", 1, 0644) != 0 ||
	    fs_write_atomic(dirfd, "seal/d/in/f", "x", 1, 0644) != 0)
		return false;
	pid_t pid = fork();
	if (pid == 0)
		run_breaker(root);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status == 0;
}
