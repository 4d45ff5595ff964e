/*
 * Going into the background, so that the command that starts a host returns when it is ready.
 *
 * Supervisor, once, before it has children.  background_enter forks: the parent waits for a line on
 * a pipe and exits with 0 if that is "ok", else prints it and exits with 1; the child returns in a
 * session of its own, with /dev/null as input and output, ramet.log in the state directory as error
 * output and log, and the pipe's end in *ret_ready_fd.
 */
#ifndef SUPERVISOR_BACKGROUND_H
#define SUPERVISOR_BACKGROUND_H

#include "base/error_text.h"

int background_enter(int state_fd, int *ret_ready_fd, int *ret_log_fd, struct error_text *err);

#endif
