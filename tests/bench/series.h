/*
 * Samples of one thing, and the line of JSON that a row of the bench is.
 *
 * Bench programs, one thread.  A row compares a thing with its limit; both are measured in turns
 * (series_alternate), so that whatever else the machine does falls on both.  Rows go to stdout, one
 * flat object a line, in the form of build/bench.json; run.py makes the table of them.
 */
#ifndef BENCH_SERIES_H
#define BENCH_SERIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct series {
	double *values;
	size_t count, room;
};

uint64_t bench_now_ns(void);

void series_add(struct series *series, double value);
void series_clear(struct series *series); /* frees; may be used again */
/* part 0.5: the median, 0.99: the 99th percentile (nearest rank).  Sorts.  At least one sample. */
double series_quantile(struct series *series, double part);

/*
 * Calls both in turns, the order swapped each time, until `budget_ms` has passed and at least
 * `least` pairs were taken, or `most` pairs.  Each returns the nanoseconds that count (what it
 * prepares and clears away does not), added as `unit_ns` each: 1000 for microseconds.
 */
typedef uint64_t (*series_measure)(void *arg);
struct series_bounds {
	unsigned budget_ms, least, most;
};
void series_alternate(const struct series_bounds *bounds, double unit_ns, series_measure thing,
    series_measure limit, void *arg, struct series *thing_series, struct series *limit_series);

/*
 * The same with any number of things.  Which is next is drawn by lot, each as often as samples of
 * it fit into its budget: so the slow and the quick are spread over the same span, and what a thing
 * finds in the processor's caches, left by the one before it, is the same for all.  Each ends after
 * its own budget (and `least` samples), or `most`; one with more `shares` than one (0 is one) has
 * so many times the budget.  A first sample is thrown away where it cost less than the budget.  A
 * thing that returns SERIES_FAILED is over, and has no samples.
 */
#define SERIES_FAILED UINT64_MAX
struct series_turn {
	series_measure measure;
	void *arg;
	struct series series;
	uint64_t spent_ns; /* whatever was prepared and cleared away included */
	unsigned shares;
	bool is_warm, is_over;
};
void series_share(
    const struct series_bounds *bounds, double unit_ns, struct series_turn *turns, size_t count);

/* The row; limit_series NULL: the limit is `fixed_limit`. */
void row_print(const char *name, const char *unit, struct series *series, const char *limit_name,
    struct series *limit_series, double fixed_limit);
/* A row of which more is better: p99 is its hundredth, ratio how many times less than the limit. */
void row_print_rate(const char *name, const char *unit, struct series *series,
    const char *limit_name, struct series *limit_series);

#endif
