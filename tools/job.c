#include "tools/job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "tools/text.h"

enum { LIST_TEXT_MAX = 64 << 20 };

void
job_submit(struct message *message, uint64_t job, const struct digest *action,
    const struct action_spec *spec, uint32_t seen_s)
{
	const char *label = spec->name != NULL ? spec->name : spec->argv.items[0];

	memset(message, 0, sizeof(*message));
	message->type = MSG_submit;
	message->submit.job = job;
	message->submit.action = *action;
	message->submit.skip_cache_lookup = spec->no_cache;
	message->submit.guard_off = spec->guard_off;
	message->submit.show_writes = spec->show_writes;
	message->submit.seen_s = seen_s;
	message->submit.label = msg_text(label);
	if (message->submit.label.len > 128)
		message->submit.label.len = 128;
}

/* The ActionResult comes in the message, or as a blob where it is too large. */
static int
read_result(
    struct cas *cas, const struct msg_done *done, struct job_result *result, struct error_text *err)
{
	const uint8_t *bytes = (const uint8_t *)done->result.data;
	uint8_t *blob = NULL;
	size_t len = done->result.len;

	if (!done->has_result) {
		int rc;

		if (!done->has_result_digest)
			return 0;
		rc = cas_read(cas, &done->result_digest, CAS_MESSAGE_MAX, &blob, &len);
		if (rc != 0)
			return error_errno(err, rc, "cannot read the action's result");
		bytes = blob;
	}
	result->result = REAPI_DECODE(result->arena, action_result, bytes, len);
	free(blob);
	if (result->result == NULL)
		return error_set(err, -EPROTO, "the host sent a result that is none");
	return 0;
}

/* A list that came as a blob. */
static int
read_list(struct cas *cas, const struct digest *digest, const char *what, struct arena *arena,
    char **ret_text, struct error_text *err)
{
	uint8_t *bytes;
	size_t len;
	int rc = cas_read(cas, digest, LIST_TEXT_MAX, &bytes, &len);

	if (rc != 0)
		return error_errno(err, rc, "cannot read the list of %s", what);
	*ret_text = arena_printf(arena, "%.*s", (int)len, (const char *)bytes);
	free(bytes);
	return 0;
}

int
job_result_read(
    struct cas *cas, const struct msg_done *done, struct job_result *result, struct error_text *err)
{
	int rc;

	memset(result, 0, sizeof(*result));
	result->arena = arena_new();
	result->status =
	    done->status < JOB_STATUS_COUNT ? (enum job_status)done->status : JOB_FAILED;
	result->cached = done->cached;
	result->worker = done->worker;
	result->attempt = done->attempt;
	msg_text_copy(done->message, result->message, sizeof(result->message));
	for (uint32_t i = 0; i < done->metrics.count && i < METRIC_COUNT; i++)
		result->metrics[i] = done->metrics.values[i];
	rc = read_result(cas, done, result, err);
	if (rc == 0 && done->has_missing)
		rc = read_list(
		    cas, &done->missing, "missing blobs", result->arena, &result->missing, err);
	if (rc == 0 && done->has_writes)
		rc = read_list(cas, &done->writes, "writes", result->arena, &result->writes, err);
	if (rc != 0) {
		job_result_free(result);
		return rc;
	}
	result->term_signal = (int)done->term_signal;
	if (done->has_exit_code)
		result->exit_code = (int)done->exit_code;
	else if (result->result != NULL)
		result->exit_code = result->result->exit_code;
	if (result->term_signal != 0)
		result->exit_code = 128 + result->term_signal;
	return 0;
}

void
job_result_free(struct job_result *result)
{
	if (result->arena != NULL)
		arena_free(result->arena);
	memset(result, 0, sizeof(*result));
}

size_t
job_to_put_again(const struct job_result *result, const struct action_spec *spec)
{
	size_t count = 0;

	if (result->status != JOB_MISSING || spec->has_root)
		return 0;
	for (const char *at = result->missing; at != NULL && *at != '\0'; at++)
		count += *at == '\n';
	return count > 0 ? count : 1;
}

bool
job_succeeded(const struct job_result *result)
{
	return result->status == JOB_OK && result->exit_code == 0;
}

static int
copy_out(int in_fd, int out_fd)
{
	char chunk[65536];
	ssize_t n;
	int rc = 0;

	while (rc == 0 && (n = read(in_fd, chunk, sizeof(chunk))) != 0)
		rc = n < 0 ? -errno : fs_write_all(out_fd, chunk, (size_t)n);
	return rc;
}

static int
write_stream(struct cas *cas, const ProtobufCBinaryData *raw, const ReapiDigest *named, int fd)
{
	struct digest digest;
	int blob, rc;

	if (raw->len > 0)
		return fs_write_all(fd, raw->data, raw->len);
	if (named == NULL)
		return 0;
	rc = reapi_digest_get(named, &digest);
	if (rc == 0)
		rc = cas_open_blob(cas, &digest, &blob);
	if (rc != 0)
		return rc;
	rc = copy_out(blob, fd);
	close(blob);
	return rc;
}

int
job_write_stdout(struct cas *cas, const struct job_result *result, int fd)
{
	if (result->result == NULL)
		return 0;
	return write_stream(cas, &result->result->stdout_raw, result->result->stdout_digest, fd);
}

int
job_write_stderr(struct cas *cas, const struct job_result *result, int fd)
{
	if (result->result == NULL)
		return 0;
	return write_stream(cas, &result->result->stderr_raw, result->result->stderr_digest, fd);
}

static json_t *
number(uint64_t value)
{
	return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

json_t *
job_metrics_json(const struct job_result *result, const char *name)
{
	json_t *object = json_object(), *ways = json_object();

	if (name != NULL)
		json_object_set_new(object, "name", text_json(name));
	json_object_set_new(object, "status", json_string(job_status_names[result->status]));
	json_object_set_new(object, "exit_code", json_integer(result->exit_code));
	json_object_set_new(object, "term_signal", json_integer(result->term_signal));
	json_object_set_new(object, "cached", json_boolean(result->cached));
	json_object_set_new(object, "message", text_json(result->message));
	json_object_set_new(object, "worker", number(result->worker));
	json_object_set_new(object, "attempt", number(result->attempt));
	for (int i = 0; i < METRIC_COUNT; i++)
		json_object_set_new(object, job_metric_names[i], number(result->metrics[i]));
	for (int way = 0; way < PLACE_WAY_COUNT; way++)
		json_object_set_new(ways, place_way_names[way],
		    json_pack("{s:o,s:o}", "files", number(result->metrics[METRIC_WAY_FILES + way]),
			"subtrees", number(result->metrics[METRIC_WAY_SUBTREES + way])));
	json_object_set_new(object, "ways", ways);
	return object;
}
