#include "workers/job_command.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool
platform_has(const ReapiPlatform *platform, const char *name, const char *value)
{
	for (size_t i = 0; platform != NULL && i < platform->n_properties; i++)
		if (strcmp(platform->properties[i]->name, name) == 0 &&
		    strcmp(platform->properties[i]->value, value) == 0)
			return true;
	return false;
}

const char *
job_command_ignored_property(const ReapiAction *action, const ReapiCommand *command)
{
	const ReapiPlatform *platform =
	    action->platform != NULL ? action->platform : command->platform;

	for (size_t i = 0; platform != NULL && i < platform->n_properties; i++)
		if (strcmp(platform->properties[i]->name, "ramet-guard") != 0)
			return platform->properties[i]->name;
	return NULL;
}

/* Relative to the input root, as staging wants them. */
static void
outputs_add(struct arena *arena, const char *cwd, char *const *paths, size_t count,
    const char **outputs, size_t *inout_count)
{
	for (size_t i = 0; i < count; i++)
		outputs[(*inout_count)++] = arena_printf(arena, "%s%s%s", cwd,
		    cwd[0] != '\0' && paths[i][0] != '\0' ? "/" : "", paths[i]);
}

void
job_command_stage(struct arena *arena, const ReapiAction *action, const ReapiCommand *command,
    bool guard_off, struct stage_request *ret_request)
{
	size_t count =
	    command->n_output_paths + command->n_output_files + command->n_output_directories;
	const char **outputs = arena_alloc(arena, (count + 1) * sizeof(*outputs));
	const char *cwd = command->working_directory;
	struct stage_request request = {.working_directory = cwd, .output_paths = outputs};

	if (command->n_output_paths > 0) {
		outputs_add(arena, cwd, command->output_paths, command->n_output_paths, outputs,
		    &request.output_count);
	} else {
		outputs_add(arena, cwd, command->output_files, command->n_output_files, outputs,
		    &request.output_count);
		outputs_add(arena, cwd, command->output_directories, command->n_output_directories,
		    outputs, &request.output_count);
	}
	(void)reapi_digest_get(action->input_root_digest, &request.root); /* checked when loaded */
	request.guard_off = guard_off || platform_has(action->platform, "ramet-guard", "off") ||
	    platform_has(command->platform, "ramet-guard", "off");
	*ret_request = request;
}

static int
timeout_choose(const struct host_config *config, const ReapiAction *action, uint64_t *ret_us,
    struct error_text *err)
{
	uint64_t max_us = (uint64_t)config->timeout_max_s * 1000000;
	uint64_t us = 0;

	if (action->timeout != NULL)
		us = (uint64_t)action->timeout->seconds * 1000000 +
		    (uint64_t)action->timeout->nanos / 1000;
	if (us != 0 && max_us != 0 && us > max_us)
		return error_set(err, -EINVAL,
		    "the action's timeout of %llu s is over this host's limit of %u s",
		    (unsigned long long)(us / 1000000), config->timeout_max_s);
	if (us == 0)
		us = (uint64_t)config->timeout_default_s * 1000000;
	if (us == 0 || (max_us != 0 && us > max_us))
		us = max_us;
	*ret_us = us;
	return 0;
}

int
job_command_run(struct arena *arena, const struct host_config *config, const ReapiAction *action,
    const ReapiCommand *command, struct run_request *ret_request, struct error_text *err)
{
	size_t argc = command->n_arguments, envc = command->n_environment_variables;
	char **argv = arena_alloc(arena, (argc + 1) * sizeof(*argv));
	char **env = arena_alloc(arena, (envc + 1) * sizeof(*env));
	struct run_request request = {.argv = argv,
	    .env = env,
	    .working_directory = command->working_directory,
	    .cancel_fd = -1};
	int rc = timeout_choose(config, action, &request.timeout_us, err);

	if (rc != 0)
		return rc;
	if (argc > 0)
		memcpy(argv, command->arguments, argc * sizeof(*argv));
	for (size_t i = 0; i < envc; i++)
		env[i] = arena_printf(arena, "%s=%s", command->environment_variables[i]->name,
		    command->environment_variables[i]->value);
	*ret_request = request;
	return 0;
}
