#include <sys/prctl.h>

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "supervisor/process_os.h"

void
process_adopt_orphans(void)
{
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

int
process_die_with_parent(pid_t parent)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
		return -errno;
	return getppid() == parent ? 0 : -ESRCH;
}

/* -1: it is gone, or dead and only waits to be reaped. */
static pid_t
parent_of(const char *pid)
{
	char path[64], line[512], *end, run_state = 'Z';
	int parent = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
	file = fopen(path, "re");
	if (file == NULL)
		return -1;
	if (fgets(line, sizeof(line), file) != NULL) {
		/* "pid (name) state ppid": the name may hold anything, ')' too */
		for (end = line; *end != '\0'; end++)
			;
		while (end > line && *end != ')')
			end--;
		if (sscanf(end, ") %c %d", &run_state, &parent) != 2 || run_state == 'Z')
			parent = -1;
	}
	fclose(file);
	return parent;
}

unsigned
process_kill_strays(bool (*is_ours)(void *arg, pid_t pid), void *arg, pid_t action_pid)
{
	struct dirent *entry;
	unsigned killed = 0;
	pid_t pid;
	DIR *proc;

	proc = opendir("/proc");
	if (proc == NULL)
		return 0;
	while ((entry = readdir(proc)) != NULL) {
		pid = (pid_t)strtol(entry->d_name, NULL, 10);
		if (pid <= 1 || parent_of(entry->d_name) != getpid() || is_ours(arg, pid))
			continue;
		if (kill(pid, SIGKILL) == 0)
			killed++;
	}
	closedir(proc);
	return killed;
}
