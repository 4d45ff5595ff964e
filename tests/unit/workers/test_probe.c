/* What the probe says is what happens; nothing stays; it is quick. */
#include <sys/statfs.h>

#include "base/clock.h"
#include "tests/cmocka_wrap.h"
#include "tests/unit/workers/stage_host.h"

static int
setup(void **state)
{
	struct host *host = malloc(sizeof *host);

	host_start(host, "/dev/shm");
	*state = host;
	return 0;
}

static int
teardown(void **state)
{
	host_stop(*state);
	free(*state);
	return 0;
}

static void
test_on_tmpfs(void **state)
{
	struct host *host = *state;
	struct probe probe;
	assert_int_equal(fs_mkdir(host->config.state_fd, "sandboxes", 0755), 0);
	size_t before = count_entries(host->config.state_fd);

	probe_run(&host->config, &probe);
	assert_string_equal(probe.volume, "tmpfs");
	assert_true(probe.ways[PLACE_HARDLINK].works);
	assert_true(probe.ways[PLACE_COPY].works);
	assert_true(probe.ways[PLACE_CLONEFILE].works);
	assert_false(probe.clone_is_native);
	assert_false(probe.ways[PLACE_REFLINK].works);
	assert_non_null(strstr(probe.ways[PLACE_REFLINK].remedy, "XFS"));
	assert_false(probe.ways[PLACE_IMAGE].works);
	assert_true(probe.ways[PLACE_OVERLAY].works || probe.ways[PLACE_OVERLAY].error != 0);
	if (probe.best_isolation == ISOLATION_NONE)
		assert_false(probe.ways[PLACE_OVERLAY].works);
	assert_false(probe.case_insensitive);
	assert_true(probe.isolation[ISOLATION_NONE].works);
	assert_true(probe.free_bytes > 0);
	assert_int_equal(count_entries(host->config.state_fd), before);
	for (int way = 0; way < PLACE_WAY_COUNT; way++)
		assert_true(probe.ways[way].why[0] != '\0');
	if (geteuid() != 0) {
		assert_false(probe.isolation[ISOLATION_ROOT].works);
		assert_non_null(strstr(probe.isolation[ISOLATION_ROOT].why, "root"));
	} else {
		enum isolation isolation = ISOLATION_COUNT;
		char why[256];

		host->config.isolation = ISOLATION_USER;
		host->config.engine = ENGINE_AUTO;
		assert_int_equal(
		    probe_choose(&probe, &host->config, &isolation, why, sizeof why), -ENOTSUP);
		assert_non_null(strstr(why, "root has isolation root"));
		assert_int_not_equal(probe.best_isolation, ISOLATION_USER);
	}
}

static void
test_unwritable(void **state)
{
	struct host *host = *state;
	struct probe probe;
	struct host_config config = host->config;

	config.state_fd = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	probe_run(&config, &probe);
	close(config.state_fd);
	assert_false(probe.ways[PLACE_HARDLINK].works);
	assert_false(probe.ways[PLACE_COPY].works);
	assert_true(probe.ways[PLACE_COPY].error != 0);
	assert_non_null(strstr(probe.ways[PLACE_COPY].remedy, "--state"));
}

static void
test_choose(void **state)
{
	struct host_config config = {.engine = ENGINE_AUTO};
	struct probe probe = {.best_isolation = ISOLATION_NONE};
	enum isolation isolation = ISOLATION_COUNT;
	char why[256];

	(void)state;
	probe.isolation[ISOLATION_NONE].works = true;
	probe.ways[PLACE_COPY].works = true;
	strlcpy(probe.ways[PLACE_REFLINK].why, "no extents", sizeof probe.ways[0].why);
	strlcpy(probe.isolation[ISOLATION_USER].remedy, "do this", sizeof probe.ways[0].remedy);
	assert_int_equal(probe_choose(&probe, &config, &isolation, why, sizeof why), 0);
	assert_int_equal(isolation, ISOLATION_NONE);
	config.engine = ENGINE_REFLINK;
	assert_int_equal(probe_choose(&probe, &config, &isolation, why, sizeof why), -ENOTSUP);
	assert_non_null(strstr(why, "no extents"));
	config.engine = ENGINE_AUTO;
	config.isolation = ISOLATION_USER;
	assert_int_equal(probe_choose(&probe, &config, &isolation, why, sizeof why), -ENOTSUP);
	assert_non_null(strstr(why, "do this"));
	config.isolation = ISOLATION_AUTO;
	config.engine = ENGINE_BIND;
	probe.ways[PLACE_BIND].works = true;
	assert_int_equal(probe_choose(&probe, &config, &isolation, why, sizeof why), -ENOTSUP);
	assert_non_null(strstr(why, "namespace"));
	probe.best_isolation = ISOLATION_USER;
	probe.isolation[ISOLATION_USER].works = true;
	assert_int_equal(probe_choose(&probe, &config, &isolation, why, sizeof why), 0);
	assert_int_equal(isolation, ISOLATION_USER);
	config.engine = ENGINE_OVERLAY;
	strlcpy(probe.ways[PLACE_OVERLAY].why, "no upper layer", sizeof probe.ways[0].why);
	assert_int_equal(probe_choose(&probe, &config, &isolation, why, sizeof why), -ENOTSUP);
	assert_non_null(strstr(why, "no upper layer"));
	probe.ways[PLACE_OVERLAY].works = true;
	assert_int_equal(probe_choose(&probe, &config, &isolation, why, sizeof why), 0);
	config.isolation = ISOLATION_NONE;
	assert_int_equal(probe_choose(&probe, &config, &isolation, why, sizeof why), -ENOTSUP);
	assert_non_null(strstr(why, "--engine overlay: needs a mount namespace"));
}

static void
test_json(void **state)
{
	struct probe probe = {.volume = "ext4"};
	char *text = NULL;
	size_t len = 0;

	(void)state;
	strlcpy(probe.ways[PLACE_BIND].why, "a \"quoted\"\n\\", sizeof probe.ways[0].why);
	FILE *out = open_memstream(&text, &len);
	assert_int_equal(probe_print_json(&probe, out), 0);
	fclose(out);
	assert_non_null(strstr(text, "{\"item\":\"way.bind\",\"works\":false"));
	assert_non_null(strstr(text, "\"a \\\"quoted\\\"\\u000a\\\\\""));
	assert_non_null(strstr(text, "{\"item\":\"volume\",\"works\":true,\"value\":\"ext4\""));
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_on_tmpfs, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_unwritable, setup, teardown),
	    cmocka_unit_test(test_choose),
	    cmocka_unit_test(test_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
