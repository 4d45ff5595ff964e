#include "base/utf8.h"

#include <stdint.h>
#include <string.h>

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
static size_t
character(const unsigned char *at, size_t left)
{
	unsigned char low, high;
	int len = sequence(*at, &low, &high);

	if ((size_t)len > left)
		return 0;
	for (int i = 1; i < len; i++) {
		if (at[i] < low || at[i] > high)
			return 0;
		low = 0x80;
		high = 0xbf;
	}
	return (size_t)len;
}

/* How many bytes from here on are ASCII, in eights: most are, and all of a digest. */
static size_t
ascii(const unsigned char *at, size_t left)
{
	size_t count = 0;
	uint64_t eight;

	for (; left - count >= sizeof(eight); count += sizeof(eight)) {
		memcpy(&eight, at + count, sizeof(eight));
		if ((eight & UINT64_C(0x8080808080808080)) != 0)
			break;
	}
	return count;
}

bool
utf8_are_valid(const void *bytes, size_t len)
{
	const unsigned char *at = bytes;
	size_t step;

	for (; len > 0; at += step, len -= step) {
		step = ascii(at, len);
		if (step == 0)
			step = character(at, len);
		if (step == 0)
			return false;
	}
	return true;
}

bool
utf8_is_valid(const char *text)
{
	return utf8_are_valid(text, strlen(text));
}

char *
utf8_clean(char *text)
{
	size_t left = strlen(text), step;

	for (char *at = text; left > 0; at += step, left -= step) {
		step = character((const unsigned char *)at, left);
		if (step == 0)
			*at = '?';
		step += step == 0;
	}
	return text;
}

char *
ascii_clean(char *text)
{
	for (char *at = text; *at != '\0'; at++)
		if ((unsigned char)*at < 0x20 || (unsigned char)*at >= 0x7f)
			*at = '?';
	return text;
}
