/*
 * The daemon's log: one line an event, to stderr or to a file.
 *
 * Daemon processes only (supervisor, workers, janitor); libraries return errors and do not log, and
 * the command-line tool uses warn(3) and errx(3).  Lines are written with one write(2) each, so
 * that processes may share the descriptor.  Form: "<time> <process>[pid]: <text>"; the process's
 * name is what log_name set (a forked child sets its own).
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* `fd` is kept, not closed.  Before log_open, lines go to stderr at LOG_LEVEL_INFO. */
void log_open(int fd, enum log_level level);
void log_name(const char *format, ...) __attribute__((format(printf, 1, 2)));

void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* An error nothing can go on from: logs and exits with 1.  fatal appends strerror(errno). */
_Noreturn void fatal(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void fatalx(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
