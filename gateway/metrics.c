#include "gateway/metrics.h"

#include <event2/buffer.h>
#include <inttypes.h>

#include "shm/counters.h"

void
metrics_write(const struct region *region, struct evbuffer *out)
{
	uint64_t values[COUNTER_COUNT];

	counters_read(region, values);
	evbuffer_add_printf(out,
	    "# HELP ramet_build_info What is running.\n# TYPE ramet_build_info gauge\n"
	    "ramet_build_info{version=\"%s\"} 1\n",
	    RAMET_VERSION);
	for (unsigned c = 0; c < COUNTER_COUNT; c++) {
		const struct counter_info *info = &counter_table[c];
		bool sum = info->kind == COUNTER_SUM;
		const char *suffix = sum ? "_total" : "";

		evbuffer_add_printf(out,
		    "# HELP ramet_%s%s %s.\n# TYPE ramet_%s%s %s\nramet_%s%s %" PRIu64 "\n",
		    info->name, suffix, info->help, info->name, suffix, sum ? "counter" : "gauge",
		    info->name, suffix, values[c]);
	}
}
