/*
 * Running one action to its end, and the end of everything it started.
 *
 * Worker, one thread.  runner_new once (it makes the network namespace, and without root the user
 * namespace, of this worker: after it the process may have no other thread); then run_action for
 * each.  Linux: run_linux.c; macOS: run_darwin.c; what they share: run.c.
 *
 * The action's first process is a child of an init of ours that lives in the action's own pid,
 * mount, ipc and uts namespaces, mounts the binds read-only, the sandbox (or an overlay of it and a
 * cached tree) at SANDBOX_PATH, a private
 * /tmp and /dev/shm and a fresh /proc, makes the host read-only, hides the state directory, and
 * waits.  When the first process has ended the init exits and the kernel kills whatever is left.
 * Without namespaces the init is a subreaper that kills the process group and all descendants.
 * Whoever is killed (worker, init, supervisor), nothing of the action lives on: the init dies with
 * its worker and the namespace with its init.
 *
 * Environment: exactly the Command's.  argv[0] with a slash is relative to the working directory
 * (if it is not there, to the input root: older clients mean that); a bare name is looked up in the
 * Command's PATH.  stdin is /dev/null; stdout and stderr become files, cut at log_cap_bytes (the
 * rest is thrown away and a line says so).  Timeout: SIGTERM to all, kill_grace_ms, SIGKILL to all.
 *
 * The slot (may be NULL) names what repair has to end: the init; without namespaces the action's
 * process group, for there the init must live on to end what has left the group.  runner_new
 * ignores SIGPIPE in this process.  The result of an action that was killed by force says signal 9
 * and no usage.
 *
 * run_action may return with two kinds of processes left, neither with anything of the action:
 * inits that are alone and exit, and with namespaces one init made ahead for the next action, which
 * holds the host's mounts as they were when it was made.  So, when nothing is to be done for as
 * long as runner_rest_ms says (-1: for ever, nothing is left), call runner_rest: it ends the one
 * and reaps the others, without waiting.  When the host's mounts change meanwhile the init made
 * ahead is not used.
 *
 * Errors of run_action are the host's (-errno, words in err); what the action did is in the result.
 * A program that cannot be executed is the action's failure: exit code 127 (not found) or 126, with
 * a line on its stderr, as a shell has it.
 */
#ifndef WORKERS_RUN_H
#define WORKERS_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error_text.h"
#include "base/host_config.h"
#include "workers/sandbox.h"
#include "workers/stage.h"

/* Where an action finds its input root when it has a mount namespace. */
#define SANDBOX_PATH "/tmp/ramet"

struct run_request {
	char *const *argv; /* NULL-terminated */
	char *const *env; /* "K=V", NULL-terminated */
	const char *working_directory; /* relative, exists */
	const struct stage_bind *binds;
	size_t bind_count;
	const char *image; /* NULL: none; relative to the state directory, where binds lie in it */
	const struct stage_overlay *overlay; /* NULL: none; a sandbox can have one only once */
	const struct seal *seal; /* NULL: none; else it is in force, or the action does not run */
	uint64_t timeout_us; /* 0: none */
	int cancel_fd; /* readable: look (see cancelled); -1 none */
	bool (*cancelled)(void *arg); /* called when cancel_fd is readable; true: kill the action */
	void *cancelled_arg;
	void (*started)(void *arg); /* NULL, or called once the action's program runs */
	void *started_arg;
};

struct run_result {
	int exit_code; /* as a shell says it: 128 + signal when a signal ended it */
	int term_signal;
	bool timed_out, was_cancelled;
	bool stdout_cut, stderr_cut;
	bool host_proc; /* a fresh /proc was refused (a container): the host's is seen */
	uint64_t start_us, end_us; /* CLOCK_REALTIME */
	uint64_t elapsed_us, user_us, system_us, max_rss_bytes;
	uint64_t setup_us; /* of elapsed_us, until the program was executed */
	uint64_t bind_us, overlay_us, image_us; /* of setup_us, until these were mounted */
};

struct runner;
int runner_new(const struct host_config *config, enum isolation isolation, uid_t action_uid,
    struct slot *slot, struct runner **ret_runner, struct error_text *err);
void runner_free(struct runner *runner);

int run_action(struct runner *runner, struct sandbox *sandbox, const struct run_request *request,
    struct run_result *ret_result, struct error_text *err);
/*
 * When run_action failed because its overlay or image could not be mounted, or what was to be bound
 * was not there: the errno and which of them, else 0.  Then nothing of the action has run, and it
 * can be staged another way.
 */
int runner_refused(const struct runner *runner, enum place_way *ret_way);
int runner_rest_ms(const struct runner *runner);
void runner_rest(struct runner *runner);

/* A real try of an overlay: an action in it writes to, deletes and adds inputs. */
int run_try_overlay(const struct host_config *config, enum isolation isolation, double *ret_us,
    struct error_text *err);

/* A real try of an image, as root: an action reads an input that lies in one. */
int run_try_image(const struct host_config *config, double *ret_us, struct error_text *err);

/* A real try of an isolation with /bin/true-like work, for probe.h: 0 or -errno. */
int run_try_isolation(const struct host_config *config, enum isolation isolation, double *ret_us,
    struct error_text *err);

#endif
