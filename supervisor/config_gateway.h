/*
 * What can be set of the gateway: its addresses, who may come in, and how much of everything.
 *
 * Private to supervisor/: part of config.h's settings, and values that need more than a number or a
 * name.  Paths are made absolute when they are set, since a daemon's working directory is its state
 * directory.
 */
#ifndef SUPERVISOR_CONFIG_GATEWAY_H
#define SUPERVISOR_CONFIG_GATEWAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error_text.h"

enum { PEM_SIZE = 16384 };

struct gateway_settings {
	char listen[4096], http[256]; /* "": not at all */
	char tls_cert[PEM_SIZE], tls_key[PEM_SIZE], tls_client_ca[PEM_SIZE]; /* PEM, or a path */
	char token_file[4096];
	bool insecure; /* plain text beyond this machine is what they want */
	uint64_t message_max, blob_max, memory_max;
	uint32_t streams_max, orphan_grace_ms;
};

void config_gateway_defaults(struct gateway_settings *gateway);

/* -EINVAL, or why a file cannot be read; words in err; `text` has `size` bytes. */
int config_set_listen(char *text, size_t size, const char *value, struct error_text *err);
int config_set_http(char *text, size_t size, const char *value, struct error_text *err);
int config_set_file(char *text, size_t size, const char *value, struct error_text *err);
/* A path too, or the PEM itself; in it "\n" may stand for the end of a line. */
int config_set_pem(char *text, size_t size, const char *value, struct error_text *err);

int config_gateway_check(const struct gateway_settings *gateway, struct error_text *err);

#endif
