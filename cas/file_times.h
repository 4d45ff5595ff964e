/*
 * A file's times from its struct stat: the members have different names on different systems.
 * file_times_linux.c, file_times_darwin.c.  Any process, any thread.
 */
#ifndef CAS_FILE_TIMES_H
#define CAS_FILE_TIMES_H

#include <sys/stat.h>

#include <stdint.h>

int64_t file_mtime_ns(const struct stat *st);
int64_t file_ctime_ns(const struct stat *st);

#endif
