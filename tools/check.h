/*
 * `ramet index check`: the rules of the index, and every tree compared with its digest.
 *
 * Reads only, but for one thing: what is found damaged is noted for the janitor (cas/suspect.h),
 * who looks again, and drops it; a host that lives is told so at once, and waited for.  One line
 * for each fault: the thing, the cause, what was done.
 */
#ifndef TOOLS_CHECK_H
#define TOOLS_CHECK_H

#include "tools/tool.h"

/* only: that tree and nothing else.  Returns the exit status: 1 when anything is wrong. */
int check_index(struct tool *tool, struct region *region, const struct digest *only, bool deep);

#endif
