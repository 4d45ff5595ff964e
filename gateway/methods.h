/*
 * Every method that the gateway serves; each stands in the file of its service.
 *
 * Gateway: methods.c makes the table of them.
 */
#ifndef GATEWAY_METHODS_H
#define GATEWAY_METHODS_H

#include "gateway/rpc.h"

#define REAPI_METHOD(service, method) "/build.bazel.remote.execution.v2." service "/" method
#define REAPI_TYPE(lower_name) &build__bazel__remote__execution__v2__##lower_name##__descriptor

extern const struct rpc_method method_get_capabilities; /* capabilities.c */
extern const struct rpc_method method_find_missing_blobs, method_batch_update_blobs,
    method_batch_read_blobs; /* cas_service.c */
extern const struct rpc_method method_get_tree; /* get_tree.c */
extern const struct rpc_method method_read; /* bytestream_read.c */
extern const struct rpc_method method_write, method_query_write_status; /* bytestream_write.c */
extern const struct rpc_method method_get_action_result,
    method_update_action_result; /* action_cache_service.c */
extern const struct rpc_method method_execute, method_wait_execution; /* execution.c */
extern const struct rpc_method method_health_check, method_health_watch; /* health.c */
extern const struct rpc_method method_reflection_v1, method_reflection_v1alpha; /* reflection.c */

extern const struct rpc_method *const methods_all[]; /* NULL-terminated */

#endif
