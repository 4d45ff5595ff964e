#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "gateway/resource_name.h"
#include "tests/cmocka_wrap.h"

#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define HASH_SHORT "0123456789abcdef"
#define UUID "c4f1f1b3-7e3c-4b7e-9f1d-0a1b2c3d4e5f"

static const struct good {
	const char *name, *instance, *id;
	enum resource_kind kind;
	bool zstd, is_stderr;
	int64_t size;
} reads[] =
    {
	{"blobs/" HASH "/5", "", "", RESOURCE_BLOB, false, false, 5},
	{"blobs/sha256/" HASH "/0", "", "", RESOURCE_BLOB, false, false, 0},
	{"main/blobs/" HASH "/5", "main", "", RESOURCE_BLOB, false, false, 5},
	{"a/b c/sha256/blobs/" HASH "/5", "a/b c/sha256", "", RESOURCE_BLOB, false, false, 5},
	{"blob/blobs/" HASH "/5", "blob", "", RESOURCE_BLOB, false, false, 5},
	{"compressed-blobs/zstd/" HASH "/5", "", "", RESOURCE_BLOB, true, false, 5},
	{"x/compressed-blobs/zstd/sha256/" HASH "/9223372036854775807", "x", "", RESOURCE_BLOB,
	    true, false, INT64_MAX},
	{"logstreams/" UUID "/stdout", "", UUID, RESOURCE_LOG, false, false, 0},
	{"x/y/logstreams/" UUID "/stderr", "x/y", UUID, RESOURCE_LOG, false, true, 0},
},
  writes[] = {
      {"uploads/" UUID "/blobs/" HASH "/5", "", UUID, RESOURCE_BLOB, false, false, 5},
      {"x/uploads/any id/blobs/sha256/" HASH "/5", "x", "any id", RESOURCE_BLOB, false, false, 5},
      {"x/y/uploads/blobs/compressed-blobs/zstd/" HASH "/5", "x/y", "blobs", RESOURCE_BLOB, true,
	  false, 5},
      {"uploads/" UUID "/blobs/" HASH "/5/of/the client's/blobs/own", "", UUID, RESOURCE_BLOB,
	  false, false, 5},
      {"uploads/" UUID "/blobs/" HASH "/5/", "", UUID, RESOURCE_BLOB, false, false, 5},
};

static void
expect_good(const struct good *good, bool write)
{
	struct resource_name name;
	struct error_text err = {""};
	char hex[DIGEST_HEX_SIZE];
	int rc = write ? resource_name_parse_write(good->name, &name, &err)
		       : resource_name_parse_read(good->name, &name, &err);

	if (rc != 0)
		fail_msg("'%s': %s", good->name, err.text);
	assert_int_equal(name.kind, good->kind);
	assert_int_equal(name.zstd, good->zstd);
	assert_int_equal(name.is_stderr, good->is_stderr);
	assert_string_equal(name.instance, good->instance);
	assert_string_equal(name.id, good->id);
	if (name.kind != RESOURCE_BLOB)
		return;
	assert_string_equal(digest_to_hex(&name.digest, hex), HASH);
	assert_int_equal(name.digest.size_bytes, good->size);
}

static void
every_form(void **state)
{
	for (size_t i = 0; i < sizeof(reads) / sizeof(reads[0]); i++)
		expect_good(&reads[i], false);
	for (size_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++)
		expect_good(&writes[i], true);
}

/* Of both kinds; those with an upload are tried as writes, all as reads. */
static const char *const bad[] = {"", "/", "blobs", "blobs/", "blobs//5", "blobs/" HASH,
    "blobs/" HASH "/", "/blobs/" HASH "/5", "x//blobs/" HASH "/5", "blobs/" HASH "/5/",
    "blobs/" HASH "/5/x", "blobs/" HASH "/-1", "blobs/" HASH "/+1", "blobs/" HASH "/ 1",
    "blobs/" HASH "/1 ", "blobs/" HASH "/0x1", "blobs/" HASH "/9223372036854775808",
    "blobs/" HASH "/00000000000000000001", "blobs/" HASH_SHORT "/5", "blobs/" HASH "0/5",
    "blobs/0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef/5",
    "blobs/g123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef/5",
    "blobs/sha256/sha256/" HASH "/5", "blobs/SHA256/" HASH "/5", "x\ny/blobs/" HASH "/5",
    "x\x7f/blobs/" HASH "/5", "actions/" HASH "/5", "x/operations/" UUID, "capabilities",
    "blobs/blobs/" HASH "/5", "uploads/" UUID "/blobs/" HASH "/5", "logstreams/" UUID,
    "logstreams/" UUID "/", "logstreams//stdout", "logstreams/" UUID "/stdin",
    "logstreams/" UUID "/stdout/", "logstreams/a\tb/stdout"},
			 *const bad_writes[] = {"", "uploads", "uploads/", "uploads/" UUID,
			     "uploads/" UUID "/", "uploads//blobs/" HASH "/5",
			     "uploads/" UUID "/" HASH "/5", "uploads/" UUID "/x/blobs/" HASH "/5",
			     "uploads/" UUID "/blobs/" HASH, "uploads/" UUID "/blobs/" HASH "/",
			     "uploads/" UUID "/blobs/" HASH "/5x", "uploads/a\nb/blobs/" HASH "/5",
			     "blobs/" HASH "/5", "compressed-blobs/zstd/" HASH "/5",
			     "logstreams/" UUID "/stdout", "uploads/" UUID "/logstreams/x/stdout",
			     "blobs/uploads/" UUID "/blobs/" HASH "/5",
			     "//uploads/" UUID "/blobs/" HASH "/5"};

/* A name of the right form for something that this host has not. */
static const char *const unsupported[] = {"compressed-blobs/deflate/" HASH "/5",
    "compressed-blobs/" HASH "/5", "compressed-blobs", "blobs/blake3/" HASH "/5",
    "blobs/sha1/0123456789abcdef0123456789abcdef01234567/5", "x/blobs/md5/" HASH "/5"};

static void
expect_bad(const char *text, bool write, int expected)
{
	struct resource_name name, before;
	struct error_text err = {""};
	int rc;

	memset(&name, 0x5a, sizeof(name));
	before = name;
	rc = write ? resource_name_parse_write(text, &name, &err)
		   : resource_name_parse_read(text, &name, &err);
	if (rc != expected)
		fail_msg("'%s' (%s): %d", text, write ? "write" : "read", rc);
	assert_true(err.text[0] != '\0');
	assert_memory_equal(&name, &before, sizeof(name));
}

static void
what_is_no_name(void **state)
{
	char text[256];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		expect_bad(bad[i], false, -EINVAL);
	for (size_t i = 0; i < sizeof(bad_writes) / sizeof(bad_writes[0]); i++)
		expect_bad(bad_writes[i], true, -EINVAL);
	for (size_t i = 0; i < sizeof(unsupported) / sizeof(unsupported[0]); i++) {
		expect_bad(unsupported[i], false, -EOPNOTSUPP);
		if (unsupported[i][0] == 'x')
			continue;
		snprintf(text, sizeof(text), "uploads/" UUID "/%s", unsupported[i]);
		expect_bad(text, true, -EOPNOTSUPP);
	}
}

/* Up to the last byte that fits. */
static void
lengths(void **state)
{
	struct resource_name name;
	struct error_text err;
	char text[1024];

	for (int len = INSTANCE_MAX - 2; len < INSTANCE_MAX + 3; len++) {
		snprintf(text, sizeof(text), "%0*d/blobs/" HASH "/5", len, 0);
		assert_int_equal(
		    resource_name_parse_read(text, &name, &err), len <= INSTANCE_MAX ? 0 : -EINVAL);
		if (len <= INSTANCE_MAX)
			assert_int_equal(strlen(name.instance), len);
		snprintf(text, sizeof(text), "%0*d", len, 0);
		assert_int_equal(instance_check(text, &err), len <= INSTANCE_MAX ? 0 : -EINVAL);
	}
	for (int len = UPLOAD_ID_MAX - 2; len < UPLOAD_ID_MAX + 3; len++) {
		snprintf(text, sizeof(text), "uploads/%0*d/blobs/" HASH "/5", len, 0);
		assert_int_equal(resource_name_parse_write(text, &name, &err),
		    len <= UPLOAD_ID_MAX ? 0 : -EINVAL);
	}
}

static void
instances(void **state)
{
	static const char *const good[] = {
	    "", "a", "a/b", "main", "a b", "\xc3\xa9", "sha256", "...", "blobsy", "zstd"};
	static const char *const wrong[] = {"/", "/a", "a/", "a//b", "a\nb", "\x7f", "blobs",
	    "a/uploads", "actions/a", "a/actionResults/b", "operations", "capabilities",
	    "compressed-blobs", "logstreams"};
	struct error_text err;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		if (instance_check(good[i], &err) != 0)
			fail_msg("'%s': %s", good[i], err.text);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		if (instance_check(wrong[i], &err) != -EINVAL)
			fail_msg("'%s' was taken", wrong[i]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_form),
	    cmocka_unit_test(what_is_no_name),
	    cmocka_unit_test(lengths),
	    cmocka_unit_test(instances),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
