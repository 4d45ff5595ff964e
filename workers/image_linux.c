#include "workers/image_linux.h"

#include <sys/mount.h>
#include <sys/syscall.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fault.h"
#include "workers/mounts_linux.h"

/* What fs_fd describes, as a mount; fs_fd is closed. */
static int
mount_make(int fs_fd)
{
	int fd = -1, rc = 0;

	if (FAULTY(image, fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0)) != 0)
		rc = -errno;
	if (rc == 0) {
		fd = FAULTY(image,
		    fsmount(fs_fd, FSMOUNT_CLOEXEC,
			MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV));
		rc = fd < 0 ? -errno : 0;
	}
	close(fs_fd);
	return rc < 0 ? rc : fd;
}

static int
metadata_mount(int image_fd)
{
	int fs_fd = FAULTY(image, fsopen("erofs", FSOPEN_CLOEXEC));
	int rc;

	if (fs_fd < 0)
		return -errno;
	rc = mounts_set_fd(fs_fd, "source", image_fd);
	if (rc == 0 && fsconfig(fs_fd, FSCONFIG_SET_FLAG, "ro", NULL, 0) != 0)
		rc = -errno;
	if (rc == 0)
		return mount_make(fs_fd);
	close(fs_fd);
	return rc;
}

int
image_mount(int image_fd, int cas_fd)
{
	int metadata_fd = metadata_mount(image_fd);
	int fs_fd, rc;

	if (metadata_fd < 0)
		return metadata_fd;
	fs_fd = FAULTY(image, fsopen("overlay", FSOPEN_CLOEXEC));
	rc = fs_fd < 0 ? -errno : mounts_set_fd(fs_fd, "lowerdir+", metadata_fd);
	if (rc == 0)
		rc = mounts_set_fd(fs_fd, "datadir+", cas_fd);
	if (rc == 0 && fsconfig(fs_fd, FSCONFIG_SET_STRING, "metacopy", "on", 0) != 0)
		rc = -errno;
	if (rc == 0)
		rc = mount_make(fs_fd);
	else if (fs_fd >= 0)
		close(fs_fd);
	close(metadata_fd); /* the overlay has its own by now */
	return rc;
}

static int
open_readable(int state_fd, const char *path)
{
	int at = mounts_open_beneath(state_fd, path), fd;
	char name[32];

	if (at < 0)
		return at;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", at);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fd = -errno;
	close(at);
	return fd;
}

int
image_attach(struct run_init *init)
{
	int image_fd = open_readable(init->state_fd, init->request->image), cas_fd, fd = -1;

	if (image_fd < 0)
		return image_fd;
	cas_fd = mounts_open_beneath(init->state_fd, "cas");
	if (cas_fd >= 0)
		fd = image_mount(image_fd, cas_fd);
	close(image_fd);
	if (cas_fd < 0)
		return cas_fd;
	close(cas_fd);
	/* Parts of a mount that is nowhere cannot be cloned on older kernels. */
	if (fd >= 0 &&
	    FAULTY(image, move_mount(fd, "", AT_FDCWD, SANDBOX_PATH, MOVE_MOUNT_F_EMPTY_PATH)) !=
		0) {
		int rc = -errno;
		close(fd);
		return rc;
	}
	return fd;
}
