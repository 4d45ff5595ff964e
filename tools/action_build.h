/*
 * What a user asks for becomes an Action in the store, written canonically (environment and outputs
 * sorted), so that the same wish has the same digest.
 *
 * `ramet run` and `ramet batch`.  Strings belong to the caller.  Errors: -EINVAL, words in err.
 */
#ifndef TOOLS_ACTION_BUILD_H
#define TOOLS_ACTION_BUILD_H

#include "cas/reapi.h"
#include "tools/tool.h"

struct action_spec {
	const char *name; /* NULL: argv[0]'s */
	const char *input; /* a directory; NULL: an empty input root, or root */
	struct digest root; /* where has_root: an input root in the store already */
	const char *cwd, *into; /* NULL: "" */
	struct strings argv, outputs, env, excludes;
	double timeout_s; /* 0: the host's */
	bool has_root, no_cache, guard_off, show_writes;
};
void action_spec_free(struct action_spec *spec); /* the lists */

int action_check_spec(const struct action_spec *spec, struct error_text *err);
int action_build(struct cas *cas, const struct action_spec *spec, const struct digest *root,
    struct digest *ret_action, struct error_text *err);

#endif
