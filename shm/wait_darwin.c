#include <errno.h>
#include <time.h>

#include "shm/wait.h"

/* Declared here: <os/os_sync_wait_on_address.h> came with macOS 14.4, and older systems lack it. */
typedef uint32_t os_clock;
enum { OS_CLOCK_ABSOLUTE = 32 };
enum { OS_WAIT_SHARED = 1, OS_WAKE_SHARED = 1 };
int os_sync_wait_on_address_with_timeout(void *address, uint64_t value, size_t size, uint32_t flags,
    os_clock clock, uint64_t timeout_ns) __attribute__((weak_import));
int os_sync_wake_by_address_any(void *address, size_t size, uint32_t flags)
    __attribute__((weak_import));
int os_sync_wake_by_address_all(void *address, size_t size, uint32_t flags)
    __attribute__((weak_import));

/* Systems without the calls look again every now and then, more and more rarely. */
static int
wait_poll(shared_u32 *word, uint32_t expected, uint64_t timeout_us)
{
	uint64_t waited_us = 0, step_us = 20;

	while (atom_load_acquire(word) == expected) {
		struct timespec step = {.tv_nsec = (long)step_us * 1000};

		if (waited_us >= timeout_us)
			return -ETIMEDOUT;
		nanosleep(&step, NULL);
		waited_us += step_us;
		if (step_us < 2000)
			step_us *= 2;
	}
	return 0;
}

int
wait_on(shared_u32 *word, uint32_t expected, uint64_t timeout_us)
{
	if (timeout_us == 0)
		return atom_load_acquire(word) == expected ? -ETIMEDOUT : 0;
	if (os_sync_wait_on_address_with_timeout == NULL)
		return wait_poll(word, expected, timeout_us);
	if (os_sync_wait_on_address_with_timeout(word, expected, sizeof(*word), OS_WAIT_SHARED,
		OS_CLOCK_ABSOLUTE, timeout_us * 1000) < 0 &&
	    errno == ETIMEDOUT)
		return -ETIMEDOUT;
	return 0;
}

void
wait_wake(shared_u32 *word, unsigned count)
{
	if (os_sync_wake_by_address_any == NULL || os_sync_wake_by_address_all == NULL)
		return;
	if (count == 1)
		os_sync_wake_by_address_any(word, sizeof(*word), OS_WAKE_SHARED);
	else
		os_sync_wake_by_address_all(word, sizeof(*word), OS_WAKE_SHARED);
}
