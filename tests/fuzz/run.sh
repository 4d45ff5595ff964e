#!/bin/sh
# tests/fuzz/run.sh PROGRAM SECONDS: the corpus, then new inputs for a while.  What it finds is in
# the output; the kept corpus is read only.
set -eu

program=$1
seconds=$2
name=$(basename "$program")
corpus=tests/fuzz/corpus/${name#fuzz_}
work=$(mktemp -d "${TMPDIR:-/tmp}/ramet-test.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/new"
[ -d "$corpus" ] || {
	echo "$corpus: there is no corpus" >&2
	exit 1
}
"$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=16384 \
    -artifact_prefix="$work/" -print_final_stats=1 "$work/new" "$corpus" >"$work/log" 2>&1 || {
	tail -n 50 "$work/log"
	for found in "$work"/crash-* "$work"/timeout-* "$work"/oom-*; do
		[ -f "$found" ] && echo "input: $(base64 -w0 <"$found" | head -c 2000)"
	done
	exit 1
}
sed -n 's/^stat::number_of_executed_units: */note: inputs tried: /p' "$work/log"
