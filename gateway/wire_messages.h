/*
 * The messages of the calls under short names; see cas/reapi.h for decoding, encoding and arenas.
 *
 * Gateway.  What is stored has its names in cas/reapi.h.
 */
#ifndef GATEWAY_WIRE_MESSAGES_H
#define GATEWAY_WIRE_MESSAGES_H

#include "cas/reapi.h"
#include "proto/bytestream.pb-c.h"
#include "proto/health.pb-c.h"
#include "proto/longrunning.pb-c.h"
#include "proto/remote_execution_rpc.pb-c.h"
#include "proto/rpc_status.pb-c.h"

typedef REAPI(BatchReadBlobsRequest) ReapiBatchReadBlobsRequest;
typedef REAPI(BatchReadBlobsResponse) ReapiBatchReadBlobsResponse;
typedef REAPI(BatchReadBlobsResponse__Response) ReapiBatchReadBlob;
typedef REAPI(BatchUpdateBlobsRequest) ReapiBatchUpdateBlobsRequest;
typedef REAPI(BatchUpdateBlobsRequest__Request) ReapiBatchUpdateRequest;
typedef REAPI(BatchUpdateBlobsResponse) ReapiBatchUpdateBlobsResponse;
typedef REAPI(BatchUpdateBlobsResponse__Response) ReapiBatchUpdateResponse;
typedef REAPI(CacheCapabilities) ReapiCacheCapabilities;
typedef REAPI(ExecuteOperationMetadata) ReapiExecuteOperationMetadata;
typedef REAPI(ExecuteRequest) ReapiExecuteRequest;
typedef REAPI(ExecuteResponse) ReapiExecuteResponse;
typedef REAPI(ExecutionCapabilities) ReapiExecutionCapabilities;
typedef REAPI(FindMissingBlobsRequest) ReapiFindMissingBlobsRequest;
typedef REAPI(FindMissingBlobsResponse) ReapiFindMissingBlobsResponse;
typedef REAPI(GetActionResultRequest) ReapiGetActionResultRequest;
typedef REAPI(GetCapabilitiesRequest) ReapiGetCapabilitiesRequest;
typedef REAPI(GetTreeRequest) ReapiGetTreeRequest;
typedef REAPI(GetTreeResponse) ReapiGetTreeResponse;
typedef REAPI(PriorityCapabilities) ReapiPriorityCapabilities;
typedef REAPI(PriorityCapabilities__PriorityRange) ReapiPriorityRange;
typedef REAPI(RequestMetadata) ReapiRequestMetadata;
typedef REAPI(ServerCapabilities) ReapiServerCapabilities;
typedef REAPI(UpdateActionResultRequest) ReapiUpdateActionResultRequest;
typedef REAPI(WaitExecutionRequest) ReapiWaitExecutionRequest;

typedef Build__Bazel__Semver__SemVer SemVer;
typedef Google__Bytestream__QueryWriteStatusRequest QueryWriteStatusRequest;
typedef Google__Bytestream__QueryWriteStatusResponse QueryWriteStatusResponse;
typedef Google__Bytestream__ReadRequest ByteStreamReadRequest;
typedef Google__Bytestream__WriteRequest ByteStreamWriteRequest;
typedef Google__Bytestream__WriteResponse ByteStreamWriteResponse;
typedef Google__Longrunning__Operation Operation;
typedef Google__Protobuf__Any ProtobufAny;
typedef Google__Rpc__PreconditionFailure PreconditionFailure;
typedef Google__Rpc__PreconditionFailure__Violation PreconditionViolation;
typedef Google__Rpc__Status RpcStatus;

#define DIGEST_FUNCTION(name) BUILD__BAZEL__REMOTE__EXECUTION__V2__DIGEST_FUNCTION__VALUE__##name
#define COMPRESSOR(name) BUILD__BAZEL__REMOTE__EXECUTION__V2__COMPRESSOR__VALUE__##name
#define EXECUTION_STAGE(name) BUILD__BAZEL__REMOTE__EXECUTION__V2__EXECUTION_STAGE__VALUE__##name
#define SYMLINK_STRATEGY(name)                                                                     \
	BUILD__BAZEL__REMOTE__EXECUTION__V2__SYMLINK_ABSOLUTE_PATH_STRATEGY__VALUE__##name

#endif
