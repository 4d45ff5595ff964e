/*
 * Mounting an image: its metadata by EROFS from a file, its files' bytes from the CAS, as overlay's
 * data-only layer, both as one read-only mount.
 *
 * image_mount: in a mount namespace of its own (the init of an action, a trial's process), as root.
 * `image_fd` is an image that stage_image.c has made or compared, `cas_fd` the CAS directory.  What
 * comes back is a mount that is attached nowhere; its descriptor, or -errno.  Files are opened in
 * the CAS when they are opened here: whoever mounts it sees to it that the blobs stay.
 *
 * image_attach: in an action's init: the request's image, attached where the sandbox will cover it;
 * binds of parts of it are clones.  A descriptor for mounts_open_beneath, or -errno.
 *
 * A crash leaves nothing: the mounts go with their process.
 */
#ifndef WORKERS_IMAGE_LINUX_H
#define WORKERS_IMAGE_LINUX_H

#include "workers/run_internal.h"

int image_mount(int image_fd, int cas_fd);
int image_attach(struct run_init *init);

#endif
