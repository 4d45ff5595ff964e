#!/bin/sh
# A tree of a stopped or killed host is changed: the check leaves a note, and the next host looks at it
# before any action runs.  A note by itself costs no good tree.
. "$(dirname "$0")/lib.sh"

make_input in
fill in/src
start_host_with_trees --workers 1
ramet run --no-cache --input in -- /bin/true || fail "warming"
[ "$(counter trees_built)" -gt 0 ] || skip "this engine caches no trees"
tree=$(cd "$RAMET_STATE/trees" && find . -name f3 | cut -d/ -f2)
file=$RAMET_STATE/trees/$tree/f3
other=$(cd "$RAMET_STATE/trees" && find . -name s3 | cut -d/ -f2 | head -n 1)
act() { ramet run --no-cache --input in -- /bin/cat src/f3; }
spoil() {
	cp "$file" spoilt
	chmod 644 spoilt
	printf 'FILE' | dd of=spoilt conv=notrunc 2>/dev/null
	rm -f "$file"
	cp spoilt "$file"
	chmod 444 "$file"
}
stop_host

ramet index check --deep >out || fail "a stopped host's trees: $(cat out)"
spoil
check_finds --deep
contains "stopped" "$(cat out)" "trees/$tree: f3: its bytes are not its digest's: noted: the next host here looks at it before any action runs"
same "notes" "$(ls "$RAMET_STATE/suspect")" "$tree"
touch "$RAMET_STATE/suspect/$other"
start_host_with_trees --workers 1
grep -q "suspected trees are looked at before" "$RAMET_STATE/ramet.log" || fail "nothing in the log"
must_wait_for 10 counter_is trees_dropped 1
must_wait_for 10 no_suspects
same "notes afterwards" "$(ls "$RAMET_STATE/suspect")" ""
[ ! -e "$RAMET_STATE/trees/$tree" ] || fail "the spoilt tree is still there"
[ -d "$RAMET_STATE/trees/$other" ] || fail "a good tree went for a note"
same "the next action" "$(act)" "file 3"
check_idle

# Killed, and the note of a tree that is lost altogether.
host=$(host_pid)
kill -KILL "$host"
must_wait_for 10 gone "$host"
rm -rf "${RAMET_STATE:?}/trees/$tree"
check_finds
contains "killed" "$(cat out)" "trees/$tree: it is not there: noted"
start_host_with_trees --workers 1
same "after the kill" "$(act)" "file 3"
ramet index check --deep >out || fail "at the end: $(cat out)"
check_idle
stop_host

# Nobody may leave notes but the host's user and root.
if is_root && command -v setpriv >/dev/null; then
	chmod 755 "$work" "$RAMET_STATE"
	rm -f "$file"
	exits 1 setpriv --reuid 4711 --regid 4711 --clear-groups ramet index check >out 2>err
	contains "another user" "$(cat out)" "nothing was done: only the host's user or root can tell the host"
	same "no note" "$(ls "$RAMET_STATE/suspect")" ""
fi
