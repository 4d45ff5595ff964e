/*
 * The counters of shm/counters.def as Prometheus text.
 *
 * Pure but for the mapping.  Sums are counters and end in _total; levels and maxima are gauges.
 */
#ifndef GATEWAY_METRICS_H
#define GATEWAY_METRICS_H

#include "shm/region.h"

struct evbuffer;

void metrics_write(const struct region *region, struct evbuffer *out);

#endif
