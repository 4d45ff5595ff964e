#include "cas/message.h"

#include <errno.h>
#include <stdlib.h>

#include "cas/wire.h"

static int
read_error(int rc, const struct digest *digest, const char *kind, struct error_text *err)
{
	char text[DIGEST_TEXT_SIZE];

	digest_to_text(digest, '/', text);
	switch (rc) {
	case -ENOENT:
		return error_set(err, rc, "%s: %s is missing from the store", text, kind);
	case -EBADMSG:
		return error_set(err, rc, "%s: %s does not match its digest (dropped)", text, kind);
	case -EFBIG:
		return error_set(
		    err, rc, "%s: %s is larger than %d bytes", text, kind, CAS_MESSAGE_MAX);
	default:
		return error_errno(err, rc, "%s: cannot read %s", text, kind);
	}
}

int
message_load(struct cas *cas, struct arena *arena, const struct digest *digest,
    const ProtobufCMessageDescriptor *type, const char *kind, void **ret_message,
    struct error_text *err)
{
	char text[DIGEST_TEXT_SIZE];
	const char *field = NULL;
	uint8_t *data;
	size_t len;
	void *message;
	int rc = cas_read(cas, digest, CAS_MESSAGE_MAX, &data, &len);

	if (rc != 0)
		return read_error(rc, digest, kind, err);
	message = reapi_decode(arena, type, data, len);
	if (message == NULL)
		wire_check(type, data, len, &field);
	free(data);
	digest_to_text(digest, '/', text);
	if (message == NULL && field != NULL)
		return error_set(err, -EINVAL, "%s: %s: '%s' has a NUL in it", text, kind, field);
	if (message == NULL)
		return error_set(err, -EINVAL, "%s: these bytes are no %s", text, kind);
	*ret_message = message;
	return 0;
}
