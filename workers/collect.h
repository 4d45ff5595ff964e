/*
 * Collecting an action's outputs into an ActionResult.
 *
 * Worker, after every process of the action has ended.  Looks for each output beneath the sandbox's
 * root and nowhere else: every component is opened without following a symlink, so an output, or a
 * parent of one, that the action turned into a symlink is a symlink (recorded as given) or absent,
 * never a way out.  Regular files, directories and symlinks are collected; a device, socket or fifo
 * is an error that names it, and so is what an input was bound on (the action moved it there).  A
 * missing output is left out, as the API has it.
 *
 * Files are moved into the store (cas_put_move) when only this action can have had them open, they
 * are its own (the owner of the sandbox's root/) and they have one link; else copied.  An action's
 * output that we may not read (mode 000) is made readable first; an input never is.  Directories
 * become Tree messages (each Directory once, sorted, the same bytes for the same contents) and,
 * when asked for, a root_directory_digest.  output_paths is used when it is not empty, else the
 * older output_files and output_directories with their own symlink lists; output_symlinks are
 * filled for both.  Node properties mtime and unix_mode are recorded when the Command asks for
 * them.
 *
 * Below an overlay root/ holds what the action wrote, and marks of what it deleted; the rest of an
 * output is as the input tree's Directories say, so that what was not written is never read.
 */
#ifndef WORKERS_COLLECT_H
#define WORKERS_COLLECT_H

#include <errno.h>
#include <stdbool.h>

#include "base/error_text.h"
#include "cas/reapi.h"
#include "cas/store.h"
#include "shm/slot.h"
#include "workers/sandbox.h"
#include "workers/stage.h"

struct collect_request {
	const ReapiCommand *command;
	const struct stage_overlay *overlay; /* what the sandbox's root/ lay over; NULL: nothing */
	bool may_move; /* nobody can have an output open any more */
	bool need_digests; /* stdout, stderr into the store even when small (always done when large)
			    */
};
#define COLLECT_UNMET (-EPROTOTYPE)
enum { COLLECT_INLINE_MAX = 16 << 10 }; /* of stdout and of stderr, in the result itself */

struct collect_stats {
	uint64_t files, bytes, moved, copied;
	uint64_t elapsed_us;
};

/*
 * The sandbox is used up: what was moved is gone from it.  -EINVAL: an output of a kind that cannot
 * be kept, one whose name or link target is not UTF-8, or too deep a directory, named in err.
 * COLLECT_UNMET: a directory where the Command's older lists say a file, or the other way round,
 * and the action has exited with 0.  -ENOSPC and others from the store.
 *
 * Fills output_*, stdout_*, stderr_* of `result`, allocated in `arena`.
 */
int collect_outputs(struct cas *cas, struct arena *arena, struct slot *slot,
    struct sandbox *sandbox, const struct collect_request *request, ReapiActionResult *result,
    struct collect_stats *ret_stats, struct error_text *err);

/*
 * What the action wrote in its input tree beside its outputs: a line each, "changed PATH",
 * "deleted PATH" or "made PATH", in no order; a directory's path ends in '/'.  Opening an input for
 * writing is a change.  Before collect_outputs, which takes files away.  outputs: relative to the
 * input root.  *ret_text is malloc'ed.  -ENOTSUP: its inputs lay below no overlay.
 */
int collect_writes(struct cas *cas, struct arena *arena, struct sandbox *sandbox,
    const struct collect_request *request, const char *const *outputs, size_t output_count,
    char **ret_text, size_t *ret_len, struct error_text *err);

#endif
