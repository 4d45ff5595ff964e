#include <errno.h>
#include <string.h>

#include "base/digest.h"
#include "tests/cmocka_wrap.h"

#define EMPTY_HEX "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static void
test_empty_has_the_known_text(void **state)
{
	char text[DIGEST_TEXT_SIZE];

	assert_string_equal(digest_to_text(&digest_empty, '/', text), EMPTY_HEX "/0");
	assert_true(digest_is_empty(&digest_empty));
}

static void
test_text_goes_both_ways(void **state)
{
	struct digest digest, again;
	char text[DIGEST_TEXT_SIZE];

	assert_int_equal(digest_from_text(EMPTY_HEX "-9223372036854775807", &digest), 0);
	assert_int_equal(digest.size_bytes, INT64_MAX);
	assert_false(digest_is_empty(&digest));
	digest_to_text(&digest, '/', text);
	assert_int_equal(digest_from_text(text, &again), 0);
	assert_true(digest_equal(&digest, &again));
	assert_int_equal(digest_compare(&digest, &again), 0);
	assert_true(digest_compare(&digest_empty, &digest) < 0);
}

static void
test_bad_text_is_refused(void **state)
{
	static const char *const bad[] = {
	    "",
	    "abc/1",
	    EMPTY_HEX,
	    EMPTY_HEX "/",
	    EMPTY_HEX "/-1",
	    EMPTY_HEX "/+1",
	    EMPTY_HEX "/ 1",
	    EMPTY_HEX "/1x",
	    EMPTY_HEX "_1",
	    EMPTY_HEX "/9223372036854775808",
	    EMPTY_HEX "/00000000000000000000001",
	    "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855/0",
	    "g3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855/0",
	};
	struct digest digest = digest_empty;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(digest_from_text(bad[i], &digest), -EINVAL);
		assert_true(digest_is_empty(&digest));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_empty_has_the_known_text),
	    cmocka_unit_test(test_text_goes_both_ways),
	    cmocka_unit_test(test_bad_text_is_refused),
	};

	return cmocka_run_group_tests_name("digest", tests, NULL, NULL);
}
