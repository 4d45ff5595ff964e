/*
 * Contents in place of digests: what a client asked to have in its ActionResult at once.
 *
 * Gateway.  Works on a decoded result; what is put into it lives in the arena.  At most
 * INLINE_BYTES_MAX in all, of the first INLINE_PATHS_MAX paths; what does not fit, or is not there,
 * stays a digest, which the API allows. The digest stays beside the contents.
 */
#ifndef GATEWAY_INLINE_H
#define GATEWAY_INLINE_H

#include <stdbool.h>

#include "cas/reapi.h"
#include "cas/store.h"

enum { INLINE_BYTES_MAX = 1 << 20, INLINE_PATHS_MAX = 10000 };

struct inline_wish {
	bool out, err; /* stdout, stderr */
	char *const *paths; /* output files */
	size_t path_count;
};

void inline_contents(struct cas *cas, struct arena *arena, const struct inline_wish *wish,
    ReapiActionResult *result);

#endif
