/* What can be set of the gateway, and what may not be said without meaning it. */
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "supervisor/config.h"
#include "tests/cmocka_wrap.h"

static char top[64];

/* Paths are taken from here. */
static int
make_files(void **state)
{
	strlcpy(top, "/tmp/ramet-config.XXXXXX", sizeof(top));
	if (mkdtemp(top) == NULL || chdir(top) != 0)
		return -1;
	for (const char *const *name = (const char *const[]){"cert", "key", "ca", "token", NULL};
	     *name != NULL; name++)
		if (fs_write_atomic(AT_FDCWD, *name, "x", 1, 0600) != 0)
			return -1;
	return 0;
}

static int
drop_files(void **state)
{
	return chdir("/") != 0 ? -1 : fs_remove_tree(AT_FDCWD, top);
}

static void
set(struct settings *settings, const char *name, const char *value)
{
	struct error_text err = {""};

	if (config_set(settings, name, value, &err) != 0)
		fail_msg("%s %s: %s", name, value, err.text);
}

static void
refused(const char *name, const char *value)
{
	struct settings *settings = calloc(1, sizeof(*settings));
	struct error_text err = {""};

	config_defaults(settings);
	if (config_set(settings, name, value, &err) == 0)
		fail_msg("%s %s was taken", name, value);
	if (strstr(err.text, name) == NULL)
		fail_msg("'%s' does not name %s", err.text, name);
	free(settings);
}

static void
none_by_itself(void **state)
{
	static struct settings settings;

	config_defaults(&settings);
	assert_string_equal(settings.gateway.listen, "");
	assert_string_equal(settings.gateway.http, "");
	assert_false(settings.gateway.insecure);
	assert_true(settings.gateway.message_max >= 4 << 20);
	assert_int_equal(config_check(&settings, NULL), 0);
}

static void
addresses(void **state)
{
	static struct settings settings;
	char expected[PATH_MAX + 64], cwd[PATH_MAX], list[8192] = "unix:/a";

	config_defaults(&settings);
	set(&settings, "listen", "default");
	assert_string_equal(settings.gateway.listen, "grpc://127.0.0.1:8980");
	set(&settings, "listen", "grpc://localhost:0,unix:sock,grpcs://[::]:1,");
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	snprintf(expected, sizeof(expected), "grpc://localhost:0,unix:%s/sock,grpcs://[::]:1", cwd);
	assert_string_equal(settings.gateway.listen, expected);
	set(&settings, "http", "default");
	assert_string_equal(settings.gateway.http, "http://127.0.0.1:8981");
	refused("listen", "");
	refused("listen", ",");
	refused("listen", "127.0.0.1:1");
	refused("listen", "grpc://a:1,nonsense");
	refused("http", "");
	refused("http", "localhost");
	refused("http", "grpc://localhost:1");
	for (int i = 0; i < 400; i++)
		strlcat(list, ",unix:/a/long/path", sizeof(list));
	refused("listen", list);
	/* one that is refused leaves what there was */
	assert_int_equal(config_set(&settings, "listen", "nonsense", NULL), -EINVAL);
	assert_string_equal(settings.gateway.listen, expected);
}

static void
numbers(void **state)
{
	static struct settings settings;

	config_defaults(&settings);
	set(&settings, "message-max", "32M");
	assert_int_equal(settings.gateway.message_max, 32 << 20);
	set(&settings, "blob-max", "2G");
	assert_int_equal(settings.gateway.blob_max, UINT64_C(2) << 30);
	set(&settings, "orphan-grace", "0");
	assert_int_equal(settings.gateway.orphan_grace_ms, 0);
	refused("message-max", "x");
	refused("blob-max", "-1");
	refused("orphan-grace", "1s");
}

static void
material_by_path_or_itself(void **state)
{
	static const char pem[] =
	    "-----BEGIN CERTIFICATE-----\\nAAAA\\n-----END CERTIFICATE-----\\n";
	static struct settings settings;
	char cwd[PATH_MAX], expected[PATH_MAX + 8], *large;

	config_defaults(&settings);
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	snprintf(expected, sizeof(expected), "%s/cert", cwd);
	set(&settings, "tls-cert", "cert");
	assert_string_equal(settings.gateway.tls_cert, expected);
	set(&settings, "tls-key", expected);
	set(&settings, "tls-client-ca", pem);
	assert_string_equal(settings.gateway.tls_client_ca,
	    "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
	set(&settings, "token-file", "token");
	refused("tls-cert", "absent");
	refused("tls-key", "/absent/key");
	refused("token-file", "absent");
	large = calloc(1, PEM_SIZE + 20);
	memset(large, 'A', PEM_SIZE + 10);
	memcpy(large, "-----BEGIN ", 11);
	refused("tls-cert", large);
	large[PEM_SIZE - 1] = '\0';
	set(&settings, "tls-cert", large);
	assert_string_equal(settings.gateway.tls_cert, large);
	free(large);
}

/* Each a list of "name value" settings; what the check says, or NULL. */
static void
what_goes_together(void **state)
{
	static const struct {
		const char *settings[8], *refused;
	} cases[] = {
	    {{"listen", "default", "http", "default"}, NULL},
	    {{"listen", "unix:/a"}, NULL},
	    {{"listen", "grpc://0.0.0.0:1"}, "plain text"},
	    {{"listen", "grpc://[::]:1"}, "plain text"},
	    {{"listen", "grpc://build.example.com:1"}, "plain text"},
	    {{"listen", "default,grpc://10.0.0.1:1"}, "10.0.0.1"},
	    {{"http", "0.0.0.0:9"}, "plain text"},
	    {{"listen", "grpc://0.0.0.0:1", "insecure", "yes"}, NULL},
	    {{"http", "0.0.0.0:9", "insecure", "yes"}, NULL},
	    {{"listen", "grpcs://0.0.0.0:1"}, "--tls-cert"},
	    {{"listen", "grpcs://127.0.0.1:1", "insecure", "yes"}, "--tls-cert"},
	    {{"listen", "grpcs://0.0.0.0:1", "tls-cert", "cert"}, "--tls-key"},
	    {{"listen", "grpcs://0.0.0.0:1", "tls-cert", "cert", "tls-key", "key"}, NULL},
	    {{"listen", "default", "tls-cert", "cert", "tls-key", "key"}, "grpcs://"},
	    {{"listen", "default", "tls-client-ca", "ca"}, "--tls-cert"},
	    {{"listen", "default", "token-file", "token"}, NULL},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct settings *settings = calloc(1, sizeof(*settings));
		struct error_text err = {""};
		int rc;

		config_defaults(settings);
		for (size_t j = 0; j < 8 && cases[i].settings[j] != NULL; j += 2)
			set(settings, cases[i].settings[j], cases[i].settings[j + 1]);
		rc = config_check(settings, &err);
		if (rc != (cases[i].refused == NULL ? 0 : -EINVAL))
			fail_msg("case %zu: %d %s", i, rc, err.text);
		if (cases[i].refused != NULL && strstr(err.text, cases[i].refused) == NULL)
			fail_msg("case %zu: '%s' does not say '%s'", i, err.text, cases[i].refused);
		free(settings);
	}
}

static void
from_a_file(void **state)
{
	static const char text[] = "listen grpc://127.0.0.1:0,unix:sock # two\n"
				   "http = localhost:0\n"
				   "token-file = token\n"
				   "orphan-grace = 500\n"
				   "insecure yes\n";
	static struct settings settings, again;
	struct error_text err = {""};
	char path[128];

	assert_int_equal(fs_write_atomic(AT_FDCWD, "conf", text, strlen(text), 0600), 0);
	config_defaults(&settings);
	if (config_read_file(&settings, "conf", &err) != 0)
		fail_msg("%s", err.text);
	assert_non_null(strstr(settings.gateway.listen, "/sock"));
	assert_string_equal(settings.gateway.http, "http://localhost:0");
	assert_int_equal(settings.gateway.orphan_grace_ms, 500);
	assert_true(settings.gateway.insecure);
	assert_int_equal(settings.gateway.token_file[0], '/');
	/* a daemon reads it again, from where it is by then */
	assert_int_equal(chdir("/"), 0);
	snprintf(path, sizeof(path), "%s/conf", top);
	again = settings;
	if (config_read_file(&again, path, &err) != 0)
		fail_msg("%s", err.text);
	assert_string_equal(again.gateway.token_file, settings.gateway.token_file);
	assert_string_equal(again.gateway.listen, settings.gateway.listen);
	assert_int_equal(chdir(top), 0);
	assert_int_equal(fs_write_atomic(AT_FDCWD, "conf", "\nlisten nonsense\n", 17, 0600), 0);
	assert_int_equal(config_read_file(&settings, "conf", &err), -EINVAL);
	assert_non_null(strstr(err.text, ":2:"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(none_by_itself),
	    cmocka_unit_test(addresses),
	    cmocka_unit_test(numbers),
	    cmocka_unit_test(material_by_path_or_itself),
	    cmocka_unit_test(what_goes_together),
	    cmocka_unit_test(from_a_file),
	};

	return cmocka_run_group_tests(tests, make_files, drop_files);
}
