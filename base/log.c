#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int log_fd = STDERR_FILENO;
static enum log_level log_level = LOG_LEVEL_INFO;
static char log_process[32] = "rametd";

void
log_open(int fd, enum log_level level)
{
	log_fd = fd;
	log_level = level;
}

void
log_name(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(log_process, sizeof(log_process), format, ap);
	va_end(ap);
}

__attribute__((format(printf, 3, 0))) static void
log_line(enum log_level level, int error, const char *format, va_list ap)
{
	char line[2048];
	struct timespec now;
	struct tm tm;
	size_t used;

	if (level > log_level)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	used = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &tm);
	used += (size_t)snprintf(line + used, sizeof(line) - used,
	    ".%03ldZ %s[%ld]: ", now.tv_nsec / 1000000, log_process, (long)getpid());
	used += (size_t)vsnprintf(line + used, sizeof(line) - used, format, ap);
	if (used >= sizeof(line))
		used = sizeof(line) - 1;
	if (error != 0) {
		used += (size_t)snprintf(line + used, sizeof(line) - used, ": %s", strerror(error));
		if (used >= sizeof(line))
			used = sizeof(line) - 1;
	}
	if (used == sizeof(line) - 1)
		used--;
	line[used++] = '\n';
	if (write(log_fd, line, used) < 0)
		return; /* A log that cannot be written must not stop the work. */
}

#define LOG_FUNCTION(name, level)                                                                  \
	void name(const char *format, ...)                                                         \
	{                                                                                          \
		va_list ap;                                                                        \
		va_start(ap, format);                                                              \
		log_line(level, 0, format, ap);                                                    \
		va_end(ap);                                                                        \
	}

LOG_FUNCTION(log_error, LOG_LEVEL_ERROR)
LOG_FUNCTION(log_warn, LOG_LEVEL_WARN)
LOG_FUNCTION(log_info, LOG_LEVEL_INFO)
LOG_FUNCTION(log_debug, LOG_LEVEL_DEBUG)

_Noreturn void
fatal(const char *format, ...)
{
	int error = errno;
	va_list ap;

	va_start(ap, format);
	log_line(LOG_LEVEL_ERROR, error, format, ap);
	va_end(ap);
	exit(1);
}

_Noreturn void
fatalx(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	log_line(LOG_LEVEL_ERROR, 0, format, ap);
	va_end(ap);
	exit(1);
}
