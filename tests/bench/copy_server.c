#include "tests/bench/copy_server.h"

#include <sys/socket.h>

#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "cas/hash.h"

enum { COPY_BUFFER = 128 << 10 };

enum copy_kind { COPY_READ, COPY_WRITE, COPY_WRITE_HASHED };

struct copy_request {
	uint64_t kind, len;
};

static int connection = -1;

static void
write_all(int fd, const void *data, size_t len)
{
	const uint8_t *at = data;

	while (len > 0) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			err(1, "loopback socket");
		at += n;
		len -= (size_t)n;
	}
}

/* False: the end. */
static bool
read_all(int fd, void *data, size_t len)
{
	uint8_t *at = data;

	while (len > 0) {
		ssize_t n = read(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

static void
serve_read(int fd, const uint8_t *buffer, uint64_t len)
{
	while (len > 0) {
		size_t n = len < COPY_BUFFER ? (size_t)len : COPY_BUFFER;

		write_all(fd, buffer, n);
		len -= n;
	}
}

static void
serve_write(int fd, uint8_t *buffer, uint64_t len, struct hasher *hasher)
{
	struct digest digest;

	if (hasher != NULL)
		hasher_start(hasher);
	while (len > 0) {
		ssize_t n = read(fd, buffer, len < COPY_BUFFER ? (size_t)len : COPY_BUFFER);

		if (n <= 0)
			err(1, "loopback socket");
		if (hasher != NULL)
			hasher_update(hasher, buffer, (size_t)n);
		len -= (uint64_t)n;
	}
	if (hasher != NULL)
		hasher_finish(hasher, &digest);
	write_all(fd, "", 1);
}

_Noreturn static void
serve(int fd)
{
	uint8_t *buffer = calloc(1, COPY_BUFFER);
	struct copy_request request;
	struct hasher *hasher;

	CHECK(buffer != NULL && hasher_new(&hasher) == 0);
	while (read_all(fd, &request, sizeof(request))) {
		if (request.kind == COPY_READ)
			serve_read(fd, buffer, request.len);
		else
			serve_write(fd, buffer, request.len,
			    request.kind == COPY_WRITE_HASHED ? hasher : NULL);
	}
	_exit(0);
}

void
copy_server_start(void)
{
	struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(name);
	int listener = socket(AF_INET, SOCK_STREAM, 0), fd, on = 1;
	pid_t pid;

	if (listener < 0 || bind(listener, (struct sockaddr *)&name, len) != 0 ||
	    listen(listener, 1) != 0 || getsockname(listener, (struct sockaddr *)&name, &len) != 0)
		err(1, "loopback socket");
	connection = socket(AF_INET, SOCK_STREAM, 0);
	if (connection < 0 || connect(connection, (struct sockaddr *)&name, len) != 0)
		err(1, "loopback socket");
	fd = accept(listener, NULL, NULL);
	if (fd < 0)
		err(1, "loopback socket");
	close(listener);
	setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (pid == 0) {
		close(connection);
		serve(fd);
	}
	close(fd);
}

static void
ask(enum copy_kind kind, size_t len)
{
	const struct copy_request request = {kind, len};

	write_all(connection, &request, sizeof(request));
}

static void
get(void *data, size_t len)
{
	if (!read_all(connection, data, len))
		errx(1, "the copying process has gone");
}

void
copy_read(void *data, size_t len)
{
	ask(COPY_READ, len);
	get(data, len);
}

static void
put(enum copy_kind kind, const void *data, size_t len)
{
	char answer;

	ask(kind, len);
	write_all(connection, data, len);
	get(&answer, 1);
}

void
copy_write(const void *data, size_t len)
{
	put(COPY_WRITE, data, len);
}

void
copy_write_hashed(const void *data, size_t len)
{
	put(COPY_WRITE_HASHED, data, len);
}
