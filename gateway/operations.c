#include "gateway/operations.h"

#include <sys/queue.h>
#include <sys/tree.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "gateway/link.h"

enum {
	ID_SIZE = 37,
	WATCH = 1, /* keeps the action alive */
	FOLLOW = 2, /* only looks at its output */
};

struct watcher {
	LIST_ENTRY(watcher) link;
	struct rpc_call *call;
	int kind;
};
LIST_HEAD(watcher_list, watcher);

struct operation {
	RB_ENTRY(operation) by_name, by_job;
	TAILQ_ENTRY(operation) link; /* in the list of the live, or of the ended */
	char name[OPERATION_NAME_SIZE], id[ID_SIZE];
	char *instance;
	uint64_t job;
	struct digest action;
	bool alone, skip_cache_lookup;
	int64_t priority;

	unsigned references; /* the table's, and each watcher's */
	struct watcher_list watchers;
	unsigned watching, following; /* of them */
	uint64_t unwatched_since_us; /* CLOCK_MONOTONIC; 0: somebody watches */
	bool listed, delivered;

	struct operation_view view;
	uint64_t ended_us; /* CLOCK_MONOTONIC */
	struct message done; /* its texts point into done_body */
	uint8_t *done_body;
};

RB_HEAD(operation_names, operation);
RB_HEAD(operation_jobs, operation);
TAILQ_HEAD(operation_list, operation);

struct operations {
	struct gateway *gateway;
	pthread_mutex_t lock;
	struct operation_names names;
	struct operation_jobs jobs;
	struct operation_list live, ended; /* the oldest first */
	unsigned live_count, ended_count;
	uint64_t last_job;
};

static int
compare_name(const struct operation *a, const struct operation *b)
{
	return strcmp(a->name, b->name);
}

static int
compare_job(const struct operation *a, const struct operation *b)
{
	return a->job < b->job ? -1 : a->job > b->job;
}

RB_PROTOTYPE(operation_names, operation, by_name, compare_name)
RB_GENERATE(operation_names, operation, by_name, compare_name)
RB_PROTOTYPE(operation_jobs, operation, by_job, compare_job)
RB_GENERATE(operation_jobs, operation, by_job, compare_job)

struct operations *
operations_new(struct gateway *gateway)
{
	struct operations *operations = calloc(1, sizeof(*operations));

	CHECK(operations != NULL);
	operations->gateway = gateway;
	pthread_mutex_init(&operations->lock, NULL);
	RB_INIT(&operations->names);
	RB_INIT(&operations->jobs);
	TAILQ_INIT(&operations->live);
	TAILQ_INIT(&operations->ended);
	return operations;
}

static void
put(struct operation *operation)
{
	if (--operation->references > 0)
		return;
	free(operation->instance);
	free(operation->done_body);
	free(operation);
}

static void
live_remove(struct operations *operations, struct operation *operation)
{
	TAILQ_REMOVE(&operations->live, operation, link);
	operations->live_count--;
}

static void
ended_remove(struct operations *operations, struct operation *operation)
{
	TAILQ_REMOVE(&operations->ended, operation, link);
	operations->ended_count--;
}

static void
unlist(struct operations *operations, struct operation *operation)
{
	if (!operation->listed)
		return;
	operation->listed = false;
	RB_REMOVE(operation_names, &operations->names, operation);
	RB_REMOVE(operation_jobs, &operations->jobs, operation);
	if (operation->view.is_done)
		ended_remove(operations, operation);
	else
		live_remove(operations, operation);
	put(operation);
}

void
operations_free(struct operations *operations)
{
	struct operation *operation;

	if (operations == NULL)
		return;
	while ((operation = TAILQ_FIRST(&operations->live)) != NULL ||
	    (operation = TAILQ_FIRST(&operations->ended)) != NULL)
		unlist(operations, operation);
	pthread_mutex_destroy(&operations->lock);
	free(operations);
}

static void
id_make(char id[ID_SIZE])
{
	unsigned char r[16];

	arc4random_buf(r, sizeof(r));
	r[6] = (unsigned char)((r[6] & 0x0f) | 0x40);
	r[8] = (unsigned char)((r[8] & 0x3f) | 0x80);
	snprintf(id, ID_SIZE,
	    "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", r[0], r[1],
	    r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10], r[11], r[12], r[13], r[14],
	    r[15]);
}

/* Names are INSTANCE/operations/ID; an adopted one comes whole. */
static struct operation *
operation_new(const char *instance, const char *id)
{
	struct operation *operation = calloc(1, sizeof(*operation));

	CHECK(operation != NULL);
	operation->instance = strdup(instance);
	CHECK(operation->instance != NULL);
	strlcpy(operation->id, id, sizeof(operation->id));
	snprintf(operation->name, sizeof(operation->name), "%s%soperations/%s", instance,
	    instance[0] != '\0' ? "/" : "", id);
	LIST_INIT(&operation->watchers);
	operation->references = 1;
	operation->view.version = 1;
	return operation;
}

static void
list(struct operations *operations, struct operation *operation)
{
	CHECK(RB_INSERT(operation_names, &operations->names, operation) == NULL);
	CHECK(RB_INSERT(operation_jobs, &operations->jobs, operation) == NULL);
	TAILQ_INSERT_TAIL(&operations->live, operation, link);
	operation->listed = true;
	operations->live_count++;
}

static void
watch(struct operation *operation, struct rpc_call *call, int kind)
{
	struct watcher *watcher = calloc(1, sizeof(*watcher));

	CHECK(watcher != NULL);
	rpc_hold(call);
	watcher->call = call;
	watcher->kind = kind;
	LIST_INSERT_HEAD(&operation->watchers, watcher, link);
	operation->references++;
	operation->watching += kind == WATCH;
	operation->following += kind == FOLLOW;
	if (operation->watching > 0)
		operation->unwatched_since_us = 0;
}

static void
say_job(struct operations *operations, enum msg_type type, uint64_t job)
{
	struct message message = {.type = type};

	if (type == MSG_cancel)
		message.cancel.job = job;
	else
		message.forget.job = job;
	link_send(operations->gateway->link, &message);
}

static void
submit(struct operations *operations, const struct operation *operation,
    const struct operation_wish *wish)
{
	struct message message = {.type = MSG_submit};
	struct msg_submit *submit = &message.submit;

	submit->job = operation->job;
	submit->action = operation->action;
	submit->skip_cache_lookup = operation->skip_cache_lookup;
	submit->label = msg_text(wish->label);
	submit->has_label = wish->label[0] != '\0';
	submit->priority = operation->priority;
	submit->seen_s = wish->seen_s;
	submit->operation = msg_text(operation->name);
	submit->cache_key = wish->cache_key;
	submit->has_cache_key = wish->has_cache_key;
	submit->alone = operation->alone;
	link_send(operations->gateway->link, &message);
}

/* In flight, of the same instance, and no result from before may be its own. */
static struct operation *
find_same(struct operations *operations, const struct operation_wish *wish)
{
	struct operation *operation;

	if (wish->alone)
		return NULL;
	TAILQ_FOREACH_REVERSE(operation, &operations->live, operation_list, link)
	if (!operation->alone && !operation->view.is_cancelled &&
	    digest_equal(&operation->action, &wish->action) &&
	    strcmp(operation->instance, wish->instance) == 0 &&
	    (operation->skip_cache_lookup || !wish->skip_cache_lookup))
		return operation;
	return NULL;
}

static void
hurry(struct operations *operations, struct operation *operation, int64_t priority)
{
	struct message message = {.type = MSG_hurry};

	if (priority >= operation->priority)
		return;
	operation->priority = priority;
	message.hurry.job = operation->job;
	message.hurry.priority = priority;
	link_send(operations->gateway->link, &message);
}

struct operation *
operations_join_or_start(struct operations *operations, const struct operation_wish *wish,
    struct rpc_call *call, bool *ret_merged)
{
	struct operation *operation;
	char id[ID_SIZE];

	pthread_mutex_lock(&operations->lock);
	operation = find_same(operations, wish);
	*ret_merged = operation != NULL;
	if (operation != NULL) {
		hurry(operations, operation, wish->priority);
	} else {
		id_make(id);
		operation = operation_new(wish->instance, id);
		operation->job = ++operations->last_job;
		operation->action = wish->action;
		operation->alone = wish->alone;
		operation->skip_cache_lookup = wish->skip_cache_lookup;
		operation->priority = wish->priority;
		operation->view.queued_us = clock_realtime_us();
		list(operations, operation);
		submit(operations, operation, wish);
	}
	watch(operation, call, WATCH);
	pthread_mutex_unlock(&operations->lock);
	return operation;
}

static struct operation *
find_name(struct operations *operations, const char *name)
{
	struct operation key;

	if (strlcpy(key.name, name, sizeof(key.name)) >= sizeof(key.name))
		return NULL;
	return RB_FIND(operation_names, &operations->names, &key);
}

static struct operation *
find_job(struct operations *operations, uint64_t job)
{
	struct operation key;

	key.job = job;
	return RB_FIND(operation_jobs, &operations->jobs, &key);
}

struct operation *
operations_join(struct operations *operations, const char *name, struct rpc_call *call)
{
	struct operation *operation;

	pthread_mutex_lock(&operations->lock);
	operation = find_name(operations, name);
	/* one that is being cancelled would only say so */
	if (operation != NULL && operation->view.is_cancelled && !operation->view.is_done)
		operation = NULL;
	if (operation != NULL)
		watch(operation, call, WATCH);
	pthread_mutex_unlock(&operations->lock);
	return operation;
}

struct operation *
operations_follow(
    struct operations *operations, const char *instance, const char *id, struct rpc_call *call)
{
	char name[OPERATION_NAME_SIZE];
	struct operation *operation;

	snprintf(
	    name, sizeof(name), "%s%soperations/%s", instance, instance[0] != '\0' ? "/" : "", id);
	pthread_mutex_lock(&operations->lock);
	operation = find_name(operations, name);
	if (operation != NULL)
		watch(operation, call, FOLLOW);
	pthread_mutex_unlock(&operations->lock);
	return operation;
}

void
operation_leave(struct operations *operations, struct operation *operation, struct rpc_call *call,
    bool delivered)
{
	struct watcher *watcher;

	pthread_mutex_lock(&operations->lock);
	LIST_FOREACH(watcher, &operation->watchers, link)
	if (watcher->call == call)
		break;
	CHECK(watcher != NULL);
	LIST_REMOVE(watcher, link);
	operation->watching -= watcher->kind == WATCH;
	operation->following -= watcher->kind == FOLLOW;
	operation->delivered = operation->delivered || delivered;
	if (watcher->kind == WATCH && operation->watching == 0)
		operation->unwatched_since_us = clock_monotonic_us();
	put(operation);
	pthread_mutex_unlock(&operations->lock);
	rpc_release(watcher->call);
	free(watcher);
}

const char *
operation_name(const struct operation *operation)
{
	return operation->name;
}

const char *
operation_id(const struct operation *operation)
{
	return operation->id;
}

const char *
operation_instance(const struct operation *operation)
{
	return operation->instance;
}

const struct digest *
operation_action(const struct operation *operation)
{
	return &operation->action;
}

void
operation_look(
    struct operations *operations, struct operation *operation, struct operation_view *ret_view)
{
	pthread_mutex_lock(&operations->lock);
	*ret_view = operation->view;
	pthread_mutex_unlock(&operations->lock);
}

/* Calls to be woken once the lock is given back. */
struct wakes {
	struct rpc_call **calls;
	size_t count, room;
};

static void
wakes_add(struct wakes *wakes, const struct operation *operation, int kinds)
{
	struct watcher *watcher;

	LIST_FOREACH(watcher, &operation->watchers, link)
	{
		if ((watcher->kind & kinds) == 0)
			continue;
		if (wakes->count == wakes->room) {
			wakes->room = wakes->room == 0 ? 16 : 2 * wakes->room;
			wakes->calls = reallocarray(wakes->calls, wakes->room, sizeof(void *));
			CHECK(wakes->calls != NULL);
		}
		rpc_hold(watcher->call);
		wakes->calls[wakes->count++] = watcher->call;
	}
}

static void
wakes_do(struct wakes *wakes)
{
	for (size_t i = 0; i < wakes->count; i++) {
		rpc_wake(wakes->calls[i]);
		rpc_release(wakes->calls[i]);
	}
	free(wakes->calls);
}

static void
changed(struct operation *operation, struct wakes *wakes)
{
	operation->view.version++;
	wakes_add(wakes, operation, WATCH | FOLLOW);
}

int
operations_on_adopt(struct operations *operations, const struct msg_adopt *adopt)
{
	char name[OPERATION_NAME_SIZE], *id, *instance;
	struct operation *operation;

	msg_text_copy(adopt->operation, name, sizeof(name));
	id = strrchr(name, '/');
	if (id == NULL || strlen(id + 1) != ID_SIZE - 1)
		return -EPROTO;
	*id++ = '\0';
	instance = strrchr(name, '/'); /* before "/operations" */
	if (instance != NULL)
		*instance = '\0';
	pthread_mutex_lock(&operations->lock);
	operation = operation_new(instance != NULL ? name : "", id);
	operation->job = adopt->job;
	operation->action = adopt->action;
	operation->alone = adopt->alone;
	operation->view.is_cancelled = adopt->cancelled;
	operation->skip_cache_lookup = adopt->skip_cache_lookup;
	operation->priority = adopt->priority;
	operation->unwatched_since_us = clock_monotonic_us();
	operation->view.queued_us = adopt->queued_us;
	operation->view.is_started = adopt->has_worker;
	operation->view.worker = (uint32_t)adopt->worker;
	operation->view.attempt = adopt->attempt;
	operation->view.number = adopt->number;
	list(operations, operation);
	if (adopt->job > operations->last_job)
		operations->last_job = adopt->job;
	pthread_mutex_unlock(&operations->lock);
	COUNTER_ADD(operations->gateway->slot, operations_adopted, 1);
	CRASH_POINT(gateway_adopting);
	return 0;
}

void
operations_on_started(struct operations *operations, const struct msg_started *started)
{
	struct operation *operation;
	struct wakes wakes = {0};

	pthread_mutex_lock(&operations->lock);
	operation = find_job(operations, started->job);
	if (operation != NULL && !operation->view.is_done) {
		operation->view.is_started = true;
		operation->view.worker = (uint32_t)started->worker;
		operation->view.attempt = started->attempt;
		operation->view.number = started->number;
		changed(operation, &wakes);
	}
	pthread_mutex_unlock(&operations->lock);
	wakes_do(&wakes);
}

/* The message's texts die with the channel's buffer: the operation keeps them in one of its own. */
static int
done_keep(struct operation *operation, const struct message *done)
{
	static uint8_t frame[IPC_FRAME_MAX + 4];
	size_t len;
	int rc = message_encode(done, frame, &len);

	if (rc != 0)
		return rc;
	operation->done_body = malloc(len - 4);
	CHECK(operation->done_body != NULL);
	memcpy(operation->done_body, frame + 4, len - 4);
	return message_decode(operation->done_body, len - 4, &operation->done);
}

/* The oldest that have ended go first. */
static void
bound_ended(struct operations *operations)
{
	struct operation *operation;

	while (operations->ended_count > OPERATIONS_ENDED_MAX) {
		operation = TAILQ_FIRST(&operations->ended);
		say_job(operations, MSG_forget, operation->job);
		unlist(operations, operation);
	}
}

static int
end(struct operations *operations, uint64_t job, const struct message *done)
{
	struct operation *operation;
	struct wakes wakes = {0};
	int rc = 0;

	pthread_mutex_lock(&operations->lock);
	operation = find_job(operations, job);
	if (operation != NULL && !operation->view.is_done) {
		rc = done_keep(operation, done);
		if (rc == 0) {
			operation->view.is_done = true;
			operation->view.done = &operation->done.done;
			operation->ended_us = clock_monotonic_us();
			live_remove(operations, operation);
			TAILQ_INSERT_TAIL(&operations->ended, operation, link);
			operations->ended_count++;
			changed(operation, &wakes);
			bound_ended(operations);
		}
	}
	pthread_mutex_unlock(&operations->lock);
	wakes_do(&wakes);
	return rc;
}

int
operations_on_done(struct operations *operations, const struct message *done)
{
	CRASH_POINT(gateway_end_untold);
	return end(operations, done->done.job, done);
}

/* It never became a job: the supervisor is draining, or its queue is full. */
void
operations_on_refused(struct operations *operations, const struct msg_refused *refused)
{
	struct message done = {.type = MSG_done};

	if (!refused->has_job)
		return;
	done.done.job = refused->job;
	done.done.status = JOB_CANCELLED;
	done.done.message = refused->message;
	done.done.has_message = true;
	(void)end(operations, refused->job, &done);
}

static bool
may_go(const struct operation *operation, uint64_t now_us)
{
	uint64_t retain_s = operation->delivered ? RETAIN_DELIVERED_S : RETAIN_S;

	return operation->watching == 0 && operation->following == 0 &&
	    now_us - operation->ended_us >= retain_s * 1000000;
}

static bool
is_orphan(const struct operations *operations, const struct operation *operation, uint64_t now_us)
{
	return !operation->view.is_cancelled && operation->unwatched_since_us != 0 &&
	    now_us - operation->unwatched_since_us >=
	    (uint64_t)operations->gateway->limits.orphan_grace_ms * 1000;
}

static void
orphan_cancel(struct operations *operations, struct operation *operation)
{
	operation->view.is_cancelled = true;
	COUNTER_ADD(operations->gateway->slot, operations_orphaned, 1);
	log_info("%s: nobody waits for it any more: cancelled", operation->name);
	say_job(operations, MSG_cancel, operation->job);
}

static bool
tick_live(struct operations *operations, struct operation *operation, uint64_t now_us,
    struct wakes *wakes)
{
	if (operation->following > 0)
		wakes_add(wakes, operation, FOLLOW);
	if (is_orphan(operations, operation, now_us))
		orphan_cancel(operations, operation);
	return operation->following > 0 ||
	    (operation->unwatched_since_us != 0 && !operation->view.is_cancelled);
}

bool
operations_tick(struct operations *operations)
{
	struct operation *operation, *next;
	uint64_t now_us = clock_monotonic_us();
	struct wakes wakes = {0};
	bool again = false;

	pthread_mutex_lock(&operations->lock);
	TAILQ_FOREACH(operation, &operations->live, link)
		again = tick_live(operations, operation, now_us, &wakes) || again;
	TAILQ_FOREACH_SAFE(operation, &operations->ended, link, next)
	if (may_go(operation, now_us)) {
		say_job(operations, MSG_forget, operation->job);
		unlist(operations, operation);
	}
	pthread_mutex_unlock(&operations->lock);
	wakes_do(&wakes);
	return again;
}

unsigned
operations_live(struct operations *operations)
{
	unsigned live;

	pthread_mutex_lock(&operations->lock);
	live = operations->live_count;
	pthread_mutex_unlock(&operations->lock);
	return live;
}
