#include "workers/sandbox.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fs.h"
#include "base/trash.h"

enum { SANDBOX_PATH_SIZE = 96, SANDBOX_TRIES = 16 };

/* Starts at the time in microseconds, so that no earlier process of this host has used it. */
uint64_t
sandbox_next_number(void)
{
	static uint64_t next;

	uint64_t now = clock_realtime_us();
	next = next >= now ? next + 1 : now;
	return next;
}

static void
name_of(uint32_t slot_number, uint64_t number, char *name, size_t size)
{
	snprintf(name, size, "%" PRIu32 ".%" PRIu64, slot_number, number);
}

static int
make_directory(int dirfd, const char *name)
{
	return FAULTY(mkdirat, mkdirat(dirfd, name, 0755)) != 0 ? -errno : 0;
}

static int
open_directory(int dirfd, const char *name, int *ret_fd)
{
	int fd =
	    FAULTY(openat, openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));

	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

static void
in_slot(struct slot *slot, const struct sandbox *sandbox, uint64_t number)
{
	if (sandbox->is_ahead)
		slot_set_ahead(slot, number);
	else
		slot_set_sandbox(slot, number);
}

/* sandboxes/<slot>.<n>, with the number in the slot first. */
static int
make_outer(int state_fd, struct slot *slot, struct sandbox *sandbox, char *path)
{
	int rc = -EEXIST;

	for (int i = 0; rc == -EEXIST && i < SANDBOX_TRIES; i++) {
		sandbox->number = sandbox_next_number();
		name_of(sandbox->slot_number, sandbox->number, sandbox->name, sizeof sandbox->name);
		snprintf(path, SANDBOX_PATH_SIZE, "sandboxes/%s", sandbox->name);
		in_slot(slot, sandbox, sandbox->number);
		rc = make_directory(state_fd, path);
		if (rc == -ENOENT) {
			rc = fs_mkdir(state_fd, "sandboxes", 0755);
			if (rc == 0)
				rc = make_directory(state_fd, path);
		}
	}
	return rc;
}

int
sandbox_make_root(struct sandbox *sandbox, uid_t uid)
{
	if (sandbox->rootfd >= 0)
		close(sandbox->rootfd);
	sandbox->rootfd = -1;
	int rc = make_directory(sandbox->dirfd, "root");

	if (rc == 0)
		rc = open_directory(sandbox->dirfd, "root", &sandbox->rootfd);
	if (rc == 0 && uid != (uid_t)-1 && fchown(sandbox->rootfd, uid, (gid_t)-1) != 0)
		rc = -errno;
	return rc;
}

static int
make(int state_fd, struct slot *slot, struct sandbox sandbox, uid_t uid,
    struct sandbox *ret_sandbox, struct error_text *err)
{
	char path[SANDBOX_PATH_SIZE];

	int rc = make_outer(state_fd, slot, &sandbox, path);
	if (rc != 0) {
		in_slot(slot, &sandbox, 0);
		return error_errno(err, rc, "%s: cannot make the sandbox", path);
	}
	CRASH_POINT(sandbox_made);
	rc = open_directory(state_fd, path, &sandbox.dirfd);
	if (rc == 0 && sandbox.is_ahead && fchmod(sandbox.dirfd, 0700) != 0)
		rc = -errno;
	if (rc == 0)
		rc = sandbox_make_root(&sandbox, uid);
	if (rc != 0) {
		error_errno(err, rc, "%s/root: cannot make the sandbox", path);
		sandbox_release(state_fd, slot, &sandbox);
		return rc;
	}
	*ret_sandbox = sandbox;
	return 0;
}

int
sandbox_make(int state_fd, struct slot *slot, uint32_t slot_number, uid_t uid,
    struct sandbox *ret_sandbox, struct error_text *err)
{
	struct sandbox sandbox = {.slot_number = slot_number, .dirfd = -1, .rootfd = -1};

	return make(state_fd, slot, sandbox, uid, ret_sandbox, err);
}

int
sandbox_make_ahead(int state_fd, struct slot *slot, uint32_t slot_number, uid_t uid,
    struct sandbox *ret_sandbox, struct error_text *err)
{
	struct sandbox sandbox = {
	    .slot_number = slot_number, .dirfd = -1, .rootfd = -1, .is_ahead = true};

	return make(state_fd, slot, sandbox, uid, ret_sandbox, err);
}

/* It stands in the slot all the time, for a moment twice: slot_read looks in the same order. */
int
sandbox_adopt(struct slot *slot, struct sandbox *sandbox)
{
	if (fchmod(sandbox->dirfd, 0755) != 0)
		return -errno;
	slot_set_sandbox(slot, sandbox->number);
	slot_set_ahead(slot, 0);
	sandbox->is_ahead = false;
	return 0;
}

static int
discard(int state_fd, const char *folder, const char *kind, uint32_t slot_number, uint64_t number)
{
	char name[64], from[SANDBOX_PATH_SIZE], as[SANDBOX_PATH_SIZE];

	name_of(slot_number, number, name, sizeof name);
	snprintf(from, sizeof from, "%s/%s", folder, name);
	snprintf(as, sizeof as, "%s.%s", kind, name);
	int rc = trash_move(state_fd, from, state_fd, as);
	return rc == -ENOENT ? 0 : rc;
}

int
sandbox_discard(int state_fd, uint32_t slot_number, uint64_t number)
{
	return discard(state_fd, "sandboxes", "sandbox", slot_number, number);
}

int
sandbox_discard_kept(int state_fd, uint32_t slot_number, uint64_t number)
{
	return discard(state_fd, "recycled", "recycled", slot_number, number);
}

int
sandbox_release(int state_fd, struct slot *slot, struct sandbox *sandbox)
{
	if (sandbox->rootfd >= 0)
		close(sandbox->rootfd);
	if (sandbox->dirfd >= 0)
		close(sandbox->dirfd);
	sandbox->rootfd = sandbox->dirfd = -1;
	int rc = sandbox_discard(state_fd, sandbox->slot_number, sandbox->number);
	if (rc == 0)
		in_slot(slot, sandbox, 0);
	return rc;
}
