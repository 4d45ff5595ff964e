/*
 * Staging: an input tree becomes a sandbox, by composition.
 *
 * Worker, one thread.  Calling sequence:
 *   stager_new once;  for each action: stage_compose -> run the action with the binds and the
 *   overlay it gives (stage_after meanwhile) -> (action has ended, outputs are collected) ->
 *   stage_release.
 *
 * stage_compose makes the spine for real in sandbox->rootfd (root, working directory, each
 * directory on the way to an output: private, writable, owned by the action's uid), puts the
 * spine's loose files there, and gives every other subtree either as a *bind* (a pinned cached tree
 * and an empty mount point made for it) or placed file by file.  The binds are mounted by run.h
 * inside the action's own mount namespace, read-only, so that a crash leaves no mount.  Where the
 * action may write into its inputs, and where the spine has large flat directories, a pinned cached
 * tree becomes the lower layer of an *overlay*, whose upper layer is the sandbox's root.
 *
 * Every Directory message is read and checked before anything is placed; all missing digests are
 * found, not the first.  Guard: see README.md.
 *
 * Errors: -ENOENT missing blobs (report->missing), -EINVAL a bad tree (err names the thing),
 * -ENOSPC, others from the system.  On error the sandbox may hold a part of the tree; release it as
 * it is. After a crash: the sandbox stands in the slot, pins in the leases, a tree being built has
 * a temporary name in trees/ and a BUILDING entry: all given back by repair.
 */
#ifndef WORKERS_STAGE_H
#define WORKERS_STAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error_text.h"
#include "base/host_config.h"
#include "cas/store.h"
#include "shm/counters.h"
#include "shm/region.h"
#include "shm/slot.h"
#include "workers/probe.h"
#include "workers/sandbox.h"
#include "workers/seal.h"

enum { STAGE_BINDS_MAX = 512 };

struct stage_bind {
	char *target; /* relative to the sandbox's root; an empty directory or file made for it */
	char *source; /* relative to the state directory, or to the image */
	bool is_directory, in_image;
};

/*
 * A cached tree that the sandbox's root/ lies over, both mounted as one by run.h: what the action
 * writes, changes and deletes is in root/ alone.
 */
struct stage_overlay {
	char *lower; /* relative to the state directory */
	struct digest digest; /* of its Directory */
	/*
	 * The whole input tree, which the action may change as if it were its own: what root/ does
	 * not have or hide is as it was.  Else the large flat directories of the spine, whose files
	 * are as links to the CAS would be; no output is below.
	 */
	bool is_owned;
};

struct stage_request {
	struct digest root;
	const char *working_directory; /* checked relative path, "" for the root */
	const char *const
	    *output_paths; /* relative to the input root; their parents join the spine */
	size_t output_count;
	const char *const *output_directories; /* made, and part of the spine themselves */
	size_t output_directory_count;
	bool guard_off; /* the action may write into its inputs: an overlay or private copies */
	/* Mounting one has just failed; cached trees that it had were gone. */
	bool no_overlay, no_image, no_cached;
};

struct stage_report {
	/* By way; links made to build a cached tree are here too, and the tree again when bound. */
	uint64_t files[PLACE_WAY_COUNT], bytes[PLACE_WAY_COUNT], subtrees[PLACE_WAY_COUNT];
	/* What the action sees. */
	uint64_t files_placed, bytes_placed, subtrees_placed, directories_made, subtrees_built;
	uint64_t fallbacks, elapsed_us;
	/* By way; whoever mounts adds what that took, and stage_release counts it. */
	uint64_t us[PLACE_WAY_COUNT];
	struct stage_bind *binds; /* the stager's, until stage_release or the next stage_compose */
	size_t bind_count;
	const char *image; /* likewise: what binds in_image are in; NULL: none */
	bool has_overlay;
	struct stage_overlay overlay; /* likewise */
	bool is_sealed; /* then the action must not run without the seal */
	struct seal seal; /* likewise */
	struct digest *missing; /* likewise */
	size_t missing_count;
};

struct stager;

struct stager_config {
	const struct host_config *host;
	const struct probe *probe;
	enum isolation isolation;
	uid_t action_uid; /* the uid actions of this worker run as */
	bool uid_differs; /* from ours: links to the CAS are then safe in the spine */
	bool seals_inputs; /* what runs the actions keeps them from what stage_report.seal says */
};

int stager_new(const struct stager_config *config, struct region *region, struct slot *slot,
    struct cas *cas, struct stager **ret_stager, struct error_text *err);
void stager_free(struct stager *stager);
/*
 * Another one of the same worker, for a sandbox beside that of the first (ahead.h): both have
 * actions of their own, and keep finished sandboxes together.  Freed as a pair, in either order,
 * the second may be NULL.
 */
int stager_new_second(struct stager *first, struct stager **ret_second, struct error_text *err);
void stager_free_pair(struct stager *one, struct stager *other);

int stage_compose(struct stager *stager, const struct stage_request *request,
    struct sandbox *sandbox, struct stage_report *ret_report, struct error_text *err);

/* Overlay and image of the report were mounted: refusals before are forgotten. */
void stage_mounted(struct stager *stager, const struct stage_report *report);

/*
 * The action runs: the worker has time for what of its staging no action waits for.  May be left
 * out, or called again; stage_release does it too.
 */
void stage_after(struct stager *stager);

/*
 * Gives back the pins and what the report points to; may be called after a failed stage_compose.
 * Where links were forced without guard (--engine hardlink and one uid), inputs are checked first:
 * -EBADMSG when the action changed one; the blob has been dropped, err names it.
 */
int stage_release(struct stager *stager, struct stage_report *report, struct error_text *err);

/*
 * After stage_release, before sandbox_release, when the action has ended and nothing of it lives:
 * its root may be kept for another action (recycle.h).  Whatever comes, sandbox_release follows.
 */
void stage_keep(struct stager *stager, struct sandbox *sandbox);
/* What is kept goes: when the disk is full, say. */
void stager_drop_kept(struct stager *stager);
/* When the worker has nothing to do: drops what was kept too long; call again in so many
 * milliseconds, or -1. */
int stager_rest_ms(struct stager *stager);

/*
 * A failed action whose inputs are in an image: were all blobs there?  They are believed to be when
 * it is mounted, unless ramet itself has taken one away.  -ENOENT: report->missing has those that
 * somebody else has removed.
 */
int stage_look_for_missing(
    struct stager *stager, struct stage_report *report, struct error_text *err);

/* An action that may write into its inputs would get an overlay now. */
bool stager_has_overlay(const struct stager *stager);

/*
 * The overlay, the image or a bind (PLACE_OVERLAY, PLACE_IMAGE, PLACE_BIND) of the action just
 * staged could not be mounted: counted, and the janitor is told of cached trees that somebody has
 * taken away.  Then stage_release, a new sandbox, and stage_compose once more without that way:
 * *stage_without_way is set by the caller, who gives up when it is set already.
 */
void stage_mount_failed(
    struct stager *stager, struct stage_report *report, enum place_way way, int error);
bool *stage_without_way(struct stage_request *request, enum place_way way);

#endif
