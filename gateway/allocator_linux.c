#include <malloc.h>

#include "gateway/allocator.h"

enum { MAPPED_BYTES_MIN = 1 << 20, KEPT_BYTES_MAX = 2 << 20 };

/*
 * Left alone, glibc gives the end of its heap back with every other message and takes it again: a
 * page fault for each 4 KiB received.
 */
void
allocator_set(void)
{
#ifdef M_TRIM_THRESHOLD
	(void)mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES_MIN);
	(void)mallopt(M_TRIM_THRESHOLD, KEPT_BYTES_MAX);
#endif
}
