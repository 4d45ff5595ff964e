#include "gateway/resource_name.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const reserved[] = {"blobs", "uploads", "actions", "actionResults", "operations",
    "capabilities", "compressed-blobs", "logstreams"};

/* One part of a name; `text` is not terminated. */
struct part {
	const char *text;
	size_t len;
};

static bool
part_is(struct part part, const char *word)
{
	return part.len == strlen(word) && memcmp(part.text, word, part.len) == 0;
}

static bool
part_is_reserved(struct part part)
{
	for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++)
		if (part_is(part, reserved[i]))
			return true;
	return false;
}

/* The part at *cursor, which moves behind it and its slash; false at the end. */
static bool
part_next(const char **cursor, struct part *ret_part)
{
	size_t len;

	if (*cursor == NULL)
		return false;
	len = strcspn(*cursor, "/");
	*ret_part = (struct part){*cursor, len};
	*cursor = (*cursor)[len] == '/' ? *cursor + len + 1 : NULL;
	return true;
}

static bool
part_is_plain(struct part part)
{
	if (part.len == 0)
		return false;
	for (size_t i = 0; i < part.len; i++)
		if ((unsigned char)part.text[i] < 0x20 || part.text[i] == 0x7f)
			return false;
	return true;
}

int
instance_check(const char *instance, struct error_text *err)
{
	const char *cursor = instance;
	struct part part;

	if (instance[0] == '\0')
		return 0;
	if (strlen(instance) > INSTANCE_MAX)
		return error_set(
		    err, -EINVAL, "an instance name of more than %d bytes", INSTANCE_MAX);
	while (part_next(&cursor, &part)) {
		if (!part_is_plain(part))
			return error_set(err, -EINVAL,
			    "instance name '%.64s': an empty part or a control character",
			    instance);
		if (part_is_reserved(part))
			return error_set(err, -EINVAL,
			    "instance name '%.64s': '%.*s' means something else there", instance,
			    (int)part.len, part.text);
	}
	return 0;
}

static int
bad_name(const char *name, const char *why, struct error_text *err)
{
	return error_set(err, -EINVAL, "resource name '%.200s': %s", name, why);
}

/* Takes the instance; *ret_word is the marking word after it. */
static int
take_instance(const char *name, const char **cursor, struct resource_name *ret_name,
    struct part *ret_word, struct error_text *err)
{
	const char *end = NULL;
	size_t len;

	while (part_next(cursor, ret_word)) {
		if (part_is_reserved(*ret_word)) {
			end = ret_word->text;
			break;
		}
		if (!part_is_plain(*ret_word))
			return bad_name(name, "an empty part or a control character", err);
	}
	if (end == NULL)
		return bad_name(name, "no blobs/, compressed-blobs/, uploads/ or logstreams/", err);
	len = end == name ? 0 : (size_t)(end - name) - 1;
	if (len > INSTANCE_MAX)
		return bad_name(name, "the instance name is too long", err);
	memcpy(ret_name->instance, name, len);
	ret_name->instance[len] = '\0';
	return 0;
}

static int
take_id(
    const char *name, const char **cursor, struct resource_name *ret_name, struct error_text *err)
{
	struct part part;

	if (!part_next(cursor, &part) || !part_is_plain(part) || part.len > UPLOAD_ID_MAX)
		return bad_name(name, "no usable id", err);
	memcpy(ret_name->id, part.text, part.len);
	ret_name->id[part.len] = '\0';
	return 0;
}

static bool
size_parse(struct part part, int64_t *ret_size)
{
	char text[24], *end;

	if (part.len == 0 || part.len > 19 || part.text[0] < '0' || part.text[0] > '9')
		return false;
	memcpy(text, part.text, part.len);
	text[part.len] = '\0';
	errno = 0;
	*ret_size = strtoll(text, &end, 10);
	return errno == 0 && *end == '\0' && *ret_size >= 0;
}

static int
take_digest(
    const char *name, const char **cursor, struct resource_name *ret_name, struct error_text *err)
{
	static const char *const others[] = {
	    "sha1", "md5", "vso", "sha384", "sha512", "murmur3", "sha256tree", "blake3"};
	char hex[DIGEST_HEX_SIZE];
	struct part part = {"", 0};

	if (part_next(cursor, &part) && part_is(part, "sha256"))
		(void)part_next(cursor, &part);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (part_is(part, others[i]))
			return error_set(err, -EOPNOTSUPP,
			    "resource name '%.200s': this host has sha256 only", name);
	if (part.len != sizeof(hex) - 1)
		return bad_name(name, "no SHA-256 hash where it should be", err);
	memcpy(hex, part.text, part.len);
	hex[part.len] = '\0';
	if (digest_hash_from_hex(hex, ret_name->digest.hash) != 0)
		return bad_name(name, "the hash is not 64 lower-case hex digits", err);
	if (!part_next(cursor, &part) || !size_parse(part, &ret_name->digest.size_bytes))
		return bad_name(name, "no size after the hash", err);
	return 0;
}

/* After the word that marks a blob. */
static int
take_blob(const char *name, struct part word, const char **cursor, struct resource_name *ret_name,
    struct error_text *err)
{
	struct part part;

	if (part_is(word, "compressed-blobs")) {
		if (!part_next(cursor, &part) || !part_is(part, "zstd"))
			return error_set(err, -EOPNOTSUPP,
			    "resource name '%.200s': this host compresses with zstd only", name);
		ret_name->zstd = true;
	} else if (!part_is(word, "blobs")) {
		return bad_name(name, "no blobs/ or compressed-blobs/ where it should be", err);
	}
	return take_digest(name, cursor, ret_name, err);
}

static int
take_log(
    const char *name, const char **cursor, struct resource_name *ret_name, struct error_text *err)
{
	struct part part;
	int rc = take_id(name, cursor, ret_name, err);

	if (rc != 0)
		return rc;
	ret_name->kind = RESOURCE_LOG;
	if (!part_next(cursor, &part) || (!part_is(part, "stdout") && !part_is(part, "stderr")))
		return bad_name(name, "want logstreams/ID/stdout or stderr", err);
	ret_name->is_stderr = part_is(part, "stderr");
	return 0;
}

int
resource_name_parse_read(const char *name, struct resource_name *ret_name, struct error_text *err)
{
	struct resource_name parsed = {.kind = RESOURCE_BLOB};
	const char *cursor = name;
	struct part word;
	int rc = take_instance(name, &cursor, &parsed, &word, err);

	if (rc == 0)
		rc = part_is(word, "logstreams") ? take_log(name, &cursor, &parsed, err)
						 : take_blob(name, word, &cursor, &parsed, err);
	if (rc == 0 && cursor != NULL)
		rc = bad_name(name, "something follows its end", err);
	if (rc == 0)
		*ret_name = parsed;
	return rc;
}

int
resource_name_parse_write(const char *name, struct resource_name *ret_name, struct error_text *err)
{
	struct resource_name parsed = {.kind = RESOURCE_BLOB};
	const char *cursor = name;
	struct part word;
	int rc = take_instance(name, &cursor, &parsed, &word, err);

	if (rc == 0 && !part_is(word, "uploads"))
		rc = bad_name(name, "want uploads/ID/ before the blob", err);
	if (rc == 0)
		rc = take_id(name, &cursor, &parsed, err);
	if (rc == 0 && !part_next(&cursor, &word))
		rc = bad_name(name, "no blob follows the upload's id", err);
	if (rc == 0)
		rc = take_blob(name, word, &cursor, &parsed, err);
	if (rc == 0)
		*ret_name = parsed;
	return rc;
}
