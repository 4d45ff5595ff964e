/* A host without processes: its workers are states only, its client is a socket. */
#ifndef TESTS_UNIT_SUPERVISOR_JOBS_HOST_H
#define TESTS_UNIT_SUPERVISOR_JOBS_HOST_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "ipc/channel.h"
#include "ipc/peer.h"
#include "supervisor/client.h"
#include "supervisor/jobs.h"
#include "supervisor/supervisor.h"
#include "tests/cmocka_wrap.h"

static struct {
	struct settings settings;
	struct supervisor *host;
	struct client client;
	struct channel *far;
} test;

static inline int
on_message(void *arg, const struct message *message)
{
	return 0;
}

static inline void
on_lost(void *arg, int error)
{
}

static inline int
open_client(void)
{
	static const struct peer_ops ops = {on_message, on_lost};
	struct channel *near;
	int fd;

	memset(&test.client, 0, sizeof(test.client));
	test.client.host = test.host;
	RB_INIT(&test.client.jobs);
	if (channel_pair(&near, &fd) != 0 || channel_new(fd, &test.far) != 0)
		return -1;
	return peer_open(test.host->base, near, &ops, &test.client, &test.client.peer);
}

static inline int
open_host(void **state)
{
	struct host_config *config = &test.settings.host;
	enum region_origin origin;

	config_defaults(&test.settings);
	strlcpy(config->state_dir, "/tmp/ramet-jobs.XXXXXX", sizeof(config->state_dir));
	if (mkdtemp(config->state_dir) == NULL)
		return -1;
	config->state_fd = open(config->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	test.host = calloc(1, sizeof(*test.host));
	test.host->settings = &test.settings;
	test.host->config = config;
	test.host->trusted = true;
	test.host->base = event_base_new();
	if (region_open(config->state_fd, &(struct region_config){.entry_count = 64}, &origin,
		&test.host->region, NULL) != 0)
		return -1;
	slot_assign(test.host->region, SLOT_SUPERVISOR);
	slot_activate(test.host->region, SLOT_SUPERVISOR, getpid());
	test.host->slot = slot_at(test.host->region, SLOT_SUPERVISOR);
	jobs_init(test.host);
	pool_init(test.host);
	if (control_init(test.host) != 0)
		return -1;
	return open_client();
}

static inline int
close_host(void **state)
{
	jobs_cancel_all(test.host, "the test is over");
	peer_close(test.client.peer);
	channel_free(test.far);
	control_fini(test.host);
	event_base_free(test.host->base);
	region_close(test.host->region);
	fs_remove_tree(AT_FDCWD, test.settings.host.state_dir);
	close(test.settings.host.state_fd);
	free(test.host);
	return 0;
}

static inline int
submit(uint64_t number, int64_t priority)
{
	struct msg_submit message = {.job = number, .priority = priority};

	return jobs_submit(test.host, &test.client, &message);
}

static inline void
expect(struct message *message, enum msg_type type)
{
	assert_int_equal(channel_receive(test.far, message, 1000), 0);
	assert_int_equal(message->type, type);
}

static inline void
expect_nothing(void)
{
	struct message message;

	assert_int_equal(channel_receive(test.far, &message, 0), -ETIMEDOUT);
}

static inline struct child *
idle(unsigned i)
{
	test.host->workers[i].state = CHILD_IDLE;
	return &test.host->workers[i];
}

static inline uint64_t
counter(enum counter counter)
{
	uint64_t values[COUNTER_COUNT];

	counters_read(test.host->region, values);
	return values[counter];
}

#endif
