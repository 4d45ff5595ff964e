#include "workers/run_log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fs.h"

enum { READS_MAX = 32 };

static void
log_keep(struct run_log *log, const char *data, size_t len)
{
	int rc;

	if (log->error != 0)
		return;
	if (log->file_fd < 0) {
		log->file_fd = openat(log->dirfd, log->name,
		    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (log->file_fd < 0) {
			log->error = -errno;
			return;
		}
	}
	rc = fs_write_all(log->file_fd, data, len);
	if (rc != 0)
		log->error = rc;
}

static void
log_take(struct run_log *log, const char *data, size_t len)
{
	uint64_t room = log->cap > log->kept ? log->cap - log->kept : 0;
	size_t keep = len < room ? len : (size_t)room;

	if (keep > 0)
		log_keep(log, data, keep);
	log->kept += keep;
	log->dropped += len - keep;
}

/* What was read; 0 when there is nothing more for now, or at all. */
static size_t
log_read(struct run_log *log, char *buffer)
{
	ssize_t n;

	do
		n = read(log->pipe_fd, buffer, RUN_LOG_BUFFER);
	while (n < 0 && errno == EINTR);
	if (n > 0) {
		log_take(log, buffer, (size_t)n);
		return (size_t)n;
	}
	if (n == 0 || errno != EAGAIN) {
		close(log->pipe_fd);
		log->pipe_fd = -1;
	}
	return 0;
}

/* A bounded number of reads: an action that floods us must not keep us from its timeout. */
void
run_log_drain(struct run_log *log, char *buffer)
{
	for (int i = 0; i < READS_MAX && log->pipe_fd >= 0; i++)
		if (log_read(log, buffer) < RUN_LOG_BUFFER)
			return;
}

int
run_log_finish(struct run_log *log, char *buffer)
{
	/* To the end, which a short read is not.  More than a pipe holds; whoever still writes may
	 * not keep us here. */
	for (int i = 0; i < READS_MAX && log->pipe_fd >= 0; i++)
		if (log_read(log, buffer) == 0)
			break;
	if (log->dropped > 0) {
		char line[128];
		int len = snprintf(line, sizeof(line),
		    "\nramet: %s cut here: %" PRIu64 " more bytes thrown away\n", log->name,
		    log->dropped);

		log_keep(log, line, (size_t)len);
	}
	if (log->pipe_fd >= 0)
		close(log->pipe_fd);
	if (log->file_fd >= 0)
		close(log->file_fd);
	log->pipe_fd = log->file_fd = -1;
	return log->error;
}
