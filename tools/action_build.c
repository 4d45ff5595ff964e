#include "tools/action_build.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"

void
action_spec_free(struct action_spec *spec)
{
	strings_free(&spec->argv);
	strings_free(&spec->outputs);
	strings_free(&spec->env);
	strings_free(&spec->excludes);
}

int
action_check_spec(const struct action_spec *spec, struct error_text *err)
{
	if (spec->argv.count == 0 || spec->argv.items[0][0] == '\0')
		return error_set(err, -EINVAL, "no program to run");
	if (spec->has_root && spec->input != NULL)
		return error_set(
		    err, -EINVAL, "input: give a directory or a digest, not both of them");
	if (spec->cwd != NULL && fs_path_check(spec->cwd, FS_PATH_EMPTY_OK) != 0)
		return error_set(err, -EINVAL,
		    "working directory %s: must be a plain path relative to the input root",
		    spec->cwd);
	for (size_t i = 0; i < spec->outputs.count; i++)
		if (fs_path_check(spec->outputs.items[i], 0) != 0)
			return error_set(err, -EINVAL,
			    "output %s: must be a plain path relative to the working directory",
			    spec->outputs.items[i]);
	for (size_t i = 0; i < spec->env.count; i++)
		if (strchr(spec->env.items[i], '=') == NULL || spec->env.items[i][0] == '=')
			return error_set(
			    err, -EINVAL, "environment %s: must be NAME=VALUE", spec->env.items[i]);
	if (!(spec->timeout_s >= 0 && spec->timeout_s <= 1e9))
		return error_set(err, -EINVAL, "timeout: must be between 0 and 1e9 seconds");
	return 0;
}

static int
by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int
by_name(const void *a, const void *b)
{
	return strcmp((*(ReapiEnvironmentVariable *const *)a)->name,
	    (*(ReapiEnvironmentVariable *const *)b)->name);
}

/* A later setting of a name replaces the earlier one, as env(1) has it. */
static void
build_env(struct arena *arena, const struct strings *env, ReapiCommand *command)
{
	ReapiEnvironmentVariable **list =
	    arena_alloc(arena, env->count * sizeof(ReapiEnvironmentVariable *) + 1);
	size_t count = 0;

	for (size_t i = 0; i < env->count; i++) {
		size_t len = strcspn(env->items[i], "="), at = 0;

		while (at < count &&
		    (strncmp(list[at]->name, env->items[i], len) != 0 ||
			list[at]->name[len] != '\0'))
			at++;
		if (at == count) {
			list[count++] = REAPI_NEW(arena, command__environment_variable);
			list[at]->name = arena_printf(arena, "%.*s", (int)len, env->items[i]);
		}
		list[at]->value = arena_strdup(arena, env->items[i] + len + 1);
	}
	qsort(list, count, sizeof(ReapiEnvironmentVariable *), by_name);
	command->environment_variables = list;
	command->n_environment_variables = count;
}

static void
build_outputs(struct arena *arena, const struct strings *outputs, ReapiCommand *command)
{
	char **list = arena_alloc(arena, outputs->count * sizeof(*list) + 1);
	size_t count = 0;

	for (size_t i = 0; i < outputs->count; i++)
		list[i] = outputs->items[i];
	qsort(list, outputs->count, sizeof(*list), by_text);
	for (size_t i = 0; i < outputs->count; i++)
		if (count == 0 || strcmp(list[count - 1], list[i]) != 0)
			list[count++] = list[i];
	command->output_paths = list;
	command->n_output_paths = count;
}

static int
put_message(struct cas *cas, struct arena *arena, const ProtobufCMessage *message,
    struct digest *ret_digest)
{
	size_t len;
	uint8_t *bytes = reapi_encode(arena, message, &len);

	return cas_put_bytes(cas, bytes, len, ret_digest);
}

int
action_build(struct cas *cas, const struct action_spec *spec, const struct digest *root,
    struct digest *ret_action, struct error_text *err)
{
	struct arena *arena = arena_new();
	ReapiCommand *command = REAPI_NEW(arena, command);
	ReapiAction *action = REAPI_NEW(arena, action);
	struct digest command_digest;
	int rc;

	command->arguments = spec->argv.items;
	command->n_arguments = spec->argv.count;
	if (spec->cwd != NULL)
		command->working_directory = arena_strdup(arena, spec->cwd);
	build_env(arena, &spec->env, command);
	build_outputs(arena, &spec->outputs, command);
	rc = put_message(cas, arena, &command->base, &command_digest);
	if (rc != 0)
		goto out;
	action->command_digest = reapi_digest_new(arena, &command_digest);
	action->input_root_digest = reapi_digest_new(arena, root);
	action->do_not_cache = spec->no_cache;
	if (spec->timeout_s > 0) {
		int64_t whole = (int64_t)spec->timeout_s;

		action->timeout = reapi_new(arena, &google__protobuf__duration__descriptor);
		action->timeout->seconds = whole;
		action->timeout->nanos = (int32_t)((spec->timeout_s - (double)whole) * 1e9);
	}
	rc = put_message(cas, arena, &action->base, ret_action);
out:
	arena_free(arena);
	if (rc != 0)
		return error_errno(err, rc, "cannot put the action into the store");
	return 0;
}
