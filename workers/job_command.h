/*
 * What an Action and its Command ask for, in the forms that staging and running want.
 *
 * Worker, for job.c.  Everything is in the arena or points into the messages.
 */
#ifndef WORKERS_JOB_COMMAND_H
#define WORKERS_JOB_COMMAND_H

#include "workers/job.h"

void job_command_stage(struct arena *arena, const ReapiAction *action, const ReapiCommand *command,
    bool guard_off, struct stage_request *ret_request);
/* -EINVAL: a timeout that is longer than the host allows. */
int job_command_run(struct arena *arena, const struct host_config *config,
    const ReapiAction *action, const ReapiCommand *command, struct run_request *ret_request,
    struct error_text *err);

/* The first platform property that means nothing here, NULL if there is none: it is ignored. */
const char *job_command_ignored_property(const ReapiAction *action, const ReapiCommand *command);

#endif
