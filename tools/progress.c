#include "tools/progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "tools/text.h"
#include "tools/tool.h"

enum { BAR_WIDTH = 30, DRAW_US = 100000, LINE_US = 1000000 };

void
progress_start(struct progress *progress, size_t total, bool quiet)
{
	memset(progress, 0, sizeof(*progress));
	progress->total = total;
	progress->quiet = quiet;
	progress->terminal = isatty(STDERR_FILENO);
	progress->start_us = clock_monotonic_us();
}

static void
print_state(const struct progress *progress, char end)
{
	char took[32];

	text_duration(clock_monotonic_us() - progress->start_us, took);
	fprintf(stderr, "%zu/%zu done, %zu running, %zu from the cache, %zu failed",
	    progress->finished, progress->total, progress->running, progress->cached,
	    progress->failed);
	if (progress->skipped > 0)
		fprintf(stderr, ", %zu skipped", progress->skipped);
	fprintf(stderr, ", %s%c", took, end);
}

static void
draw(struct progress *progress)
{
	size_t full =
	    progress->total == 0 ? BAR_WIDTH : progress->finished * BAR_WIDTH / progress->total;
	char bar[BAR_WIDTH + 1];

	memset(bar, ' ', BAR_WIDTH);
	memset(bar, '=', full);
	bar[BAR_WIDTH] = '\0';
	fprintf(stderr, "\r\033[K[%s] ", bar);
	print_state(progress, '\r');
	fflush(stderr);
	progress->drawn = true;
}

void
progress_show(struct progress *progress)
{
	uint64_t now = clock_monotonic_us();
	uint64_t wait = progress->terminal ? DRAW_US : LINE_US;

	if (progress->quiet || (progress->shown_us != 0 && now - progress->shown_us < wait))
		return;
	progress->shown_us = now;
	if (progress->terminal)
		draw(progress);
	else if (progress->finished != progress->shown_finished)
		print_state(progress, '\n');
	progress->shown_finished = progress->finished;
}

void
progress_clear(struct progress *progress)
{
	if (progress->drawn)
		fputs("\r\033[K", stderr);
	progress->drawn = false;
}

void
progress_end(struct progress *progress)
{
	progress_clear(progress);
	if (!progress->quiet && !progress->terminal)
		print_state(progress, '\n');
}
