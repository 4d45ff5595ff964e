#include "cas/action_kinds.h"

#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/fault.h"
#include "base/fs.h"
#include "cas/hash.h"

enum { FILE_SIZE_MAX = 1024, PATH_SIZE = 80, TEMP_AGE_S = 60 };

const char *const action_kind_state_names[ACTION_KIND_STATE_COUNT] = {
    [ACTION_KIND_UNPROVED] = "unproved",
    [ACTION_KIND_GUARDED] = "guarded",
    [ACTION_KIND_WRITER] = "writer",
};

static int
hash_text(const char *text, size_t len, char *ret_hex)
{
	struct digest digest;
	int rc = hash_bytes(text, len, &digest);

	if (rc == 0)
		digest_to_hex(&digest, ret_hex);
	return rc;
}

static int
path_of(const char *name, char *path)
{
	char hex[DIGEST_HEX_SIZE];
	int rc = hash_text(name, strlen(name), hex);

	if (rc == 0)
		snprintf(path, PATH_SIZE, "kinds/%s", hex);
	return rc;
}

/* One that is too long ends with a part of its hash, so that two of them stay two. */
void
action_kind_name(const char *program, const char *label, char *ret_name)
{
	bool has_label = label[0] != '\0' && strcmp(label, program) != 0;
	char hex[DIGEST_HEX_SIZE], *whole = NULL;
	int len = asprintf(&whole, "%s%s%s", program, has_label ? " " : "", has_label ? label : "");

	if (len < 0) {
		strlcpy(ret_name, program, ACTION_KIND_NAME_SIZE);
		return;
	}
	strlcpy(ret_name, whole, ACTION_KIND_NAME_SIZE);
	if (len >= ACTION_KIND_NAME_SIZE && hash_text(whole, (size_t)len, hex) == 0)
		snprintf(ret_name + ACTION_KIND_NAME_SIZE - 18, 18, "~%.16s", hex);
	free(whole);
	for (char *at = ret_name; *at != '\0'; at++)
		if ((unsigned char)*at < ' ' || *at == 0x7f)
			*at = '?';
}

/* State, failures, time and name, a line each; then the seal, if it is one. */
static int
parse(char *text, size_t len, struct action_kind *ret_kind)
{
	struct action_kind kind = {.state = ACTION_KIND_STATE_COUNT};
	char hex[DIGEST_HEX_SIZE], state[16];
	int used = -1;

	if (len < DIGEST_HEX_SIZE || text[len - 1] != '\n')
		return -EBADMSG;
	size_t body = len - DIGEST_HEX_SIZE;
	if (hash_text(text, body, hex) != 0 || memcmp(text + body, hex, DIGEST_HEX_SIZE - 1) != 0)
		return -EBADMSG;
	text[body] = '\0';
	if (sscanf(text, "%15s %" SCNu32 " %" SCNu32 "%n", state, &kind.failed, &kind.since_s,
		&used) != 3 ||
	    used < 0 || text[used] != '\n')
		return -EBADMSG;
	for (int i = 0; i < ACTION_KIND_STATE_COUNT; i++)
		if (strcmp(state, action_kind_state_names[i]) == 0)
			kind.state = (enum action_kind_state)i;
	char *name = text + used + 1;
	size_t name_len = strcspn(name, "\n");
	if (kind.state == ACTION_KIND_STATE_COUNT || name_len == 0 ||
	    name_len >= sizeof(kind.name) || name[name_len] != '\n')
		return -EBADMSG;
	memcpy(kind.name, name, name_len);
	*ret_kind = kind;
	return 0;
}

static int
file_read(int state_fd, const char *path, struct action_kind *ret_kind)
{
	uint8_t *data;
	size_t len;
	int rc = fs_read_file(state_fd, path, FILE_SIZE_MAX, &data, &len);

	if (rc == -EFBIG)
		return -EBADMSG;
	if (rc != 0)
		return rc;
	rc = parse((char *)data, len, ret_kind);
	free(data);
	return rc;
}

int
action_kind_get(int state_fd, const char *name, struct action_kind *ret_kind)
{
	char path[PATH_SIZE];
	struct action_kind kind;
	int rc = path_of(name, path);

	if (rc == 0)
		rc = file_read(state_fd, path, &kind);
	if (rc == 0 && strcmp(kind.name, name) != 0)
		rc = -EBADMSG;
	if (rc == -EBADMSG)
		(void)unlinkat(state_fd, path, 0);
	if (rc == 0) {
		*ret_kind = kind;
		return 0;
	}
	memset(ret_kind, 0, sizeof(*ret_kind));
	strlcpy(ret_kind->name, name, sizeof(ret_kind->name));
	return rc;
}

int
action_kind_put(int state_fd, const struct action_kind *kind)
{
	char text[FILE_SIZE_MAX], path[PATH_SIZE], hex[DIGEST_HEX_SIZE];
	int fd, len, rc = path_of(kind->name, path);

	if (rc != 0)
		return rc;
	len = snprintf(text, sizeof(text), "%s %" PRIu32 " %" PRIu32 "\n%s\n",
	    action_kind_state_names[kind->state], kind->failed, kind->since_s, kind->name);
	rc = hash_text(text, (size_t)len, hex);
	if (rc != 0)
		return rc;
	len += snprintf(text + len, sizeof(text) - (size_t)len, "%s\n", hex);
	rc = fs_open_beneath(state_fd, "kinds", &fd);
	if (rc == -ENOENT) {
		rc = fs_mkdir(state_fd, "kinds", 0755);
		if (rc == 0)
			rc = fs_open_beneath(state_fd, "kinds", &fd);
	}
	if (rc != 0)
		return rc;
	rc = fs_write_atomic(fd, path + strlen("kinds/"), text, (size_t)len, 0644);
	close(fd);
	if (rc == 0)
		CRASH_POINT(kind_written);
	return rc;
}

/* Each file of kinds/; other than 0 ends it. */
static int
each_file(int state_fd, int (*on_file)(void *arg, int state_fd, const char *path), void *arg)
{
	int rc = 0, fd = openat(state_fd, "kinds", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	char path[PATH_SIZE];

	if (dir == NULL) {
		rc = -errno;
		if (fd >= 0)
			close(fd);
		return rc == -ENOENT ? 0 : rc;
	}
	while (rc == 0 && (entry = readdir(dir)) != NULL) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
		    strlen(entry->d_name) >= DIGEST_HEX_SIZE)
			continue;
		snprintf(path, sizeof(path), "kinds/%.64s", entry->d_name);
		rc = on_file(arg, state_fd, path);
	}
	closedir(dir);
	return rc;
}

struct listing {
	int (*on_kind)(void *arg, const struct action_kind *kind);
	void *arg;
};

static int
list_file(void *arg, int state_fd, const char *path)
{
	struct listing *listing = arg;
	struct action_kind kind;

	return file_read(state_fd, path, &kind) == 0 ? listing->on_kind(listing->arg, &kind) : 0;
}

int
action_kinds_each(
    int state_fd, int (*on_kind)(void *arg, const struct action_kind *kind), void *arg)
{
	struct listing listing = {on_kind, arg};

	return each_file(state_fd, list_file, &listing);
}

static int
remove_file(void *arg, int state_fd, const char *path)
{
	return unlinkat(state_fd, path, 0) == 0 || errno == ENOENT ? 0 : -errno;
}

int
action_kinds_forget(int state_fd, const char *name)
{
	char path[PATH_SIZE];
	int rc;

	if (name == NULL)
		return each_file(state_fd, remove_file, NULL);
	rc = path_of(name, path);
	if (rc != 0)
		return rc;
	return unlinkat(state_fd, path, 0) == 0 ? 0 : -errno;
}

static int
clean_file(void *arg, int state_fd, const char *path)
{
	uint32_t age_s = *(uint32_t *)arg, now_s = clock_realtime_s();
	bool is_temporary = strncmp(path, "kinds/.", 7) == 0;
	struct stat st;

	if (fstatat(state_fd, path, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return 0;
	if (st.st_mtime + (is_temporary ? TEMP_AGE_S : age_s) > now_s)
		return 0;
	return remove_file(NULL, state_fd, path);
}

int
action_kinds_clean(int state_fd, uint32_t age_s)
{
	return each_file(state_fd, clean_file, &age_s);
}
