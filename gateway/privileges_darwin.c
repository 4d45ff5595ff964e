#include "gateway/privileges.h"

int
privileges_drop(void)
{
	return 0;
}
