#include <sys/mman.h>

#include <poll.h>
#include <signal.h>
#include <stdalign.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "workers/run_internal.h"

/* What an order may hold; a larger one is run by an init of its own. */
enum { ROOM_SIZE = 256 << 10 };

struct run_order {
	struct sandbox sandbox;
	struct run_request request;
	size_t used; /* of room */
	alignas(max_align_t) char room[ROOM_SIZE];
};

void
run_ready_open(struct runner *runner)
{
	void *order;

	runner->ready = RUN_CHILD_NONE;
	if (runner->mounts_fd < 0)
		return;
	order = mmap(NULL, sizeof(struct run_order), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (order != MAP_FAILED)
		runner->order = order;
}

void
run_ready_close(struct runner *runner)
{
	run_ready_drop(runner);
	if (runner->order != NULL)
		munmap(runner->order, sizeof(*runner->order));
	runner->order = NULL;
}

static bool
polled(int fd, short events)
{
	struct pollfd watch = {.fd = fd, .events = events};

	return poll(&watch, 1, 0) != 0 && (watch.revents & (events | POLLHUP)) != 0;
}

void
run_ready_make(struct runner *runner)
{
	struct run_init init = {.order = runner->order, .root_path = SANDBOX_PATH};
	struct error_text err;

	if (runner->order == NULL || runner->ready.pid != 0)
		return;
	(void)polled(runner->mounts_fd, POLLPRI); /* from here on it sees what changes */
	(void)run_child_start(runner, &init, "ahead", &runner->ready, &err);
}

void
run_ready_drop(struct runner *runner)
{
	if (runner->ready.pid == 0)
		return;
	kill(runner->ready.pid, SIGKILL);
	run_child_close(&runner->ready);
	run_child_leave(runner, runner->ready.pid);
	runner->ready = RUN_CHILD_NONE;
}

/* NULL when there is no room. */
static void *
order_reserve(struct run_order *order, size_t size)
{
	size_t align = alignof(max_align_t);
	void *place = order->room + order->used;

	if (size > sizeof(order->room) - order->used)
		return NULL;
	order->used += (size + align - 1) / align * align;
	return place;
}

static char *
order_string(struct run_order *order, const char *string)
{
	size_t size = strlen(string) + 1;
	char *copy = order_reserve(order, size);

	return copy == NULL ? NULL : memcpy(copy, string, size);
}

static char *const *
order_strings(struct run_order *order, char *const *strings)
{
	size_t count = 0;
	char **copy;

	while (strings[count] != NULL)
		count++;
	copy = order_reserve(order, (count + 1) * sizeof(*copy));
	if (copy == NULL)
		return NULL;
	for (size_t i = 0; i < count; i++)
		if ((copy[i] = order_string(order, strings[i])) == NULL)
			return NULL;
	copy[count] = NULL;
	return copy;
}

static const struct stage_bind *
order_binds(struct run_order *order, const struct stage_bind *binds, size_t count)
{
	struct stage_bind *copy = order_reserve(order, count * sizeof(*copy));

	for (size_t i = 0; copy != NULL && i < count; i++) {
		copy[i] = binds[i];
		copy[i].target = order_string(order, binds[i].target);
		copy[i].source = order_string(order, binds[i].source);
		if (copy[i].target == NULL || copy[i].source == NULL)
			return NULL;
	}
	return copy;
}

static const struct stage_overlay *
order_overlay(struct run_order *order, const struct stage_overlay *overlay)
{
	struct stage_overlay *copy = order_reserve(order, sizeof(*copy));

	if (copy == NULL)
		return NULL;
	*copy = *overlay;
	copy->lower = order_string(order, overlay->lower);
	return copy->lower == NULL ? NULL : copy;
}

/* Both sides see it at one address, so that it is made of pointers; false: it is too large. */
static bool
order_write(
    struct run_order *order, const struct sandbox *sandbox, const struct run_request *request)
{
	struct run_request *copy = &order->request;

	order->used = 0;
	order->sandbox = *sandbox;
	*copy = *request;
	copy->argv = order_strings(order, request->argv);
	copy->env = order_strings(order, request->env);
	copy->working_directory = order_string(order, request->working_directory);
	copy->binds = order_binds(order, request->binds, request->bind_count);
	if (request->image != NULL) {
		copy->image = order_string(order, request->image);
		if (copy->image == NULL)
			return false;
	}
	if (request->overlay != NULL) {
		copy->overlay = order_overlay(order, request->overlay);
		if (copy->overlay == NULL)
			return false;
	}
	return copy->argv != NULL && copy->env != NULL && copy->working_directory != NULL &&
	    copy->binds != NULL;
}

bool
run_ready_take(struct runner *runner, const struct sandbox *sandbox,
    const struct run_request *request, struct run_child *ret_child)
{
	struct run_child *ready = &runner->ready;

	if (ready->pid == 0)
		return false;
	/* It has a word to say before it was asked: it failed, or is dead. */
	if (polled(runner->mounts_fd, POLLPRI) || polled(ready->control_fd, POLLIN)) {
		run_ready_drop(runner);
		return false;
	}
	if (!order_write(runner->order, sandbox, request))
		return false;
	*ret_child = *ready;
	*ready = RUN_CHILD_NONE;
	return true;
}

void
run_ready_await(struct run_init *init)
{
	char what;

	if (read(init->control_fd, &what, 1) != 1 || what != RUN_ASK_GO)
		_exit(1);
	init->sandbox = &init->order->sandbox;
	init->request = &init->order->request;
	init->report.ordered = 1;
}
