#include "workers/seal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "workers/stage_plan.h"

/* Whether something is sealed below. */
static bool
add_node(const struct plan_node *node, struct seal *seal)
{
	bool holds = false;

	if (node->is_whole)
		return false;
	if (node->kind != PLAN_SPINE) {
		if (seal->input_count < SEAL_PATHS_MAX)
			seal->inputs[seal->input_count] = node->path;
		seal->input_count++;
		return true;
	}
	for (const struct plan_node *child = node->first; child != NULL; child = child->next)
		holds = add_node(child, seal) || holds;
	if (holds && node->path[0] != '\0') {
		if (seal->holder_count < SEAL_PATHS_MAX)
			seal->holders[seal->holder_count] = node->path;
		seal->holder_count++;
	}
	return holds;
}

bool
seal_of_plan(struct arena *arena, const struct plan_node *root, struct seal *ret_seal)
{
	struct seal seal = {
	    .inputs = arena_alloc(arena, SEAL_PATHS_MAX * sizeof(const char *)),
	    .holders = arena_alloc(arena, SEAL_PATHS_MAX * sizeof(const char *)),
	};
	size_t text = 0;

	(void)add_node(root, &seal);
	if (seal.input_count > SEAL_PATHS_MAX || seal.holder_count > SEAL_PATHS_MAX)
		return false;
	for (size_t i = 0; i < seal.input_count; i++)
		text += strlen(seal.inputs[i]);
	for (size_t i = 0; i < seal.holder_count; i++)
		text += strlen(seal.holders[i]);
	if (text > SEAL_RULES_SIZE / 8) /* the rest: quoting, and the root before each */
		return false;
	*ret_seal = seal;
	return true;
}

int
seal_quote(char *to, size_t size, const char *text)
{
	size_t len = 0;

	for (; *text != '\0'; text++) {
		if (len + 3 > size)
			return -E2BIG;
		if (*text == '"' || *text == '\\')
			to[len++] = '\\';
		to[len++] = *text;
	}
	to[len] = '\0';
	return 0;
}

struct text {
	char *at;
	size_t left;
	bool is_short;
};

static void
append(struct text *text, const char *part)
{
	size_t len = strlen(part);

	if (len >= text->left) {
		text->is_short = true;
		return;
	}
	memcpy(text->at, part, len + 1);
	text->at += len;
	text->left -= len;
}

static void
append_path(struct text *text, const char *filter, const char *root, const char *path)
{
	char quoted[4096];

	if (seal_quote(quoted, sizeof quoted, path) != 0)
		text->is_short = true;
	append(text, "(");
	append(text, filter);
	append(text, " \"");
	append(text, root);
	append(text, "/");
	append(text, quoted);
	append(text, "\")");
}

int
seal_rules(const struct seal *seal, const char *root, char *rules, size_t size)
{
	static const char *const denials[] = {"(deny file-write* ", "(deny file-link "};
	struct text text = {.at = rules, .left = size};
	char quoted_root[8192];

	int rc = seal_quote(quoted_root, sizeof quoted_root, root);
	if (rc != 0)
		return rc;
	rules[0] = '\0';
	for (size_t d = 0; d < 2 && seal->input_count > 0; d++) {
		append(&text, denials[d]);
		for (size_t i = 0; i < seal->input_count; i++)
			append_path(&text, "subpath", quoted_root, seal->inputs[i]);
		append(&text, ")");
	}
	if (seal->holder_count > 0) {
		append(&text, "(deny file-write-unlink ");
		for (size_t i = 0; i < seal->holder_count; i++)
			append_path(&text, "literal", quoted_root, seal->holders[i]);
		append(&text, ")");
	}
	return text.is_short ? -E2BIG : 0;
}
