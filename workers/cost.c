#include "workers/cost.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"

enum { FILE_MAX = 4096, FAR_OFF = 4, NS_MAX = 1000000000 };

const char *const cost_names[COST_COUNT] = {
    [COST_LINK] = "link",
    [COST_LINK_THREADS] = "link_threads",
    [COST_COPY] = "copy",
    [COST_DIRECTORY] = "directory",
    [COST_UNLINK] = "unlink",
    [COST_READ] = "read",
    [COST_TREE] = "tree",
    [COST_BIND] = "bind",
    [COST_OVERLAY] = "overlay",
    [COST_IMAGE] = "image",
    [COST_IMAGE_FILE] = "image_file",
    [COST_CLONE_ENTRY] = "clone_entry",
    [COST_TOUCH] = "touch",
    [COST_TOUCH_OVERLAY] = "touch_overlay",
    [COST_TOUCH_IMAGE] = "touch_image",
};

const char *const cost_words[COST_COUNT] = {
    [COST_LINK] = "a hard link",
    [COST_LINK_THREADS] = "a hard link, by several threads",
    [COST_COPY] = "a copy of a small file",
    [COST_DIRECTORY] = "a directory made",
    [COST_UNLINK] = "a file deleted",
    [COST_READ] = "a Directory message read",
    [COST_TREE] = "a cached tree's name and entry",
    [COST_BIND] = "a subtree bound",
    [COST_OVERLAY] = "an overlay mounted",
    [COST_IMAGE] = "an image written and mounted",
    [COST_IMAGE_FILE] = "a file more in an image",
    [COST_CLONE_ENTRY] = "an entry of a cloned directory",
    [COST_TOUCH] = "a file looked at",
    [COST_TOUCH_OVERLAY] = "likewise below an overlay, more by",
    [COST_TOUCH_IMAGE] = "likewise in an image, more by",
};

/* As found on ext4, Linux 6.18, two cores. */
void
cost_default(struct cost_model *ret_costs)
{
	*ret_costs = (struct cost_model){.ns = {
					     [COST_LINK] = 12000,
					     [COST_LINK_THREADS] = 12000,
					     [COST_COPY] = 50000,
					     [COST_DIRECTORY] = 15000,
					     [COST_UNLINK] = 8000,
					     [COST_READ] = 15000,
					     [COST_TREE] = 40000,
					     [COST_BIND] = 25000,
					     [COST_OVERLAY] = 400000,
					     [COST_IMAGE] = 700000,
					     [COST_IMAGE_FILE] = 2000,
					     [COST_CLONE_ENTRY] = 40000,
					     [COST_TOUCH] = 5000,
					     [COST_TOUCH_OVERLAY] = 7000,
					     [COST_TOUCH_IMAGE] = 10000,
					 }};
}

unsigned
cost_link_threads(const struct cost_model *costs)
{
	uint64_t one = costs->ns[COST_LINK], several = costs->ns[COST_LINK_THREADS];

	return several * 100 <= one * COST_LINK_THREADS_WORTH_PERCENT ? COST_LINK_THREADS_MAX : 1;
}

static int
item_of(const char *name)
{
	for (int item = 0; item < COST_COUNT; item++)
		if (strcmp(cost_names[item], name) == 0)
			return item;
	return -1;
}

/* "<name> <nanoseconds>"; names that are not known are another version's. */
static int
line_read(char *line, struct cost_model *costs, unsigned *read)
{
	char *value = strchr(line, ' ');
	const char *error;
	long long ns;
	int item;

	if (value == NULL)
		return -EBADMSG;
	*value++ = '\0';
	ns = strtonum(value, 0, NS_MAX, &error);
	if (error != NULL)
		return -EBADMSG;
	item = item_of(line);
	if (item < 0)
		return 0;
	costs->ns[item] = (uint32_t)ns;
	++*read;
	return 0;
}

int
cost_read(int state_fd, struct cost_model *ret_costs)
{
	struct cost_model costs;
	char *text, *line, *rest;
	unsigned read = 0;
	uint8_t *data;
	size_t len;
	int rc = fs_read_file(state_fd, "costs", FILE_MAX, &data, &len);

	if (rc != 0)
		return rc;
	cost_default(&costs);
	text = strndup((const char *)data, len);
	free(data);
	if (text == NULL)
		return -ENOMEM;
	for (rest = text; rc == 0 && (line = strsep(&rest, "\n")) != NULL;)
		if (line[0] != '\0')
			rc = line_read(line, &costs, &read);
	free(text);
	if (rc == 0 && read == 0)
		rc = -EBADMSG;
	if (rc == 0)
		*ret_costs = costs;
	return rc;
}

void
cost_learn(struct cost_model *costs, enum cost_item item, uint64_t expected_ns, uint64_t actual_ns)
{
	uint64_t ns = costs->ns[item], found;

	if (expected_ns == 0 || ns == 0)
		return;
	if (actual_ns > expected_ns * FAR_OFF)
		actual_ns = expected_ns * FAR_OFF;
	found = ns * actual_ns / expected_ns;
	if (found < ns / FAR_OFF)
		found = ns / FAR_OFF;
	ns = (ns * 7 + found) / 8;
	costs->ns[item] = ns == 0 ? 1 : ns > NS_MAX ? NS_MAX : (uint32_t)ns;
}

static uint32_t
smoothed(uint32_t kept, uint32_t found)
{
	if (found > kept * (uint64_t)FAR_OFF || kept > found * (uint64_t)FAR_OFF)
		return found;
	return (uint32_t)(((uint64_t)kept * 3 + found) / 4);
}

int
cost_keep(int state_fd, struct cost_model *costs)
{
	struct cost_model kept;
	char text[FILE_MAX];
	size_t len = 0;

	if (cost_read(state_fd, &kept) == 0)
		for (int item = 0; item < COST_COUNT; item++)
			costs->ns[item] = smoothed(kept.ns[item], costs->ns[item]);
	for (int item = 0; item < COST_COUNT; item++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s %" PRIu32 "\n",
		    cost_names[item], costs->ns[item]);
	return fs_write_atomic(state_fd, "costs", text, len, 0644);
}
