#include "gateway/http.h"

#include <sys/socket.h>

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "gateway/metrics.h"

enum { HEADERS_MAX = 8192 };

struct http {
	struct gateway *gateway;
	struct evhttp *server;
};

static void
answer(struct evhttp_request *request, int code, const char *reason, const char *text)
{
	struct evbuffer *body = evbuffer_new();

	if (body == NULL) {
		evhttp_send_error(request, HTTP_INTERNAL, NULL);
		return;
	}
	evbuffer_add_printf(body, "%s\n", text);
	evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type",
	    "text/plain; charset=utf-8");
	evhttp_send_reply(request, code, reason, body);
	evbuffer_free(body);
}

static void
on_healthz(struct evhttp_request *request, void *arg)
{
	answer(request, HTTP_OK, "OK", "ok");
}

static void
on_readyz(struct evhttp_request *request, void *arg)
{
	struct http *http = arg;
	uint64_t values[COUNTER_COUNT];

	counters_read(http->gateway->region, values);
	if (atomic_load(&http->gateway->draining))
		answer(request, HTTP_SERVUNAVAIL, "Service Unavailable", "draining");
	else if (values[COUNTER_workers_alive] == 0)
		answer(request, HTTP_SERVUNAVAIL, "Service Unavailable", "no worker is alive");
	else
		answer(request, HTTP_OK, "OK", "ok");
}

static void
on_metrics(struct evhttp_request *request, void *arg)
{
	struct http *http = arg;
	struct evbuffer *body = evbuffer_new();

	if (body == NULL) {
		evhttp_send_error(request, HTTP_INTERNAL, NULL);
		return;
	}
	metrics_write(http->gateway->region, body);
	evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type",
	    "text/plain; version=0.0.4; charset=utf-8");
	evhttp_send_reply(request, HTTP_OK, "OK", body);
	evbuffer_free(body);
}

static void
on_other(struct evhttp_request *request, void *arg)
{
	answer(request, HTTP_NOTFOUND, "Not Found", "here are /metrics, /healthz and /readyz");
}

static uint16_t
port_of(struct evhttp_bound_socket *bound)
{
	struct sockaddr_storage name;
	socklen_t len = sizeof(name);

	if (getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&name, &len) != 0)
		return 0;
	if (name.ss_family == AF_INET6)
		return ntohs(((struct sockaddr_in6 *)&name)->sin6_port);
	return ntohs(((struct sockaddr_in *)&name)->sin_port);
}

int
http_start(struct gateway *gateway, const struct address *address, struct http **ret_http,
    uint16_t *ret_port, struct error_text *err)
{
	struct evhttp_bound_socket *bound;
	struct http *http = calloc(1, sizeof(*http));

	if (http == NULL)
		return error_errno(err, -ENOMEM, "http");
	http->gateway = gateway;
	http->server = evhttp_new(gateway->base);
	if (http->server == NULL) {
		free(http);
		return error_errno(err, -ENOMEM, "http");
	}
	errno = 0;
	bound = evhttp_bind_socket_with_handle(http->server, address->host, address->port);
	if (bound == NULL) {
		int rc = errno != 0 ? -errno : -EINVAL;

		http_stop(http);
		return error_errno(err, rc, "http://%s:%u: cannot listen there (--http)",
		    address->host, address->port);
	}
	evhttp_set_allowed_methods(http->server, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
	evhttp_set_max_headers_size(http->server, HEADERS_MAX);
	evhttp_set_max_body_size(http->server, 0);
	evhttp_set_timeout(http->server, HTTP_TIMEOUT_S);
	evhttp_set_cb(http->server, "/metrics", on_metrics, http);
	evhttp_set_cb(http->server, "/healthz", on_healthz, http);
	evhttp_set_cb(http->server, "/readyz", on_readyz, http);
	evhttp_set_gencb(http->server, on_other, http);
	*ret_port = port_of(bound);
	*ret_http = http;
	return 0;
}

void
http_stop(struct http *http)
{
	if (http == NULL)
		return;
	evhttp_free(http->server);
	free(http);
}
