/*
 * Which state directory is meant, when the user may not have said.
 *
 * rametd and ramet, so that both mean the same one.  The rule: the option, else $RAMET_STATE, else
 * ./var in a checkout of ramet (a directory with GNUmakefile and supervisor/), else "ramet" in the
 * user's cache directory ($XDG_CACHE_HOME, ~/Library/Caches where there is one, ~/.cache).
 *
 * Only names: nothing is made, the path may not exist, and it is relative when what it came from is
 * (except ./var, which is made absolute).  `option` may be NULL; an empty one counts as not given.
 * Errors: -ENAMETOOLONG; -ENOENT, no home directory is known.
 */
#ifndef BASE_STATE_PATH_H
#define BASE_STATE_PATH_H

#include <stddef.h>

int state_path_choose(const char *option, char *path, size_t size);

#endif
