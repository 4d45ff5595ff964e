/* ramet cas: blobs and trees put, read back, looked for, listed. */
#include <sys/stat.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "cas/hash.h"
#include "cas/ingest.h"
#include "tools/cas_tree.h"
#include "tools/outputs.h"
#include "tools/tool.h"

struct cas_options {
	const char *output;
	bool tree, json, executable;
	struct strings excludes;
};

enum { CAS_OUTPUT = OPTION_FIRST, CAS_TREE, CAS_JSON, CAS_EXECUTABLE, CAS_EXCLUDE };
static const struct option cas_options[] = {
    {"output", required_argument, NULL, CAS_OUTPUT},
    {"tree", no_argument, NULL, CAS_TREE},
    {"json", no_argument, NULL, CAS_JSON},
    {"executable", no_argument, NULL, CAS_EXECUTABLE},
    {"exclude", required_argument, NULL, CAS_EXCLUDE},
    TOOL_OPTIONS,
};

static struct digest
digest_argument(struct tool *tool, const char *text)
{
	struct digest digest;

	if (digest_from_text(text, &digest) != 0)
		usage_error(tool, "%s: not a digest (64 hex digits, '/', the size)", text);
	return digest;
}

static int
put_file(struct cas *cas, const char *path, struct digest *ret_digest)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int rc;

	if (fd < 0)
		return -errno;
	rc = cas_put_fd(cas, fd, ret_digest);
	close(fd);
	return rc;
}

static int
put_one(struct cas *cas, const struct cas_options *options, const char *path, bool alone)
{
	struct ingest_options ingest = {.excludes = (const char *const *)options->excludes.items};
	struct ingest_stats stats;
	struct error_text err = {""};
	char text[DIGEST_TEXT_SIZE];
	struct digest digest;
	struct stat st;
	int rc;

	if (stat(path, &st) != 0)
		rc = -errno;
	else if (S_ISDIR(st.st_mode))
		rc = ingest_tree(cas, path, &ingest, &digest, &stats, &err);
	else if (S_ISREG(st.st_mode))
		rc = put_file(cas, path, &digest);
	else
		rc = error_set(&err, -EINVAL, "neither a file nor a directory");
	if (rc != 0) {
		warnx("%s: %s", path, err.text[0] != '\0' ? err.text : strerror(-rc));
		return 1;
	}
	digest_to_text(&digest, '/', text);
	printf(alone ? "%s\n" : "%s  %s\n", text, path);
	return 0;
}

static int
cas_put(struct tool *tool, const struct cas_options *options, char **paths)
{
	struct cas *cas = tool_cas(tool, true);
	bool alone = paths[1] == NULL;
	int status = 0;

	for (; *paths != NULL; paths++)
		status |= put_one(cas, options, *paths, alone);
	cas_close(cas);
	return status;
}

/* What comes out is what the digest says, or nothing does. */
static int
open_verified(struct cas *cas, const struct digest *digest, const char *text)
{
	struct digest found;
	int fd = -1;
	int rc = cas_open_blob(cas, digest, &fd);

	if (rc == -ENOENT)
		die("%s: not in the store", text);
	if (rc == 0)
		rc = hash_fd(fd, &found);
	if (rc != 0)
		die("%s: cannot be read: %s", text, strerror(-rc));
	if (!digest_equal(&found, digest))
		die("%s: its bytes are damaged (they do not match the digest)", text);
	return fd;
}

static void
get_to_stdout(struct cas *cas, const struct digest *digest, const char *text)
{
	char chunk[65536];
	int fd = open_verified(cas, digest, text);
	int rc = 0;
	ssize_t n;

	while (rc == 0 && (n = read(fd, chunk, sizeof(chunk))) != 0)
		rc = n < 0 ? -errno : fs_write_all(STDOUT_FILENO, chunk, (size_t)n);
	if (rc != 0)
		die("%s: %s", text, strerror(-rc));
	close(fd);
}

/* The output's directory is opened as the user named it; only its last component is ours. */
static int
open_output_directory(const char *path, char **ret_name)
{
	char *copy = xstrdup(path);
	size_t len = strlen(copy);
	char *slash;
	int fd;

	while (len > 1 && copy[len - 1] == '/')
		copy[--len] = '\0';
	slash = strrchr(copy, '/');
	*ret_name = xstrdup(slash != NULL ? slash + 1 : copy);
	if (slash == copy)
		slash++;
	if (slash != NULL)
		*slash = '\0';
	fd = open(slash != NULL ? copy : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	free(copy);
	return fd;
}

static int
cas_get(struct tool *tool, const struct cas_options *options, const char *text)
{
	struct digest digest = digest_argument(tool, text);
	struct cas *cas = tool_cas(tool, false);
	struct error_text err = {""};
	char *name;
	int dirfd, rc;

	if (options->tree && options->output == NULL)
		usage_error(tool, "get --tree: say where with -o DIR");
	if (options->output == NULL) {
		get_to_stdout(cas, &digest, text);
		cas_close(cas);
		return 0;
	}
	dirfd = open_output_directory(options->output, &name);
	if (options->tree) {
		rc = outputs_place_tree(cas, &digest, dirfd, name, &err);
	} else {
		close(open_verified(cas, &digest, text));
		rc = outputs_place_file(cas, &digest, options->executable, dirfd, name, &err);
	}
	if (rc != 0)
		die("%s: %s", text, err.text[0] != '\0' ? err.text : strerror(-rc));
	free(name);
	close(dirfd);
	cas_close(cas);
	return 0;
}

static int
cas_has_all(struct tool *tool, char **texts)
{
	struct cas *cas = tool_cas(tool, false);
	int status = 0;

	for (; *texts != NULL; texts++) {
		struct digest digest = digest_argument(tool, *texts);
		int rc = cas_has(cas, &digest);

		if (rc < 0)
			die("%s: %s", *texts, strerror(-rc));
		printf("%s %s\n", rc == 1 ? "present" : "missing", *texts);
		if (rc == 0)
			status = 1;
	}
	cas_close(cas);
	return status;
}

static int
cas_tree(struct tool *tool, const struct cas_options *options, const char *text)
{
	struct digest digest = digest_argument(tool, text);
	struct cas *cas = tool_cas(tool, false);
	struct error_text err = {""};
	json_t *array = options->json ? json_array() : NULL;
	int rc = cas_tree_print(cas, &digest, array, &err);

	if (rc != 0)
		die("%s: %s", text, err.text[0] != '\0' ? err.text : strerror(-rc));
	if (array != NULL) {
		json_dumpf(array, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
		putchar('\n');
		json_decref(array);
	}
	cas_close(cas);
	return 0;
}

static void
cas_parse(struct tool *tool, struct cas_options *options, int argc, char **argv)
{
	int option;

	while ((option = getopt_long(argc, argv, "o:", cas_options, NULL)) != -1) {
		if (option == CAS_OUTPUT || option == 'o')
			options->output = optarg;
		else if (option == CAS_TREE)
			options->tree = true;
		else if (option == CAS_JSON)
			options->json = true;
		else if (option == CAS_EXECUTABLE)
			options->executable = true;
		else if (option == CAS_EXCLUDE)
			strings_add(&options->excludes, optarg);
		else
			tool_option(tool, option, optarg);
	}
}

int
command_cas(struct tool *tool, int argc, char **argv)
{
	struct cas_options options = {.output = NULL};
	const char *what;
	int left, status = 2;

	cas_parse(tool, &options, argc, argv);
	what = argv[optind];
	left = argc - optind - 1;
	if (what == NULL)
		usage_error(tool, "put, get, has or tree?");
	if (left < 1)
		usage_error(tool, "%s: of what?", what);
	if ((strcmp(what, "get") == 0 || strcmp(what, "tree") == 0) && left != 1)
		usage_error(tool, "%s: one digest only", what);
	if (strcmp(what, "put") == 0) {
		tool_state(tool, true);
		status = cas_put(tool, &options, argv + optind + 1);
	} else if (strcmp(what, "get") == 0) {
		tool_state(tool, false);
		status = cas_get(tool, &options, argv[optind + 1]);
	} else if (strcmp(what, "has") == 0) {
		tool_state(tool, false);
		status = cas_has_all(tool, argv + optind + 1);
	} else if (strcmp(what, "tree") == 0) {
		tool_state(tool, false);
		status = cas_tree(tool, &options, argv[optind + 1]);
	} else {
		usage_error(tool, "%s: neither put nor get nor has nor tree", what);
	}
	strings_free(&options.excludes);
	return status;
}
