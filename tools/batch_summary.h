/* What a batch came to: added up from each job's metrics, printed at the end. */
#ifndef TOOLS_BATCH_SUMMARY_H
#define TOOLS_BATCH_SUMMARY_H

#include <stdio.h>

#include "tools/job.h"
#include "tools/progress.h"

struct batch_summary {
	size_t ok, executed, looked_up;
	uint64_t metrics[METRIC_COUNT]; /* of those that were executed */
	uint64_t way_us[PLACE_WAY_COUNT]; /* from the host's counters: all that it did meanwhile */
	uint64_t *stage_us;
	size_t stage_count;
};

void batch_summary_start(struct batch_summary *summary, struct tool *tool);
void batch_summary_end(struct batch_summary *summary, struct tool *tool);
void batch_summary_add(
    struct batch_summary *summary, const struct job_result *result, const struct action_spec *spec);
void batch_summary_print(struct batch_summary *summary, const struct progress *progress, FILE *out);
void batch_summary_free(struct batch_summary *summary);

#endif
