#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *words_place;
static size_t words_size;

void
check_last_words(char *place, size_t size)
{
	words_place = place;
	words_size = size;
}

_Noreturn void
check_failed(const char *condition, const char *file, int line, const char *func)
{
	char words[256];

	snprintf(words, sizeof(words), "%s:%d: %s: check failed: %s", file, line, func, condition);
	if (words_place != NULL)
		snprintf(words_place, words_size, "%s", words);
	fprintf(stderr, "%s\n", words);
	abort();
}
