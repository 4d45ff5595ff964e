#include <errno.h>

#include "base/clock.h"
#include "base/fs.h"
#include "workers/cost.h"

/* Nothing is mounted here; what a cloned directory costs is. */
void
cost_measure_mounts(const struct cost_trial *trial, struct cost_model *costs)
{
	unsigned entries = trial->directories * (trial->files + 1) + 1;
	uint64_t start = clock_monotonic_us();

	if (fs_clone(trial->dirfd, "tree", trial->dirfd, "tree.clone") == 0)
		costs->ns[COST_CLONE_ENTRY] =
		    (uint32_t)((clock_monotonic_us() - start) * 1000 / entries);
}
