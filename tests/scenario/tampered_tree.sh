#!/bin/sh
# Somebody changes cached trees of a live host: `ramet index check` finds each change, the host drops
# the tree, whoever uses it, and the next action gets what its digest says.
. "$(dirname "$0")/lib.sh"
need_linux "looks into /proc"

make_input in
fill in/src
(cd in && find . -type f -exec sha256sum {} + | sort) >sums
start_host_with_trees --workers 2
act() { ramet run --no-cache --input in -- /bin/sh -c 'find . -type f -exec sha256sum {} + | sort'; }
act >sums.now || fail "the first action"
cmp sums sums.now || fail "the first action sees other bytes"
[ "$(counter trees_built)" -gt 0 ] || skip "this engine caches no trees"
tree=$(cd "$RAMET_STATE/trees" && find . -name f3 | cut -d/ -f2)
at=$RAMET_STATE/trees/$tree
digest=$(echo "$tree" | tr - /)
ramet index check >out || fail "whole trees: $(cat out)"
contains "whole trees" "$(cat out)" "every rule holds"
ramet index check --deep >out || fail "whole trees, deep: $(cat out)"
contains "whole trees" "$(cat out)" " 0 faults"
ramet index check --deep "$digest" >out || fail "one tree: $(cat out)"
contains "one tree" "$(cat out)" "1 trees and images"

# Each change: what it is, how it is done, what the check says of it; all but the last two are seen
# without --deep.
n=0
change() { # says, --deep or nothing, command...
	says=$1
	deep=$2
	shift 2
	n=$((n + 1))
	before=$(counter trees_dropped)
	"$@"
	# shellcheck disable=SC2086
	check_finds $deep
	line=$(grep "^trees/$tree: " out | head -n 1)
	contains "$*" "$(cat out)" "trees/$tree: $says"
	contains "$*" "$line" "dropped; the next action that needs it builds it again"
	[ "$(counter trees_dropped)" -gt "$before" ] || fail "$*: was not dropped"
	no_suspects || fail "$*: its note is still there"
	grep -q "trees/$tree: .*dropped" "$RAMET_STATE/ramet.log" || fail "$*: not in the log"
	ramet index check --deep >out || fail "$*: afterwards: $(cat out)"
	act >sums.now || fail "$*: the next action"
	cmp sums sums.now || fail "$*: the next action sees other bytes: $(diff sums sums.now)"
	[ -d "$at" ] || fail "$*: it was not built again"
}
in_sub() { (cd "$at" && eval "$1"); }
change "evil: its digest knows of no such thing" "" in_sub 'echo evil >evil'
change "f3: it is missing" "" in_sub 'rm -f f3'
change "f3: its mode is 0644, not 0444" "" in_sub 'rm -f f3; cp f4 f3; chmod 644 f3'
change "f3: its bytes are not its digest's" "" in_sub 'mv f3 x; mv f4 f3; mv x f4'
change "link: this symlink has another target" "" in_sub 'ln -sfn f2 link'
change "deep: it is no directory, as its digest says" "" in_sub 'mv deep "$work/away"; ln -s "$work/away" deep'
change "zero: it is not empty, as its digest says" "" in_sub 'rm -f zero; echo >zero; chmod 444 zero'
change "it is not there" "" mv "$at" away.tree
# Other bytes in a private inode of the same size, mode and time, and the directory's time put back:
# its change of status cannot be put back.
change "f3: its bytes are not its digest's" "" in_sub \
    'touch -r . "$work/when"; cp -p f3 x; rm -f f3; chmod 644 x; printf FILE | dd of=x conv=notrunc 2>/dev/null
    chmod 444 x; touch -r f4 x; mv x f3; touch -r "$work/when" .'
same "changes tried" "$n" 9

# In use: the action that has it goes on with what it has; nobody else gets it.
ramet run --no-cache --input in -- /bin/sh -c 'ls src >/dev/null; sleep 7.7' >/dev/null 2>&1 &
user=$!
must_wait_for 10 is_running "sleep 7.7"
pinned=$(ramet index show "$digest" | awk '$1 == "pins" { print $2 }')
if [ "$pinned" -gt 0 ]; then
	dropped=$(counter trees_dropped)
	in_sub 'echo evil >evil'
	check_finds
	contains "in use" "$(grep "^trees/$tree: " out)" "in use: nobody gets it any more"
	expect_counter trees_dropped "$dropped"
	act >sums.now || fail "beside it: $?"
	cmp sums sums.now || fail "beside it: other bytes: $(diff sums sums.now)"
	# What is on its way out is no fault any more.
	ramet index check >out || fail "while it leaves: $(cat out)"
	kill "$user"
	must_wait_for 20 counter_is trees_dropped $((dropped + 1))
	must_wait_for 10 no_suspects
else
	kill "$user"
fi
wait "$user" || :
act >sums.now || fail "at the end"
cmp sums sums.now || fail "at the end: other bytes"
check_idle
stop_host
