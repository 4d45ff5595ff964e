/* Which clients are near: supervisor/process_os.h. */
#include <sys/wait.h>

#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include "supervisor/process_os.h"
#include "tests/cmocka_wrap.h"

static void
test_near(void **state)
{
	(void)state;
	assert_true(process_is_near(getpid()));
	assert_true(process_is_near(getppid()) || geteuid() != 0);
	assert_false(process_is_near(0));
}

/* A child in a user namespace of its own: what an action is to a host of the same user. */
static void
test_other_namespace(void **state)
{
	int fds[2];
	char answer = 0;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	pid_t pid = fork();
	if (pid == 0) {
		char entered = unshare(CLONE_NEWUSER) == 0 ? 'y' : 'n';

		if (write(fds[1], &entered, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	assert_true(pid > 0);
	assert_int_equal(read(fds[0], &answer, 1), 1);
	bool near = process_is_near(pid);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	close(fds[0]);
	close(fds[1]);
	if (answer != 'y') {
		print_message("skipped: no user namespaces here\n");
		skip();
	}
	assert_false(near);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_near),
	    cmocka_unit_test(test_other_namespace),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
