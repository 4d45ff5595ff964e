#include <sys/syscall.h>

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <time.h>
#include <unistd.h>

#include "shm/wait.h"

int
wait_on(shared_u32 *word, uint32_t expected, uint64_t timeout_us)
{
	struct timespec timeout = {
	    .tv_sec = (time_t)(timeout_us / 1000000),
	    .tv_nsec = (long)(timeout_us % 1000000) * 1000,
	};

	if (syscall(SYS_futex, word, FUTEX_WAIT, expected, &timeout, NULL, 0) != 0 &&
	    errno == ETIMEDOUT)
		return -ETIMEDOUT;
	return 0;
}

void
wait_wake(shared_u32 *word, unsigned count)
{
	syscall(SYS_futex, word, FUTEX_WAKE, count > INT_MAX ? INT_MAX : (int)count, NULL, NULL, 0);
}
