/* Every command, with the words of `ramet help`. */
#include <stddef.h>

#include "tools/tool.h"

const struct command command_table[] = {
    {"run", command_run,
	"[--input DIR | --input-digest DIGEST] [--output PATH]... [--env K=V]...\n"
	"           [--cwd REL] [--timeout S] [--no-cache] [--into DIR] [--exclude PATTERN]...\n"
	"           [--metrics FILE] [--guard=on|off] [--show-writes] [--name LABEL] -- ARGV...",
	"Run one action on the host",
	"  --input DIR        its input root; without it the input root is empty\n"
	"  --input-digest DIGEST\n"
	"                     its input root, in the store already, as ramet cas put printed it\n"
	"  --exclude PATTERN  leave out names or paths of DIR (fnmatch)\n"
	"  --output PATH      a file, directory or symlink it makes, relative to --cwd\n"
	"  --env K=V          one variable of its environment, which holds nothing else\n"
	"  --cwd REL          where it starts, relative to the input root\n"
	"  --timeout S        end it after S seconds\n"
	"  --no-cache         neither look into the action cache nor store there\n"
	"  --into DIR         write outputs below DIR, not the current directory\n"
	"  --metrics FILE     write one JSON object about it\n"
	"  --guard=off        lets it write into its inputs, which nobody else sees\n"
	"  --show-writes      the same, and says what it wrote beside its outputs\n"
	"  --name LABEL       what ramet ps calls it\n\n"
	"A host is started where none runs.  Exit status: the action's; 128 + n when signal n\n"
	"ended it; 124 on timeout; 125 when ramet or the host failed; 2 for bad usage.\n"},
    {"batch", command_batch, "[--jobs N] [--quiet] [--metrics FILE] FILE|-",
	"Run many actions, one JSON object a line",
	"Members: name, argv, input, input_digest, exclude, outputs, env (an object), cwd,\n"
	"timeout, into, no_cache, guard (\"on\" or \"off\"), needs (names of earlier lines, whose\n"
	"outputs are merged into the input root).  Without `into` outputs stay in the store.  Paths are\n"
	"relative to the current directory.\n\n"
	"  --jobs N        at most N actions in flight\n"
	"  --quiet         no progress; failures and the summary only\n"
	"  --metrics FILE  one JSON object a line about each action\n\n"
	"Exit status: 0 when all succeeded, 1 when any failed, 2 for bad usage or a bad FILE.\n"},
    {"stat", command_stat, "[--json] [--watch[=S]] [-a] [PATTERN]",
	"Show the counters, from the mapping alone",
	"  --json       one object of all of them\n"
	"  --watch[=S]  again every S seconds (1)\n"
	"  -a, --all    zeroes too\n"},
    {"index", command_index,
	"ls [-l] | show DIGEST | check [--deep] [DIGEST] | kinds [--forget KIND|all]",
	"Look into the shared index, and compare cached trees with their digests",
	"  ls     one line for each cached directory (-l: more of it)\n"
	"  show   all about one\n"
	"  kinds  which kinds of actions write into their inputs; --forget makes it learn anew\n"
	"  check  every rule that must hold in the index, and every cached tree (or the one that\n"
	"         DIGEST lies in) beside its digest: names, kinds, modes, sizes, symlinks, and the\n"
	"         bytes of what was touched since it was built; --deep: all bytes.  What is damaged\n"
	"         is dropped by the host and built again when it is needed; exit status 1 when\n"
	"         anything is wrong\n"},
    {"ps", command_ps, "[--json]", "Show the host's processes, what each does and holds", ""},
    {"explain", command_explain, "[--guard=on|off] DIGEST",
	"Say how an action or an input root would be staged now, and why",
	"DIGEST: an action's, or that of an input root's Directory.  A line for each directory that\n"
	"the plan names: what placing it costs, how it is placed, and why so; then what else could\n"
	"have been done, at which cost, and for what is not cached the cached directory that is\n"
	"nearest, and what differs.  Nothing is placed.\n\n"
	"  --guard=off  as an action that may write into its inputs\n"},
    {"doctor", command_doctor, "[--json]",
	"Try what this volume and system allow, and say what to do about each no",
	"yes: it works, with what one call cost; no: it does not, and what to do about it;\n"
	"'-': it does not, and nothing is lost by it, since something as good works.\n"
	"Exit status: 0 when actions can run here, 1 when not.\n"},
    {"cas", command_cas,
	"put [--exclude PATTERN]... PATH... | get [--tree] [--executable] [-o PATH] DIGEST |\n"
	"           has DIGEST... | tree [--json] DIGEST",
	"Put files and directories into the store and read them back",
	"  put   prints the digest of the file, or of the directory's root\n"
	"  get   the blob to stdout or PATH; --tree: the tree of that Directory to PATH\n"
	"  has   exit status 1 when one is missing\n"
	"  tree  lists a Directory and all below it\n"},
    {"workers", command_workers, "[N]", "Grow or shrink the pool to N workers, or show it", ""},
    {"stop", command_stop, "[--drain]", "Stop the host, and wait until it has gone",
	"  --drain  finish what is queued and running first\n"},
    {NULL, NULL, NULL, NULL, NULL},
};
