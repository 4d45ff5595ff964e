/*
 * grpc.health.v1: whether this host takes actions.
 *
 * Gateway; health_changed from the main thread when it does no longer: whoever watches hears of it.
 */
#ifndef GATEWAY_HEALTH_H
#define GATEWAY_HEALTH_H

void health_changed(void);

#endif
