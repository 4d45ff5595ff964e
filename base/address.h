/*
 * The addresses that a gateway listens on, as text and taken apart.
 *
 * Any process; pure, nothing is looked up or opened.  A list is separated by commas; "default" is
 * ADDRESS_DEFAULT.  Forms: grpc://HOST:PORT (plain), grpcs://HOST:PORT (TLS), unix:PATH, and for
 * address_parse_http HOST:PORT or http://HOST:PORT.  HOST is a name, an IPv4 address or [IPv6];
 * PORT 0 is any free one.  Errors: -EINVAL, words in err.
 */
#ifndef BASE_ADDRESS_H
#define BASE_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error_text.h"

#define ADDRESS_DEFAULT "grpc://127.0.0.1:8980"
#define ADDRESS_HTTP_DEFAULT "127.0.0.1:8981"

enum address_kind { ADDRESS_GRPC, ADDRESS_GRPCS, ADDRESS_UNIX, ADDRESS_HTTP };

struct address {
	enum address_kind kind;
	char host[256]; /* without brackets */
	uint16_t port;
	char path[1024]; /* unix */
};

/* The first address at *cursor, which moves behind it; -ENOENT at the end of the list. */
int address_next(const char **cursor, struct address *ret_address, struct error_text *err);
int address_parse_http(const char *text, struct address *ret_address, struct error_text *err);

/* Nobody but this machine's processes can reach it. */
bool address_is_local(const struct address *address);

/* As it is parsed; with `port` in place of 0. */
char *address_text(const struct address *address, uint16_t port, char *text, size_t size);

#endif
