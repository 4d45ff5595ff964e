/* A gateway without processes or sockets: a state directory with an index and a store, and calls.
 */
#ifndef TESTS_UNIT_GATEWAY_GATEWAY_HOST_H
#define TESTS_UNIT_GATEWAY_GATEWAY_HOST_H

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/fs.h"
#include "cas/hash.h"
#include "gateway/methods.h"
#include "gateway/operations.h"
#include "gateway/service.h"
#include "gateway/upload.h"
#include "tests/unit/gateway/rpc_fake.h"

static struct {
	char path[256];
	struct gateway gateway;
	struct arena *arena;
} host;

/* Without a store: its 512 folders take their time. */
static inline int
host_open_bare(void **state)
{
	const struct region_config config = {.entry_count = 64};
	struct gateway *gateway = &host.gateway;
	const char *tmp = getenv("TMPDIR");
	struct error_text err = {""};
	enum region_origin origin;

	snprintf(
	    host.path, sizeof(host.path), "%s/ramet-gateway.XXXXXX", tmp != NULL ? tmp : "/tmp");
	if (mkdtemp(host.path) == NULL)
		return -1;
	memset(gateway, 0, sizeof(*gateway));
	gateway->state_fd = open(host.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (region_open(gateway->state_fd, &config, &origin, &gateway->region, &err) != 0) {
		fprintf(stderr, "%s\n", err.text);
		return -1;
	}
	slot_assign(gateway->region, SLOT_GATEWAY);
	slot_activate(gateway->region, SLOT_GATEWAY, getpid());
	gateway->slot = slot_at(gateway->region, SLOT_GATEWAY);
	gateway->limits = (struct gateway_limits){.message_max = 16 << 20,
	    .blob_max = 1 << 30,
	    .streams_max = 64,
	    .orphan_grace_ms = 10000};
	gateway->operations = operations_new(gateway);
	host.arena = arena_new();
	return 0;
}

static inline int
host_open(void **state)
{
	struct gateway *gateway = &host.gateway;
	struct error_text err = {""};
	int rc = host_open_bare(state);

	if (rc == 0)
		rc = cas_open(gateway->state_fd, true, &gateway->cas, &err);
	if (rc != 0) {
		fprintf(stderr, "%s\n", err.text);
		return -1;
	}
	gateway->uploads = uploads_new(gateway->cas);
	return 0;
}

static inline int
host_close(void **state)
{
	struct gateway *gateway = &host.gateway;

	arena_free(host.arena);
	operations_free(gateway->operations);
	uploads_free(gateway->uploads);
	cas_close(gateway->cas);
	region_close(gateway->region);
	close(gateway->state_fd);
	link_drop_all();
	return fs_remove_tree(AT_FDCWD, host.path);
}

/* Between two tests on one host: operations and what was sent are gone, blobs stay. */
static inline int
host_renew(void **state)
{
	struct gateway *gateway = &host.gateway;

	operations_free(gateway->operations);
	uploads_free(gateway->uploads);
	gateway->operations = operations_new(gateway);
	gateway->uploads = uploads_new(gateway->cas);
	gateway->limits.cas_size = 0;
	gateway->limits.orphan_grace_ms = 10000;
	atomic_store(&gateway->draining, false);
	arena_reset(host.arena);
	link_drop_all();
	return 0;
}

static inline uint64_t
host_counter(enum counter counter)
{
	uint64_t values[COUNTER_COUNT];

	counters_read(host.gateway.region, values);
	return values[counter];
}

static inline struct digest
host_put(const void *data, size_t len)
{
	struct digest digest;

	CHECK(cas_put_bytes(host.gateway.cas, data, len, &digest) == 0);
	return digest;
}

static inline struct digest
host_put_message(const ProtobufCMessage *message)
{
	size_t len;
	const uint8_t *data = reapi_encode(host.arena, message, &len);

	return host_put(data, len);
}

/* A call with this request, carried as far as it goes by itself. */
static inline struct rpc_call *
host_call(const struct rpc_method *method, const ProtobufCMessage *request)
{
	struct rpc_call *call = call_new(&host.gateway, method);
	size_t len;
	const uint8_t *data = reapi_encode(host.arena, request, &len);

	call_message(call, data, len);
	return call;
}

/* The call's answer number `i`, decoded. */
static inline void *
host_answer(const struct rpc_call *call, size_t i, const ProtobufCMessageDescriptor *type)
{
	CHECK(i < call->sent_count);
	return reapi_decode(host.arena, type, call->sent[i].data, call->sent[i].len);
}

#endif
