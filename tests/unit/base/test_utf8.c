#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "tests/cmocka_wrap.h"

static const struct {
	const char *text, *cleaned;
} cases[] = {
    {"", ""},
    {"plain text \x01\x7f", "plain text \x01\x7f"},
    {"\xc2\x80\xdf\xbf", "\xc2\x80\xdf\xbf"},
    {"\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf",
	"\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf"},
    {"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"},
    /* overlong */
    {"\xc0\x80", "??"},
    {"\xc1\xbf", "??"},
    {"\xe0\x9f\xbf", "???"},
    {"\xf0\x8f\xbf\xbf", "????"},
    /* surrogates, above the last one, no first byte */
    {"\xed\xa0\x80", "???"},
    {"\xf4\x90\x80\x80", "????"},
    {"\xf5\x80\x80\x80", "????"},
    {"a\xff\xfe z", "a?? z"},
    /* a continuation alone, and a sequence that is cut: at the end, by another character */
    {"\x80 \xbf", "? ?"},
    {"\xe2\x82", "??"},
    {"\xf0\x9f\x98", "???"},
    {"\xe2\x82\xe2\x82\xac", "??\xe2\x82\xac"},
    {"\xc3(", "?("},
};

static void
what_is_valid_and_what_becomes_of_the_rest(void **state)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *text = strdup(cases[i].text); /* of just this size, for asan */

		if (utf8_is_valid(text) != (strcmp(text, cases[i].cleaned) == 0))
			fail_msg("case %zu", i);
		assert_ptr_equal(utf8_clean(text), text);
		assert_string_equal(text, cases[i].cleaned);
		assert_true(utf8_is_valid(text));
		free(text);
	}
}

static size_t
encode(unsigned code, char *out)
{
	if (code < 0x80) {
		out[0] = (char)code;
		return 1;
	}
	if (code < 0x800) {
		out[0] = (char)(0xc0 | code >> 6);
		out[1] = (char)(0x80 | (code & 0x3f));
		return 2;
	}
	if (code < 0x10000) {
		out[0] = (char)(0xe0 | code >> 12);
		out[1] = (char)(0x80 | (code >> 6 & 0x3f));
		out[2] = (char)(0x80 | (code & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | code >> 18);
	out[1] = (char)(0x80 | (code >> 12 & 0x3f));
	out[2] = (char)(0x80 | (code >> 6 & 0x3f));
	out[3] = (char)(0x80 | (code & 0x3f));
	return 4;
}

static void
every_code_point(void **state)
{
	for (unsigned code = 1; code < 0x120000; code++) {
		bool expected = code < 0x110000 && (code < 0xd800 || code > 0xdfff);
		char text[5] = "";

		text[encode(code, text)] = '\0';
		if (utf8_is_valid(text) != expected)
			fail_msg("U+%04X", code);
	}
}

/* A byte that is none, and a sequence, at every place of texts of every length. */
static void
at_every_place(void **state)
{
	char text[41];

	for (size_t len = 1; len < sizeof(text); len++) {
		for (size_t at = 0; at < len; at++) {
			memset(text, 'a', len);
			assert_true(utf8_are_valid(text, len));
			text[at] = (char)0xff;
			assert_false(utf8_are_valid(text, len));
			text[at] = (char)0xc3;
			assert_false(utf8_are_valid(text, len));
			if (at + 1 < len) {
				text[at + 1] = (char)0xa4;
				assert_true(utf8_are_valid(text, len));
			}
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(at_every_place),
	    cmocka_unit_test(what_is_valid_and_what_becomes_of_the_rest),
	    cmocka_unit_test(every_code_point),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
