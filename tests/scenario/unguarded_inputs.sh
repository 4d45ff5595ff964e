#!/bin/sh
# --engine hardlink with one uid has no guard: an action that writes into its inputs fails, says so, and
# what it harmed is made good: the blob, and the cached trees of another engine that link to it.
. "$(dirname "$0")/lib.sh"
! is_root || skip "root's actions have uids of their own, and cannot write into what is linked"

make_input in
fill in/src
blob=$(echo "file 3" | sha256sum | cut -c1-64)
start_host_with_trees --workers 1
ramet run --no-cache --input in -- /bin/true || fail "warming"
built=$(counter trees_built)
stop_host
links() { find "$RAMET_STATE/trees" -name f3 -samefile "$RAMET_STATE/cas/$(echo "$blob" | cut -c1-2)/$blob"; }
tree=$(links | head -n 1)

start_host --workers 1 --engine hardlink --isolation none
evil='chmod 644 src/f3; echo FILE 3 >src/f3; chmod 444 src/f3; touch -d @1 src/f3'
write() {
	rc=0
	ramet run --no-cache --input in --into o --output out -- /bin/sh -c "$evil; cat src/f3 >out" >write.out 2>&1 || rc=$?
	echo $rc
}
rc=$(write)
[ "$rc" = 125 ] || fail "the action that wrote: exit $rc: $(cat write.out)"
contains "its words" "$(cat write.out)" "inputs were changed while the action ran"
contains "its words" "$(cat write.out)" "1 dropped from the store"
grep -q "cas/.*$blob: an input that was changed by an action: dropped" "$RAMET_STATE/ramet.log" ||
    fail "nothing in the log"
[ ! -e o/out ] || fail "outputs of an action whose inputs changed came out"
expect_counter inputs_changed 1
expect_counter cas_corrupt 1
if [ "$built" -gt 0 ] && [ -n "$tree" ]; then
	must_wait_for 10 counter_at_least trees_dropped 1
	[ ! -e "$tree" ] || fail "a tree with the changed inode is still there"
fi
must_wait_for 10 no_suspects
check_cas
same "the next action" "$(ramet run --no-cache --input in -- /bin/cat src/f3)" "file 3"

# With its executable twin beside it the blob is made anew.
mkdir x
echo "file 3" >x/tool
chmod 755 x/tool
ramet run --no-cache --input x -- /bin/true || fail "the twin"
rc=$(write)
[ "$rc" = 125 ] || fail "the second that wrote: exit $rc: $(cat write.out)"
contains "its words" "$(cat write.out)" "1 made anew from a good copy"
expect_counter cas_healed 1
check_cas
same "after the second" "$(ramet run --no-cache --input in -- /bin/cat src/f3)" "file 3"

# An action that was only there while another wrote into what both had fails too: who knows what it read.
ramet workers 2 >/dev/null
must_wait_for 10 counter_is workers_alive 2
ramet run --no-cache --input in -- /bin/sh -c "until [ -e $work/go ]; do sleep 0.05; done; cat src/f3" >beside.out 2>beside.err &
beside=$!
must_wait_for 10 counter_is actions_running 1
must_wait_for 10 sh -c "ramet ps | grep -q running"
rc=$(write)
[ "$rc" = 125 ] || fail "the third that wrote: exit $rc: $(cat write.out)"
touch go
rc=0
wait $beside || rc=$?
[ "$rc" = 125 ] || fail "the action beside it: exit $rc: $(cat beside.out beside.err)"
contains "the action beside it" "$(cat beside.err)" "by it or by another"
same "after the third" "$(ramet run --no-cache --input in -- /bin/cat src/f3)" "file 3"
check_cas
ramet index check --deep >out || fail "at the end: $(cat out)"
check_idle
stop_host
