/*
 * A seal: the subtrees of an input root that the action does not write into, kept from it by the
 * system itself where it shares our uid (macOS: rules of the action's Seatbelt profile).
 *
 * Worker.  The stager makes it of its plan (stage_report.seal), the runner applies it.  Holders are
 * the spine's directories with something sealed below: the action may write into them but neither
 * rename nor remove them, or the sealed ones would have another path.  Also made elsewhere by
 * link(2) a sealed file would; that is denied too.  An input root that would need too many rules
 * gets no seal. Plain values, in the action's arena.
 */
#ifndef WORKERS_SEAL_H
#define WORKERS_SEAL_H

#include <stdbool.h>
#include <stddef.h>

enum { SEAL_PATHS_MAX = 256, SEAL_RULES_SIZE = 128 << 10 };

struct seal {
	const char **inputs, **holders; /* relative to the input root */
	size_t input_count, holder_count;
};

struct arena;
struct plan_node;

/* False: too many. */
bool seal_of_plan(struct arena *arena, const struct plan_node *root, struct seal *ret_seal);

/* As Seatbelt's language has them; root is absolute.  -E2BIG: they do not fit. */
int seal_rules(const struct seal *seal, const char *root, char *rules, size_t size);

/* Quotes and backslashes cannot stand in a profile's string as they are.  -E2BIG: not whole. */
int seal_quote(char *to, size_t size, const char *text);

#endif
