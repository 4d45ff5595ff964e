/*
 * One of an action's two output streams: read from a pipe, kept in a file of the sandbox, cut at a
 * cap.
 *
 * Worker, for run.c.  The file is made with the first byte: a silent action makes none.  What comes
 * after the cap is read and thrown away, so that the action goes on, and run_log_finish says so in
 * the file's last line.  Errors of writing (a full disk) stay in `error`; the pipe is read on.
 */
#ifndef WORKERS_RUN_LOG_H
#define WORKERS_RUN_LOG_H

#include <stddef.h>
#include <stdint.h>

enum { RUN_LOG_BUFFER = 65536 };

struct run_log {
	const char *name; /* "stdout" or "stderr" */
	int dirfd; /* the sandbox's */
	int pipe_fd; /* non-blocking; -1 after its end */
	int file_fd;
	uint64_t cap, kept, dropped;
	int error;
};

/* Takes what is there now, without waiting. */
void run_log_drain(struct run_log *log, char *buffer);
/* The last of it; closes both descriptors.  0, or the first error. */
int run_log_finish(struct run_log *log, char *buffer);

#endif
