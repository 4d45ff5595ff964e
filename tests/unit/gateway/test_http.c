/* Metrics and health over HTTP, against clients of every kind. */
#include <sys/socket.h>

#include <event2/event.h>
#include <netinet/in.h>
#include <poll.h>

#include "gateway/http.h"
#include "tests/cmocka_wrap.h"
#include "tests/unit/gateway/gateway_host.h"

static struct http *http;
static uint16_t port;

static int
start(const char *text, struct http **ret_http, uint16_t *ret_port)
{
	struct error_text err = {""};
	struct address address;
	int rc;

	assert_int_equal(address_parse_http(text, &address, &err), 0);
	rc = http_start(&host.gateway, &address, ret_http, ret_port, &err);
	if (rc != 0)
		assert_non_null(strstr(err.text, address.host));
	return rc;
}

static int
open_http(void **state)
{
	if (host_open_bare(state) != 0)
		return -1;
	host.gateway.base = event_base_new();
	return start("127.0.0.1:0", &http, &port);
}

static int
close_http(void **state)
{
	http_stop(http);
	event_base_free(host.gateway.base);
	return host_close(state);
}

/* What comes back until the server closes, or a whole answer is there; "" for nothing. */
static char *
talk(const char *request, size_t len)
{
	static char answer[1 << 18];
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	size_t sent = 0, got = 0;
	ssize_t n = -1;

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	(void)connect(fd, (struct sockaddr *)&to, sizeof(to));
	for (int i = 0; n != 0 && i < 3000; i++) {
		struct pollfd wait = {fd, (short)(POLLIN | (sent < len ? POLLOUT : 0)), 0};

		assert_true(event_base_loop(host.gateway.base, EVLOOP_NONBLOCK) >= 0);
		(void)poll(&wait, 1, 1);
		if (sent < len && (wait.revents & POLLOUT) != 0) {
			n = send(fd, request + sent, len - sent, MSG_NOSIGNAL);
			sent += n > 0 ? (size_t)n : 0;
			n = -1;
		}
		if ((wait.revents & (POLLIN | POLLHUP | POLLERR)) == 0)
			continue;
		n = recv(fd, answer + got, sizeof(answer) - 1 - got, 0);
		if (n < 0 && errno != EAGAIN)
			n = 0;
		got += n > 0 ? (size_t)n : 0;
	}
	assert_int_equal(n, 0);
	answer[got] = '\0';
	close(fd);
	return answer;
}

static char *
get(const char *path)
{
	char request[256];
	int len = snprintf(request, sizeof(request),
	    "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);

	return talk(request, (size_t)len);
}

static void
expect(const char *answer, const char *status, const char *part)
{
	if (strncmp(answer, "HTTP/1.", 7) != 0 || strncmp(answer + 9, status, 3) != 0)
		fail_msg("not %s: %.200s", status, answer);
	if (strstr(answer, part) == NULL)
		fail_msg("'%s' is not in %.200s", part, answer);
}

static void
what_is_there(void **state)
{
	expect(get("/healthz"), "200", "\r\n\r\nok\n");
	expect(get("/metrics"), "200", "\nramet_calls_total 0\n");
	expect(get("/metrics"), "200", "text/plain; version=0.0.4");
	expect(get("/metrics?x=y"), "200", "ramet_build_info");
	expect(get("/"), "404", "/metrics");
	expect(get("/metrics/../../etc/passwd"), "404", "");
	expect(get("/%00"), "404", "");
}

static void
ready_or_not(void **state)
{
	struct slot *slot;

	expect(get("/readyz"), "503", "no worker is alive");
	slot_assign(host.gateway.region, SLOT_SUPERVISOR);
	slot_activate(host.gateway.region, SLOT_SUPERVISOR, getpid());
	slot = slot_at(host.gateway.region, SLOT_SUPERVISOR);
	COUNTER_SET(slot, workers_alive, 1);
	expect(get("/readyz"), "200", "ok");
	atomic_store(&host.gateway.draining, true);
	expect(get("/readyz"), "503", "draining");
	expect(get("/healthz"), "200", "ok");
	atomic_store(&host.gateway.draining, false);
}

/* Whatever it is, it has an answer that is no 200, or none, and the next one is served. */
static void
what_is_refused(void **state)
{
	static const char *const requests[] = {
	    "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
	    "DELETE /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
	    "PUT / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 99999999999\r\n\r\n",
	    "nonsense\r\n\r\n", "GET\r\n\r\n", "GET /metrics\r\n\r\n\r\n",
	    "GET /metrics HTTP/9.9x\r\n\r\n", "\r\n\r\n\r\n\r\n\xff\xfe\r\n\r\n",
	    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"};
	char *large = calloc(1, 100000);

	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		const char *answer = talk(requests[i], strlen(requests[i]));

		if (strncmp(answer, "HTTP/1.", 7) == 0 && strncmp(answer + 9, "200", 3) == 0)
			fail_msg("request %zu was served", i);
		expect(get("/healthz"), "200", "ok");
	}
	/* more headers than anybody needs */
	strlcpy(large, "GET /metrics HTTP/1.1\r\nX: ", 100000);
	memset(large + strlen(large), 'x', 99000);
	strlcat(large, "\r\n\r\n", 100000);
	assert_null(strstr(talk(large, strlen(large)), "ramet_"));
	expect(get("/healthz"), "200", "ok");
	free(large);
}

static void
addresses(void **state)
{
	struct http *other = NULL;
	uint16_t other_port;
	char text[64];

	snprintf(text, sizeof(text), "127.0.0.1:%u", port);
	assert_int_equal(start(text, &other, &other_port), -EADDRINUSE);
	assert_true(start("256.256.256.256:0", &other, &other_port) < 0);
	assert_true(start("no-such-host.invalid:0", &other, &other_port) < 0);
	assert_null(other);
	if (start("[::1]:0", &other, &other_port) == 0) { /* where there is IPv6 */
		assert_true(other_port != 0);
		http_stop(other);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_is_there),
	    cmocka_unit_test(ready_or_not),
	    cmocka_unit_test(what_is_refused),
	    cmocka_unit_test(addresses),
	};

	return cmocka_run_group_tests(tests, open_http, close_http);
}
