/*
 * A real rametd of the bench's own, and one client's connection to it.
 *
 * Bench programs, one thread; exit with a message on failure, and rametd goes with the program.  It
 * is told to use namespaces, so that what is measured is never an action without isolation.
 */
#ifndef BENCH_DAEMON_H
#define BENCH_DAEMON_H

#include <sys/types.h>

#include "base/digest.h"

struct daemon;
struct daemon *daemon_start(const char *rametd, const char *state_dir, unsigned workers);
/* With a gateway on a loopback port of its own; HOST:PORT in `target`. */
enum { DAEMON_TARGET_SIZE = 64 };
struct daemon *daemon_start_gateway(
    const char *rametd, const char *state_dir, unsigned workers, char target[DAEMON_TARGET_SIZE]);
void daemon_stop(struct daemon *daemon);
pid_t daemon_pid(const struct daemon *daemon);

/* Submits without looking into the action cache; `job` comes back from daemon_finish, when it has
 * ended with exit code 0. */
void daemon_submit(struct daemon *daemon, uint64_t job, const struct digest *action);
uint64_t daemon_finish(struct daemon *daemon);

#endif
