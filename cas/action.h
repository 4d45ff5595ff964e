/*
 * Action and Command: read from the store, verified and checked, ready to be staged and run.
 *
 * Any process with a store handle.  action_load reads both messages, checks them (action_check) and
 * looks for the input root's Directory.  What is missing is listed, all of it, in *ret_missing
 * (which may be NULL).  The messages live in the arena.
 *
 * action_check refuses: absent or broken digests; a negative or impossible timeout; no arguments;
 * an environment name that is empty or has a '='; a working directory or an output path that is not
 * a relative path of plain components (fs_path_check; a trailing '/' too); an output listed twice;
 * an output file that is the parent of another; an output node property but mtime and unix_mode.
 * Output directories and output paths may lie within
 * one another, and "" (the working directory itself) is one, as the API has it.  Text with an
 * embedded NUL never gets here: reapi_decode refuses it.
 *
 * Errors: -ENOENT something is missing; -EBADMSG a blob did not match its digest (it has been
 * dropped and is listed as missing); -EINVAL a bad message, err names the thing; -EFBIG too large a
 * message.
 */
#ifndef CAS_ACTION_H
#define CAS_ACTION_H

#include "base/error_text.h"
#include "cas/reapi.h"
#include "cas/store.h"

enum { ACTION_MISSING_MAX = 3 }; /* Action, Command, input root */
struct action_missing {
	struct digest digests[ACTION_MISSING_MAX];
	unsigned count;
};

int action_load(struct cas *cas, struct arena *arena, const struct digest *digest,
    ReapiAction **ret_action, ReapiCommand **ret_command, struct action_missing *ret_missing,
    struct error_text *err);

int action_check(const ReapiAction *action, struct error_text *err);
int command_check(const ReapiCommand *command, struct error_text *err);

#endif
