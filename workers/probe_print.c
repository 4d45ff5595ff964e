#include <inttypes.h>
#include <stdio.h>

#include "workers/probe.h"

static void
print_string(const char *key, const char *text, FILE *out)
{
	fprintf(out, ",\"%s\":\"", key);
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;
		if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else if (c < 0x20)
			fprintf(out, "\\u%04x", c);
		else
			fputc(c, out);
	}
	fputc('"', out);
}

static void
print_way(const char *group, const char *name, const struct probe_way *way, FILE *out)
{
	fprintf(out, "{\"item\":\"%s.%s\",\"works\":%s,\"errno\":%d,\"us\":%.1f", group, name,
	    way->works ? "true" : "false", way->error, way->us);
	print_string("why", way->why, out);
	print_string("remedy", way->remedy, out);
	fprintf(out, ",\"unneeded\":%s}\n", way->unneeded ? "true" : "false");
}

/* Something that is as it is; `works` says whether it is well so. */
static void
print_fact(const char *item, bool works, const char *value, const char *remedy, FILE *out)
{
	fprintf(out, "{\"item\":\"%s\",\"works\":%s", item, works ? "true" : "false");
	print_string("value", value, out);
	print_string("remedy", works ? "" : remedy, out);
	fputs("}\n", out);
}

static void
print_number(const char *item, unsigned long long value, unsigned long long enough,
    const char *remedy, FILE *out)
{
	char text[32];

	snprintf(text, sizeof text, "%llu", value);
	print_fact(item, value >= enough, text, remedy, out);
}

static void
print_costs(const struct cost_model *costs, FILE *out)
{
	char item[64], text[96];

	for (int i = 0; i < COST_COUNT; i++) {
		snprintf(item, sizeof item, "cost.%s", cost_names[i]);
		snprintf(text, sizeof text, "%.1f us: %s", costs->ns[i] / 1e3, cost_words[i]);
		print_fact(item, true, text, "", out);
	}
}

int
probe_print_json(const struct probe *probe, FILE *out)
{
	for (int way = 0; way < PLACE_WAY_COUNT; way++)
		print_way("way", place_way_names[way], &probe->ways[way], out);
	for (int i = ISOLATION_ROOT; i < ISOLATION_COUNT; i++)
		print_way("isolation", isolation_names[i], &probe->isolation[i], out);
	print_fact("isolation", probe->best_isolation != ISOLATION_NONE,
	    isolation_names[probe->best_isolation],
	    "actions see the host's files; see the isolations above", out);
	print_fact("user", true, probe->is_root ? "root" : "plain", "", out);
	print_fact("volume", true, probe->volume, "", out);
	print_fact("kernel", true, probe->kernel, "", out);
	print_fact("names", !probe->case_insensitive,
	    probe->case_insensitive ? "case-insensitive" : "case-sensitive",
	    "trees whose names differ only in case cannot be staged here; a case-sensitive volume "
	    "can hold them",
	    out);
	if (probe->links_max != 0)
		print_number("limit.links", probe->links_max, 1000, "", out);
	print_number("limit.files", probe->files_max, 256, "ulimit -n 1024", out);
	print_number("free.bytes", probe->free_bytes, 1 << 30, "free some space", out);
	print_number("free.inodes", probe->free_inodes, 100000,
	    "remove files, or choose a volume with more inodes", out);
	print_costs(&probe->costs, out);
	return ferror(out) != 0 ? -1 : 0;
}
