#!/bin/sh
# Somebody deletes trees/, of a stopped host or of a live one, and leaves the index: every action gets
# its inputs all the same, the entries go, and the trees come again.
. "$(dirname "$0")/lib.sh"

act() { ramet run --no-cache "$@" --input in -- /bin/cat src/deep/er/d7; }

make_input in
fill in/src
start_host_with_trees --workers 1
act >/dev/null
built=$(counter trees_built)
[ "$built" -gt 0 ] || skip "this engine caches no trees"
stop_host
rm -r "$RAMET_STATE/trees"
start_host_with_trees --workers 1
same works "$(act)" "deep 7"
[ "$(counter trees_built)" -gt "$built" ] || fail "nothing was built again"
ramet index check || fail "index check"

# Under a live host: what is built lies in the folder made anew; what was cached is missed as it is
# used, by an action that gets its inputs another way.
rm -r "$RAMET_STATE/trees"
built=$(counter trees_built)
cp -r in other && echo other >other/src/deep/er/d7
for file in other/src/filler*; do echo other >>"$file"; done
same "a new tree" "$(ramet run --no-cache --input other -- /bin/cat src/deep/er/d7)" "other"
[ "$(counter trees_built)" -gt "$built" ] || fail "nothing was built in the folder made anew"
same "the lost tree" "$(act)" "deep 7"
contains "the log" "$(cat "$RAMET_STATE/ramet.log")" "somebody has taken it away"
must_wait_for 20 counter_is trees_damaged "$(counter trees_dropped)"
must_wait_for 10 no_suspects
built=$(counter trees_built)
same "the tree once more" "$(act)" "deep 7"
[ "$(counter trees_built)" -gt "$built" ] || fail "the lost tree was not built again"

# All at once, and one that may write into its inputs.
rm -r "$RAMET_STATE/trees"
same "the writer" "$(act --guard off)" "deep 7"
for i in 1 2 3 4 5 6; do
	same "action $i" "$(act)" "deep 7"
done
must_wait_for 10 no_suspects
same "at the end" "$(act)" "deep 7"
check_finds # the one that nobody has asked for since
ramet index check || fail "index check at the end"
check_idle
stop_host
