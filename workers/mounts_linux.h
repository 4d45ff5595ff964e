/*
 * The mounts of one action, made by its init inside a mount namespace of its own; they go with it.
 *
 * What the action then sees: the host, read-only; a private empty /tmp and /dev/shm; its input
 * root, writable, at SANDBOX_PATH (over a cached tree where the request says so); each bind
 * read-only at its target; nothing in the state directory and in /run; a /proc of its own
 * processes.  0 or -errno with report.step (and .bind) set.
 *
 * mounts_prepare makes what is the same for all actions and opens init.state_fd; mounts_finish adds
 * sandbox and binds, and closes it.  An init that fails exits.
 */
#ifndef WORKERS_MOUNTS_LINUX_H
#define WORKERS_MOUNTS_LINUX_H

#include "workers/run_internal.h"

struct mount_attr;

int mounts_prepare(struct run_init *init);
int mounts_finish(struct run_init *init);

/* A path of it alone, beneath dirfd, no symlink followed; then the same as a mount of its own, made
 * as `attr` says and attached nowhere.  A descriptor or -errno. */
int mounts_open_beneath(int dirfd, const char *path);
int mounts_clone(int dirfd, const char *path, const struct mount_attr *attr);
/* What is to be mounted has what fd is open for, as `key`. */
int mounts_set_fd(int fs_fd, const char *key, int fd);

#endif
