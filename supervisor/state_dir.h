/*
 * The state directory: made, laid out, and locked, so that it has one host at a time.
 *
 * Supervisor, at start.  state_dir_open makes the directory and its folders (cas ac trees images
 * sandboxes trash ingest suspect) and fills host->state_dir (absolute, no symlink in it) and
 * host->state_fd. state_dir_lock takes the lock, which is the pid file: held until the process
 * ends, however it ends.  The caller writes its pid into it once it has forked for the last time.
 *
 * Errors: -errno, words in err: in use by another host (-EEXIST), a read-only volume (-EROFS), no
 * rights, a file in the way, replaced meanwhile (-ESTALE).  Somebody may delete the directory and
 * make it anew under a running host: that host goes on in what it holds, and what it removes at its
 * end is its own, by descriptor and inode, never by path.  After a crash: folders without contents;
 * the lock is gone with us.
 */
#ifndef SUPERVISOR_STATE_DIR_H
#define SUPERVISOR_STATE_DIR_H

#include <stdint.h>

#include "base/error_text.h"
#include "base/host_config.h"

struct pidfh;

int state_dir_open(const char *path, struct host_config *host, struct error_text *err);

/* *ret_last_start_s: when the last host here wrote its pid file, 0 if there was none. */
int state_dir_lock(const struct host_config *host, struct pidfh **ret_pidfile,
    uint32_t *ret_last_start_s, struct error_text *err);

/* At the end: removes the pid file, unless it is another's by now, and gives the lock back. */
void state_dir_unlock(const struct host_config *host, struct pidfh *pidfile);

#endif
