#include "supervisor/config_gateway.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/address.h"

#define PEM_BEGIN "-----BEGIN "

/* Where we were started: a daemon is elsewhere by the time it reads its file again. */
static char start_dir[PATH_MAX];

void
config_gateway_defaults(struct gateway_settings *gateway)
{
	if (getcwd(start_dir, sizeof(start_dir)) == NULL)
		start_dir[0] = '\0';
	gateway->message_max = 16 << 20;
	gateway->blob_max = UINT64_C(64) << 30;
	gateway->memory_max = UINT64_C(4) << 30;
	gateway->streams_max = 4096;
	gateway->orphan_grace_ms = 10000;
}

static int
path_absolute(const char *path, char *text, size_t size, struct error_text *err)
{
	const char *dir = path[0] == '/' ? "" : start_dir;
	int len;

	len = snprintf(text, size, "%s%s%s", dir, dir[0] != '\0' ? "/" : "", path);
	if (len < 0 || (size_t)len >= size)
		return error_errno(err, -ENAMETOOLONG, "%s", path);
	return 0;
}

static int
listen_add(struct address *address, char *text, size_t size, struct error_text *err)
{
	char relative[sizeof(address->path)], one[1400];
	size_t used = strlen(text);
	int rc;

	if (address->kind == ADDRESS_UNIX) {
		strlcpy(relative, address->path, sizeof(relative));
		rc = path_absolute(relative, address->path, sizeof(address->path), err);
		if (rc != 0)
			return rc;
	}
	address_text(address, 0, one, sizeof(one));
	if (used + 1 + strlen(one) >= size)
		return error_set(err, -EINVAL, "listen: too many addresses");
	snprintf(text + used, size - used, "%s%s", used > 0 ? "," : "", one);
	return 0;
}

int
config_set_listen(char *text, size_t size, const char *value, struct error_text *err)
{
	struct error_text why = {""};
	struct address address;
	char *list;
	int rc;

	list = calloc(1, size);
	if (list == NULL)
		return error_errno(err, -ENOMEM, "listen");
	while ((rc = address_next(&value, &address, &why)) == 0) {
		rc = listen_add(&address, list, size, &why);
		if (rc != 0)
			break;
	}
	if (rc == -ENOENT && list[0] != '\0') {
		strlcpy(text, list, size);
		rc = 0;
	} else if (rc == -ENOENT) {
		rc = error_set(&why, -EINVAL, "the value is empty");
	}
	free(list);
	return rc == 0 ? 0 : error_set(err, -EINVAL, "listen: %s", why.text);
}

int
config_set_http(char *text, size_t size, const char *value, struct error_text *err)
{
	struct error_text why = {""};
	struct address address;

	if (address_parse_http(value, &address, &why) != 0)
		return error_set(err, -EINVAL, "http: %s", why.text);
	address_text(&address, 0, text, size);
	return 0;
}

int
config_set_file(char *text, size_t size, const char *value, struct error_text *err)
{
	int rc = path_absolute(value, text, size, err);

	return rc == 0 && access(text, R_OK) != 0 ? error_errno(err, -errno, "%s", text) : rc;
}

int
config_set_pem(char *text, size_t size, const char *value, struct error_text *err)
{
	size_t len = 0;

	if (strncmp(value, PEM_BEGIN, strlen(PEM_BEGIN)) != 0)
		return config_set_file(text, size, value, err);
	for (; *value != '\0' && len < size - 1; value++) {
		bool is_newline = value[0] == '\\' && value[1] == 'n';

		text[len++] = is_newline ? '\n' : *value;
		value += is_newline;
	}
	text[len] = '\0';
	return *value == '\0' ? 0 : error_set(err, -EINVAL, "a PEM of more than %zu bytes", size);
}

static int
check_address(
    const struct gateway_settings *gateway, const struct address *address, struct error_text *err)
{
	char text[1400];

	address_text(address, 0, text, sizeof(text));
	if (address->kind == ADDRESS_GRPCS &&
	    (gateway->tls_cert[0] == '\0' || gateway->tls_key[0] == '\0'))
		return error_set(err, -EINVAL, "%s: needs --tls-cert and --tls-key", text);
	if (address->kind != ADDRESS_GRPCS && !address_is_local(address) && !gateway->insecure)
		return error_set(err, -EINVAL,
		    "%s: other machines could reach it in plain text: %s --insecure yes", text,
		    address->kind == ADDRESS_HTTP
			? "listen on this machine alone, or say"
			: "use grpcs:// with --tls-cert and --tls-key, or say");
	return 0;
}

int
config_gateway_check(const struct gateway_settings *gateway, struct error_text *err)
{
	const char *cursor = gateway->listen;
	struct address address;
	bool tls = false;
	int rc;

	while ((rc = address_next(&cursor, &address, err)) == 0) {
		tls = tls || address.kind == ADDRESS_GRPCS;
		rc = check_address(gateway, &address, err);
		if (rc != 0)
			return rc;
	}
	if (rc != -ENOENT)
		return rc;
	if (!tls && gateway->tls_cert[0] != '\0')
		return error_set(err, -EINVAL, "tls-cert: no address of --listen is grpcs://");
	if (gateway->tls_client_ca[0] != '\0' && gateway->tls_cert[0] == '\0')
		return error_set(err, -EINVAL, "tls-client-ca: needs --tls-cert and --tls-key");
	if (gateway->http[0] == '\0')
		return 0;
	rc = address_parse_http(gateway->http, &address, err);
	return rc == 0 ? check_address(gateway, &address, err) : rc;
}
