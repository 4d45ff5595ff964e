#include "tools/batch_summary.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "tools/text.h"

void
batch_summary_add(
    struct batch_summary *summary, const struct job_result *result, const struct action_spec *spec)
{
	summary->ok += job_succeeded(result);
	summary->looked_up += !spec->no_cache;
	if (result->cached)
		return;
	summary->executed++;
	for (int i = 0; i < METRIC_COUNT; i++)
		summary->metrics[i] += result->metrics[i];
	if ((summary->stage_count & (summary->stage_count - 1)) == 0)
		summary->stage_us = xrealloc(summary->stage_us,
		    summary->stage_count == 0 ? 1 : 2 * summary->stage_count, sizeof(uint64_t));
	summary->stage_us[summary->stage_count++] = result->metrics[METRIC_STAGE_US];
}

static void
read_way_us(struct tool *tool, uint64_t way_us[PLACE_WAY_COUNT])
{
	struct region *region = tool_region(tool);
	uint64_t values[COUNTER_COUNT] = {0};

	counters_read(region, values);
	region_close(region);
	for (int way = 0; way < PLACE_WAY_COUNT; way++)
		way_us[way] = values[COUNTER_STAGE(way, PLACE_US)];
}

void
batch_summary_start(struct batch_summary *summary, struct tool *tool)
{
	read_way_us(tool, summary->way_us);
}

void
batch_summary_end(struct batch_summary *summary, struct tool *tool)
{
	uint64_t now[PLACE_WAY_COUNT];

	read_way_us(tool, now);
	for (int way = 0; way < PLACE_WAY_COUNT; way++)
		summary->way_us[way] =
		    now[way] > summary->way_us[way] ? now[way] - summary->way_us[way] : 0;
}

void
batch_summary_free(struct batch_summary *summary)
{
	free(summary->stage_us);
	summary->stage_us = NULL;
}

static int
by_value(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return (left > right) - (left < right);
}

static double
stage_ms(const struct batch_summary *summary, unsigned percent)
{
	size_t rank = (summary->stage_count * percent + 99) / 100;

	return (double)summary->stage_us[rank - 1] / 1e3;
}

static void
print_ways(const struct batch_summary *summary, FILE *out)
{
	for (int way = 0; way < PLACE_WAY_COUNT; way++) {
		uint64_t files = summary->metrics[METRIC_WAY_FILES + way];
		uint64_t subtrees = summary->metrics[METRIC_WAY_SUBTREES + way];

		if (files != 0 || subtrees != 0)
			fprintf(out,
			    "  by %-10s %" PRIu64 " files, %" PRIu64 " subtrees, %.1f ms\n",
			    place_way_names[way], files, subtrees,
			    (double)summary->way_us[way] / 1e3);
	}
}

static void
print_staging(struct batch_summary *summary, FILE *out)
{
	const uint64_t *metrics = summary->metrics;
	char bytes[32];

	if (summary->stage_count == 0)
		return;
	qsort(summary->stage_us, summary->stage_count, sizeof(uint64_t), by_value);
	fprintf(out,
	    "trees placed   %zu in %.1f ms (median %.2f ms, p99 %.2f ms), %" PRIu64 " files, %s\n",
	    summary->stage_count, (double)metrics[METRIC_STAGE_US] / 1e3, stage_ms(summary, 50),
	    stage_ms(summary, 99), metrics[METRIC_FILES_PLACED],
	    text_bytes(metrics[METRIC_BYTES_PLACED], bytes));
	print_ways(summary, out);
	fprintf(out, "index          %" PRIu64 " subtrees found cached, %" PRIu64 " built\n",
	    metrics[METRIC_SUBTREES_PLACED] > metrics[METRIC_SUBTREES_BUILT]
		? metrics[METRIC_SUBTREES_PLACED] - metrics[METRIC_SUBTREES_BUILT]
		: 0,
	    metrics[METRIC_SUBTREES_BUILT]);
	if (metrics[METRIC_FALLBACKS] != 0)
		fprintf(out, "fall-backs     %" PRIu64 " (ramet stat fallback)\n",
		    metrics[METRIC_FALLBACKS]);
}

void
batch_summary_print(struct batch_summary *summary, const struct progress *progress, FILE *out)
{
	char wall[32], exec[32];

	fprintf(out,
	    "actions        %zu: %zu ok, %zu failed, %zu skipped; %zu from the cache, %zu executed\n",
	    progress->total, summary->ok, progress->failed, progress->skipped, progress->cached,
	    summary->executed);
	fprintf(out, "time           %s wall, %s of execution\n",
	    text_duration(clock_monotonic_us() - progress->start_us, wall),
	    text_duration(summary->metrics[METRIC_EXEC_US], exec));
	print_staging(summary, out);
	fprintf(out, "action cache   %zu hits, %zu misses\n", progress->cached,
	    summary->looked_up - progress->cached);
	if (progress->total > 0 && progress->cached == progress->total)
		fprintf(out, "everything was answered from the action cache\n");
}
