/* ramet ps: the host's processes, from their slots. */
#include <err.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "shm/slot.h"
#include "tools/text.h"
#include "tools/tool.h"

enum { PS_JSON = OPTION_FIRST };
static const struct option ps_options[] = {
    {"json", no_argument, NULL, PS_JSON},
    TOOL_OPTIONS,
};

static const char *
role(uint32_t number)
{
	if (number == SLOT_SUPERVISOR)
		return "supervisor";
	if (number == SLOT_JANITOR)
		return "janitor";
	return number == SLOT_GATEWAY ? "gateway" : "worker";
}

/* As the log and the process titles have it. */
static void
process_name(uint32_t number, char *name, size_t size)
{
	if (number < SLOT_WORKER_FIRST)
		strlcpy(name, role(number), size);
	else
		snprintf(name, size, "worker %" PRIu32, number - SLOT_WORKER_FIRST);
}

static const char *
doing(const struct slot_info *info)
{
	if (info->state == SLOT_ASSIGNED)
		return "starting";
	return (unsigned)info->phase < SLOT_PHASE_COUNT ? slot_phase_names[info->phase] : "?";
}

/* 0 where the stamp is of another boot. */
static uint64_t
since(uint64_t then_us)
{
	uint64_t now = clock_monotonic_us();

	return then_us != 0 && now > then_us ? now - then_us : 0;
}

static bool
has_action(const struct slot_info *info)
{
	static const struct digest none;

	return !digest_equal(&info->action, &none);
}

/* A torn read may have lost the NUL. */
static void
label_copy(const struct slot_info *info, char label[SLOT_LABEL_SIZE + 1])
{
	memcpy(label, info->label, SLOT_LABEL_SIZE);
	label[SLOT_LABEL_SIZE] = '\0';
}

/* 0 is no process, and to kill(2) everybody. */
static json_t *
pid_json(const struct slot_info *info)
{
	return info->pid > 0 ? json_integer(info->pid) : json_null();
}

static json_t *
slot_json(uint32_t number, const struct slot_info *info)
{
	char action[DIGEST_TEXT_SIZE] = "", label[SLOT_LABEL_SIZE + 1];
	json_t *object;

	if (has_action(info))
		digest_to_text(&info->action, '/', action);
	label_copy(info, label);
	object = json_pack("{s:i,s:s,s:o,s:s,s:I,s:s,s:o,s:i,s:i,s:I,s:i,s:i,s:i,s:I}", "slot",
	    (int)number, "role", role(number), "pid", pid_json(info), "state", doing(info),
	    "state_us", (json_int_t)since(info->phase_since_us), "action", action, "label",
	    text_json(label), "attempt", (int)info->attempt, "action_pid", (int)info->action_pid,
	    "action_us", (json_int_t)(has_action(info) ? since(info->action_since_us) : 0), "pins",
	    (int)info->pins, "permits", (int)info->permits, "builds", (int)info->builds, "sandbox",
	    (json_int_t)info->sandbox);
	if (number >= SLOT_WORKER_FIRST)
		json_object_set_new(
		    object, "worker", json_integer((json_int_t)number - SLOT_WORKER_FIRST));
	return object;
}

static void
print_row(uint32_t number, const struct slot_info *info)
{
	char process[32], duration[32], action[DIGEST_TEXT_SIZE] = "-", holds[128];
	char label[SLOT_LABEL_SIZE + 1];

	process_name(number, process, sizeof(process));
	text_duration(since(info->phase_since_us), duration);
	if (has_action(info)) {
		digest_to_text(&info->action, '/', action);
		action[12] = '\0';
	}
	snprintf(holds, sizeof(holds), "%" PRIu32 " pins, %" PRIu32 " permits, %" PRIu32 " builds",
	    info->pins, info->permits, info->builds);
	if (info->sandbox != 0)
		snprintf(holds + strlen(holds), sizeof(holds) - strlen(holds),
		    ", sandboxes/%" PRIu32 ".%" PRIu64, number, info->sandbox);
	printf("%-10s %8" PRId32 " %-10s %14s %-12s %7" PRIu32 "  %s  ", process, info->pid,
	    doing(info), duration, action, info->attempt, holds);
	label_copy(info, label);
	text_print(label);
	putchar('\n');
}

int
command_ps(struct tool *tool, int argc, char **argv)
{
	struct region *region;
	bool as_json = false;
	json_t *array = json_array();
	int option;

	while ((option = getopt_long(argc, argv, "", ps_options, NULL)) != -1) {
		if (option == PS_JSON)
			as_json = true;
		else
			tool_option(tool, option, optarg);
	}
	if (optind != argc)
		usage_error(tool, "%s: no arguments are taken", argv[optind]);
	tool_state(tool, false);
	region = tool_region(tool);
	tool_say_no_host(tool, "this is what the last one left");
	if (!as_json)
		printf("%-10s %8s %-10s %14s %-12s %7s  %s\n", "process", "pid", "state", "for",
		    "action", "attempt", "holds, label");
	for (uint32_t number = 0; number < SLOT_COUNT_MAX; number++) {
		struct slot_info info;

		slot_read(region, number, &info);
		if (info.state == SLOT_UNUSED)
			continue;
		if (as_json)
			json_array_append_new(array, slot_json(number, &info));
		else
			print_row(number, &info);
	}
	if (as_json) {
		json_dumpf(array, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
		putchar('\n');
	}
	json_decref(array);
	region_close(region);
	return 0;
}
