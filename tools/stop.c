/* ramet stop, ramet workers: orders to the supervisor. */
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "shm/counters.h"
#include "tools/host.h"

enum { STOP_DRAIN = OPTION_FIRST, LOCK_LOOK_MS = 10 };
static const struct option stop_options[] = {
    {"drain", no_argument, NULL, STOP_DRAIN},
    TOOL_OPTIONS,
};
static const struct option workers_options[] = {TOOL_OPTIONS};

/* The socket closes when the host ends; its lock goes with its last process a moment later. */
static void
wait_gone(struct tool *tool, struct channel *channel)
{
	struct message message;
	int rc;

	host_catch_signals();
	do
		rc = host_wait(channel, &message, -1);
	while (rc == 0);
	while (rc != -EINTR && tool_host_pid(tool) != 0) {
		(void)poll(NULL, 0, LOCK_LOOK_MS);
		if (host_interrupted() != 0)
			rc = -EINTR;
	}
	if (rc == -EINTR)
		die("interrupted: the host in %s goes on stopping", tool->state);
}

int
command_stop(struct tool *tool, int argc, char **argv)
{
	struct message message = {.type = MSG_stop};
	struct channel *channel;
	int option;

	while ((option = getopt_long(argc, argv, "", stop_options, NULL)) != -1) {
		if (option == STOP_DRAIN)
			message.stop.drain = true;
		else
			tool_option(tool, option, optarg);
	}
	if (optind != argc)
		usage_error(tool, "%s: no arguments are taken", argv[optind]);
	tool_state(tool, false);
	channel = host_connect(tool, false, NULL);
	host_request(channel, &message);
	wait_gone(tool, channel);
	channel_free(channel);
	return 0;
}

static void
print_workers(struct tool *tool)
{
	struct region *region = tool_region(tool);
	uint64_t values[COUNTER_COUNT] = {0};

	counters_read(region, values);
	region_close(region);
	printf("%" PRIu64 " workers, %" PRIu64 " alive\n", values[COUNTER_workers_configured],
	    tool_host_pid(tool) != 0 ? values[COUNTER_workers_alive] : 0);
}

int
command_workers(struct tool *tool, int argc, char **argv)
{
	struct message message = {.type = MSG_resize};
	struct channel *channel;
	int option;

	while ((option = getopt_long(argc, argv, "", workers_options, NULL)) != -1)
		tool_option(tool, option, optarg);
	if (argc - optind > 1)
		usage_error(tool, "%s: one number only", argv[optind + 1]);
	if (optind < argc)
		message.resize.workers =
		    tool_number(tool, "workers", argv[optind], 1, SLOT_WORKERS_MAX);
	tool_state(tool, false);
	if (optind == argc) {
		print_workers(tool);
		return 0;
	}
	channel = host_connect(tool, false, NULL);
	host_request(channel, &message);
	channel_free(channel);
	return 0;
}
