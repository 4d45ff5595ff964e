#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/address.h"
#include "tests/cmocka_wrap.h"

static int
first(const char *text, struct address *address)
{
	struct error_text err = {""};
	int rc = address_next(&text, address, &err);

	if (rc == -EINVAL)
		assert_true(err.text[0] != '\0');
	return rc;
}

static void
each_form_comes_back_as_it_was(void **state)
{
	static const struct {
		const char *text, *host, *path;
		enum address_kind kind;
		uint16_t port;
	} good[] = {
	    {"grpc://127.0.0.1:8980", "127.0.0.1", "", ADDRESS_GRPC, 8980},
	    {"grpc://localhost:0", "localhost", "", ADDRESS_GRPC, 0},
	    {"grpc://0.0.0.0:1", "0.0.0.0", "", ADDRESS_GRPC, 1},
	    {"grpcs://build-host.example.com:65535", "build-host.example.com", "", ADDRESS_GRPCS,
		65535},
	    {"grpcs://[::1]:443", "::1", "", ADDRESS_GRPCS, 443},
	    {"grpc://[fe80::1%eth0]:7", "fe80::1%eth0", "", ADDRESS_GRPC, 7},
	    {"unix:/run/ramet.sock", "", "/run/ramet.sock", ADDRESS_UNIX, 0},
	    {"unix:relative:with:colons", "", "relative:with:colons", ADDRESS_UNIX, 0},
	};
	struct address address;
	char text[1400];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		if (first(good[i].text, &address) != 0)
			fail_msg("'%s' was refused", good[i].text);
		assert_int_equal(address.kind, good[i].kind);
		assert_string_equal(address.host, good[i].host);
		assert_string_equal(address.path, good[i].path);
		assert_int_equal(address.port, good[i].port);
		assert_string_equal(address_text(&address, 0, text, sizeof(text)), good[i].text);
	}
}

static void
what_is_no_address(void **state)
{
	static const char *const bad[] = {"127.0.0.1:8980", "http://127.0.0.1:1", "grpc:/x:1",
	    "grpc://", "grpc://:80", "grpc://host", "grpc://host:", "grpc://host:x",
	    "grpc://host:-1", "grpc://host:+1", "grpc://host: 1", "grpc://host:1 ",
	    "grpc://host:65536", "grpc://host:99999999999999999999", "grpc://::1:80",
	    "grpc://[::1:80", "grpc://::1]:80", "grpc://[]:80", "grpc://[[::1]]:80",
	    "grpc://ho st:80", "grpc://host/path:80", "grpc://user@host:80",
	    "grpc://h\xc3\xb6st:80", "GRPC://host:80", "unix:", "unix", "defaults",
	    ",grpc://host:80"};
	struct address address;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (first(bad[i], &address) != -EINVAL)
			fail_msg("'%s' was taken", bad[i]);
}

/* What is too long is refused and not cut. */
static void
what_is_too_long(void **state)
{
	struct address address;
	char text[5000];

	for (size_t len = 250; len < 262; len++) {
		snprintf(text, sizeof(text), "grpc://%0*d:80", (int)len, 0);
		assert_int_equal(first(text, &address), len < 256 ? 0 : -EINVAL);
	}
	for (size_t len = 1020; len < 1028; len++) {
		snprintf(text, sizeof(text), "unix:%0*d", (int)len, 0);
		assert_int_equal(first(text, &address), len < 1024 ? 0 : -EINVAL);
	}
	snprintf(text, sizeof(text), "unix:%04000d", 0);
	assert_int_equal(first(text, &address), -EINVAL);
}

static void
a_list_is_taken_one_by_one(void **state)
{
	const char *cursor = "default,grpcs://[::]:1,unix:/a,";
	struct error_text err = {""};
	struct address address;
	char text[64];

	assert_int_equal(address_next(&cursor, &address, &err), 0);
	assert_string_equal(address_text(&address, 0, text, sizeof(text)), ADDRESS_DEFAULT);
	assert_int_equal(address_next(&cursor, &address, &err), 0);
	assert_string_equal(address.host, "::");
	assert_int_equal(address_next(&cursor, &address, &err), 0);
	assert_string_equal(address.path, "/a");
	assert_int_equal(address_next(&cursor, &address, &err), -ENOENT);
	cursor = "grpc://a:1,,grpc://b:1";
	assert_int_equal(address_next(&cursor, &address, &err), 0);
	assert_int_equal(address_next(&cursor, &address, &err), -EINVAL);
}

static void
http_addresses(void **state)
{
	static const char *const bad[] = {"", "80", "https://host:80", "grpc://host:80", "unix:/a",
	    "http://", "http://host", "host:80/metrics", "a:1,b:2"};
	struct error_text err = {""};
	struct address address;
	char text[300];

	assert_int_equal(address_parse_http("localhost:9", &address, &err), 0);
	assert_int_equal(address.kind, ADDRESS_HTTP);
	assert_string_equal(address_text(&address, 0, text, sizeof(text)), "http://localhost:9");
	assert_int_equal(address_parse_http("http://[::1]:0", &address, &err), 0);
	assert_string_equal(address_text(&address, 1234, text, sizeof(text)), "http://[::1]:1234");
	assert_int_equal(address_parse_http(text, &address, &err), 0);
	assert_int_equal(address.port, 1234);
	assert_int_equal(address_parse_http("default", &address, &err), 0);
	assert_int_equal(address.port, 8981);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (address_parse_http(bad[i], &address, &err) != -EINVAL)
			fail_msg("'%s' was taken", bad[i]);
}

/* Only what nobody else can reach is local: a name that merely looks so is not. */
static void
who_is_local(void **state)
{
	static const struct {
		const char *text;
		bool local;
	} cases[] = {{"grpc://127.0.0.1:1", true}, {"grpc://127.255.0.3:1", true},
	    {"grpc://localhost:1", true}, {"grpc://[::1]:1", true}, {"unix:/a", true},
	    {"grpc://0.0.0.0:1", false}, {"grpc://[::]:1", false}, {"grpc://10.0.0.1:1", false},
	    {"grpc://127.0.0.1.example.com:1", false}, {"grpc://127.example.com:1", false},
	    {"grpc://localhost.example.com:1", false}, {"grpc://127.0.0.1x:1", false},
	    {"grpc://[fe80::1]:1", false}, {"grpcs://host:1", false}};
	struct address address;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(first(cases[i].text, &address), 0);
		if (address_is_local(&address) != cases[i].local)
			fail_msg("'%s': local is %d", cases[i].text, !cases[i].local);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_form_comes_back_as_it_was),
	    cmocka_unit_test(what_is_no_address),
	    cmocka_unit_test(what_is_too_long),
	    cmocka_unit_test(a_list_is_taken_one_by_one),
	    cmocka_unit_test(http_addresses),
	    cmocka_unit_test(who_is_local),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
