#include "gateway/rpc.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <errno.h>
#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/compression.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>
#include <netdb.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"

enum {
	CALL_MAGIC = 0x72706363,
	CALLS_REQUESTED = 64, /* waiting for a client at any time */
	CALLS_OPEN_MAX =
	    1000, /* without the token that others bring: they take nobody else's place */
	STREAMS_PER_CONNECTION = 1000,
	WINDOW_BYTES = 1 << 20, /* 100 MB/s at 10 ms */
	PINGS_MS_MIN = 5000,
	KEEPALIVE_MS = 60000,
};

/* What a batch that completes was for. */
enum part { PART_NEW, PART_CLOSE, PART_READ, PART_SEND, PART_FINISH, PART_COUNT };

struct tag {
	struct rpc_call *call;
	enum part part;
};

struct rpc_call {
	uint32_t magic;
	struct rpc_server *server;
	const struct rpc_method *method; /* NULL: not known, or not let in */
	void *state;
	grpc_call *call;
	grpc_call_details details;
	grpc_metadata_array headers;
	struct tag tags[PART_COUNT];
	atomic_uint references;
	atomic_bool
	    is_made; /* release and acquire around gRPC's own queue, which no sanitizer sees */
	pthread_mutex_t lock;

	int cancelled; /* written by gRPC with PART_CLOSE */
	grpc_byte_buffer *received; /* written by gRPC with PART_READ */
	grpc_byte_buffer *sending;
	grpc_slice filling;
	bool is_filling, reading, is_sending, initial_sent;
	bool finish_wanted, finish_begun, delivered, ended, counted, is_open;
	enum rpc_code code;
	char *text; /* of the status */
	grpc_slice status_details; /* google.rpc.Status */
	bool has_status_details;
	grpc_metadata trailing;
};

struct rpc_server {
	struct rpc_server_config config;
	char *token;
	grpc_server *server;
	grpc_completion_queue *queue;
	pthread_t *threads;
	unsigned thread_count;
	uint16_t *ports;
	atomic_uint calls, open_calls; /* those without a token apart, where there is one */
	atomic_bool stopping;
	pthread_mutex_t lock;
	pthread_cond_t stopped;
	bool has_stopped;
};

static void
call_unref(struct rpc_call *call)
{
	if (atomic_fetch_sub_explicit(&call->references, 1, memory_order_acq_rel) != 1)
		return;
	CHECK(call->magic == CALL_MAGIC);
	if (call->call != NULL)
		grpc_call_unref(call->call);
	if (call->is_filling)
		grpc_slice_unref(call->filling);
	if (call->sending != NULL)
		grpc_byte_buffer_destroy(call->sending);
	if (call->has_status_details)
		grpc_slice_unref(call->status_details);
	grpc_call_details_destroy(&call->details);
	grpc_metadata_array_destroy(&call->headers);
	pthread_mutex_destroy(&call->lock);
	free(call->text);
	free(call->state);
	call->magic = 0;
	free(call);
}

void
rpc_hold(struct rpc_call *call)
{
	CHECK(call->magic == CALL_MAGIC);
	atomic_fetch_add_explicit(&call->references, 1, memory_order_relaxed);
}

void
rpc_release(struct rpc_call *call)
{
	call_unref(call);
}

/* A place for a client's call; none more when the server is stopping. */
static void
call_request(struct rpc_server *server)
{
	struct rpc_call *call;
	int i;

	if (atomic_load(&server->stopping))
		return;
	call = calloc(1, sizeof(*call));
	CHECK(call != NULL);
	call->magic = CALL_MAGIC;
	call->server = server;
	atomic_init(&call->references, 1);
	pthread_mutex_init(&call->lock, NULL);
	grpc_call_details_init(&call->details);
	grpc_metadata_array_init(&call->headers);
	for (i = 0; i < PART_COUNT; i++)
		call->tags[i] = (struct tag){call, (enum part)i};
	atomic_store_explicit(&call->is_made, true, memory_order_release);
	if (grpc_server_request_call(server->server, &call->call, &call->details, &call->headers,
		server->queue, server->queue, &call->tags[PART_NEW]) != GRPC_CALL_OK)
		call_unref(call);
}

/* Each batch holds a reference until it completes.  Ours are always well-formed. */
static void
batch_start(struct rpc_call *call, const grpc_op *ops, size_t count, enum part part)
{
	grpc_call_error error;

	rpc_hold(call);
	error = grpc_call_start_batch(call->call, ops, count, &call->tags[part], NULL);
	if (error != GRPC_CALL_OK)
		log_error("gRPC: %s", grpc_call_error_to_string(error));
	CHECK(error == GRPC_CALL_OK);
}

/* In front of the first thing sent. */
static size_t
op_initial(struct rpc_call *call, grpc_op *ops)
{
	if (call->initial_sent)
		return 0;
	call->initial_sent = true;
	memset(&ops[0], 0, sizeof(ops[0]));
	ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
	return 1;
}

static size_t
op_message(struct rpc_call *call, grpc_op *op)
{
	memset(op, 0, sizeof(*op));
	op->op = GRPC_OP_SEND_MESSAGE;
	op->data.send_message.send_message = call->sending;
	return 1;
}

/* The status' text is the call's until the batch has completed. */
static size_t
op_status(struct rpc_call *call, grpc_op *op, grpc_slice *text)
{
	memset(op, 0, sizeof(*op));
	op->op = GRPC_OP_SEND_STATUS_FROM_SERVER;
	op->data.send_status_from_server.status = (grpc_status_code)call->code;
	if (call->text != NULL) {
		*text = grpc_slice_from_static_string(call->text);
		op->data.send_status_from_server.status_details = text;
	}
	if (call->has_status_details) {
		call->trailing.key = grpc_slice_from_static_string("grpc-status-details-bin");
		call->trailing.value = call->status_details;
		op->data.send_status_from_server.trailing_metadata = &call->trailing;
		op->data.send_status_from_server.trailing_metadata_count = 1;
	}
	return 1;
}

static void
finish_start(struct rpc_call *call)
{
	grpc_slice text;
	grpc_op ops[2];
	size_t n;

	if (call->finish_begun || call->ended)
		return;
	call->finish_begun = true;
	n = op_initial(call, ops);
	n += op_status(call, &ops[n], &text);
	batch_start(call, ops, n, PART_FINISH);
}

void
rpc_finish_with(
    struct rpc_call *call, enum rpc_code code, const char *text, const void *status, size_t len)
{
	if (call->finish_wanted)
		return;
	call->finish_wanted = true;
	call->code = code;
	if (text != NULL && text[0] != '\0')
		call->text = strdup(text);
	if (status != NULL) {
		call->status_details = grpc_slice_from_copied_buffer(status, len);
		call->has_status_details = true;
	}
	if (!call->is_sending)
		finish_start(call);
}

void
rpc_finish(struct rpc_call *call, enum rpc_code code, const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	rpc_finish_with(call, code, text, NULL, 0);
}

bool
rpc_is_finished(const struct rpc_call *call)
{
	return call->finish_wanted || call->ended;
}

bool
rpc_is_sending(const struct rpc_call *call)
{
	return call->is_sending;
}

uint8_t *
rpc_send_begin(struct rpc_call *call, size_t size)
{
	CHECK(!call->is_sending && !call->is_filling);
	call->filling = grpc_slice_malloc(size);
	call->is_filling = true;
	return GRPC_SLICE_START_PTR(call->filling);
}

void
rpc_send_drop(struct rpc_call *call)
{
	CHECK(call->is_filling);
	grpc_slice_unref(call->filling);
	call->is_filling = false;
}

static bool
sending_take(struct rpc_call *call, grpc_slice slice)
{
	if (call->ended || call->finish_wanted) {
		grpc_slice_unref(slice);
		return false;
	}
	call->sending = grpc_raw_byte_buffer_create(&slice, 1);
	grpc_slice_unref(slice);
	return true;
}

static void
send_start(struct rpc_call *call, grpc_slice slice)
{
	grpc_op ops[2];
	size_t n;

	if (!sending_take(call, slice))
		return;
	call->is_sending = true;
	n = op_initial(call, ops);
	n += op_message(call, &ops[n]);
	batch_start(call, ops, n, PART_SEND);
}

/* What was filled, cut to its length. */
static grpc_slice
filled_take(struct rpc_call *call, size_t len)
{
	grpc_slice slice = call->filling, shorter;

	CHECK(call->is_filling);
	CHECK(len <= GRPC_SLICE_LENGTH(slice));
	call->is_filling = false;
	if (len == GRPC_SLICE_LENGTH(slice))
		return slice;
	shorter = grpc_slice_sub(slice, 0, len);
	grpc_slice_unref(slice);
	return shorter;
}

void
rpc_send_commit(struct rpc_call *call, size_t len)
{
	send_start(call, filled_take(call, len));
}

void
rpc_send(struct rpc_call *call, const void *data, size_t len)
{
	CHECK(!call->is_sending && !call->is_filling);
	send_start(call, grpc_slice_from_copied_buffer(data, len));
}

static void
reply_start(struct rpc_call *call, grpc_slice slice)
{
	grpc_slice text;
	grpc_op ops[3];
	size_t n;

	if (!sending_take(call, slice))
		return;
	call->finish_wanted = call->finish_begun = true;
	call->code = RPC_OK;
	n = op_initial(call, ops);
	n += op_message(call, &ops[n]);
	n += op_status(call, &ops[n], &text);
	batch_start(call, ops, n, PART_FINISH);
}

void
rpc_reply(struct rpc_call *call, const void *data, size_t len)
{
	CHECK(!call->is_sending && !call->is_filling);
	reply_start(call, grpc_slice_from_copied_buffer(data, len));
}

void
rpc_reply_commit(struct rpc_call *call, size_t len)
{
	CHECK(!call->is_sending);
	reply_start(call, filled_take(call, len));
}

bool
rpc_is_delivered(const struct rpc_call *call)
{
	return call->delivered;
}

void
rpc_read(struct rpc_call *call)
{
	grpc_op op;

	CHECK(!call->reading);
	if (call->ended || call->finish_wanted)
		return;
	call->reading = true;
	memset(&op, 0, sizeof(op));
	op.op = GRPC_OP_RECV_MESSAGE;
	op.data.recv_message.recv_message = &call->received;
	batch_start(call, &op, 1, PART_READ);
}

void *
rpc_context(const struct rpc_call *call)
{
	return call->server->config.context;
}

static bool
slice_is(grpc_slice slice, const char *text)
{
	size_t len = strlen(text);

	return GRPC_SLICE_LENGTH(slice) == len &&
	    memcmp(GRPC_SLICE_START_PTR(slice), text, len) == 0;
}

const uint8_t *
rpc_header(const struct rpc_call *call, const char *name, size_t *ret_len)
{
	for (size_t i = 0; i < call->headers.count; i++) {
		grpc_metadata *header = &call->headers.metadata[i];

		if (!slice_is(header->key, name))
			continue;
		*ret_len = GRPC_SLICE_LENGTH(header->value);
		return GRPC_SLICE_START_PTR(header->value);
	}
	return NULL;
}

static bool
token_fits(const struct rpc_call *call)
{
	static const char scheme[] = "Bearer ";
	const char *token = call->server->token;
	const uint8_t *value;
	size_t len;

	if (token == NULL)
		return true;
	value = rpc_header(call, "authorization", &len);
	if (value == NULL || len != strlen(scheme) + strlen(token) ||
	    memcmp(value, scheme, strlen(scheme)) != 0)
		return false;
	return CRYPTO_memcmp(value + strlen(scheme), token, strlen(token)) == 0;
}

static const struct rpc_method *
method_find(const struct rpc_call *call)
{
	const struct rpc_method *const *at;

	for (at = call->server->config.methods; *at != NULL; at++)
		if (slice_is(call->details.method, (*at)->path))
			return *at;
	return NULL;
}

static void
count_call(struct rpc_server *server, bool begun, enum rpc_code code)
{
	if (server->config.on_count != NULL)
		server->config.on_count(server->config.context, begun, code);
}

static atomic_uint *
calls_of(struct rpc_server *server, bool is_open)
{
	return is_open ? &server->open_calls : &server->calls;
}

/* The client's call is over, whoever ended it. */
static void
call_end(struct rpc_call *call)
{
	struct rpc_server *server = call->server;

	if (call->ended)
		return;
	call->ended = true;
	if (call->method != NULL && call->method->on_end != NULL)
		call->method->on_end(call, call->state);
	if (call->counted) {
		atomic_fetch_sub(calls_of(server, call->is_open), 1);
		count_call(server, false, call->finish_begun ? call->code : RPC_CANCELLED);
	}
	call_unref(call);
}

/* Lets it in, or says why not. */
static void
call_begin(struct rpc_call *call)
{
	struct rpc_server *server = call->server;
	const struct rpc_method *method = method_find(call);
	bool is_open = method != NULL && method->open_to_all && server->token != NULL;
	unsigned calls = atomic_fetch_add(calls_of(server, is_open), 1) + 1;
	unsigned calls_max = is_open ? CALLS_OPEN_MAX : server->config.streams_max;
	grpc_op op;

	call->counted = true;
	call->is_open = is_open;
	count_call(server, true, RPC_OK);
	memset(&op, 0, sizeof(op));
	op.op = GRPC_OP_RECV_CLOSE_ON_SERVER;
	op.data.recv_close_on_server.cancelled = &call->cancelled;
	batch_start(call, &op, 1, PART_CLOSE);
	if (calls > calls_max) {
		rpc_finish(call, RPC_RESOURCE_EXHAUSTED, "more than %u calls at once", calls_max);
	} else if (method != NULL && !method->open_to_all && !token_fits(call)) {
		rpc_finish(call, RPC_UNAUTHENTICATED, "this host wants a bearer token");
	} else if (method == NULL) {
		rpc_finish(call, RPC_UNIMPLEMENTED, "no such method here");
	} else {
		call->method = method;
		call->state = calloc(1, method->state_size + 1);
		CHECK(call->state != NULL);
		rpc_read(call);
	}
}

/* The message in one piece; most are. */
static void
message_deliver(struct rpc_call *call, grpc_byte_buffer *buffer)
{
	grpc_byte_buffer_reader reader;
	grpc_slice whole;

	if (!grpc_byte_buffer_reader_init(&reader, buffer)) {
		rpc_finish(call, RPC_INVALID_ARGUMENT, "a message that cannot be decompressed");
		return;
	}
	whole = grpc_byte_buffer_reader_readall(&reader);
	call->method->on_message(
	    call, call->state, GRPC_SLICE_START_PTR(whole), GRPC_SLICE_LENGTH(whole));
	grpc_slice_unref(whole);
	grpc_byte_buffer_reader_destroy(&reader);
}

static void
on_read(struct rpc_call *call, bool success)
{
	grpc_byte_buffer *buffer = call->received;

	call->reading = false;
	call->received = NULL;
	if (call->ended || call->finish_wanted) {
		/* nobody wants it any more */
	} else if (buffer != NULL && success) {
		message_deliver(call, buffer);
	} else if (call->method->client_streams) {
		call->method->on_half_close(call, call->state);
	} else {
		rpc_finish(call, RPC_INVALID_ARGUMENT, "the request did not come");
	}
	if (buffer != NULL)
		grpc_byte_buffer_destroy(buffer);
}

static void
on_sent(struct rpc_call *call, bool success)
{
	call->is_sending = false;
	grpc_byte_buffer_destroy(call->sending);
	call->sending = NULL;
	if (call->ended)
		return;
	if (call->finish_wanted)
		finish_start(call);
	else if (success && call->method->on_sent != NULL)
		call->method->on_sent(call, call->state);
}

static void
call_event(struct rpc_call *call, enum part part, bool success)
{
	pthread_mutex_lock(&call->lock);
	switch (part) {
	case PART_CLOSE:
		if (call->cancelled)
			call_end(call);
		break;
	case PART_READ:
		on_read(call, success);
		break;
	case PART_SEND:
		on_sent(call, success);
		break;
	case PART_FINISH:
		call->delivered = success && call->sending != NULL;
		call_end(call);
		break;
	case PART_NEW:
		call_begin(call);
		break;
	case PART_COUNT:
		break;
	}
	pthread_mutex_unlock(&call->lock);
}

void
rpc_wake(struct rpc_call *call)
{
	pthread_mutex_lock(&call->lock);
	if (!rpc_is_finished(call))
		call->method->on_woken(call, call->state);
	pthread_mutex_unlock(&call->lock);
}

static void
on_stopped(struct rpc_server *server)
{
	pthread_mutex_lock(&server->lock);
	server->has_stopped = true;
	pthread_cond_broadcast(&server->stopped);
	pthread_mutex_unlock(&server->lock);
}

static void *
poller(void *arg)
{
	struct rpc_server *server = arg;
	grpc_event event;

	if (server->config.on_thread_start != NULL)
		server->config.on_thread_start(server->config.context);
	for (;;) {
		struct tag *tag;

		event = grpc_completion_queue_next(
		    server->queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
		if (event.type == GRPC_QUEUE_SHUTDOWN)
			return NULL;
		if (event.type != GRPC_OP_COMPLETE)
			continue;
		if (event.tag == server) {
			on_stopped(server);
			continue;
		}
		tag = event.tag;
		CHECK(atomic_load_explicit(&tag->call->is_made, memory_order_acquire));
		CHECK(tag->call->magic == CALL_MAGIC);
		if (tag->part == PART_NEW && !event.success) { /* the server stops */
			call_unref(tag->call);
			continue;
		}
		if (tag->part == PART_NEW) {
			call_request(server);
			/* one reference for the event, one for the call's life */
			rpc_hold(tag->call);
		}
		call_event(tag->call, tag->part, event.success != 0);
		call_unref(tag->call);
	}
}

/* gRPC's own lines; what it calls an error is mostly a client's doing. */
static void
on_grpc_log(gpr_log_func_args *args)
{
	if (args->severity == GPR_LOG_SEVERITY_ERROR)
		log_info("gRPC: %s", args->message);
	else
		log_debug("gRPC: %s", args->message);
}

static grpc_server_credentials *
credentials_new(const struct rpc_server_config *config, const struct address *address)
{
	grpc_ssl_pem_key_cert_pair pair = {config->tls_key, config->tls_cert};

	if (address->kind != ADDRESS_GRPCS)
		return grpc_insecure_server_credentials_create();
	return grpc_ssl_server_credentials_create_ex(config->tls_client_ca, &pair, 1,
	    config->tls_client_ca != NULL
		? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
		: GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
	    NULL);
}

/* gRPC replaces whatever lies at a unix socket's path: not if somebody listens there. */
static int
unix_path_free(const char *path, struct error_text *err)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	struct stat st;
	int fd, rc;

	if (strlcpy(name.sun_path, path, sizeof(name.sun_path)) >= sizeof(name.sun_path))
		return error_set(err, -ENAMETOOLONG,
		    "unix:%s: a socket's path has at most %zu bytes", path,
		    sizeof(name.sun_path) - 1);
	if (lstat(path, &st) != 0)
		return errno == ENOENT ? 0 : error_errno(err, -errno, "unix:%s", path);
	if (!S_ISSOCK(st.st_mode))
		return error_set(err, -EEXIST, "unix:%s: is there and is no socket", path);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (fd < 0)
		return error_errno(err, -errno, "unix:%s", path);
	rc = connect(fd, (struct sockaddr *)&name, sizeof(name));
	close(fd);
	return rc == 0 ? error_set(err, -EADDRINUSE, "unix:%s: somebody listens there", path) : 0;
}

/* gRPC does not say why it cannot listen; the system does. */
static int
tcp_try(const struct address *address, const char *text, struct error_text *err)
{
	const struct addrinfo hints = {
	    .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
	struct addrinfo *found;
	char port[8];
	int fd, on = 1, rc = 0;

	snprintf(port, sizeof(port), "%u", address->port);
	rc = getaddrinfo(address->host, port, &hints, &found);
	if (rc != 0)
		return error_set(err, -EINVAL, "%s: %s", text, gai_strerror(rc));
	fd = socket(found->ai_family, SOCK_STREAM, 0);
	if (fd >= 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, 1) != 0)
		rc = error_errno(err, -errno, "%s: cannot listen there (--listen)", text);
	if (fd >= 0)
		close(fd);
	freeaddrinfo(found);
	return rc;
}

static int
address_bind(struct rpc_server *server, size_t i, struct error_text *err)
{
	const struct address *address = &server->config.addresses[i];
	grpc_server_credentials *credentials;
	const char *target;
	char text[1400];
	int port, rc;

	address_text(address, 0, text, sizeof(text));
	rc = address->kind == ADDRESS_UNIX ? unix_path_free(address->path, err)
					   : tcp_try(address, text, err);
	if (rc != 0)
		return rc;
	credentials = credentials_new(&server->config, address);
	if (credentials == NULL)
		return error_set(
		    err, -EINVAL, "TLS: the certificate, key or client CA is no usable PEM");
	target = address->kind == ADDRESS_UNIX ? text : strstr(text, "://") + 3;
	port = grpc_server_add_http2_port(server->server, target, credentials);
	grpc_server_credentials_release(credentials);
	if (port == 0)
		return error_set(err, address->kind == ADDRESS_UNIX ? -EINVAL : -EADDRINUSE,
		    "%s: cannot listen there (--listen)", text);
	server->ports[i] = address->kind == ADDRESS_UNIX ? 0 : (uint16_t)port;
	return 0;
}

static grpc_server *
server_new(const struct rpc_server_config *config)
{
	grpc_arg args[] = {
	    {.type = GRPC_ARG_INTEGER, .key = (char *)GRPC_ARG_ALLOW_REUSEPORT, .value.integer = 0},
	    {.type = GRPC_ARG_INTEGER,
		.key = (char *)GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
		.value.integer = (int)config->message_max},
	    {.type = GRPC_ARG_INTEGER,
		.key = (char *)GRPC_ARG_MAX_CONCURRENT_STREAMS,
		.value.integer = STREAMS_PER_CONNECTION},
	    {.type = GRPC_ARG_INTEGER,
		.key = (char *)GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
		.value.integer = PINGS_MS_MIN},
	    {.type = GRPC_ARG_INTEGER,
		.key = (char *)GRPC_ARG_KEEPALIVE_TIME_MS,
		.value.integer = KEEPALIVE_MS},
	    {.type = GRPC_ARG_INTEGER,
		.key = (char *)GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS,
		.value.integer = 1},
	    /* Its own guess lets each stream send 4 MiB ahead of what is read. */
	    {.type = GRPC_ARG_INTEGER, .key = (char *)GRPC_ARG_HTTP2_BDP_PROBE, .value.integer = 0},
	    {.type = GRPC_ARG_INTEGER,
		.key = (char *)GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES,
		.value.integer = WINDOW_BYTES},
	    /* None but identity: gRPC unpacks a message whole before it looks at its size. */
	    {.type = GRPC_ARG_INTEGER,
		.key = (char *)GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET,
		.value.integer = 1 << GRPC_COMPRESS_NONE},
	    {.type = GRPC_ARG_INTEGER, .key = (char *)GRPC_ARG_ENABLE_CHANNELZ, .value.integer = 0},
	};
	const grpc_channel_args all = {sizeof(args) / sizeof(args[0]), args};

	return grpc_server_create(&all, NULL);
}

/* Signals are the main thread's. */
static int
pollers_start(struct rpc_server *server, struct error_text *err)
{
	sigset_t all, before;
	int rc = 0;

	server->threads = calloc(server->config.pollers, sizeof(*server->threads));
	CHECK(server->threads != NULL);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (rc == 0 && server->thread_count < server->config.pollers) {
		rc = pthread_create(&server->threads[server->thread_count], NULL, poller, server);
		server->thread_count += rc == 0;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc == 0 ? 0 : error_errno(err, -rc, "cannot start threads");
}

int
rpc_server_start(
    const struct rpc_server_config *config, struct rpc_server **ret_server, struct error_text *err)
{
	struct rpc_server *server = calloc(1, sizeof(*server));
	mode_t mask;
	int rc = 0;

	CHECK(server != NULL);
	server->config = *config;
	server->ports = calloc(config->address_count + 1, sizeof(*server->ports));
	CHECK(server->ports != NULL);
	if (config->token != NULL) {
		server->token = strdup(config->token);
		CHECK(server->token != NULL);
	}
	pthread_mutex_init(&server->lock, NULL);
	pthread_cond_init(&server->stopped, NULL);
	gpr_set_log_function(on_grpc_log);
	grpc_init();
	server->queue = grpc_completion_queue_create_for_next(NULL);
	server->server = server_new(config);
	grpc_server_register_completion_queue(server->server, server->queue, NULL);
	mask = umask(0177); /* a unix socket is its owner's */
	for (size_t i = 0; rc == 0 && i < config->address_count; i++)
		rc = address_bind(server, i, err);
	umask(mask);
	if (rc == 0) {
		grpc_server_start(server->server);
		rc = pollers_start(server, err);
	}
	if (rc == 0) {
		for (int i = 0; i < CALLS_REQUESTED; i++)
			call_request(server);
		*ret_server = server;
		return 0;
	}
	rpc_server_stop(server, 0);
	return rc;
}

uint16_t
rpc_server_port(const struct rpc_server *server, size_t address)
{
	return server->ports[address];
}

static bool
wait_stopped(struct rpc_server *server, unsigned ms)
{
	struct timespec until;
	bool stopped;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&server->lock);
	while (!server->has_stopped &&
	    pthread_cond_timedwait(&server->stopped, &server->lock, &until) == 0)
		;
	stopped = server->has_stopped;
	pthread_mutex_unlock(&server->lock);
	return stopped;
}

static void
drain_queue(struct rpc_server *server)
{
	grpc_completion_queue_shutdown(server->queue);
	if (server->thread_count == 0)
		while (grpc_completion_queue_next(
			   server->queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL)
			   .type != GRPC_QUEUE_SHUTDOWN)
			;
	for (unsigned i = 0; i < server->thread_count; i++)
		pthread_join(server->threads[i], NULL);
}

void
rpc_server_stop(struct rpc_server *server, unsigned grace_ms)
{
	atomic_store(&server->stopping, true);
	grpc_server_shutdown_and_notify(server->server, server->queue, server);
	if (server->thread_count > 0 && !wait_stopped(server, grace_ms)) {
		grpc_server_cancel_all_calls(server->server);
		while (!wait_stopped(server, 10000))
			log_warn("gRPC: calls do not end");
	}
	drain_queue(server);
	grpc_server_destroy(server->server);
	grpc_completion_queue_destroy(server->queue);
	grpc_shutdown_blocking();
	pthread_cond_destroy(&server->stopped);
	pthread_mutex_destroy(&server->lock);
	free(server->threads);
	free(server->ports);
	free(server->token);
	free(server);
}
