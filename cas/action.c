#include "cas/action.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/fs.h"
#include "cas/message.h"

/* As long as a protobuf Duration may be: about 10,000 years. */
static const int64_t DURATION_SECONDS_MAX = 315576000000;

int
action_check(const ReapiAction *action, struct error_text *err)
{
	const Google__Protobuf__Duration *timeout = action->timeout;
	struct digest ignored;

	if (reapi_digest_get(action->command_digest, &ignored) != 0)
		return error_set(err, -EINVAL, "Action: command_digest is absent or broken");
	if (reapi_digest_get(action->input_root_digest, &ignored) != 0)
		return error_set(err, -EINVAL, "Action: input_root_digest is absent or broken");
	if (timeout == NULL)
		return 0;
	if (timeout->seconds < 0 || timeout->nanos < 0)
		return error_set(err, -EINVAL, "Action: the timeout is negative");
	if (timeout->seconds > DURATION_SECONDS_MAX || timeout->nanos > 999999999)
		return error_set(err, -EINVAL, "Action: the timeout is out of range");
	return 0;
}

static int
environment_check(const ReapiCommand *command, struct error_text *err)
{
	for (size_t i = 0; i < command->n_environment_variables; i++) {
		const char *name = command->environment_variables[i]->name;

		if (name[0] == '\0')
			return error_set(
			    err, -EINVAL, "Command: an environment variable has no name");
		if (strchr(name, '=') != NULL)
			return error_set(err, -EINVAL,
			    "Command: environment variable '%.200s': '=' in its name", name);
	}
	return 0;
}

static int
path_compare(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int
paths_check(char *const *paths, size_t count, const char *list, int flags, struct error_text *err)
{
	for (size_t i = 0; i < count; i++)
		if (fs_path_check(paths[i], flags) != 0)
			return error_set(err, -EINVAL,
			    "Command: %s: '%.300s' is not a plain relative path", list, paths[i]);
	return 0;
}

/* True when `path` has a parent among the sorted paths. */
static bool
has_parent(const char *const *sorted, size_t count, const char *path)
{
	char *parent = strdup(path), *slash;
	bool found = false;

	while (parent != NULL && !found && (slash = strrchr(parent, '/')) != NULL) {
		const char *key = parent;

		*slash = '\0';
		found = bsearch(&key, sorted, count, sizeof(*sorted), path_compare) != NULL;
	}
	free(parent);
	return found;
}

/* Outputs of one Command, together: `files` are those that must not be parents of each other. */
static int
outputs_check(char *const *files, size_t file_count, char *const *others, size_t other_count,
    struct error_text *err)
{
	size_t count = file_count + other_count;
	const char **sorted = calloc(count + 1, sizeof(*sorted));
	int rc = 0;

	if (sorted == NULL)
		return error_errno(err, -ENOMEM, "Command of %zu outputs", count);
	for (size_t i = 0; i < count; i++)
		sorted[i] = i < file_count ? files[i] : others[i - file_count];
	qsort(sorted, file_count, sizeof(*sorted), path_compare);
	for (size_t i = 0; rc == 0 && i < file_count; i++)
		if (has_parent(sorted, file_count, files[i]))
			rc = error_set(err, -EINVAL,
			    "Command: output '%.300s' lies below an output file", files[i]);
	qsort(sorted, count, sizeof(*sorted), path_compare);
	for (size_t i = 1; rc == 0 && i < count; i++)
		if (strcmp(sorted[i - 1], sorted[i]) == 0)
			rc = error_set(
			    err, -EINVAL, "Command: output '%.300s' is listed twice", sorted[i]);
	free(sorted);
	return rc;
}

static int
command_outputs_check(const ReapiCommand *command, struct error_text *err)
{
	int rc = paths_check(
	    command->output_paths, command->n_output_paths, "output_paths", FS_PATH_EMPTY_OK, err);

	if (rc == 0)
		rc = paths_check(
		    command->output_files, command->n_output_files, "output_files", 0, err);
	if (rc == 0)
		rc = paths_check(command->output_directories, command->n_output_directories,
		    "output_directories", FS_PATH_EMPTY_OK, err);
	if (rc != 0)
		return rc;
	if (command->n_output_paths > 0)
		return outputs_check(NULL, 0, command->output_paths, command->n_output_paths, err);
	return outputs_check(command->output_files, command->n_output_files,
	    command->output_directories, command->n_output_directories, err);
}

static int
properties_check(const ReapiCommand *command, struct error_text *err)
{
	for (size_t i = 0; i < command->n_output_node_properties; i++) {
		const char *name = command->output_node_properties[i];

		if (strcmp(name, "mtime") != 0 && strcmp(name, "unix_mode") != 0)
			return error_set(err, -EINVAL,
			    "Command: output_node_properties '%.100s': only mtime and unix_mode are "
			    "known here",
			    name);
	}
	return 0;
}

int
command_check(const ReapiCommand *command, struct error_text *err)
{
	int rc;

	if (command->n_arguments == 0)
		return error_set(err, -EINVAL, "Command: no arguments");
	if (command->arguments[0][0] == '\0')
		return error_set(err, -EINVAL, "Command: the program's name is empty");
	rc = environment_check(command, err);
	if (rc == 0 && fs_path_check(command->working_directory, FS_PATH_EMPTY_OK) != 0)
		rc = error_set(err, -EINVAL,
		    "Command: working_directory '%.300s' is not a plain relative path",
		    command->working_directory);
	if (rc == 0)
		rc = properties_check(command, err);
	return rc != 0 ? rc : command_outputs_check(command, err);
}

static void
missing_add(struct action_missing *missing, const struct digest *digest)
{
	if (missing != NULL && missing->count < ACTION_MISSING_MAX)
		missing->digests[missing->count++] = *digest;
}

static int
command_load(struct cas *cas, struct arena *arena, const ReapiAction *action,
    ReapiCommand **ret_command, struct action_missing *missing, struct error_text *err)
{
	struct digest digest;
	void *message;
	int rc;

	CHECK(reapi_digest_get(action->command_digest, &digest) == 0);
	rc = message_load(cas, arena, &digest, MESSAGE_TYPE(command), "Command", &message, err);
	if (rc == -ENOENT || rc == -EBADMSG)
		missing_add(missing, &digest);
	if (rc == 0)
		rc = command_check(message, err);
	if (rc == 0)
		*ret_command = message;
	return rc;
}

static int
input_root_check(struct cas *cas, const ReapiAction *action, struct action_missing *missing,
    struct error_text *err)
{
	char text[DIGEST_TEXT_SIZE];
	struct digest digest;
	int rc;

	CHECK(reapi_digest_get(action->input_root_digest, &digest) == 0);
	rc = cas_has(cas, &digest);
	digest_to_text(&digest, '/', text);
	if (rc < 0)
		return error_errno(err, rc, "%s: cannot look for the input root", text);
	if (rc == 1)
		return 0;
	missing_add(missing, &digest);
	return error_set(err, -ENOENT, "%s: the input root is missing from the store", text);
}

int
action_load(struct cas *cas, struct arena *arena, const struct digest *digest,
    ReapiAction **ret_action, ReapiCommand **ret_command, struct action_missing *ret_missing,
    struct error_text *err)
{
	struct action_missing missing = {.count = 0};
	ReapiCommand *command = NULL;
	void *action = NULL;
	int rc, root_rc;

	rc = message_load(cas, arena, digest, MESSAGE_TYPE(action), "Action", &action, err);
	if (rc == -ENOENT || rc == -EBADMSG)
		missing_add(&missing, digest);
	if (rc == 0)
		rc = action_check(action, err);
	if (rc == 0) {
		rc = command_load(cas, arena, action, &command, &missing, err);
		root_rc = input_root_check(cas, action, &missing, rc == 0 ? err : NULL);
		if (rc == 0)
			rc = root_rc;
	}
	if (ret_missing != NULL)
		*ret_missing = missing;
	if (rc != 0)
		return rc;
	*ret_action = action;
	*ret_command = command;
	return 0;
}
