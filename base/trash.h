/*
 * STATE/trash: where what is no longer wanted goes by one rename, for the janitor to delete.
 *
 * Any process that has the state directory open for writing.  `as` is a name that nobody else uses
 * there: by convention "<what>.<slot>.<number>".  After a crash it is where it was or in trash/.
 */
#ifndef BASE_TRASH_H
#define BASE_TRASH_H

enum { TRASH_NAME_SIZE = 128, TRASH_MODE = 0700 };

/*
 * 0, or -errno; -ENOENT only where `name` is not in dirfd: a trash/ that is gone is made again.
 * A directory whose mode does not let it move (an action of our own uid has changed it) gets one.
 */
int trash_move(int dirfd, const char *name, int state_fd, const char *as);

#endif
