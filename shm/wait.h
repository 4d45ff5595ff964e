/*
 * Waiting for a 32-bit word in shared memory to change, across processes: futex(2) on Linux,
 * os_sync_wait_on_address on macOS.  wait_linux.c, wait_darwin.c.
 *
 * Any process.  Spurious returns are allowed: look at the word again.  Nobody is stuck by the death
 * of a waiter; a word whose waker dies is woken by the repair that follows, and every wait has a
 * bound.
 */
#ifndef SHM_WAIT_H
#define SHM_WAIT_H

#include <stdint.h>

#include "shm/atomics.h"

/* Returns when *word may differ from expected, or after timeout_us (-ETIMEDOUT). */
int wait_on(shared_u32 *word, uint32_t expected, uint64_t timeout_us);
void wait_wake(shared_u32 *word, unsigned count);

#endif
