#include <sys/sysctl.h>
#include <sys/time.h>

#include <errno.h>
#include <fcntl.h>
#include <libproc.h>
#include <unistd.h>

#include "shm/region_os.h"

uint64_t
os_boot_id(void)
{
	int name[2] = {CTL_KERN, KERN_BOOTTIME};
	struct timeval boot;
	size_t size = sizeof(boot);

	if (sysctl(name, 2, &boot, &size, NULL, 0) != 0)
		return 0;
	/* Seconds only: setting the clock moves the microseconds. */
	return (uint64_t)boot.tv_sec;
}

uint64_t
os_process_start(pid_t pid)
{
	struct proc_bsdinfo info;

	if (proc_pidinfo(pid, PROC_PIDTBSDINFO, 0, &info, sizeof(info)) != (int)sizeof(info))
		return 0;
	return info.pbi_start_tvsec * 1000000 + info.pbi_start_tvusec;
}

int
os_file_reserve(int fd, uint64_t size)
{
	fstore_t store = {
	    .fst_flags = F_ALLOCATEALL,
	    .fst_posmode = F_PEOFPOSMODE,
	    .fst_length = (off_t)size,
	};

	if (fcntl(fd, F_PREALLOCATE, &store) == 0)
		return 0;
	if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)
		return -errno;
	return 0;
}
