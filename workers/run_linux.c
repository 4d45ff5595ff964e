#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/sched.h>
#include <linux/securebits.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "workers/descent_linux.h"
#include "workers/mounts_linux.h"
#include "workers/overlay_linux.h"
#include "workers/run_internal.h"

/* Of one action; the network namespace is made once a worker, since it costs as much as all these.
 */
enum { ACTION_NAMESPACES = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS };

const unsigned run_os_maxrss_unit = 1024;

static int
file_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int rc;

	if (fd < 0)
		return -errno;
	rc = fs_write_all(fd, text, strlen(text));
	close(fd);
	return rc;
}

/* Own uid and gid stay themselves, so that the worker's files stay its own. */
static int
user_namespace_map(uid_t uid, gid_t gid)
{
	char line[64];
	int rc = file_write("/proc/self/setgroups", "deny");

	if (rc != 0)
		return rc;
	snprintf(line, sizeof(line), "%u %u 1", (unsigned)uid, (unsigned)uid);
	rc = file_write("/proc/self/uid_map", line);
	if (rc != 0)
		return rc;
	snprintf(line, sizeof(line), "%u %u 1", (unsigned)gid, (unsigned)gid);
	return file_write("/proc/self/gid_map", line);
}

static int
user_namespace_enter(int network_flag, struct error_text *err)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	int rc;

	if (unshare(CLONE_NEWUSER | network_flag) != 0)
		return error_errno(err, -errno,
		    "cannot make a user namespace (sysctl kernel.unprivileged_userns_clone, "
		    "user.max_user_namespaces, or AppArmor forbids it; --isolation=none does without)");
	rc = user_namespace_map(uid, gid);
	if (rc != 0)
		return error_errno(err, rc, "cannot map uid %u in a user namespace", (unsigned)uid);
	return 0;
}

static int
loopback_up(void)
{
	struct ifreq request = {.ifr_name = "lo"};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int rc = 0;

	if (fd < 0)
		return errno == EAFNOSUPPORT ? 0 : -errno;
	request.ifr_flags = IFF_UP | IFF_RUNNING;
	if (ioctl(fd, SIOCSIFFLAGS, &request) != 0)
		rc = -errno;
	close(fd);
	return rc;
}

int
run_os_setup(struct runner *runner, struct error_text *err)
{
	int network_flag = runner->config->network_host ? 0 : CLONE_NEWNET;
	int death_signal = 0, rc;

	if (runner->isolation == ISOLATION_NONE) {
		/* What outlives its init comes to us. */
		prctl(PR_SET_CHILD_SUBREAPER, 1);
		return 0;
	}
	prctl(PR_GET_PDEATHSIG, &death_signal);
	if (runner->isolation == ISOLATION_USER) {
		rc = user_namespace_enter(network_flag, err);
		if (rc != 0)
			return rc;
	} else if (network_flag != 0 && unshare(network_flag) != 0) {
		return error_errno(
		    err, -errno, "cannot make a network namespace (--network=host does without)");
	}
	if (death_signal != 0) /* a change of credentials may have cleared it */
		prctl(PR_SET_PDEATHSIG, death_signal);
	rc = network_flag != 0 ? loopback_up() : 0;
	if (rc != 0)
		return error_errno(err, rc, "cannot bring the loopback interface up");
	runner->mounts_fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	return 0;
}

int
run_os_pipe(int *ret_fds)
{
	return pipe2(ret_fds, O_CLOEXEC) == 0 ? 0 : -errno;
}

int
run_os_control_pair(int *ret_fds)
{
	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ret_fds) == 0 ? 0 : -errno;
}

pid_t
run_os_fork_init(const struct runner *runner)
{
	struct clone_args args = {.flags = ACTION_NAMESPACES, .exit_signal = SIGCHLD};

	if (!run_has_namespaces(runner))
		return fork();
	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

/*
 * Dies with the worker; cannot be traced by the action.  Without namespaces the init must outlive a
 * dead worker for as long as it takes to end the action: the end of `control` tells it.
 */
int
run_os_become_init(struct run_init *init)
{
	prctl(PR_SET_DUMPABLE, 0);
	if (run_has_namespaces(init->runner))
		return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 ? 0 : -errno;
	return prctl(PR_SET_CHILD_SUBREAPER, 1) == 0 ? 0 : -errno;
}

int
run_os_close_from(int fd)
{
	return close_range((unsigned)fd, ~0U, 0) == 0 ? 0 : -errno;
}

int
run_os_isolate(struct run_init *init)
{
	static const char name[] = "localhost";

	if (!run_has_namespaces(init->runner))
		return 0;
	(void)sethostname(name, sizeof(name) - 1);
	return mounts_prepare(init);
}

int
run_os_furnish(struct run_init *init)
{
	return run_has_namespaces(init->runner) ? mounts_finish(init) : 0;
}

pid_t
run_os_spawn_first(struct run_init *init)
{
	/* Not posix_spawn: the child has rights to give up first.  Not fork: that copies the worker
	 * twice. */
	pid_t pid = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork) */

	if (pid == 0)
		init_exec_first(init); /* NOLINT(clang-analyzer-unix.Vfork): it never returns */
	return pid > 0 ? pid : -errno;
}

/*
 * All capabilities, now and at the exec: uid 0 of a user namespace would get them back there.
 * `kept` is a mask of those that stay, at the exec too.
 */
static int
capabilities_drop(uint32_t kept)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct left[_LINUX_CAPABILITY_U32S_3];

	memset(left, 0, sizeof(left));
	left[0].effective = left[0].permitted = left[0].inheritable = kept;
	if (prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED) != 0 && errno != EPERM)
		return -errno;
	if (syscall(SYS_capset, &header, left) != 0)
		return -errno;
	for (unsigned capability = 0; capability < 32; capability++)
		if ((kept & 1U << capability) != 0 &&
		    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) != 0)
			return -errno;
	return 0;
}

int
run_os_own_inputs(struct runner *runner)
{
	return run_has_namespaces(runner) ? overlay_namespaces(runner) : -ENOTSUP;
}

/*
 * Where inputs are the action's own they still have the modes of the cached tree, 0444: this makes
 * them writable, and only what belongs to the one uid of the action's user namespace.
 */
static uint32_t
capabilities_kept(const struct run_init *init)
{
	const struct stage_overlay *overlay = init->request->overlay;

	return overlay != NULL && overlay->is_owned ? 1U << CAP_DAC_OVERRIDE : 0;
}

/* By number: the C library's wrappers would tell all threads, and this may share the init's memory.
 */
static int
identity_drop(uid_t uid, int own_fd)
{
	if (syscall(SYS_setgroups, 0, NULL) != 0 ||
	    (own_fd >= 0 && setns(own_fd, CLONE_NEWUSER) != 0) ||
	    syscall(SYS_setresgid, uid, uid, uid) != 0 ||
	    syscall(SYS_setresuid, uid, uid, uid) != 0)
		return -errno;
	return 0;
}

/*
 * Keys of the host's are not the action's: an empty session keyring, and nothing left by an earlier
 * action in that of its uid.  A kernel without keyrings has nothing to hide.
 */
static void
keyrings_leave(bool has_own_uid)
{
	(void)syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL, 0, 0, 0);
	if (has_own_uid)
		(void)syscall(SYS_keyctl, KEYCTL_CLEAR, KEY_SPEC_USER_KEYRING, 0, 0, 0);
}

int
run_os_drop_rights(const struct run_init *init)
{
	const struct runner *runner = init->runner;
	uint32_t kept = capabilities_kept(init);
	int rc = 0;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return -errno;
	if (!run_has_namespaces(runner) && geteuid() == 0 && !runner->drop_uid)
		return 0; /* root that wants root: as told */
	if (runner->drop_uid)
		rc = identity_drop(runner->action_uid, kept != 0 ? init->own_fd : -1);
	if (rc == 0)
		keyrings_leave(runner->drop_uid);
	if (rc == 0)
		rc = capabilities_drop(kept);
	if (rc == 0 && !run_has_namespaces(runner))
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return rc;
}

int
run_os_exec(struct run_init *init, const char *path)
{
	execve(path, init->request->argv, init->request->env);
	return -errno;
}

/* The C library's own; posix_spawn leaves them ignored. */
void
run_os_default_signals(void)
{
	const uint64_t standard[8] = {0}; /* the kernel's struct sigaction, or more */

	for (int signal_number = __SIGRTMIN; signal_number < SIGRTMIN; signal_number++)
		(void)syscall(SYS_rt_sigaction, signal_number, standard, NULL, _NSIG / 8);
}

int
run_os_tick_ms(const struct run_init *init)
{
	return -1;
}

void
run_os_tick(struct run_init *init)
{
}

void
run_os_signal_all(struct run_init *init, int signal_number)
{
	if (run_has_namespaces(init->runner)) {
		kill(-1, signal_number); /* all of this pid namespace but its init, us */
		return;
	}
	kill(-init->first, signal_number);
	descent_signal(signal_number);
}

/* With namespaces our exit does it. */
void
run_os_end_others(struct run_init *init)
{
	if (!run_has_namespaces(init->runner))
		descent_end();
}

void
run_os_end_orphans(const struct runner *runner)
{
	if (!run_has_namespaces(runner))
		descent_end();
}
