#include "supervisor/config.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shm/region.h"

enum setting_kind {
	KIND_U32,
	KIND_SIZE,
	KIND_NAME,
	KIND_BOOL_NAME,
	KIND_TEXT,
	KIND_LISTEN,
	KIND_HTTP,
	KIND_FILE,
	KIND_PEM,
};

struct setting {
	struct config_help help;
	enum setting_kind kind;
	size_t offset;
	uint64_t min, max; /* of a number; the number of names; the size of a text */
	const char *const *names;
};

static const char *const network_names[] = {"none", "host"};
static const char *const yes_names[] = {"no", "yes"};
static const char *const level_names[] = {"error", "warn", "info", "debug"};

#define HOST(field) offsetof(struct settings, host.field)
#define GATEWAY(field) offsetof(struct settings, gateway.field)
#define GATEWAY_TEXT(field) GATEWAY(field), 0, sizeof(((struct settings *)0)->gateway.field), NULL
#define NAMES(names) 0, sizeof(names) / sizeof((names)[0]), (names)

static const struct setting settings_table[] = {
    {{"state", "DIR",
	 "the state directory (default: $RAMET_STATE, ./var in a checkout, the cache)"},
	KIND_TEXT, offsetof(struct settings, state), 0, sizeof(((struct settings *)0)->state),
	NULL},
    {{"workers", "N", "worker processes (default: one per core)"}, KIND_U32, HOST(workers), 1,
	SLOT_WORKERS_MAX, NULL},
    {{"link-cap", "N", "file-placing calls in flight on the whole host (default 64)"}, KIND_U32,
	HOST(link_cap), 1, LINK_CAP_MAX, NULL},
    {{"engine", "NAME",
	 "auto, bind, overlay, image, clonefile, reflink, hardlink, copy (default auto)"},
	KIND_NAME, HOST(engine), 0, ENGINE_COUNT, engine_names},
    {{"isolation", "NAME", "auto, root, user, none (default auto)"}, KIND_NAME, HOST(isolation), 0,
	ISOLATION_COUNT, isolation_names},
    {{"guard-learning", "NAME",
	 "learn which kinds of actions write into their inputs: no, yes (default yes)"},
	KIND_BOOL_NAME, HOST(guard_learning), NAMES(yes_names)},
    {{"recycle", "NAME",
	 "use finished sandboxes again where nothing can be bound: no, yes (default yes)"},
	KIND_BOOL_NAME, HOST(recycle), NAMES(yes_names)},
    {{"stage-ahead", "NAME",
	 "compose the next action's sandbox while one runs: auto, no, yes (default auto)"},
	KIND_NAME, HOST(stage_ahead), 0, STAGE_AHEAD_COUNT, stage_ahead_names},
    {{"network", "NAME", "what actions see of the network: none, host (default none)"},
	KIND_BOOL_NAME, HOST(network_host), NAMES(network_names)},
    {{"cas-size", "SIZE", "bytes of blobs to keep, 0 for no limit (default 0)"}, KIND_SIZE,
	HOST(cas_size_bytes), 0, INT64_MAX, NULL},
    {{"cas-grace", "SECONDS", "how long a blob that was asked for stays (default 3600)"}, KIND_U32,
	HOST(cas_grace_s), 0, 366 * 86400, NULL},
    {{"index-entries", "N", "cached directories at most (default 65536)"}, KIND_U32,
	HOST(index_entries), 64, 1 << 24, NULL},
    {{"index-bytes", "SIZE",
	 "bytes of cached trees that no blob shares, 0 for no limit (default 0)"},
	KIND_SIZE, HOST(index_bytes), 0, INT64_MAX, NULL},
    {{"action-uid", "UID",
	 "as root, actions of the worker in slot s run as this plus s (default 58000)"},
	KIND_U32, HOST(action_uid_base), 1, UINT32_MAX - SLOT_COUNT_MAX - 1, NULL},
    {{"timeout-default", "SECONDS", "for an action that names none, 0 for none (default 3600)"},
	KIND_U32, HOST(timeout_default_s), 0, 366 * 86400, NULL},
    {{"timeout-max", "SECONDS", "the longest timeout an action may ask for, 0 for any (default 0)"},
	KIND_U32, HOST(timeout_max_s), 0, 366 * 86400, NULL},
    {{"kill-grace", "MS", "between SIGTERM and SIGKILL (default 2000)"}, KIND_U32,
	HOST(kill_grace_ms), 0, 600000, NULL},
    {{"log-cap", "SIZE", "of each action's stdout and stderr (default 16M)"}, KIND_SIZE,
	HOST(log_cap_bytes), 1024, INT64_MAX, NULL},
    {{"listen", "ADDRESSES",
	 "serve the Remote Execution API: grpc://HOST:PORT, grpcs://..., unix:PATH, default"},
	KIND_LISTEN, GATEWAY_TEXT(listen)},
    {{"http", "HOST:PORT", "serve /metrics, /healthz and /readyz (default: not at all)"}, KIND_HTTP,
	GATEWAY_TEXT(http)},
    {{"tls-cert", "FILE", "certificate chain for grpcs://, a file or the PEM itself"}, KIND_PEM,
	GATEWAY_TEXT(tls_cert)},
    {{"tls-key", "FILE", "its private key"}, KIND_PEM, GATEWAY_TEXT(tls_key)},
    {{"tls-client-ca", "FILE", "clients must have a certificate that this one signed"}, KIND_PEM,
	GATEWAY_TEXT(tls_client_ca)},
    {{"token-file", "FILE", "clients must bring this file's first line as their bearer token"},
	KIND_FILE, GATEWAY_TEXT(token_file)},
    {{"insecure", "NAME", "listen in plain text beyond this machine: no, yes (default no)"},
	KIND_BOOL_NAME, GATEWAY(insecure), NAMES(yes_names)},
    {{"message-max", "SIZE", "bytes of one gRPC message (default 16M)"}, KIND_SIZE,
	GATEWAY(message_max), 4 << 20, INT32_MAX, NULL},
    {{"blob-max", "SIZE", "bytes of one blob that a client may send (default 64G)"}, KIND_SIZE,
	GATEWAY(blob_max), 1, INT64_MAX, NULL},
    {{"streams-max", "N", "calls in flight at once, of all clients (default 4096)"}, KIND_U32,
	GATEWAY(streams_max), 1, 1 << 20, NULL},
    {{"gateway-memory", "SIZE",
	 "what the gateway may have before it ends itself, 0 for any (default 4G)"},
	KIND_SIZE, GATEWAY(memory_max), 0, INT64_MAX, NULL},
    {{"orphan-grace", "MS", "how long an action that no client waits for goes on (default 10000)"},
	KIND_U32, GATEWAY(orphan_grace_ms), 0, 86400000, NULL},
    {{"log-level", "NAME", "error, warn, info, debug (default info)"}, KIND_NAME,
	offsetof(struct settings, log_level), NAMES(level_names)},
};
enum { SETTINGS = sizeof(settings_table) / sizeof(settings_table[0]) };

const struct config_help *
config_help_at(unsigned i)
{
	return i < SETTINGS ? &settings_table[i].help : NULL;
}

void
config_defaults(struct settings *settings)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	memset(settings, 0, sizeof(*settings));
	settings->host.state_fd = -1;
	settings->host.workers = cores < 1 ? 1
	    : cores > SLOT_WORKERS_MAX     ? SLOT_WORKERS_MAX
					   : (unsigned)cores;
	settings->host.link_cap = 64;
	settings->host.index_entries = 65536;
	settings->host.cas_grace_s = 3600;
	settings->host.action_uid_base = 58000;
	settings->host.guard_learning = true;
	settings->host.recycle = true;
	settings->host.timeout_default_s = 3600;
	settings->host.kill_grace_ms = 2000;
	settings->host.log_cap_bytes = 16 << 20;
	config_gateway_defaults(&settings->gateway);
	settings->log_level = LOG_LEVEL_INFO;
}

static int
parse_u64(const char *text, char **ret_end, uint64_t *ret_value)
{
	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	*ret_value = strtoull(text, ret_end, 10);
	return errno != 0 ? -EINVAL : 0;
}

int
config_parse_size(const char *text, uint64_t *ret_bytes)
{
	static const char suffixes[] = "KMGT";
	const char *suffix;
	unsigned shift = 0;
	uint64_t value;
	char *end;

	if (parse_u64(text, &end, &value) != 0)
		return -EINVAL;
	if (*end != '\0') {
		suffix = strchr(suffixes, toupper((unsigned char)*end));
		if (suffix == NULL || end[1] != '\0')
			return -EINVAL;
		shift = 10 * (unsigned)(suffix - suffixes + 1);
	}
	if (value > (UINT64_MAX >> shift))
		return -EINVAL;
	*ret_bytes = value << shift;
	return 0;
}

static int
set_number(const struct setting *setting, void *place, const char *value, struct error_text *err)
{
	uint64_t number;
	char *end;
	int rc;

	if (setting->kind == KIND_SIZE)
		rc = config_parse_size(value, &number);
	else if ((rc = parse_u64(value, &end, &number)) == 0 && *end != '\0')
		rc = -EINVAL;
	if (rc != 0)
		return error_set(err, -EINVAL, "%s: '%s' is not a %s", setting->help.name, value,
		    setting->kind == KIND_SIZE ? "size (a number, then K, M, G or T)" : "number");
	if (number < setting->min || number > setting->max)
		return error_set(err, -EINVAL, "%s: %s is not between %llu and %llu",
		    setting->help.name, value, (unsigned long long)setting->min,
		    (unsigned long long)setting->max);
	if (setting->kind == KIND_SIZE)
		*(uint64_t *)place = number;
	else
		*(uint32_t *)place = (uint32_t)number;
	return 0;
}

static int
set_name(const struct setting *setting, void *place, const char *value, struct error_text *err)
{
	unsigned i;

	for (i = 0; i < setting->max; i++)
		if (strcmp(setting->names[i], value) == 0)
			break;
	if (i == setting->max)
		return error_set(err, -EINVAL, "%s: '%s' is not known: %s", setting->help.name,
		    value, setting->help.help);
	if (setting->kind == KIND_BOOL_NAME)
		*(bool *)place = i != 0;
	else
		*(unsigned *)place = i;
	return 0;
}

static int
set_text(const struct setting *setting, void *place, const char *value, struct error_text *err)
{
	if (value[0] == '\0')
		return error_set(err, -EINVAL, "%s: the value is empty", setting->help.name);
	if (strlcpy(place, value, setting->max) >= setting->max)
		return error_set(err, -EINVAL, "%s: the value is longer than %llu bytes",
		    setting->help.name, (unsigned long long)setting->max - 1);
	return 0;
}

/* Says which setting it was, as the others do. */
static int
set_file(const struct setting *setting,
    int (*take)(char *text, size_t size, const char *value, struct error_text *err), void *place,
    const char *value, struct error_text *err)
{
	struct error_text why = {""};

	return take(place, setting->max, value, &why) == 0
	    ? 0
	    : error_set(err, -EINVAL, "%s: %s", setting->help.name, why.text);
}

int
config_set(struct settings *settings, const char *name, const char *value, struct error_text *err)
{
	const struct setting *setting;
	void *place;
	unsigned i;

	for (i = 0; i < SETTINGS; i++)
		if (strcmp(settings_table[i].help.name, name) == 0)
			break;
	if (i == SETTINGS)
		return error_set(err, -EINVAL, "%s: no such setting (see rametd --help)", name);
	setting = &settings_table[i];
	place = (char *)settings + setting->offset;
	switch (setting->kind) {
	case KIND_U32:
	case KIND_SIZE:
		return set_number(setting, place, value, err);
	case KIND_NAME:
	case KIND_BOOL_NAME:
		return set_name(setting, place, value, err);
	case KIND_TEXT:
		break;
	case KIND_LISTEN:
		return config_set_listen(place, setting->max, value, err);
	case KIND_HTTP:
		return config_set_http(place, setting->max, value, err);
	case KIND_FILE:
		return set_file(setting, config_set_file, place, value, err);
	case KIND_PEM:
		return set_file(setting, config_set_pem, place, value, err);
	}
	return set_text(setting, place, value, err);
}

static char *
skip_space(char *text)
{
	return text + strspn(text, " \t");
}

/* Cuts the line into name and value; an empty name: nothing on it. */
static void
split_line(char *line, char **ret_name, char **ret_value)
{
	char *end;

	line[strcspn(line, "#\r\n")] = '\0';
	line = skip_space(line);
	end = line + strlen(line);
	while (end > line && (end[-1] == ' ' || end[-1] == '\t'))
		*--end = '\0';
	*ret_name = line;
	line += strcspn(line, " \t=");
	*ret_value = line;
	if (*line == '\0')
		return;
	end = line;
	line = skip_space(line);
	if (*line == '=')
		line = skip_space(line + 1);
	*end = '\0';
	*ret_value = line;
}

static int
read_line(struct settings *settings, const char *path, unsigned number, char *line,
    struct error_text *err)
{
	struct error_text cause = {""};
	char *name, *value;
	int rc;

	split_line(line, &name, &value);
	if (name[0] == '\0')
		return value == name
		    ? 0
		    : error_set(err, -EINVAL, "%s:%u: a name is missing", path, number);
	if (value[0] == '\0')
		return error_set(err, -EINVAL, "%s:%u: %s: a value is missing", path, number, name);
	rc = config_set(settings, name, value, &cause);
	return rc == 0 ? 0 : error_set(err, rc, "%s:%u: %s", path, number, cause.text);
}

int
config_read_file(struct settings *settings, const char *path, struct error_text *err)
{
	char *line = NULL;
	size_t size = 0;
	ssize_t len;
	unsigned number = 0;
	int rc = 0;
	FILE *file;

	file = fopen(path, "re");
	if (file == NULL)
		return error_errno(err, -errno, "%s", path);
	while (rc == 0 && (len = getline(&line, &size, file)) >= 0) {
		number++;
		if (strlen(line) != (size_t)len)
			rc = error_set(err, -EINVAL, "%s:%u: not text", path, number);
		else
			rc = read_line(settings, path, number, line, err);
	}
	if (rc == 0 && ferror(file))
		rc = error_errno(err, -EIO, "%s", path);
	free(line);
	fclose(file);
	return rc;
}

int
config_check(const struct settings *settings, struct error_text *err)
{
	const struct host_config *host = &settings->host;

	if (host->timeout_max_s != 0 && host->timeout_default_s > host->timeout_max_s)
		return error_set(err, -EINVAL, "timeout-default %u is more than timeout-max %u",
		    host->timeout_default_s, host->timeout_max_s);
	return config_gateway_check(&settings->gateway, err);
}
