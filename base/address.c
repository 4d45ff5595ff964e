#include "base/address.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const schemes[] = {"grpc://", "grpcs://", "unix:", "http://"};

static int
port_parse(const char *text, uint16_t *ret_port)
{
	char *end;
	long port;

	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	port = strtol(text, &end, 10);
	if (*end != '\0' || port > UINT16_MAX)
		return -EINVAL;
	*ret_port = (uint16_t)port;
	return 0;
}

static bool
host_is_plausible(const char *host)
{
	static const char allowed[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	    ".:-_%";

	return host[0] != '\0' && host[strspn(host, allowed)] == '\0';
}

static int
host_port_parse(const char *text, struct address *address, struct error_text *err)
{
	const char *colon = strrchr(text, ':');
	const char *host = text;
	size_t len = colon == NULL ? 0 : (size_t)(colon - text);

	if (colon == NULL || port_parse(colon + 1, &address->port) != 0)
		return error_set(err, -EINVAL, "'%s': want HOST:PORT", text);
	if (len >= 2 && host[0] == '[' && host[len - 1] == ']') {
		host++;
		len -= 2;
	} else if (memchr(host, ':', len) != NULL) {
		return error_set(err, -EINVAL, "'%s': an IPv6 address stands in brackets", text);
	}
	if (len >= sizeof(address->host))
		return error_set(err, -EINVAL, "'%s': the host name is too long", text);
	memcpy(address->host, host, len);
	address->host[len] = '\0';
	if (!host_is_plausible(address->host))
		return error_set(err, -EINVAL, "'%s': no host name or address", text);
	return 0;
}

static int
address_parse(const char *text, struct address *ret_address, struct error_text *err)
{
	struct address address = {.kind = ADDRESS_GRPC};
	const char *rest;
	int rc;

	if (strcmp(text, "default") == 0)
		text = ADDRESS_DEFAULT;
	while (address.kind <= ADDRESS_UNIX &&
	    strncmp(text, schemes[address.kind], strlen(schemes[address.kind])) != 0)
		address.kind++;
	if (address.kind > ADDRESS_UNIX)
		return error_set(err, -EINVAL,
		    "'%s': want grpc://HOST:PORT, grpcs://HOST:PORT, unix:PATH or default", text);
	rest = text + strlen(schemes[address.kind]);
	if (address.kind != ADDRESS_UNIX) {
		rc = host_port_parse(rest, &address, err);
		if (rc != 0)
			return rc;
	} else if (rest[0] == '\0' ||
	    strlcpy(address.path, rest, sizeof(address.path)) >= sizeof(address.path)) {
		return error_set(err, -EINVAL, "'%s': no usable path", text);
	}
	*ret_address = address;
	return 0;
}

int
address_next(const char **cursor, struct address *ret_address, struct error_text *err)
{
	size_t len = strcspn(*cursor, ",");
	char text[1100];
	int rc;

	if ((*cursor)[0] == '\0')
		return -ENOENT;
	if (len >= sizeof(text))
		return error_set(err, -EINVAL, "an address of %zu bytes", len);
	memcpy(text, *cursor, len);
	text[len] = '\0';
	rc = address_parse(text, ret_address, err);
	if (rc == 0)
		*cursor += len + ((*cursor)[len] == ',');
	return rc;
}

int
address_parse_http(const char *text, struct address *ret_address, struct error_text *err)
{
	struct address address = {.kind = ADDRESS_HTTP};
	int rc;

	if (strcmp(text, "default") == 0)
		text = ADDRESS_HTTP_DEFAULT;
	if (strncmp(text, schemes[ADDRESS_HTTP], strlen(schemes[ADDRESS_HTTP])) == 0)
		text += strlen(schemes[ADDRESS_HTTP]);
	rc = host_port_parse(text, &address, err);
	if (rc == 0)
		*ret_address = address;
	return rc;
}

static bool
is_dotted_quad(const char *host)
{
	unsigned parts[4];
	char rest;

	return sscanf(host, "%3u.%3u.%3u.%3u%c", &parts[0], &parts[1], &parts[2], &parts[3],
		   &rest) == 4;
}

bool
address_is_local(const struct address *address)
{
	return address->kind == ADDRESS_UNIX || strcmp(address->host, "localhost") == 0 ||
	    strcmp(address->host, "::1") == 0 ||
	    (strncmp(address->host, "127.", 4) == 0 && is_dotted_quad(address->host));
}

char *
address_text(const struct address *address, uint16_t port, char *text, size_t size)
{
	bool brackets = strchr(address->host, ':') != NULL;

	if (address->kind == ADDRESS_UNIX)
		snprintf(text, size, "unix:%s", address->path);
	else
		snprintf(text, size, "%s%s%s%s:%u", schemes[address->kind], brackets ? "[" : "",
		    address->host, brackets ? "]" : "",
		    address->port != 0 ? address->port : (unsigned)port);
	return text;
}
