/*
 * Suspects: cached trees and blobs that somebody has found changed, on their way to the janitor.
 *
 *   suspect/<hash>-<size>         a cached tree, by its Directory digest
 *   suspect/blob.<hash>-<size>    a blob whose inode may be linked by cached trees
 *
 * A note is an empty file: its name is all it says, so it is whole as soon as it is there.  The
 * tool leaves notes (`ramet index check`), and a worker whose action wrote into its inputs; the
 * janitor looks by itself at what a note names, before it believes it, and takes the note away when
 * that is done.  So a note costs a look and never a good tree, may be left twice, and outlives
 * every crash; a janitor that starts with its host looks at all of them before any action runs.
 *
 * Errors: -errno.  The folder is made where it is missing, and is its state directory's owner's.
 */
#ifndef CAS_SUSPECT_H
#define CAS_SUSPECT_H

#include <stdbool.h>

#include "base/digest.h"

enum suspect_kind { SUSPECT_TREE, SUSPECT_BLOB };

int suspect_note(int state_fd, enum suspect_kind kind, const struct digest *digest);
bool suspect_is_noted(int state_fd, enum suspect_kind kind, const struct digest *digest);
/* 0 also where there is none. */
int suspect_forget(int state_fd, enum suspect_kind kind, const struct digest *digest);

/* Other names are passed over.  A callback that returns other than 0 ends it. */
int suspect_each(int state_fd,
    int (*on_note)(void *arg, enum suspect_kind kind, const struct digest *digest), void *arg);

#endif
