#include "workers/cores.h"

/* Averages of a minute are all that there is. */
unsigned
cores_running(void)
{
	return 0;
}
