/*
 * Resource names and instance names from anywhere: the first byte says which.
 *
 * What is taken has a digest, an id and an instance that fit, and no control character in them;
 * what is refused leaves the result alone and says why.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "gateway/resource_name.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_text(const char *text, size_t max)
{
	CHECK(strlen(text) <= max);
	for (; *text != '\0'; text++)
		CHECK((unsigned char)*text >= 0x20 && *text != 0x7f);
}

static void
try_name(const char *text, bool write)
{
	struct resource_name name = {.id = "untouched"};
	struct error_text err = {""};
	int rc = write ? resource_name_parse_write(text, &name, &err)
		       : resource_name_parse_read(text, &name, &err);

	if (rc != 0) {
		CHECK(rc == -EINVAL || rc == -EOPNOTSUPP);
		CHECK(err.text[0] != '\0' && strcmp(name.id, "untouched") == 0);
		return;
	}
	check_text(name.instance, INSTANCE_MAX);
	check_text(name.id, UPLOAD_ID_MAX);
	CHECK(instance_check(name.instance, &err) == 0);
	CHECK(strncmp(text, name.instance, strlen(name.instance)) == 0);
	if (name.kind == RESOURCE_BLOB)
		CHECK(name.digest.size_bytes >= 0);
	CHECK((name.id[0] != '\0') == (write || name.kind == RESOURCE_LOG));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error_text err = {""};
	char *text;

	if (size == 0)
		return 0;
	text = strndup((const char *)data + 1, size - 1);
	CHECK(text != NULL);
	if (data[0] % 3 == 2)
		CHECK(instance_check(text, &err) == 0 || err.text[0] != '\0');
	else
		try_name(text, data[0] % 3 == 1);
	free(text);
	return 0;
}
