#include "gateway/methods.h"

const struct rpc_method *const methods_all[] = {
    &method_get_capabilities,
    &method_get_action_result,
    &method_find_missing_blobs,
    &method_write,
    &method_read,
    &method_execute,
    &method_wait_execution,
    &method_batch_update_blobs,
    &method_batch_read_blobs,
    &method_query_write_status,
    &method_update_action_result,
    &method_get_tree,
    &method_health_check,
    &method_health_watch,
    &method_reflection_v1,
    &method_reflection_v1alpha,
    NULL,
};
