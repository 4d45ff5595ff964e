/*
 * What staging would do with an input tree now, and why: `rametd --explain DIGEST`, for `ramet
 * explain`.
 *
 * A process of its own beside a host that runs or not.  It plans with the workers' own planner, on
 * what the host has kept (STATE/ways, STATE/costs), looks at the index read-only, pins nothing and
 * builds nothing.  DIGEST: an Action's, whose Command says where it writes; or
 * a Directory's, taken as an input root that nothing is written to.  What the workers have seen
 * by themselves (which trees came before) is theirs alone and not known here.
 *
 * explain_print writes text to `out`; 0, or -errno with words: -ENOENT blobs are missing (all are
 * listed), -EINVAL neither an Action nor a Directory.
 */
#ifndef WORKERS_EXPLAIN_H
#define WORKERS_EXPLAIN_H

#include <stdio.h>

#include "base/host_config.h"
#include "workers/stage_plan.h"

int explain_print(const struct host_config *config, const struct digest *digest, bool guard_off,
    FILE *out, struct error_text *err);

/* explain_nearest.c: the cached directory that has most in common with one that is not. */
void explain_nearest(
    const struct region *region, struct cas *cas, const struct plan_node *node, FILE *out);

#endif
