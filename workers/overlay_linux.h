/*
 * The overlay of one action: a cached tree below, the sandbox's root/ above, both as one writable
 * tree at SANDBOX_PATH.
 *
 * overlay_attach: in the action's init, in place of mounting root/ itself.  The kernel is given
 * descriptors' names only, so that nothing has to be reachable by path.  What the action then sees
 * is on top of two mounts that it has no name for: the sandbox (overlay wants an upper layer that
 * may be written to, and the host is frozen), and a cached tree mapped to the action's uid.
 *
 * overlay_namespaces: in the worker, once, before the first overlay whose inputs are the action's
 * own.  As root it makes two user namespaces, of which only descriptors remain: `map_fd` says that
 * our files are the action's (for an id-mapped mount of the cached tree), `own_fd` is where such an
 * action lives: its uid and gid are the only ones there, so that CAP_DAC_OVERRIDE, which it keeps,
 * means its own files and nobody else's.  In a user namespace of ours that is so already: -1.
 *
 * 0 or -errno.  A crash leaves nothing: mounts and namespaces go with their processes.
 */
#ifndef WORKERS_OVERLAY_LINUX_H
#define WORKERS_OVERLAY_LINUX_H

#include "workers/run_internal.h"

int overlay_attach(struct run_init *init);
int overlay_namespaces(struct runner *runner);

#endif
