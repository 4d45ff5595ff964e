/* ramet cas tree: a Merkle tree, printed. */
#include "tools/cas_tree.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cas/directory.h"
#include "tools/text.h"
#include "tools/tool.h"

struct printer {
	struct cas *cas;
	unsigned depth;
	char *path; /* of the directory being printed, "" or ending in '/' */
	uint64_t files, directories, symlinks, bytes;
	struct error_text *err;
};

static int print_directory(struct printer *printer, const struct digest *digest, json_t *into);

static void
print_line(const struct printer *printer, const char *mode, const char *digest, const char *name)
{
	printf("%s %-72s ", mode, digest);
	text_print(printer->path);
	text_print(name);
}

static int
print_file(struct printer *printer, const ReapiFileNode *file, json_t *into)
{
	char text[DIGEST_TEXT_SIZE];
	struct digest digest;
	int rc = reapi_digest_get(file->digest, &digest);

	if (rc != 0)
		return rc;
	digest_to_text(&digest, '/', text);
	printer->files++;
	printer->bytes += (uint64_t)digest.size_bytes;
	if (into != NULL) {
		json_array_append_new(into,
		    json_pack("{s:s,s:o,s:s,s:I,s:b}", "type", "file", "name",
			text_json(file->name), "digest", text, "size",
			(json_int_t)digest.size_bytes, "executable", file->is_executable));
		return 0;
	}
	print_line(printer, file->is_executable ? "-r-xr-xr-x" : "-r--r--r--", text, file->name);
	putchar('\n');
	return 0;
}

static void
print_symlink(struct printer *printer, const ReapiSymlinkNode *link, json_t *into)
{
	printer->symlinks++;
	if (into != NULL) {
		json_array_append_new(into,
		    json_pack("{s:s,s:o,s:o}", "type", "symlink", "name", text_json(link->name),
			"target", text_json(link->target)));
		return;
	}
	print_line(printer, "lrwxrwxrwx", "", link->name);
	printf(" -> ");
	text_print(link->target);
	putchar('\n');
}

static int
print_child(struct printer *printer, const ReapiDirectoryNode *node, json_t *into)
{
	char text[DIGEST_TEXT_SIZE];
	json_t *children = NULL;
	char *outer = printer->path;
	struct digest digest;
	int rc = reapi_digest_get(node->digest, &digest);

	if (rc != 0)
		return rc;
	digest_to_text(&digest, '/', text);
	if (into != NULL) {
		children = json_array();
		json_array_append_new(into,
		    json_pack("{s:s,s:o,s:s,s:o}", "type", "directory", "name",
			text_json(node->name), "digest", text, "children", children));
	} else {
		print_line(printer, "drwxr-xr-x", text, node->name);
		printf("/\n");
	}
	printer->depth++;
	printer->path = xprintf("%s%s/", outer, node->name);
	rc = print_directory(printer, &digest, children);
	free(printer->path);
	printer->path = outer;
	printer->depth--;
	return rc;
}

static int
print_directory(struct printer *printer, const struct digest *digest, json_t *into)
{
	struct arena *arena;
	ReapiDirectory *directory;
	int rc;

	if (printer->depth >= TREE_DEPTH_MAX)
		return error_set(printer->err, -ELOOP, "the tree is too deep");
	arena = arena_new();
	rc = directory_load(printer->cas, arena, digest, &directory, printer->err);
	if (rc == 0)
		printer->directories++;
	for (size_t i = 0; rc == 0 && i < directory->n_directories; i++)
		rc = print_child(printer, directory->directories[i], into);
	for (size_t i = 0; rc == 0 && i < directory->n_files; i++)
		rc = print_file(printer, directory->files[i], into);
	for (size_t i = 0; rc == 0 && i < directory->n_symlinks; i++)
		print_symlink(printer, directory->symlinks[i], into);
	arena_free(arena);
	return rc;
}

int
cas_tree_print(struct cas *cas, const struct digest *root, json_t *into, struct error_text *err)
{
	static char top[] = "";
	struct printer printer = {.cas = cas, .path = top, .err = err};
	int rc = print_directory(&printer, root, into);

	if (rc == 0 && into == NULL)
		printf("%" PRIu64 " files, %" PRIu64 " directories, %" PRIu64 " symlinks, %" PRIu64
		       " bytes\n",
		    printer.files, printer.directories, printer.symlinks, printer.bytes);
	return rc;
}
