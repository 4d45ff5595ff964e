#include "tools/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/tool.h"

void
text_print(const char *text)
{
	for (; *text != '\0'; text++)
		putchar((unsigned char)*text < ' ' || *text == 127 ? '?' : *text);
}

json_t *
text_json(const char *text)
{
	json_t *string = json_string(text);
	char *safe;

	if (string != NULL)
		return string;
	safe = xstrdup(text);
	for (char *at = safe; *at != '\0'; at++)
		if ((unsigned char)*at >= 0x80)
			*at = '?';
	string = json_string(safe);
	free(safe);
	return string;
}

char *
text_duration(uint64_t us, char *text)
{
	if (us < 1000)
		snprintf(text, 32, "%" PRIu64 " us", us);
	else if (us < 1000000)
		snprintf(text, 32, "%.1f ms", (double)us / 1e3);
	else if (us < 100 * 1000000ull)
		snprintf(text, 32, "%.1f s", (double)us / 1e6);
	else if (us < 3600 * 1000000ull)
		snprintf(
		    text, 32, "%" PRIu64 " min %" PRIu64 " s", us / 60000000, us / 1000000 % 60);
	else
		snprintf(text, 32, "%" PRIu64 " h %" PRIu64 " min", us / 3600000000u,
		    us / 60000000 % 60);
	return text;
}

char *
text_bytes(uint64_t bytes, char *text)
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
	double value = (double)bytes;
	unsigned unit = 0;

	while (value >= 1024 && unit < 4) {
		value /= 1024;
		unit++;
	}
	snprintf(text, 32, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
	return text;
}
