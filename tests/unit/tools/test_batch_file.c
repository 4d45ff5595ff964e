/* The file of `ramet batch`: what is taken, what is refused and how it is said. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/cmocka_wrap.h"
#include "tools/batch_file.h"

static struct batch batch;
static struct error_text err;

static int
load(const char *text)
{
	char path[] = "/tmp/ramet-batch.XXXXXX";
	int fd = mkstemp(path);
	int rc;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	err.text[0] = '\0';
	rc = batch_load(path, &batch, &err);
	unlink(path);
	return rc;
}

static void
test_everything(void **state)
{
	static const char text[] =
	    "{\"name\":\"first\",\"argv\":[\"/bin/a\",\"x y\"],\"outputs\":[\"o/\",\"p\"],"
	    "\"env\":{\"K\":\"V=1\"},\"input\":\"in\",\"exclude\":[\"*.o\"],\"cwd\":\"sub\","
	    "\"timeout\":1.5,\"into\":\"out\",\"no_cache\":true,\"guard\":\"off\"}\n"
	    "\n"
	    "{\"input_digest\":"
	    "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/12\","
	    "\"argv\":[\"/bin/b\"],\"needs\":[\"first\",\"first\"],\"guard\":\"on\"}";
	const struct action_spec *spec;

	assert_int_equal(load(text), 0);
	assert_int_equal(batch.count, 2);
	spec = &batch.items[0].spec;
	assert_string_equal(batch.items[0].called, "first");
	assert_int_equal(spec->argv.count, 2);
	assert_string_equal(spec->argv.items[1], "x y");
	assert_string_equal(spec->outputs.items[0], "o");
	assert_string_equal(spec->env.items[0], "K=V=1");
	assert_string_equal(spec->input, "in");
	assert_string_equal(spec->excludes.items[0], "*.o");
	assert_null(spec->excludes.items[1]);
	assert_string_equal(spec->cwd, "sub");
	assert_string_equal(spec->into, "out");
	assert_true(spec->timeout_s > 1.4 && spec->timeout_s < 1.6);
	assert_true(spec->no_cache && spec->guard_off);
	assert_int_equal(batch.items[0].dependent_count, 1);
	assert_int_equal(batch.items[0].dependents[0], 1);
	assert_string_equal(batch.items[1].called, "line 3");
	assert_int_equal(batch.items[1].need_count, 1);
	assert_int_equal(batch.items[1].needs_left, 1);
	assert_false(batch.items[1].spec.guard_off);
	assert_false(spec->has_root);
	assert_true(batch.items[1].spec.has_root);
	assert_int_equal(batch.items[1].spec.root.hash[31], 0xaa);
	assert_int_equal(batch.items[1].spec.root.size_bytes, 12);
	batch_free(&batch);
}

static void
test_many(void **state)
{
	char *text = calloc(3000, 40);
	size_t len = 0;

	for (int i = 0; i < 3000; i++)
		len += (size_t)snprintf(text + len, 40, "{\"name\":\"n%d\",\"argv\":[\"x\"]}\n", i);
	assert_int_equal(load(text), 0);
	free(text);
	assert_int_equal(batch.count, 3000);
	assert_string_equal(batch.items[2999].spec.name, "n2999");
	batch_free(&batch);
}

static void
test_empty(void **state)
{
	assert_int_equal(load("\n  \n"), 0);
	assert_int_equal(batch.count, 0);
	batch_free(&batch);
}

static void
test_refused(void **state)
{
	static const struct {
		const char *text, *said;
	} cases[] = {
	    {"{", ":1: not a JSON object"},
	    {"[]", ":1: not a JSON object"},
	    {"{}", ":1: no program"},
	    {"{\"argv\":[]}", ":1: no program"},
	    {"{\"argv\":\"x\"}", ":1: argv: "},
	    {"{\"argv\":[1]}", ":1: argv: "},
	    {"{\"argv\":[\"x\"],\"argc\":1}", ":1: argc: no such member"},
	    {"{\"argv\":[\"x\"],\"name\":1}", ":1: name: "},
	    {"{\"argv\":[\"x\"],\"env\":[]}", ":1: env: "},
	    {"{\"argv\":[\"x\"],\"env\":{\"\":\"\"}}", ":1: env: "},
	    {"{\"argv\":[\"x\"],\"env\":{\"A=B\":\"\"}}", ":1: env: "},
	    {"{\"argv\":[\"x\"],\"timeout\":0}", ":1: timeout: "},
	    {"{\"argv\":[\"x\"],\"timeout\":\"1\"}", ":1: timeout: "},
	    {"{\"argv\":[\"x\"],\"no_cache\":1}", ":1: no_cache: "},
	    {"{\"argv\":[\"x\"],\"input_digest\":\"x\"}", ":1: input_digest: "},
	    {"{\"argv\":[\"x\"],\"input_digest\":7}", ":1: input_digest: "},
	    {"{\"argv\":[\"x\"],\"input\":\"d\",\"input_digest\":"
	     "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/1\"}",
		":1: input: "},
	    {"{\"argv\":[\"x\"],\"guard\":false}", ":1: guard: "},
	    {"{\"argv\":[\"x\"],\"outputs\":[\"/abs\"]}", ":1: output /abs"},
	    {"{\"argv\":[\"x\"],\"outputs\":[\"a/../b\"]}", ":1: output a/../b"},
	    {"{\"argv\":[\"x\"],\"outputs\":[\"\"]}", ":1: output "},
	    {"{\"argv\":[\"x\"],\"cwd\":\"..\"}", ":1: working directory .."},
	    {"{\"argv\":[\"x\"],\"needs\":[\"y\"]}", ":1: needs: no earlier line is named y"},
	    {"{\"name\":\"x\",\"argv\":[\"x\"],\"needs\":[\"x\"]}", ":1: needs: "},
	    {"{\"name\":\"x\",\"argv\":[\"x\"]}\n{\"name\":\"x\",\"argv\":[\"x\"]}", ":2: name: "},
	    {"{\"argv\":[\"x\"],\"argv\":[\"y\"]}", ":1: not a JSON object"},
	    {"{\"argv\":[\"a\\u0000b\"]}", ":1: not a JSON object"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(load(cases[i].text), -EINVAL);
		if (strstr(err.text, cases[i].said) == NULL)
			fail_msg("%s: said %s, not %s", cases[i].text, err.text, cases[i].said);
	}
	assert_int_equal(batch_load("/no/such/file", &batch, &err), -ENOENT);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_everything),
	    cmocka_unit_test(test_many),
	    cmocka_unit_test(test_empty),
	    cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
