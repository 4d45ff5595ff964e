#include "tests/bench/series.h"

#include <err.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/check.h"

uint64_t
bench_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void
series_add(struct series *series, double value)
{
	if (series->count == series->room) {
		series->room = series->room > 0 ? series->room * 2 : 64;
		series->values = realloc(series->values, series->room * sizeof(*series->values));
		if (series->values == NULL)
			err(1, "samples");
	}
	series->values[series->count++] = value;
}

void
series_clear(struct series *series)
{
	free(series->values);
	*series = (struct series){0};
}

static int
compare_values(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

double
series_quantile(struct series *series, double part)
{
	size_t rank;

	CHECK(series->count > 0);
	qsort(series->values, series->count, sizeof(*series->values), compare_values);
	if (part == 0.5 && series->count % 2 == 0)
		return (series->values[series->count / 2 - 1] + series->values[series->count / 2]) /
		    2;
	rank = (size_t)ceil(part * (double)series->count);
	return series->values[rank > 0 ? rank - 1 : 0];
}

void
series_alternate(const struct series_bounds *bounds, double unit_ns, series_measure thing,
    series_measure limit, void *arg, struct series *thing_series, struct series *limit_series)
{
	uint64_t end = bench_now_ns() + (uint64_t)bounds->budget_ms * 1000000u;
	unsigned pairs;
	int half;

	for (pairs = 0; pairs < bounds->most; pairs++) {
		if (pairs >= bounds->least && bench_now_ns() >= end)
			return;
		for (half = 0; half < 2; half++) {
			if ((pairs + (unsigned)half) % 2 == 0)
				series_add(thing_series, (double)thing(arg) / unit_ns);
			else
				series_add(limit_series, (double)limit(arg) / unit_ns);
		}
	}
}

static uint64_t
budget_of(const struct series_turn *turn, const struct series_bounds *bounds)
{
	return (uint64_t)bounds->budget_ms * 1000000u * (turn->shares > 0 ? turn->shares : 1);
}

/* How many samples it is to have; of one that has none yet, nobody knows. */
static double
lots_of(const struct series_turn *turn, const struct series_bounds *bounds)
{
	double count = (double)turn->series.count, lots;

	if (turn->is_over)
		return 0;
	lots = (double)budget_of(turn, bounds) * count / ((double)turn->spent_ns + 1);
	return lots < bounds->least ? bounds->least : lots > bounds->most ? bounds->most : lots;
}

/* NULL: all are over. */
static struct series_turn *
turn_next(struct series_turn *turns, size_t count, const struct series_bounds *bounds)
{
	struct series_turn *next = NULL;
	double all = 0, lot;
	size_t i;

	for (i = 0; i < count; i++) {
		if (!turns[i].is_over && turns[i].series.count == 0)
			return &turns[i];
		all += lots_of(&turns[i], bounds);
	}
	lot = all * arc4random() / 4294967296.0;
	for (i = 0; i < count && lot >= 0; i++) {
		if (turns[i].is_over)
			continue;
		next = &turns[i];
		lot -= lots_of(next, bounds);
	}
	return next;
}

static void
turn_take(struct series_turn *turn, const struct series_bounds *bounds, double unit_ns)
{
	uint64_t budget_ns = budget_of(turn, bounds), start = bench_now_ns();
	uint64_t counted = turn->measure(turn->arg), took = bench_now_ns() - start;
	bool is_warm = turn->is_warm || took >= budget_ns;

	turn->is_warm = true;
	if (counted == SERIES_FAILED) {
		series_clear(&turn->series);
		turn->is_over = true;
		return;
	}
	if (!is_warm)
		return;
	turn->spent_ns += took;
	series_add(&turn->series, (double)counted / unit_ns);
	turn->is_over = turn->series.count >= bounds->most ||
	    (turn->series.count >= bounds->least && turn->spent_ns >= budget_ns);
}

void
series_share(
    const struct series_bounds *bounds, double unit_ns, struct series_turn *turns, size_t count)
{
	struct series_turn *turn;

	while ((turn = turn_next(turns, count, bounds)) != NULL)
		turn_take(turn, bounds, unit_ns);
}

static void
row_put(const char *name, const char *unit, const struct series *series, double median,
    double worst, const char *limit_name, double limit, double ratio)
{
	printf("{\"name\":\"%s\",\"unit\":\"%s\",\"n\":%zu,\"median\":%.6g,\"p99\":%.6g,"
	       "\"limit_name\":\"%s\",\"limit\":%.6g,\"ratio\":%.4g}\n",
	    name, unit, series->count, median, worst, limit_name, limit, ratio);
	fflush(stdout);
}

void
row_print(const char *name, const char *unit, struct series *series, const char *limit_name,
    struct series *limit_series, double fixed_limit)
{
	double median = series_quantile(series, 0.5);
	double limit = limit_series != NULL ? series_quantile(limit_series, 0.5) : fixed_limit;

	row_put(name, unit, series, median, series_quantile(series, 0.99), limit_name, limit,
	    median / limit);
}

void
row_print_rate(const char *name, const char *unit, struct series *series, const char *limit_name,
    struct series *limit_series)
{
	double median = series_quantile(series, 0.5), limit = series_quantile(limit_series, 0.5);

	row_put(name, unit, series, median, series_quantile(series, 0.01), limit_name, limit,
	    limit / median);
}
