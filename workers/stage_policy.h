/*
 * Which ways of placing there are, and in which order, as config and probe allow.  Plain values;
 * worker and janitor.
 */
#ifndef WORKERS_STAGE_POLICY_H
#define WORKERS_STAGE_POLICY_H

#include "workers/place.h"
#include "workers/probe.h"

/* By which ways cached trees are built. */
void stage_build_policy(const struct probe *probe, struct place_policy *ret_policy);

/* Composing sandboxes ahead is worth it, or asked for. */
bool stage_ahead_pays(
    const struct host_config *config, const struct probe *probe, enum isolation isolation);

#endif
