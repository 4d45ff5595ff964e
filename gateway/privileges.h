/*
 * What a process that talks to strangers does without.
 *
 * Gateway, before it has a second thread.  Afterwards it can gain nothing by exec and, as root, has
 * no capability but to listen below port 1024 and, with keep_files, that over other users' files:
 * else it reads and writes what is its own user's.  Linux: privileges_linux.c; macOS has no such
 * thing: privileges_darwin.c.  -errno: nothing was given up; a reason to log, not to stop.
 */
#ifndef GATEWAY_PRIVILEGES_H
#define GATEWAY_PRIVILEGES_H

#include <stdbool.h>

int privileges_drop(bool keep_files);

#endif
