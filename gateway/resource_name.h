/*
 * The names by which ByteStream reads and writes, and instance names.
 *
 * Gateway.  Pure.  Read: [INSTANCE/]blobs/[sha256/]HASH/SIZE, [INSTANCE/]compressed-blobs/zstd/
 * [sha256/]HASH/SIZE, [INSTANCE/]logstreams/ID/(stdout|stderr).  Write: [INSTANCE/]uploads/UUID/
 * before the first two, and anything of the client's own after them.  An instance may have slashes,
 * but none of its parts may be a word that marks another part of a name.
 *
 * Errors: -EINVAL, words in err, for what is no such name; -EOPNOTSUPP for another digest function
 * or compressor.
 */
#ifndef GATEWAY_RESOURCE_NAME_H
#define GATEWAY_RESOURCE_NAME_H

#include <stdbool.h>

#include "base/digest.h"
#include "base/error_text.h"

enum { INSTANCE_MAX = 256, UPLOAD_ID_MAX = 128 };

enum resource_kind { RESOURCE_BLOB, RESOURCE_LOG };

struct resource_name {
	enum resource_kind kind;
	bool zstd;
	struct digest digest; /* RESOURCE_BLOB */
	char instance[INSTANCE_MAX + 1];
	char id[UPLOAD_ID_MAX + 1]; /* the upload's, or the operation's of a log */
	bool is_stderr; /* RESOURCE_LOG */
};

int resource_name_parse_read(
    const char *name, struct resource_name *ret_name, struct error_text *err);
int resource_name_parse_write(
    const char *name, struct resource_name *ret_name, struct error_text *err);

/* "a/b" and "" are fine. */
int instance_check(const char *instance, struct error_text *err);

#endif
