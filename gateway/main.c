/*
 * ramet-gateway: started by rametd, never by hand.  Descriptor 3 is its channel to the supervisor;
 * the working directory is the state directory.
 *
 *   serve: open the index and the store -> adopt ... -> listen: bind, write "listening", say ready
 *   -> the loop, until the channel ends
 */
#include <sys/resource.h>
#include <sys/stat.h>

#include <err.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "gateway/allocator.h"
#include "gateway/gateway.h"
#include "gateway/health.h"
#include "gateway/http.h"
#include "gateway/link.h"
#include "gateway/methods.h"
#include "gateway/operations.h"
#include "gateway/privileges.h"
#include "gateway/rpc.h"
#include "gateway/service.h"
#include "gateway/tls.h"
#include "gateway/upload.h"

enum {
	CHANNEL_FD = 3,
	ADDRESSES_MAX = 32,
	POLLERS_MIN = 3,
	POLLERS_MAX = 16,
	BIND_TRY_MS = 2000, /* the one before us may still be going */
	BIND_WAIT_MS = 50,
	STOP_GRACE_MS = 1000,
	TICK_BUSY_MS = 50,
	TICK_IDLE_MS = 250,
	EXPIRE_EACH_US = 60000000,
	FILES_MAX = 65536,
};

struct process {
	struct gateway gateway;
	struct address addresses[ADDRESSES_MAX], http_address;
	size_t address_count;
	bool has_http, has_served;
	char *tls_cert, *tls_key, *tls_client_ca, *token;
	struct rpc_server *server;
	struct http *http;
	struct event tick;
	uint64_t expired_us;
	char listening[4096], http_text[300];
};

/* Said to the supervisor, who says it to whoever started the host. */
_Noreturn static void
cannot_start(struct process *process, const char *why)
{
	struct message message = {.type = MSG_refused};

	message.refused.message = msg_text(why);
	if (message.refused.message.len > 1000)
		message.refused.message.len = 1000;
	link_send(process->gateway.link, &message);
	link_flush(process->gateway.link);
	fatalx("%s", why);
}

static char *
text_dup(struct msg_text text)
{
	char *copy = strndup(text.data, text.len);

	CHECK(copy != NULL);
	return copy;
}

/* The PEM itself, or the file that it names. */
static char *
pem_read(struct process *process, bool has, struct msg_text text)
{
	struct error_text err;
	char *value, *pem;
	uint8_t *data;
	size_t len;
	int rc;

	if (!has)
		return NULL;
	value = text_dup(text);
	if (strncmp(value, "-----BEGIN", 10) == 0)
		return value;
	rc = fs_read_file(AT_FDCWD, value, 1 << 20, &data, &len);
	if (rc != 0) {
		error_errno(&err, rc, "%s", value);
		cannot_start(process, err.text);
	}
	pem = strndup((const char *)data, len);
	CHECK(pem != NULL);
	free(data);
	free(value);
	return pem;
}

/* Its first line. */
static char *
token_read(struct process *process, const struct msg_serve *serve)
{
	char *token = pem_read(process, serve->has_token_file, serve->token_file);

	if (token == NULL)
		return NULL;
	token[strcspn(token, "\r\n")] = '\0';
	if (token[0] == '\0')
		cannot_start(process, "--token-file: its first line is empty");
	return token;
}

static void
addresses_take(struct process *process, const struct msg_serve *serve)
{
	struct error_text err = {""};
	struct address address;
	const char *cursor;
	char text[4097];
	int rc;

	cursor = msg_text_copy(serve->listen, text, sizeof(text));
	while ((rc = address_next(&cursor, &address, &err)) == 0) {
		if (process->address_count == ADDRESSES_MAX)
			cannot_start(process, "--listen: too many addresses");
		process->addresses[process->address_count++] = address;
	}
	if (rc != -ENOENT)
		cannot_start(process, err.text);
	process->has_http = serve->has_http;
	msg_text_copy(serve->http, text, sizeof(text));
	if (serve->has_http && address_parse_http(text, &process->http_address, &err) != 0)
		cannot_start(process, err.text);
}

static void
limits_take(struct gateway_limits *limits, const struct msg_serve *serve)
{
	limits->message_max = serve->message_max;
	limits->blob_max = serve->blob_max;
	limits->cas_size = serve->cas_size;
	limits->streams_max = (uint32_t)serve->streams_max;
	limits->orphan_grace_ms = (uint32_t)serve->orphan_grace_ms;
}

/*
 * gRPC's own buffers have no bound that would hold against every client.  When memory ends the
 * process does, and the next one goes on with its jobs: better than the whole machine without
 * memory.
 */
static void
memory_limit(uint64_t bytes)
{
#ifdef RAMET_SANITIZED /* its shadow memory is terabytes */
	bytes = 0;
#endif
	const struct rlimit limit = {bytes, bytes};

	if (bytes != 0 && setrlimit(RLIMIT_DATA, &limit) != 0)
		log_warn("gateway-memory: %s", strerror(errno));
}

/* Connections, uploads and reads have one descriptor each. */
static void
files_allow(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max < FILES_MAX ? limit.rlim_max : FILES_MAX;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		log_warn("at most %llu open files", (unsigned long long)limit.rlim_cur);
}

/* Root that serves another user's state directory needs its right over other users' files. */
static void
privileges_give_up(int state_fd)
{
	struct stat st;
	bool is_ours = fstat(state_fd, &st) == 0 && st.st_uid == geteuid();
	int rc = privileges_drop(!is_ours);

	if (rc != 0)
		log_warn("privileges stay as they are: %s", strerror(-rc));
}

static void
on_serve(struct process *process, const struct msg_serve *serve)
{
	struct gateway *gateway = &process->gateway;
	struct error_text err = {""};

	log_open(STDERR_FILENO, (enum log_level)serve->log_level);
	limits_take(&gateway->limits, serve);
	memory_limit(serve->memory_max);
	addresses_take(process, serve);
	process->tls_cert = pem_read(process, serve->has_tls_cert, serve->tls_cert);
	process->tls_key = pem_read(process, serve->has_tls_key, serve->tls_key);
	process->tls_client_ca = pem_read(process, serve->has_tls_client_ca, serve->tls_client_ca);
	process->token = token_read(process, serve);
	if (process->tls_cert != NULL && process->tls_key != NULL &&
	    tls_check(process->tls_cert, process->tls_key, process->tls_client_ca, &err) != 0)
		cannot_start(process, err.text);
	gateway->state_fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (gateway->state_fd < 0)
		cannot_start(process, "the state directory is gone");
	privileges_give_up(gateway->state_fd);
	if (region_join(gateway->state_fd, serve->instance, &gateway->region, &err) != 0 ||
	    cas_open(gateway->state_fd, true, &gateway->cas, &err) != 0)
		cannot_start(process, err.text);
	gateway->slot = slot_at(gateway->region, SLOT_GATEWAY);
	slot_activate(gateway->region, SLOT_GATEWAY, getpid());
	check_last_words(slot_words(gateway->slot), SLOT_WORDS_SIZE);
	COUNTER_SET(gateway->slot, calls_now, 0);
	gateway->uploads = uploads_new(gateway->cas);
	gateway->operations = operations_new(gateway);
	process->has_served = true;
}

static void
on_count(void *context, bool begun, enum rpc_code code)
{
	struct gateway *gateway = context;

	COUNTER_ADD(gateway->slot, calls_now, begun ? 1 : UINT64_MAX);
	COUNTER_ADD(gateway->slot, calls, begun);
	COUNTER_ADD(gateway->slot, calls_failed, !begun && code != RPC_OK && code != RPC_NOT_FOUND);
}

static void
on_thread_start(void *context)
{
	service_thread_start(context);
}

static int
bind_rpc(struct process *process, struct error_text *err)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN) + 1;
	const struct rpc_server_config config = {.methods = methods_all,
	    .context = &process->gateway,
	    .addresses = process->addresses,
	    .address_count = process->address_count,
	    .tls_cert = process->tls_cert,
	    .tls_key = process->tls_key,
	    .tls_client_ca = process->tls_client_ca,
	    .token = process->token,
	    .message_max = process->gateway.limits.message_max,
	    .streams_max = process->gateway.limits.streams_max,
	    .pollers = cores < POLLERS_MIN ? POLLERS_MIN
		: cores > POLLERS_MAX      ? POLLERS_MAX
					   : (unsigned)cores,
	    .on_thread_start = on_thread_start,
	    .on_count = on_count};

	return process->address_count == 0 ? 0 : rpc_server_start(&config, &process->server, err);
}

static int
bind_http(struct process *process, uint16_t *ret_port, struct error_text *err)
{
	if (!process->has_http)
		return 0;
	return http_start(&process->gateway, &process->http_address, &process->http, ret_port, err);
}

static int
retry(struct process *process, int (*bind_it)(struct process *, struct error_text *),
    struct error_text *err)
{
	uint64_t until_us = clock_monotonic_us() + BIND_TRY_MS * 1000;
	int rc;

	while ((rc = bind_it(process, err)) == -EADDRINUSE && clock_monotonic_us() < until_us)
		usleep(BIND_WAIT_MS * 1000);
	return rc;
}

static int
bind_http_once(struct process *process, struct error_text *err)
{
	uint16_t port = 0;
	int rc = bind_http(process, &port, err);

	if (rc == 0 && process->has_http)
		address_text(
		    &process->http_address, port, process->http_text, sizeof(process->http_text));
	return rc;
}

/* The addresses as they really are, one a line for people and tests, and in a list for the next
 * gateway. */
static void
listening_write(struct process *process)
{
	char one[1400], lines[8192] = "";
	int rc;

	for (size_t i = 0; i < process->address_count; i++) {
		address_text(
		    &process->addresses[i], rpc_server_port(process->server, i), one, sizeof(one));
		strlcat(process->listening, i > 0 ? "," : "", sizeof(process->listening));
		strlcat(process->listening, one, sizeof(process->listening));
		strlcat(lines, one, sizeof(lines));
		strlcat(lines, "\n", sizeof(lines));
	}
	if (process->has_http) {
		strlcat(lines, process->http_text, sizeof(lines));
		strlcat(lines, "\n", sizeof(lines));
	}
	rc = fs_write_atomic(process->gateway.state_fd, "listening", lines, strlen(lines), 0644);
	if (rc != 0)
		log_warn("listening: %s", strerror(-rc));
}

static void
on_listen(struct process *process)
{
	struct message ready = {.type = MSG_ready};
	struct error_text err = {""};

	if (retry(process, bind_rpc, &err) != 0 || retry(process, bind_http_once, &err) != 0)
		cannot_start(process, err.text);
	listening_write(process);
	ready.ready.pid = (uint64_t)getpid();
	if (process->address_count > 0)
		ready.ready.listen = msg_text(process->listening);
	if (process->has_http)
		ready.ready.http = msg_text(process->http_text);
	link_send(process->gateway.link, &ready);
	log_info("serving");
}

static int
on_message(void *arg, const struct message *message)
{
	struct process *process = arg;
	struct gateway *gateway = &process->gateway;

	if (message->type == MSG_serve && !process->has_served) {
		on_serve(process, &message->serve);
		return 0;
	}
	if (!process->has_served)
		return -EPROTO;
	switch (message->type) {
	case MSG_adopt:
		return operations_on_adopt(gateway->operations, &message->adopt);
	case MSG_started:
		operations_on_started(gateway->operations, &message->started);
		return 0;
	case MSG_done:
		return operations_on_done(gateway->operations, message);
	case MSG_refused:
		operations_on_refused(gateway->operations, &message->refused);
		return 0;
	case MSG_draining:
		atomic_store(&gateway->draining, true);
		health_changed();
		return 0;
	case MSG_listen:
		on_listen(process);
		return 0;
	case MSG_stop:
		event_base_loopbreak(gateway->base);
		return 0;
	default:
		return -EPROTO;
	}
}

static void
on_lost(void *arg)
{
	struct process *process = arg;

	event_base_loopbreak(process->gateway.base);
}

static const struct link_ops link_ops = {on_message, on_lost};

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct process *process = arg;
	struct timeval next = {0, TICK_IDLE_MS * 1000};
	uint64_t now_us = clock_monotonic_us();

	if (process->has_served && operations_tick(process->gateway.operations))
		next.tv_usec = TICK_BUSY_MS * 1000;
	if (process->has_served && now_us - process->expired_us >= EXPIRE_EACH_US) {
		process->expired_us = now_us;
		uploads_expire(process->gateway.uploads, UPLOAD_IDLE_S);
	}
	event_add(&process->tick, &next);
}

/* What is under way may end: the answers that the supervisor sent last are on their way out. */
static void
stop(struct process *process)
{
	struct gateway *gateway = &process->gateway;

	atomic_store(&gateway->draining, true);
	if (process->server != NULL)
		rpc_server_stop(process->server, STOP_GRACE_MS);
	http_stop(process->http);
	operations_free(gateway->operations);
	uploads_free(gateway->uploads);
	cas_close(gateway->cas);
	if (gateway->slot != NULL)
		slot_retire(gateway->region, SLOT_GATEWAY);
	region_close(gateway->region);
	event_del(&process->tick);
	link_close(gateway->link);
	event_base_free(gateway->base);
}

int
main(int argc, char **argv, char **envp)
{
	static struct process process;
	struct timeval now = {0, 0};
	struct stat st;

	setproctitle_init(argc, argv, envp);
	if (argc > 1 || fstat(CHANNEL_FD, &st) != 0 || !S_ISSOCK(st.st_mode))
		errx(2, "this is a part of rametd %s, which starts it (rametd --listen)",
		    RAMET_VERSION);
	allocator_set();
	umask(022);
	signal(SIGPIPE, SIG_IGN);
	log_open(STDERR_FILENO, LOG_LEVEL_INFO);
	log_name("gateway");
	files_allow();
	process.gateway.base = event_base_new();
	if (process.gateway.base == NULL ||
	    link_open(
		process.gateway.base, CHANNEL_FD, &link_ops, &process, &process.gateway.link) != 0)
		fatalx("no event loop");
	evtimer_assign(&process.tick, process.gateway.base, on_tick, &process);
	event_add(&process.tick, &now);
	event_base_dispatch(process.gateway.base);
	stop(&process);
	return 0;
}
