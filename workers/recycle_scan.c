#include "workers/recycle_scan.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"

enum { LIST_FIRST = 64, CLOCK_TRIES = 4 };

void
scan_add(struct scan_list *list, const char *name, const struct scan_stat *stat)
{
	if (list->count == list->room) {
		size_t room = list->room == 0 ? LIST_FIRST : list->room * 2;
		struct scan_entry *grown =
		    arena_alloc(list->arena, room * sizeof(struct scan_entry));
		if (list->count > 0)
			memcpy(grown, list->entries, list->count * sizeof(struct scan_entry));
		list->entries = grown;
		list->room = room;
	}
	list->entries[list->count++] =
	    (struct scan_entry){.name = arena_strdup(list->arena, name), .stat = *stat};
}

static int
compare_names(const void *a, const void *b)
{
	const struct scan_entry *left = a, *right = b;

	return strcmp(left->name, right->name);
}

void
scan_sort(struct scan_list *list)
{
	if (list->count > 1)
		qsort(list->entries, list->count, sizeof(struct scan_entry), compare_names);
}

bool
scan_clock_is_fine(int dirfd)
{
	int fd =
	    FAULTY(clock, openat(dirfd, ".clock", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
	bool is_fine = fd >= 0;

	for (int i = 0; is_fine && i < CLOCK_TRIES; i++) {
		struct scan_stat first, second;
		dev_t device;
		is_fine = write(fd, "x", 1) == 1 && scan_self(fd, &first, &device) == 0 &&
		    write(fd, "y", 1) == 1 && scan_self(fd, &second, &device) == 0 &&
		    first.ctime_ns != second.ctime_ns;
	}
	if (fd >= 0)
		close(fd);
	unlinkat(dirfd, ".clock", 0);
	return is_fine;
}
