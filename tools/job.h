/*
 * One job at the host: asked for, and what came of it.
 *
 * `ramet run` and `ramet batch`.  job_result_read copies what it needs out of the `done` message;
 * the result is the caller's until job_result_free.
 */
#ifndef TOOLS_JOB_H
#define TOOLS_JOB_H

#include <jansson.h>

#include "cas/reapi.h"
#include "ipc/messages.h"
#include "shm/counters.h"
#include "tools/action_build.h"
#include "tools/tool.h"

struct job_result {
	enum job_status status;
	bool cached;
	int exit_code; /* as a shell says it: 128 + signal */
	int term_signal;
	uint64_t worker, attempt;
	uint64_t metrics[METRIC_COUNT];
	char message[1025];
	struct arena *arena; /* holds what follows */
	ReapiActionResult *result; /* NULL: the job has none */
	char *missing; /* the missing digests, one a line; NULL: none */
	char *writes; /* what show_writes asked for, likewise; NULL: the host could not tell */
};

void job_submit(struct message *message, uint64_t job, const struct digest *action,
    const struct action_spec *spec, uint32_t seen_s);
int job_result_read(struct cas *cas, const struct msg_done *done, struct job_result *result,
    struct error_text *err);
void job_result_free(struct job_result *result);

/* Blobs are missing that we put ourselves: how many; to be put and asked for again.  0: no. */
size_t job_to_put_again(const struct job_result *result, const struct action_spec *spec);

/* It ran (or was answered from the cache) and exited with 0. */
bool job_succeeded(const struct job_result *result);

/* What the action printed, to a descriptor.  -errno: a blob of it is gone, or fd cannot take it. */
int job_write_stdout(struct cas *cas, const struct job_result *result, int fd);
int job_write_stderr(struct cas *cas, const struct job_result *result, int fd);

/* One flat object, and `ways`; the caller owns it.  name may be NULL. */
json_t *job_metrics_json(const struct job_result *result, const char *name);

#endif
