/*
 * The limit of ByteStream: the same bytes through a loopback TCP socket, and nothing else.
 *
 * Bench programs.  A process of its own at the other end, as the gateway is, forked by
 * copy_server_start (before gRPC begins) and gone with the program.  Exit with a message on
 * failure.
 */
#ifndef BENCH_COPY_SERVER_H
#define BENCH_COPY_SERVER_H

#include <stddef.h>

void copy_server_start(void);

/* Each asks and waits for the answer, a byte in copy_write's case. */
void copy_read(void *data, size_t len);
void copy_write(const void *data, size_t len);
void copy_write_hashed(const void *data, size_t len); /* SHA-256 at the other end */

#endif
