#!/bin/sh
# A host comes back warm: after a clean stop the same tree is found, not built.
. "$(dirname "$0")/lib.sh"

make_input in/all
fill in/all/src
start_host_with_trees --workers 2
ramet run --no-cache --input in -- /bin/true
built=$(counter trees_built)
[ "$built" -gt 0 ] || skip "this engine caches no trees"
stop_host
start_host_with_trees --workers 2
same "trees built" "$(counter trees_built)" "$built"
hits=$(counter index_hits)
same warm "$(ramet run --no-cache --input in -- /bin/cat all/src/deep/er/d7)" "deep 7"
[ "$(counter index_hits)" -gt "$hits" ] || fail "index_hits stays $hits"
same "trees built after the restart" "$(counter trees_built)" "$built"
ramet index ls | grep -q . || fail "ramet index ls is empty"
digest=$(ramet index ls | grep -oE '[0-9a-f]{64}[/-][0-9]+' | head -n 1)
ramet index show "$digest" >/dev/null || fail "ramet index show $digest"
check_idle
stop_host
