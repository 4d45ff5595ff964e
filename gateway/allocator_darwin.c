#include "gateway/allocator.h"

void
allocator_set(void)
{
}
