/*
 * What the system knows that the index must know: which boot this is, when a process started, and
 * how to have a file's blocks for sure.  region_linux.c, region_darwin.c.  Supervisor and slot
 * owners.
 */
#ifndef SHM_REGION_OS_H
#define SHM_REGION_OS_H

#include <sys/types.h>

#include <stdint.h>

/* The same number for as long as the machine is up, another one after each boot; 0: unknown. */
uint64_t os_boot_id(void);

/* In a unit of the system's own; 0: no such process. */
uint64_t os_process_start(pid_t pid);

/*
 * Gives the file its blocks now, so that a full disk is an error here and not a SIGBUS later.  A
 * volume that cannot do it is no error.  0 or -errno (-ENOSPC, -EDQUOT, -EFBIG).
 */
int os_file_reserve(int fd, uint64_t size);

#endif
