/*
 * The part of isolate.h that is the same on every system: the child, and what it tells.
 *
 * isolate_enter, in the child: makes its namespace and mounts; the root's descriptor or -errno, and
 * the time that mounting took.
 */
#ifndef BENCH_ISOLATE_CHILD_H
#define BENCH_ISOLATE_CHILD_H

#include "tests/bench/isolate.h"

/* In the program, before the child is forked: what that needs beside the request; 0 or -errno. */
int isolate_prepare(const struct isolated *isolated);
int isolate_enter(const struct isolated *isolated, uint64_t *ret_mount_ns);

#endif
