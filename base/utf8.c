#include "base/utf8.h"

#include <stdint.h>

/* How long a sequence is by its first byte, and what its second one may be; 0: no first byte. */
static int
sequence(unsigned char first, unsigned char *ret_low, unsigned char *ret_high)
{
	*ret_low = 0x80;
	*ret_high = 0xbf;
	if (first < 0x80)
		return 1;
	if (first >= 0xc2 && first <= 0xdf)
		return 2;
	if (first >= 0xe0 && first <= 0xef) {
		if (first == 0xe0)
			*ret_low = 0xa0;
		if (first == 0xed)
			*ret_high = 0x9f;
		return 3;
	}
	if (first >= 0xf0 && first <= 0xf4) {
		if (first == 0xf0)
			*ret_low = 0x90;
		if (first == 0xf4)
			*ret_high = 0x8f;
		return 4;
	}
	return 0;
}

/* How many bytes the character at `at` has; 0: there is none. */
static int
character(const unsigned char *at)
{
	unsigned char low, high;
	int len = sequence(*at, &low, &high);

	for (int i = 1; i < len; i++) {
		if (at[i] < low || at[i] > high)
			return 0;
		low = 0x80;
		high = 0xbf;
	}
	return len;
}

bool
utf8_is_valid(const char *text)
{
	const unsigned char *at = (const unsigned char *)text;
	int len;

	for (; *at != '\0'; at += len) {
		len = character(at);
		if (len == 0)
			return false;
	}
	return true;
}

char *
utf8_clean(char *text)
{
	unsigned char *at = (unsigned char *)text;

	while (*at != '\0') {
		int len = character(at);

		if (len == 0)
			*at = '?';
		at += len == 0 ? 1 : len;
	}
	return text;
}
