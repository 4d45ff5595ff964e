/*
 * An Action's, a Command's and an ActionResult's bytes from anywhere, without a store: the first
 * byte says which.
 *
 * What passes command_check has arguments, names without '=', and paths that stay inside.
 */
#include <string.h>

#include "base/check.h"
#include "base/fs.h"
#include "cas/action.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
try_action(struct arena *arena, const uint8_t *data, size_t size)
{
	ReapiAction *action = REAPI_DECODE(arena, action, data, size);
	struct digest digest;
	struct error_text err;

	if (action == NULL || action_check(action, &err) != 0)
		return;
	CHECK(reapi_digest_get(action->command_digest, &digest) == 0);
	CHECK(reapi_digest_get(action->input_root_digest, &digest) == 0);
	CHECK(action->timeout == NULL || action->timeout->seconds >= 0);
}

static void
try_command(struct arena *arena, const uint8_t *data, size_t size)
{
	ReapiCommand *command = REAPI_DECODE(arena, command, data, size);
	struct error_text err;

	if (command == NULL || command_check(command, &err) != 0)
		return;
	CHECK(command->n_arguments > 0);
	for (size_t i = 0; i < command->n_environment_variables; i++)
		CHECK(strchr(command->environment_variables[i]->name, '=') == NULL);
	CHECK(fs_path_check(command->working_directory, FS_PATH_EMPTY_OK) == 0);
	for (size_t i = 0; i < command->n_output_paths; i++)
		CHECK(fs_path_check(command->output_paths[i], FS_PATH_EMPTY_OK) == 0);
	for (size_t i = 0; i < command->n_output_files; i++)
		CHECK(fs_path_check(command->output_files[i], 0) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena *arena;

	if (size == 0)
		return 0;
	arena = arena_new();
	switch (data[0] % 4) {
	case 0:
		try_action(arena, data + 1, size - 1);
		break;
	case 1:
		try_command(arena, data + 1, size - 1);
		break;
	case 2:
		REAPI_DECODE(arena, action_result, data + 1, size - 1);
		break;
	default:
		REAPI_DECODE(arena, tree, data + 1, size - 1);
	}
	arena_free(arena);
	return 0;
}
