#include "gateway/health.h"

#include <sys/queue.h>

#include <pthread.h>
#include <string.h>

#include "base/check.h"
#include "gateway/methods.h"
#include "gateway/service.h"

#define STATUS(name) GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__##name

struct health_watch {
	LIST_ENTRY(health_watch) link;
	struct rpc_call *call;
	int said; /* -1: nothing yet */
	bool listed, is_known;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
LIST_HEAD(health_watches, health_watch);
static struct health_watches watches = LIST_HEAD_INITIALIZER(watches);

/* "" is the whole server; else the service's name up to the last '/' of one of its methods. */
static bool
service_is_known(const char *service)
{
	size_t len = strlen(service);
	const struct rpc_method *const *at;

	if (len == 0)
		return true;
	for (at = methods_all; *at != NULL; at++)
		if (strncmp((*at)->path + 1, service, len) == 0 && (*at)->path[1 + len] == '/')
			return true;
	return false;
}

static int
status_now(const struct rpc_call *call)
{
	return atomic_load(&service_gateway(call)->draining) ? STATUS(NOT_SERVING)
							     : STATUS(SERVING);
}

static uint8_t *
answer(struct arena *arena, int status, size_t *ret_len)
{
	Grpc__Health__V1__HealthCheckResponse *response =
	    reapi_new(arena, &grpc__health__v1__health_check_response__descriptor);

	response->status = (Grpc__Health__V1__HealthCheckResponse__ServingStatus)status;
	return reapi_encode(arena, &response->base, ret_len);
}

static void
on_check(struct rpc_call *call, void *state, const uint8_t *data, size_t len)
{
	struct arena *arena = arena_new();
	const Grpc__Health__V1__HealthCheckRequest *request = service_decode(
	    call, arena, &grpc__health__v1__health_check_request__descriptor, data, len);
	const uint8_t *out;
	size_t out_len;

	if (request != NULL && service_is_known(request->service)) {
		out = answer(arena, status_now(call), &out_len);
		rpc_reply(call, out, out_len);
	} else if (request != NULL) {
		rpc_finish(call, RPC_NOT_FOUND, "%.200s: no such service here", request->service);
	}
	arena_free(arena);
}

static void
watch_say(struct rpc_call *call, struct health_watch *watch)
{
	int status = watch->is_known ? status_now(call) : STATUS(SERVICE_UNKNOWN);
	struct arena *arena;
	const uint8_t *out;
	size_t len;

	if (status == watch->said || rpc_is_sending(call))
		return;
	arena = arena_new();
	out = answer(arena, status, &len);
	watch->said = status;
	rpc_send(call, out, len);
	arena_free(arena);
}

static void
on_watch(struct rpc_call *call, void *state, const uint8_t *data, size_t len)
{
	struct health_watch *watch = state;
	struct arena *arena = arena_new();
	const Grpc__Health__V1__HealthCheckRequest *request = service_decode(
	    call, arena, &grpc__health__v1__health_check_request__descriptor, data, len);

	if (request != NULL) {
		watch->said = -1;
		watch->is_known = service_is_known(request->service);
		watch->call = call;
		rpc_hold(call);
		pthread_mutex_lock(&lock);
		LIST_INSERT_HEAD(&watches, watch, link);
		watch->listed = true;
		pthread_mutex_unlock(&lock);
		watch_say(call, watch);
	}
	arena_free(arena);
}

static void
on_watch_news(struct rpc_call *call, void *state)
{
	watch_say(call, state);
}

static void
on_watch_end(struct rpc_call *call, void *state)
{
	struct health_watch *watch = state;
	bool listed;

	pthread_mutex_lock(&lock);
	listed = watch->listed;
	if (listed)
		LIST_REMOVE(watch, link);
	watch->listed = false;
	pthread_mutex_unlock(&lock);
	if (listed)
		rpc_release(call);
}

/* One at a time: a call is woken without the lock, and may be gone from the list by then. */
void
health_changed(void)
{
	enum { WAKES_MAX = 1024 }; /* more than rpc_grpc.c lets in */
	static struct rpc_call *calls[WAKES_MAX];
	struct health_watch *watch;
	size_t count = 0;

	pthread_mutex_lock(&lock);
	LIST_FOREACH(watch, &watches, link)
	{
		if (count == WAKES_MAX)
			break;
		rpc_hold(watch->call);
		calls[count++] = watch->call;
	}
	pthread_mutex_unlock(&lock);
	while (count-- > 0) {
		rpc_wake(calls[count]);
		rpc_release(calls[count]);
	}
}

const struct rpc_method method_health_check = {
    .path = "/grpc.health.v1.Health/Check", .open_to_all = true, .on_message = on_check};
const struct rpc_method method_health_watch = {.path = "/grpc.health.v1.Health/Watch",
    .open_to_all = true,
    .state_size = sizeof(struct health_watch),
    .on_message = on_watch,
    .on_sent = on_watch_news,
    .on_woken = on_watch_news,
    .on_end = on_watch_end};
