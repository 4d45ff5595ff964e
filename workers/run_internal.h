/*
 * What the parts of run.h share: run.c (the worker's side), init.c (the init's side), and what
 * differs between systems (run_linux.c with mounts_linux.c, run_darwin.c).
 *
 * The worker and the init of an action hold the two ends of one stream socket, "control".  The
 * worker sends single bytes: RUN_ASK_TERM, RUN_ASK_KILL; its end of stream means that the worker
 * has died and everything must go.  The init sends struct run_report: RUN_STARTED (only where the
 * worker must know the action's process group), then RUN_ENDED or RUN_FAILED, then exits.  Whoever
 * dies, the other side sees it.
 *
 * The init is a copy of the worker with three things open beside control: stdin (/dev/null), and
 * the write ends of the two pipes for stdout and stderr.
 */
#ifndef WORKERS_RUN_INTERNAL_H
#define WORKERS_RUN_INTERNAL_H

#include <sys/types.h>

#include <signal.h>

#include "workers/run.h"

enum { RUN_ASK_TERM = 't', RUN_ASK_KILL = 'k' };
enum { RUN_CONTROL_FD = 3 };

struct runner {
	const struct host_config *config;
	enum isolation isolation;
	uid_t action_uid;
	bool drop_uid; /* action_uid is not ours, and we may change to it */
	struct slot *slot;
	int null_fd;
	sigset_t ignored; /* signals that we ignore and an action must not */
	char *log_buffer;
	pid_t leaving; /* an init that has ended its action and is about to exit, 0: none */
};

enum run_step {
	RUN_STEP_STATE,
	RUN_STEP_ROOT,
	RUN_STEP_READ_ONLY,
	RUN_STEP_TMP,
	RUN_STEP_SANDBOX,
	RUN_STEP_SOURCE,
	RUN_STEP_TARGET,
	RUN_STEP_HIDE,
	RUN_STEP_SHM,
	RUN_STEP_PROC,
	RUN_STEP_CHDIR,
	RUN_STEP_DESCRIPTORS,
	RUN_STEP_SPAWN,
	RUN_STEP_COUNT
};

enum run_report_kind { RUN_STARTED = 1, RUN_ENDED, RUN_FAILED };

struct run_report {
	uint32_t kind;
	int32_t status; /* of the first process, as wait(2) has it */
	int32_t error; /* RUN_FAILED: -errno of `step`, and which bind */
	uint32_t step, bind;
	int32_t process_group; /* RUN_STARTED */
	uint64_t exec_us; /* CLOCK_MONOTONIC when the program was executed */
	uint64_t user_us, system_us, max_rss_bytes;
	uint32_t host_proc; /* no fresh /proc could be mounted */
	uint32_t alone; /* RUN_ENDED: the init has no child left, so nothing of the action lives */
};

/* What the init works from; lives on the worker's stack when it forks. */
struct run_init {
	const struct runner *runner;
	const struct sandbox *sandbox;
	const struct run_request *request;
	int stdout_fd, stderr_fd, control_fd;
	const char *root_path; /* where the action finds its input root */
	pid_t first;
	struct run_report report;
};

/* init.c.  Never returns; `init` is this process's own copy. */
_Noreturn void init_main(struct run_init *init);
/* In the child of run_os_spawn_first, which may share memory with the init. */
_Noreturn void init_exec_first(struct run_init *init);

/* What differs between systems; 0 or -errno unless said otherwise. */
int run_os_setup(struct runner *runner, struct error_text *err); /* once a worker */
int run_os_pipe(int *ret_fds); /* close-on-exec */
int run_os_control_pair(int *ret_fds); /* likewise */
pid_t run_os_fork_init(const struct runner *runner); /* as fork(2) */
/* In the init: first thing, then once its descriptors are in place. */
int run_os_become_init(struct run_init *init);
int run_os_close_from(int fd);
int run_os_isolate(struct run_init *init); /* the mounts; sets report.step */
pid_t run_os_spawn_first(struct run_init *init);
/* In the first process: gives up every right; then replaces itself by `path`. */
int run_os_drop_rights(const struct runner *runner);
int run_os_exec(struct run_init *init, const char *path);
/* In the init: `signal` to every process of the action. */
void run_os_signal_all(struct run_init *init, int signal);
/* In the init, when the first process has ended: the end of the others, as far as it takes us. */
void run_os_end_others(struct run_init *init);
/* In the init while it waits: how often to look around (ms, -1 never), and the look. */
int run_os_tick_ms(const struct run_init *init);
void run_os_tick(struct run_init *init);

/* In the worker, when its init died without a word: the end of what it left. */
void run_os_end_orphans(const struct runner *runner);
extern const unsigned run_os_maxrss_unit; /* bytes, of ru_maxrss */

/* True where the init's exit makes the kernel end everything (a pid namespace). */
bool run_has_namespaces(const struct runner *runner);

#endif
