#include "workers/ways.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"

enum { FILE_MAX = 4096 };

int
ways_keep(const struct host_config *config, const struct probe *probe, enum isolation isolation)
{
	bool uid_differs = probe->is_root && isolation != ISOLATION_USER;
	char text[FILE_MAX];
	size_t len;

	len = (size_t)snprintf(text, sizeof(text),
	    "engine %s\nisolation %s\nuid_differs %d\nclone_is_native %d\n",
	    engine_names[config->engine], isolation_names[isolation], uid_differs,
	    probe->clone_is_native);
	for (int way = 0; way < PLACE_WAY_COUNT; way++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s %d\n",
		    place_way_names[way], probe->ways[way].works);
	return fs_write_atomic(config->state_fd, "ways", text, len, 0644);
}

static int
index_of(const char *const *names, int count, const char *name)
{
	for (int i = 0; i < count; i++)
		if (strcmp(names[i], name) == 0)
			return i;
	return -1;
}

/* Names that are not known are another version's. */
static int
line_read(char *line, struct ways *ways)
{
	char *value = strchr(line, ' ');
	int found;

	if (value == NULL)
		return -EBADMSG;
	*value++ = '\0';
	if (strcmp(line, "engine") == 0) {
		found = index_of(engine_names, ENGINE_COUNT, value);
		ways->engine = found < 0 ? ENGINE_AUTO : (enum engine)found;
		return found < 0 ? -EBADMSG : 0;
	}
	if (strcmp(line, "isolation") == 0) {
		found = index_of(isolation_names, ISOLATION_COUNT, value);
		ways->isolation = found < 0 ? ISOLATION_AUTO : (enum isolation)found;
		return found < 0 ? -EBADMSG : 0;
	}
	if ((value[0] != '0' && value[0] != '1') || value[1] != '\0')
		return -EBADMSG;
	if (strcmp(line, "uid_differs") == 0)
		ways->uid_differs = value[0] == '1';
	else if (strcmp(line, "clone_is_native") == 0)
		ways->clone_is_native = value[0] == '1';
	else if ((found = index_of(place_way_names, PLACE_WAY_COUNT, line)) >= 0)
		ways->works[found] = value[0] == '1';
	return 0;
}

int
ways_read(int state_fd, struct ways *ret_ways)
{
	struct ways ways = {.isolation = ISOLATION_AUTO};
	char *text, *line, *rest;
	uint8_t *data;
	size_t len;
	int rc = fs_read_file(state_fd, "ways", FILE_MAX, &data, &len);

	if (rc != 0)
		return rc;
	text = strndup((const char *)data, len);
	free(data);
	if (text == NULL)
		return -ENOMEM;
	for (rest = text; rc == 0 && (line = strsep(&rest, "\n")) != NULL;)
		if (line[0] != '\0')
			rc = line_read(line, &ways);
	free(text);
	if (rc == 0 && ways.isolation == ISOLATION_AUTO)
		rc = -EBADMSG;
	if (rc == 0)
		*ret_ways = ways;
	return rc;
}
