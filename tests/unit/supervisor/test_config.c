#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "supervisor/options.h"
#include "tests/cmocka_wrap.h"

static char file_path[64];

static void
write_file(const char *text, size_t len)
{
	int fd = open(file_path, O_WRONLY | O_TRUNC | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), len);
	close(fd);
}

static int
read_text(struct settings *settings, const char *text, struct error_text *err)
{
	config_defaults(settings);
	write_file(text, strlen(text));
	return config_read_file(settings, file_path, err);
}

static void
sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {{"0", 0}, {"64", 64}, {"16K", 16384}, {"16k", 16384}, {"2M", 2 << 20},
	    {"3G", UINT64_C(3) << 30}, {"1T", UINT64_C(1) << 40}};
	static const char *const bad[] = {"", "K", "-1", "+1", " 1", "1KB", "1.5G", "0x10", "1 K",
	    "18446744073709551616", "99999999999T", "12Q"};
	uint64_t bytes;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(config_parse_size(good[i].text, &bytes), 0);
		assert_int_equal(bytes, good[i].bytes);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (config_parse_size(bad[i], &bytes) != -EINVAL)
			fail_msg("'%s' was taken for a size", bad[i]);
}

static void
a_file_in_both_forms(void **state)
{
	struct settings settings;
	struct error_text err = {""};

	assert_int_equal(read_text(&settings,
			     "# a host\n\n  workers 7\nlink-cap=32\ncas-size = 20G # bytes\n"
			     "engine\tcopy\nnetwork = host\r\nlog-level debug",
			     &err),
	    0);
	assert_int_equal(settings.host.workers, 7);
	assert_int_equal(settings.host.link_cap, 32);
	assert_int_equal(settings.host.cas_size_bytes, UINT64_C(20) << 30);
	assert_int_equal(settings.host.engine, ENGINE_COPY);
	assert_true(settings.host.network_host);
	assert_int_equal(settings.log_level, LOG_LEVEL_DEBUG);
}

static void
errors_name_file_line_and_thing(void **state)
{
	static const struct {
		const char *text, *where, *what;
	} bad[] = {
	    {"workers 2\n\nwokers 3\n", ":3: ", "wokers"},
	    {"workers", ":1: ", "workers"},
	    {"workers =\n", ":1: ", "workers"},
	    {"= 3\n", ":1: ", "name"},
	    {"workers three\n", ":1: ", "three"},
	    {"workers 3 4\n", ":1: ", "3 4"},
	    {"workers 0\n", ":1: ", "between 1 and 256"},
	    {"workers 257\n", ":1: ", "257"},
	    {"link-cap 4294967296\n", ":1: ", "link-cap"},
	    {"# x\nengine fast\n", ":2: ", "fast"},
	    {"cas-size 5Q\n", ":1: ", "cas-size"},
	};
	struct settings settings;
	struct error_text err;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		err.text[0] = '\0';
		if (read_text(&settings, bad[i].text, &err) != -EINVAL)
			fail_msg("'%s' was taken", bad[i].text);
		assert_int_equal(strncmp(err.text, file_path, strlen(file_path)), 0);
		assert_int_equal(
		    strncmp(err.text + strlen(file_path), bad[i].where, strlen(bad[i].where)), 0);
		if (strstr(err.text, bad[i].what) == NULL)
			fail_msg("'%s' does not name '%s'", err.text, bad[i].what);
	}
	config_defaults(&settings);
	write_file("workers 3\0 4\n", 13);
	assert_int_equal(config_read_file(&settings, file_path, &err), -EINVAL);
	assert_int_equal(config_read_file(&settings, "/nonexistent/conf", &err), -ENOENT);
	assert_non_null(strstr(err.text, "/nonexistent/conf"));
}

static int
parse(struct settings *settings, struct error_text *err, const char *const *argv)
{
	char *copy[16];
	int argc = 0;

	config_defaults(settings);
	for (; argv[argc] != NULL; argc++)
		copy[argc] = strdup(argv[argc]);
	copy[argc] = NULL;
	int rc = options_parse(settings, argc, copy, err);
	while (argc > 0)
		free(copy[--argc]);
	return rc;
}
#define PARSE(settings, err, ...)                                                                  \
	parse(settings, err, (const char *const[]){"rametd", __VA_ARGS__, NULL})

static void
flags_win_over_the_file_wherever_they_stand(void **state)
{
	struct settings settings;
	struct error_text err = {""};

	write_file("workers 7\nlink-cap 9\n", 21);
	assert_int_equal(
	    PARSE(&settings, &err, "--workers", "3", "-c", file_path, "--foreground"), 0);
	assert_int_equal(settings.host.workers, 3);
	assert_int_equal(settings.host.link_cap, 9);
	assert_true(settings.foreground);
	assert_int_equal(PARSE(&settings, &err, "--cas-grace=10", "--state", "/x y"), 0);
	assert_int_equal(settings.host.cas_grace_s, 10);
	assert_string_equal(settings.state, "/x y");
}

static void
bad_usage(void **state)
{
	struct settings settings;
	struct error_text err = {""};

	assert_int_equal(PARSE(&settings, &err, "--nonsense"), -EINVAL);
	assert_non_null(strstr(err.text, "--nonsense"));
	assert_int_equal(PARSE(&settings, &err, "--workers"), -EINVAL);
	assert_non_null(strstr(err.text, "--workers"));
	assert_int_equal(PARSE(&settings, &err, "--workers", "x"), -EINVAL);
	assert_int_equal(PARSE(&settings, &err, "stray"), -EINVAL);
	assert_non_null(strstr(err.text, "stray"));
	assert_int_equal(PARSE(&settings, &err, "--state", ""), -EINVAL);
	assert_int_equal(
	    PARSE(&settings, &err, "--timeout-max", "5", "--timeout-default", "6"), -EINVAL);
}

/* Every setting has a default that its own limits allow, or is set by a name. */
static void
defaults_are_in_force(void **state)
{
	struct settings settings;

	config_defaults(&settings);
	assert_true(settings.host.workers >= 1);
	assert_int_equal(settings.host.link_cap, 64);
	assert_int_equal(settings.host.engine, ENGINE_AUTO);
	assert_int_equal(settings.host.isolation, ISOLATION_AUTO);
	assert_false(settings.host.network_host);
	assert_int_equal(config_check(&settings, NULL), 0);
}

static int
make_file(void **state)
{
	strlcpy(file_path, "/tmp/ramet-config.XXXXXX", sizeof(file_path));
	int fd = mkstemp(file_path);

	return fd < 0 ? -1 : close(fd);
}

static int
drop_file(void **state)
{
	return unlink(file_path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sizes),
	    cmocka_unit_test(a_file_in_both_forms),
	    cmocka_unit_test(errors_name_file_line_and_thing),
	    cmocka_unit_test(flags_win_over_the_file_wherever_they_stand),
	    cmocka_unit_test(bad_usage),
	    cmocka_unit_test(defaults_are_in_force),
	};

	return cmocka_run_group_tests(tests, make_file, drop_file);
}
