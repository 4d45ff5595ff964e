/*
 * Server reflection: which services are here, and the schemas of their messages.
 *
 * The schemas are those this program was built from (build/gen/descriptors.c).  v1 and v1alpha are
 * the same messages under two names.
 */
#include <stdlib.h>
#include <string.h>

#include "gateway/descriptors.h"
#include "gateway/methods.h"
#include "gateway/service.h"
#include "proto/descriptor.pb-c.h"
#include "proto/reflection_v1.pb-c.h"

typedef Google__Protobuf__FileDescriptorSet FileSet;
typedef Google__Protobuf__FileDescriptorProto FileDescriptor;
typedef Google__Protobuf__DescriptorProto MessageDescriptor;
typedef Grpc__Reflection__V1__ServerReflectionRequest ReflectionRequest;
typedef Grpc__Reflection__V1__ServerReflectionResponse ReflectionResponse;

#define REFLECTION_TYPE(lower_name) &grpc__reflection__v1__##lower_name##__descriptor

/* Decoded for one answer: it is not asked often. */
struct schemas {
	FileSet *set;
	FileDescriptor **files;
	size_t count;
};

static bool
schemas_read(struct arena *arena, struct schemas *ret_schemas)
{
	struct schemas schemas;

	schemas.set = reapi_decode(arena, &google__protobuf__file_descriptor_set__descriptor,
	    descriptors_data, descriptors_size);
	if (schemas.set == NULL)
		return false;
	schemas.count = schemas.set->n_file;
	schemas.files = arena_alloc(arena, (schemas.count + 1) * sizeof(void *));
	for (size_t i = 0; i < schemas.count; i++) {
		schemas.files[i] =
		    reapi_decode(arena, &google__protobuf__file_descriptor_proto__descriptor,
			schemas.set->file[i].data, schemas.set->file[i].len);
		if (schemas.files[i] == NULL)
			return false;
	}
	*ret_schemas = schemas;
	return true;
}

static bool
message_has(const MessageDescriptor *message, const char *symbol)
{
	size_t len = strlen(message->name);

	if (strncmp(symbol, message->name, len) != 0)
		return false;
	if (symbol[len] == '\0')
		return true;
	if (symbol[len] != '.')
		return false;
	symbol += len + 1;
	for (size_t i = 0; i < message->n_nested_type; i++)
		if (message_has(message->nested_type[i], symbol))
			return true;
	for (size_t i = 0; i < message->n_enum_type; i++)
		if (strcmp(message->enum_type[i]->name, symbol) == 0)
			return true;
	return false;
}

static bool
service_has(const Google__Protobuf__ServiceDescriptorProto *service, const char *symbol)
{
	size_t len = strlen(service->name);

	if (strncmp(symbol, service->name, len) != 0)
		return false;
	if (symbol[len] == '\0')
		return true;
	for (size_t i = 0; symbol[len] == '.' && i < service->n_method; i++)
		if (strcmp(service->method[i]->name, symbol + len + 1) == 0)
			return true;
	return false;
}

static bool
file_has(const FileDescriptor *file, const char *symbol)
{
	size_t len = strlen(file->package);

	if (strncmp(symbol, file->package, len) != 0 || symbol[len] != '.')
		return false;
	symbol += len + 1;
	for (size_t i = 0; i < file->n_message_type; i++)
		if (message_has(file->message_type[i], symbol))
			return true;
	for (size_t i = 0; i < file->n_enum_type; i++)
		if (strcmp(file->enum_type[i]->name, symbol) == 0)
			return true;
	for (size_t i = 0; i < file->n_service; i++)
		if (service_has(file->service[i], symbol))
			return true;
	return false;
}

static bool
file_is(const FileDescriptor *file, const char *name)
{
	return strcmp(file->name, name) == 0;
}

static void
say_error(struct arena *arena, ReflectionResponse *response, enum rpc_code code, const char *text)
{
	Grpc__Reflection__V1__ErrorResponse *error =
	    reapi_new(arena, REFLECTION_TYPE(error_response));

	error->error_code = (int32_t)code;
	error->error_message = arena_strdup(arena, text);
	response->message_response_case =
	    GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
	response->error_response = error;
}

/* A file and all it needs, each once, the asked one first. */
static void
add_with_needs(const struct schemas *schemas, size_t index, bool *added,
    Grpc__Reflection__V1__FileDescriptorResponse *answer)
{
	const FileDescriptor *file = schemas->files[index];

	if (added[index])
		return;
	added[index] = true;
	answer->file_descriptor_proto[answer->n_file_descriptor_proto++] =
	    schemas->set->file[index];
	for (size_t i = 0; i < file->n_dependency; i++)
		for (size_t j = 0; j < schemas->count; j++)
			if (strcmp(schemas->files[j]->name, file->dependency[i]) == 0)
				add_with_needs(schemas, j, added, answer);
}

static void
say_file(struct arena *arena, const struct schemas *schemas, ReflectionResponse *response,
    bool (*fits)(const FileDescriptor *file, const char *wanted), const char *wanted)
{
	Grpc__Reflection__V1__FileDescriptorResponse *answer =
	    reapi_new(arena, REFLECTION_TYPE(file_descriptor_response));
	bool *added = arena_alloc(arena, schemas->count + 1);

	answer->file_descriptor_proto =
	    arena_alloc(arena, (schemas->count + 1) * sizeof(*answer->file_descriptor_proto));
	for (size_t i = 0; i < schemas->count; i++)
		if (fits(schemas->files[i], wanted)) {
			add_with_needs(schemas, i, added, answer);
			break;
		}
	if (answer->n_file_descriptor_proto == 0) {
		say_error(arena, response, RPC_NOT_FOUND, "no such file or symbol here");
		return;
	}
	response->message_response_case =
	    GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
	response->file_descriptor_response = answer;
}

static void
say_services(struct arena *arena, ReflectionResponse *response)
{
	Grpc__Reflection__V1__ListServiceResponse *answer =
	    reapi_new(arena, REFLECTION_TYPE(list_service_response));
	const struct rpc_method *const *at;
	size_t count = 0;

	for (at = methods_all; *at != NULL; at++)
		count++;
	answer->service = arena_alloc(arena, (count + 1) * sizeof(void *));
	for (at = methods_all; *at != NULL; at++) {
		char *name = arena_strdup(arena, (*at)->path + 1);
		bool known = false;

		name[strcspn(name, "/")] = '\0';
		for (size_t i = 0; i < answer->n_service; i++)
			known = known || strcmp(answer->service[i]->name, name) == 0;
		if (known)
			continue;
		answer->service[answer->n_service] =
		    reapi_new(arena, REFLECTION_TYPE(service_response));
		answer->service[answer->n_service++]->name = name;
	}
	response->message_response_case =
	    GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
	response->list_services_response = answer;
}

static void
respond(struct arena *arena, ReflectionRequest *request, ReflectionResponse *response)
{
	struct schemas schemas;

	response->valid_host = request->host;
	response->original_request = request;
	if (!schemas_read(arena, &schemas)) {
		say_error(arena, response, RPC_INTERNAL, "the schemas cannot be read");
		return;
	}
	switch ((int)request->message_request_case) {
	case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
		say_services(arena, response);
		break;
	case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
		say_file(arena, &schemas, response, file_is, request->file_by_filename);
		break;
	case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
		say_file(arena, &schemas, response, file_has, request->file_containing_symbol);
		break;
	default:
		say_error(arena, response, RPC_NOT_FOUND, "there are no extensions here");
		break;
	}
}

static void
on_request(struct rpc_call *call, void *state, const uint8_t *data, size_t len)
{
	struct arena *arena = arena_new();
	ReflectionRequest *request =
	    service_decode(call, arena, REFLECTION_TYPE(server_reflection_request), data, len);
	ReflectionResponse *response =
	    reapi_new(arena, REFLECTION_TYPE(server_reflection_response));
	const uint8_t *out;
	size_t out_len;

	if (request != NULL) {
		respond(arena, request, response);
		out = reapi_encode(arena, &response->base, &out_len);
		rpc_send(call, out, out_len);
	}
	arena_free(arena);
}

static void
on_sent(struct rpc_call *call, void *state)
{
	rpc_read(call);
}

static void
on_half_close(struct rpc_call *call, void *state)
{
	rpc_finish(call, RPC_OK, "%s", "");
}

const struct rpc_method method_reflection_v1 = {
    .path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    .client_streams = true,
    .on_message = on_request,
    .on_half_close = on_half_close,
    .on_sent = on_sent};
const struct rpc_method method_reflection_v1alpha = {
    .path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    .client_streams = true,
    .on_message = on_request,
    .on_half_close = on_half_close,
    .on_sent = on_sent};
