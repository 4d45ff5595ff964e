/*
 * What the parts of run.h share: run.c (the worker's side) with run_child.c (an init as its parent
 * holds it) and run_ready.c (the one made ahead), init.c (the init's side), and what differs
 * between systems (run_linux.c with mounts_linux.c, run_darwin.c).
 *
 * The worker and the init of an action hold the two ends of one stream socket, "control".  The
 * worker sends single bytes: RUN_ASK_TERM, RUN_ASK_KILL; its end of stream means that the worker
 * has died and everything must go.  The init sends struct run_report: RUN_STARTED when
 * the action's program runs, then RUN_ENDED, or RUN_FAILED, then exits.  Whoever dies, the other
 * side sees it.
 *
 * With namespaces an init can be made ahead of its action: it makes all that does not depend on one
 * and waits for RUN_ASK_GO, before which the worker writes an order (sandbox and request) into
 * memory that both share.  The action's processes never see that memory: they execute.  An init
 * that failed before it read the order says so (`ordered`), and the action is run by another.
 *
 * The init is a copy of the worker with three things open beside control: stdin (/dev/null), and
 * the write ends of the two pipes for stdout and stderr.
 */
#ifndef WORKERS_RUN_INTERNAL_H
#define WORKERS_RUN_INTERNAL_H

#include <sys/types.h>

#include <signal.h>

#include "workers/run.h"

enum { RUN_ASK_GO = 'g', RUN_ASK_TERM = 't', RUN_ASK_KILL = 'k' };
enum { RUN_CONTROL_FD = 3, RUN_MAP_FD, RUN_OWN_FD, RUN_LEAVING_MAX = 4 };

/* An init as the worker holds it. */
struct run_child {
	pid_t pid; /* 0: none */
	int control_fd;
	int pipe_fds[2]; /* the read ends of its stdout and stderr, non-blocking */
};
#define RUN_CHILD_NONE ((struct run_child){.control_fd = -1, .pipe_fds = {-1, -1}})

struct run_order; /* run_ready.c */

struct runner {
	const struct host_config *config;
	enum isolation isolation;
	uid_t action_uid;
	bool drop_uid; /* action_uid is not ours, and we may change to it */
	struct slot *slot;
	int null_fd;
	int map_fd, own_fd; /* overlay_linux.h; -1: none */
	enum place_way refused_way; /* of the last run_action: what could not be mounted, */
	int refused_error; /* and its errno; 0: that is not it */
	sigset_t ignored; /* signals that we ignore and an action must not */
	char *log_buffer;
	struct run_child ready; /* the init that waits for an action */
	struct run_order *order; /* shared with it; NULL: none is made ahead */
	int mounts_fd; /* POLLPRI when the host's mounts change; -1: none is made ahead */
	pid_t leaving[RUN_LEAVING_MAX]; /* inits about to exit, oldest first */
	unsigned leaving_count;
};

enum run_step {
	RUN_STEP_STATE,
	RUN_STEP_ROOT,
	RUN_STEP_READ_ONLY,
	RUN_STEP_TMP,
	RUN_STEP_SANDBOX,
	RUN_STEP_IMAGE,
	RUN_STEP_OVERLAY,
	RUN_STEP_SOURCE,
	RUN_STEP_TARGET,
	RUN_STEP_HIDE,
	RUN_STEP_RUN,
	RUN_STEP_SHM,
	RUN_STEP_PTS,
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
	int32_t process_group; /* RUN_STARTED without namespaces */
	uint64_t exec_us; /* CLOCK_MONOTONIC when the program was executed */
	uint64_t user_us, system_us, max_rss_bytes;
	uint64_t bind_us, overlay_us, image_us;
	uint32_t host_proc; /* no fresh /proc could be mounted */
	uint32_t ordered; /* it had its order: what it says is about the action */
	uint32_t alone; /* RUN_ENDED: the init has no child left, so nothing of the action lives */
};

/*
 * What the init works from; lives on the worker's stack when it forks.  With an order, sandbox and
 * request are set when it comes.
 */
struct run_init {
	const struct runner *runner;
	const struct run_order *order;
	const struct sandbox *sandbox;
	const struct run_request *request;
	int stdout_fd, stderr_fd, control_fd;
	int map_fd, own_fd; /* the runner's, where it has them */
	int state_fd; /* a path to it alone, from run_os_isolate to run_os_furnish */
	const char *root_path; /* where the action finds its input root */
	pid_t first;
	struct run_report report;
};

/* init.c.  Never returns; `init` is this process's own copy. */
_Noreturn void init_main(struct run_init *init);
/* In the child of run_os_spawn_first, which may share memory with the init. */
_Noreturn void init_exec_first(struct run_init *init);

/*
 * run_child.c.  Starts an init that works from `init`; `name` is for the error's words.
 * leave: this init is about to exit; it is reaped later, without waiting while the list has room.
 */
int run_child_start(const struct runner *runner, struct run_init *init, const char *name,
    struct run_child *ret_child, struct error_text *err);
void run_child_close(struct run_child *child); /* its descriptors */
void run_child_reap(pid_t pid); /* waits */
void run_child_leave(struct runner *runner, pid_t pid);
void run_children_reap(struct runner *runner); /* those that have left; does not wait */

/*
 * run_ready.c.  open -> (make -> take or drop)* -> close.  make: nothing if there is one or it
 * cannot be.  take: true when one is there, is good, and its order fits and is written; it is the
 * caller's then, and starts with RUN_ASK_GO.  await: in the init, returns with the order.
 */
void run_ready_open(struct runner *runner);
void run_ready_close(struct runner *runner);
void run_ready_make(struct runner *runner);
void run_ready_drop(struct runner *runner);
bool run_ready_take(struct runner *runner, const struct sandbox *sandbox,
    const struct run_request *request, struct run_child *ret_child);
void run_ready_await(struct run_init *init);

/* What differs between systems; 0 or -errno unless said otherwise. */
int run_os_setup(struct runner *runner, struct error_text *err); /* once a worker */
int run_os_pipe(int *ret_fds); /* close-on-exec */
int run_os_control_pair(int *ret_fds); /* likewise */
pid_t run_os_fork_init(const struct runner *runner); /* as fork(2) */
/* In the init: first thing, then once its descriptors are in place. */
int run_os_become_init(struct run_init *init);
int run_os_close_from(int fd);
/* The mounts, before and after the action is known; set report.step. */
int run_os_isolate(struct run_init *init);
int run_os_furnish(struct run_init *init);
pid_t run_os_spawn_first(struct run_init *init);
/* In the worker: what an action needs to whom its inputs belong (stage_overlay.is_owned). */
int run_os_own_inputs(struct runner *runner);
/*
 * In the first process: gives up every right, but to write to its own files whatever their mode
 * where its inputs are its own; then replaces itself by `path`.
 */
int run_os_drop_rights(const struct run_init *init);
int run_os_exec(struct run_init *init, const char *path);
void run_os_default_signals(void); /* those that sigaction(2) refuses */
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
