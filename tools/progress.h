/*
 * How far a batch is: a bar on a terminal (stderr), plain lines otherwise; nothing when quiet.
 *
 * progress_show when something has changed or time has passed: it draws at most ten times a second,
 * writes a plain line at most once a second and at the end.  progress_clear before any other line.
 */
#ifndef TOOLS_PROGRESS_H
#define TOOLS_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct progress {
	bool quiet, terminal, drawn;
	uint64_t start_us, shown_us;
	size_t total, finished, running, failed, skipped, cached;
	size_t shown_finished;
};

void progress_start(struct progress *progress, size_t total, bool quiet);
void progress_show(struct progress *progress);
void progress_clear(struct progress *progress);
void progress_end(struct progress *progress);

#endif
