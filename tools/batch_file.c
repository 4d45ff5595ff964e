#include "tools/batch_file.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What reading a line needs to know, and to say what is wrong. */
struct reader {
	const char *path;
	unsigned line;
	struct batch *batch;
	json_t *names; /* name -> index */
	struct error_text *err;
};

static int
wrong(struct reader *reader, const char *member, const char *what)
{
	return error_set(
	    reader->err, -EINVAL, "%s:%u: %s: %s", reader->path, reader->line, member, what);
}

static int
take_text(struct reader *reader, const char *member, const json_t *value, const char **ret_text)
{
	if (!json_is_string(value))
		return wrong(reader, member, "must be a string");
	*ret_text = xstrdup(json_string_value(value));
	return 0;
}

static int
take_digest(
    struct reader *reader, const char *member, const json_t *value, struct action_spec *spec)
{
	if (!json_is_string(value) || digest_from_text(json_string_value(value), &spec->root) != 0)
		return wrong(reader, member, "must be 64 hex digits, '/', the size");
	spec->has_root = true;
	return 0;
}

static int
take_list(struct reader *reader, const char *member, const json_t *value, struct strings *list)
{
	const json_t *item;
	size_t i;

	if (!json_is_array(value))
		return wrong(reader, member, "must be an array of strings");
	json_array_foreach(value, i, item)
	{
		if (!json_is_string(item))
			return wrong(reader, member, "must be an array of strings");
		strings_add(list, json_string_value(item));
	}
	return 0;
}

static int
take_outputs(
    struct reader *reader, const char *member, const json_t *value, struct strings *outputs)
{
	int rc = take_list(reader, member, value, outputs);

	for (size_t i = 0; rc == 0 && i < outputs->count; i++) {
		size_t len = strlen(outputs->items[i]);

		while (len > 1 && outputs->items[i][len - 1] == '/')
			outputs->items[i][--len] = '\0';
	}
	return rc;
}

static int
take_env(struct reader *reader, const char *member, json_t *value, struct strings *env)
{
	const char *name;
	json_t *item;

	if (!json_is_object(value))
		return wrong(reader, member, "must be an object of strings");
	json_object_foreach(value, name, item)
	{
		char *both;

		if (!json_is_string(item))
			return wrong(reader, member, "must be an object of strings");
		if (name[0] == '\0' || strchr(name, '=') != NULL)
			return wrong(reader, member, "a name is empty or has a '='");
		both = xprintf("%s=%s", name, json_string_value(item));
		strings_add(env, both);
		free(both);
	}
	return 0;
}

static int
take_bool(struct reader *reader, const char *member, const json_t *value, bool *ret_value)
{
	if (!json_is_boolean(value))
		return wrong(reader, member, "must be true or false");
	*ret_value = json_is_true(value);
	return 0;
}

static int
take_guard(struct reader *reader, const char *member, const json_t *value, bool *ret_off)
{
	const char *text = json_string_value(value);

	if (text == NULL || (strcmp(text, "on") != 0 && strcmp(text, "off") != 0))
		return wrong(reader, member, "must be \"on\" or \"off\"");
	*ret_off = strcmp(text, "off") == 0;
	return 0;
}

static int
take_timeout(struct reader *reader, const char *member, const json_t *value, double *ret_s)
{
	double seconds = json_number_value(value);

	if (!json_is_number(value) || !(seconds > 0 && seconds <= 1e9))
		return wrong(reader, member, "must be a number of seconds above 0");
	*ret_s = seconds;
	return 0;
}

/* Only earlier lines can be needed, so that there is no circle. */
static int
take_needs(struct reader *reader, const char *member, const json_t *value, struct batch_item *item)
{
	struct strings names = {NULL, 0};
	int rc = take_list(reader, member, value, &names);

	item->needs = xcalloc(names.count, sizeof(*item->needs));
	for (size_t i = 0; rc == 0 && i < names.count; i++) {
		const json_t *index = json_object_get(reader->names, names.items[i]);
		size_t number = (size_t)json_integer_value(index);
		bool twice = false;

		if (index == NULL) {
			rc = error_set(reader->err, -EINVAL,
			    "%s:%u: %s: no earlier line is named %s", reader->path, reader->line,
			    member, names.items[i]);
			break;
		}
		for (size_t j = 0; j < item->need_count; j++)
			twice = twice || item->needs[j] == number;
		if (!twice)
			item->needs[item->need_count++] = number;
	}
	strings_free(&names);
	return rc;
}

static int
take_member(struct reader *reader, const char *member, json_t *value, struct batch_item *item)
{
	struct action_spec *spec = &item->spec;

	if (strcmp(member, "name") == 0)
		return take_text(reader, member, value, &spec->name);
	if (strcmp(member, "argv") == 0)
		return take_list(reader, member, value, &spec->argv);
	if (strcmp(member, "input") == 0)
		return take_text(reader, member, value, &spec->input);
	if (strcmp(member, "input_digest") == 0)
		return take_digest(reader, member, value, spec);
	if (strcmp(member, "exclude") == 0)
		return take_list(reader, member, value, &spec->excludes);
	if (strcmp(member, "outputs") == 0)
		return take_outputs(reader, member, value, &spec->outputs);
	if (strcmp(member, "env") == 0)
		return take_env(reader, member, value, &spec->env);
	if (strcmp(member, "cwd") == 0)
		return take_text(reader, member, value, &spec->cwd);
	if (strcmp(member, "timeout") == 0)
		return take_timeout(reader, member, value, &spec->timeout_s);
	if (strcmp(member, "into") == 0)
		return take_text(reader, member, value, &spec->into);
	if (strcmp(member, "no_cache") == 0)
		return take_bool(reader, member, value, &spec->no_cache);
	if (strcmp(member, "guard") == 0)
		return take_guard(reader, member, value, &spec->guard_off);
	if (strcmp(member, "needs") == 0)
		return take_needs(reader, member, value, item);
	return wrong(reader, member, "no such member (ramet help batch lists them)");
}

static int
check_item(struct reader *reader, struct batch_item *item)
{
	struct error_text problem;

	if (action_check_spec(&item->spec, &problem) != 0)
		return error_set(
		    reader->err, -EINVAL, "%s:%u: %s", reader->path, reader->line, problem.text);
	if (item->spec.name == NULL) {
		item->called = xprintf("line %u", reader->line);
		return 0;
	}
	if (json_object_get(reader->names, item->spec.name) != NULL)
		return wrong(reader, "name", "an earlier line has it too");
	item->called = xstrdup(item->spec.name);
	json_object_set_new(reader->names, item->spec.name,
	    json_integer((json_int_t)(item - reader->batch->items)));
	return 0;
}

static int
read_line(struct reader *reader, const char *text)
{
	struct batch *batch = reader->batch;
	struct batch_item *item;
	const char *member;
	json_error_t problem;
	json_t *object, *value;
	int rc = 0;

	if (text[strspn(text, " \t\r\n")] == '\0')
		return 0;
	object = json_loads(text, JSON_REJECT_DUPLICATES, &problem);
	if (object == NULL)
		return error_set(reader->err, -EINVAL, "%s:%u: not a JSON object: %s", reader->path,
		    reader->line, problem.text);
	if ((batch->count & (batch->count - 1)) == 0) /* full at each power of two */
		batch->items =
		    xrealloc(batch->items, batch->count == 0 ? 1 : 2 * batch->count, sizeof(*item));
	item = &batch->items[batch->count++];
	memset(item, 0, sizeof(*item));
	item->line = reader->line;
	if (!json_is_object(object))
		rc = error_set(
		    reader->err, -EINVAL, "%s:%u: not a JSON object", reader->path, reader->line);
	else
		json_object_foreach(object, member, value) if (rc == 0) rc =
		    take_member(reader, member, value, item);
	if (rc == 0)
		rc = check_item(reader, item);
	json_decref(object);
	return rc;
}

static void
link_dependents(struct batch *batch)
{
	for (size_t i = 0; i < batch->count; i++) {
		struct batch_item *item = &batch->items[i];

		item->needs_left = item->need_count;
		for (size_t j = 0; j < item->need_count; j++) {
			struct batch_item *need = &batch->items[item->needs[j]];

			need->dependents =
			    xrealloc(need->dependents, need->dependent_count + 1, sizeof(size_t));
			need->dependents[need->dependent_count++] = i;
		}
	}
}

int
batch_load(const char *path, struct batch *ret_batch, struct error_text *err)
{
	struct batch batch = {NULL, 0};
	struct reader reader = {path, 0, &batch, json_object(), err};
	FILE *in = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
	char *text = NULL;
	size_t size = 0;
	int rc = 0;

	if (in == NULL) {
		rc = error_set(err, -errno, "%s: %s", path, strerror(errno));
		json_decref(reader.names);
		return rc;
	}
	while (rc == 0 && getline(&text, &size, in) > 0) {
		reader.line++;
		rc = read_line(&reader, text);
	}
	if (rc == 0 && ferror(in))
		rc = error_set(err, -EIO, "%s: cannot read it", path);
	free(text);
	if (in != stdin)
		fclose(in);
	json_decref(reader.names);
	if (rc != 0) {
		batch_free(&batch);
		return rc;
	}
	link_dependents(&batch);
	*ret_batch = batch;
	return 0;
}

void
batch_free(struct batch *batch)
{
	for (size_t i = 0; i < batch->count; i++) {
		struct batch_item *item = &batch->items[i];

		free((char *)item->spec.name);
		free((char *)item->spec.input);
		free((char *)item->spec.cwd);
		free((char *)item->spec.into);
		action_spec_free(&item->spec);
		free(item->called);
		free(item->needs);
		free(item->dependents);
		if (item->arena != NULL)
			arena_free(item->arena);
	}
	free(batch->items);
	batch->items = NULL;
	batch->count = 0;
}
