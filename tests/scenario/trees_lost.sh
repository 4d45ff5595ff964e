#!/bin/sh
# Somebody deletes trees/ of a stopped host and leaves the index: the entries go, the trees come again.
. "$(dirname "$0")/lib.sh"

make_input in
start_host_with_trees --workers 1
ramet run --no-cache --input in -- /bin/true
built=$(counter trees_built)
[ "$built" -gt 0 ] || skip "this engine caches no trees"
stop_host
rm -r "$RAMET_STATE/trees"
start_host_with_trees --workers 1
same works "$(ramet run --no-cache --input in -- /bin/cat src/deep/er/d7)" "deep 7"
[ "$(counter trees_built)" -gt "$built" ] || fail "nothing was built again"
ramet index check || fail "index check"
check_idle
stop_host
