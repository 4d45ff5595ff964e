#!/bin/sh
# ramet batch: many actions, some that need others, some that fail.
. "$(dirname "$0")/lib.sh"

start_host --workers 2
make_input in
cat >good.jsonl <<END
{"name":"a","argv":["/bin/sh","-c","cat src/f1 >a"],"input":"$work/in","outputs":["a"],"into":"$work/out"}
{"name":"b","argv":["/bin/sh","-c","cat src/f2 >b"],"input":"$work/in","outputs":["b"],"into":"$work/out"}
{"name":"c","argv":["/bin/sh","-c","cat a b >c"],"outputs":["c"],"into":"$work/end","needs":["a","b"]}
END
ramet batch good.jsonl >batch.out 2>&1 || fail "batch: $(cat batch.out)"
same linked "$(cat end/c)" "file 1
file 2"
hits=$(counter cache_hits)
ramet batch good.jsonl >batch.out 2>&1 || fail "batch again: $(cat batch.out)"
same "answered from the cache" "$(($(counter cache_hits) - hits))" 3

cat >bad.jsonl <<END
{"name":"fails","argv":["/bin/sh","-c","echo broken >&2; exit 4"]}
{"name":"works","argv":["/bin/true"]}
{"name":"needs it","argv":["/bin/true"],"needs":["fails"]}
END
exits 1 ramet batch bad.jsonl >batch.out 2>&1
contains "a failure names its action" "$(cat batch.out)" fails
contains "a failure shows its stderr" "$(cat batch.out)" broken

echo '{"name":"x","argv":' >broken.jsonl
refuses ramet batch broken.jsonl
echo '{"name":"x","argv":["/bin/true"],"nonsense":1}' >unknown.jsonl
refuses ramet batch unknown.jsonl
printf '%s\n' '{"name":"x","argv":["/bin/true"],"needs":["y"]}' '{"name":"y","argv":["/bin/true"],"needs":["x"]}' >cycle.jsonl
refuses ramet batch cycle.jsonl
refuses ramet batch no_such_file
check_idle
stop_host
