/*
 * GET /metrics, /healthz and /readyz over HTTP.
 *
 * Gateway, the main thread's event loop.  healthz: the gateway is alive and has its supervisor.
 * readyz: and actions sent now would run; else 503 and why.  Everything that comes is input:
 * methods but GET and HEAD are refused, headers are bounded, a connection has HTTP_TIMEOUT_S.
 *
 * Errors: -EADDRINUSE and others of bind(2), -EINVAL a host that has no address; words in err.
 */
#ifndef GATEWAY_HTTP_H
#define GATEWAY_HTTP_H

#include <stdint.h>

#include "base/address.h"
#include "base/error_text.h"
#include "gateway/gateway.h"

enum { HTTP_TIMEOUT_S = 10 };

struct http;

int http_start(struct gateway *gateway, const struct address *address, struct http **ret_http,
    uint16_t *ret_port, struct error_text *err);
void http_stop(struct http *http); /* NULL is fine */

#endif
