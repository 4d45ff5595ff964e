#include "base/error_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int
error_set(struct error_text *err, int rc, const char *format, ...)
{
	va_list ap;

	if (err == NULL)
		return rc;
	va_start(ap, format);
	vsnprintf(err->text, sizeof(err->text), format, ap);
	va_end(ap);
	return rc;
}

int
error_errno(struct error_text *err, int rc, const char *format, ...)
{
	va_list ap;
	size_t len;

	if (err == NULL)
		return rc;
	va_start(ap, format);
	vsnprintf(err->text, sizeof(err->text), format, ap);
	va_end(ap);
	len = strlen(err->text);
	snprintf(err->text + len, sizeof(err->text) - len, ": %s", strerror(-rc));
	return rc;
}
