#include "tests/bench/isolate.h"

#include <sys/mman.h>
#include <sys/wait.h>

#include <err.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/isolate_child.h"
#include "tests/bench/series.h"

/* Shared with the child. */
struct told {
	struct isolate_times times;
	int rc;
};

static struct told *told;
static pid_t child_pid;

static struct told *
told_make(void)
{
	struct told *made =
	    mmap(NULL, sizeof(*made), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (made == MAP_FAILED)
		err(1, "mmap");
	return made;
}

_Noreturn static void
child(const struct isolated *isolated, int end_fd)
{
	int rootfd = isolate_enter(isolated, &told->times.mount_ns), rc = rootfd < 0 ? rootfd : 0;

	if (rc == 0 && isolated->work != NULL)
		rc = isolated->work(isolated->arg, rootfd);
	told->rc = rc < 0 ? rc : 0;
	told->times.ended_ns = bench_now_ns();
	(void)!write(end_fd, "e", 1);
	_exit(0);
}

int
isolate_run(const struct isolated *isolated, struct isolate_times *ret_times)
{
	int fds[2], rc = isolate_prepare(isolated);
	char end;

	if (told == NULL)
		told = told_make();
	if (rc < 0) {
		warnx("namespaces: %s", strerror(-rc));
		return rc;
	}
	if (pipe(fds) < 0)
		err(1, "pipe");
	child_pid = fork();
	if (child_pid < 0)
		err(1, "fork");
	if (child_pid == 0)
		child(isolated, fds[1]);
	close(fds[1]);
	if (read(fds[0], &end, 1) != 1)
		errx(1, "the isolated child ended without a word");
	close(fds[0]);
	if (told->rc < 0)
		warnx("the isolated child: %s", strerror(-told->rc));
	*ret_times = told->times;
	return told->rc;
}

void
isolate_reap(void)
{
	int status;

	if (waitpid(child_pid, &status, 0) < 0)
		err(1, "waitpid");
	if (status != 0)
		errx(1, "the isolated child failed");
}
