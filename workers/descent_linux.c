#include "workers/descent_linux.h"

#include <sys/wait.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PASSES_MAX = 500, PASS_WAIT_MS = 10 };

struct process {
	pid_t pid, parent;
	bool ours;
};

struct process_list {
	struct process *processes;
	size_t count, room;
};

/* The parent's id stands after the name, which may hold anything, parentheses too. */
static pid_t
parent_read(int proc_fd, const char *pid_text)
{
	char path[64], text[512];
	char *end;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%.20s/stat", pid_text);
	fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return -1;
	text[n] = '\0';
	end = strrchr(text, ')');
	if (end == NULL || strlen(end) < 5)
		return -1;
	return (pid_t)atoi(end + 4); /* ") S <parent>" */
}

static void
list_add(struct process_list *list, pid_t pid, pid_t parent)
{
	if (list->count == list->room) {
		size_t room = list->room == 0 ? 256 : list->room * 2;
		struct process *more = realloc(list->processes, room * sizeof(*more));

		if (more == NULL)
			return;
		list->processes = more;
		list->room = room;
	}
	list->processes[list->count++] = (struct process){.pid = pid, .parent = parent};
}

static void
list_read(struct process_list *list)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;

	if (proc == NULL)
		return;
	while ((entry = readdir(proc)) != NULL) {
		pid_t parent;

		if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
			continue;
		parent = parent_read(dirfd(proc), entry->d_name);
		if (parent > 0)
			list_add(list, (pid_t)atoi(entry->d_name), parent);
	}
	closedir(proc);
}

static bool
list_has_ours(const struct process_list *list, pid_t pid)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->processes[i].pid == pid)
			return list->processes[i].ours;
	return false;
}

static void
list_mark(struct process_list *list)
{
	pid_t self = getpid();
	bool more = true;

	while (more) {
		more = false;
		for (size_t i = 0; i < list->count; i++) {
			struct process *process = &list->processes[i];

			if (process->ours ||
			    (process->parent != self && !list_has_ours(list, process->parent)))
				continue;
			process->ours = true;
			more = true;
		}
	}
}

void
descent_signal(int signal_number)
{
	struct process_list list = {0};

	list_read(&list);
	list_mark(&list);
	for (size_t i = 0; i < list.count; i++)
		if (list.processes[i].ours)
			kill(list.processes[i].pid, signal_number);
	free(list.processes);
}

/* True when no child is left, so no descendant either. */
static bool
children_gone(void)
{
	pid_t pid;

	do {
		pid = waitpid(-1, NULL, WNOHANG);
	} while (pid > 0);
	return pid < 0 && errno == ECHILD;
}

void
descent_end(void)
{
	const struct timespec wait = {0, PASS_WAIT_MS * 1000000L};
	sigset_t child;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	for (int pass = 0; pass < PASSES_MAX && !children_gone(); pass++) {
		descent_signal(SIGSTOP); /* so that none forks while we kill */
		descent_signal(SIGKILL);
		if (!children_gone())
			sigtimedwait(&child, NULL, &wait);
	}
}
