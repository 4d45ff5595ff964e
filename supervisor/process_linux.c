#include <sys/prctl.h>
#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "supervisor/process_os.h"

enum { STRAYS_MAX = 1024 };

void
process_adopt_orphans(void)
{
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

static bool
same_namespace(pid_t pid, const char *kind)
{
	struct stat ours, theirs;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/ns/%s", kind);
	if (stat(path, &ours) != 0)
		return true;
	snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, kind);
	return stat(path, &theirs) == 0 && theirs.st_dev == ours.st_dev &&
	    theirs.st_ino == ours.st_ino;
}

bool
process_is_near(pid_t pid)
{
	return same_namespace(pid, "pid") && same_namespace(pid, "user");
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

struct strays {
	pid_t killed[STRAYS_MAX];
	unsigned count;
};

static bool
was_killed(const struct strays *strays, pid_t pid)
{
	for (unsigned i = 0; i < strays->count; i++)
		if (strays->killed[i] == pid)
			return true;
	return false;
}

/* Returns how many there were that no earlier look had seen. */
static unsigned
kill_new_ones(bool (*is_ours)(void *arg, pid_t pid), void *arg, struct strays *strays)
{
	struct dirent *entry;
	unsigned before = strays->count;
	pid_t pid;
	DIR *proc;

	proc = opendir("/proc");
	if (proc == NULL)
		return 0;
	while (strays->count < STRAYS_MAX && (entry = readdir(proc)) != NULL) {
		pid = (pid_t)strtol(entry->d_name, NULL, 10);
		if (pid <= 1 || parent_of(entry->d_name) != getpid() || is_ours(arg, pid) ||
		    was_killed(strays, pid))
			continue;
		if (kill(pid, SIGKILL) == 0)
			strays->killed[strays->count++] = pid;
	}
	closedir(proc);
	return strays->count - before;
}

/* What a stray forks while we look becomes ours when the stray goes: hence another look. */
unsigned
process_kill_strays(bool (*is_ours)(void *arg, pid_t pid), void *arg, pid_t action_pid)
{
	struct strays strays = {.count = 0};

	while (kill_new_ones(is_ours, arg, &strays) > 0)
		;
	return strays.count;
}
