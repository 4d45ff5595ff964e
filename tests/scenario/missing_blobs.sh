#!/bin/sh
# An action whose blobs have gone fails with all of their digests, not the first, leaves nothing
# behind, and comes right when they are put back; what ramet run had put itself it puts once more.
. "$(dirname "$0")/lib.sh"

start_host --workers 1
make_input in
mkdir other another
echo "only here" >other/file
echo "only there" >another/file
root=$(ramet cas put in)
same "an input by its digest" "$(ramet run --no-cache --input-digest "$root" -- /bin/cat src/f1)" "file 1"
exits 2 ramet run --input-digest "${root%/*}" -- /bin/true 2>/dev/null
exits 2 ramet run --input in --input-digest "$root" -- /bin/true 2>/dev/null

# Two files and one Directory go.  The tree is not cached: a cached one needs no blobs.
forget_trees() {
	stop_host
	rm -rf "$RAMET_STATE/trees" "$RAMET_STATE/index"
	start_host --workers 1
}
drop() { # digest
	find "$RAMET_STATE/cas" -name "${1%/*}*" >found
	[ -s found ] || fail "the store does not have $1"
	xargs rm -f <found
}
digest_of() { echo "$(sha256sum <"$1" | cut -c1-64)/$(wc -c <"$1" | tr -d ' ')"; }
forget_trees
gone1=$(digest_of in/src/f1)
gone2=$(digest_of in/same1/s3)
gone3=$(ramet cas put in/src/deep/er)
for gone in $gone1 $gone2 $gone3; do
	drop "$gone"
done
listed() { # the digests of its missing blobs, sorted
	sed -n 's/^ramet: missing blob: //p' "$1" | sort
}
expected=$(printf '%s\n' "$gone1" "$gone2" "$gone3" | sort)
exits 125 ramet run --no-cache --input-digest "$root" -- /bin/true 2>err
same "the missing blobs" "$(listed err)" "$expected"
contains "the message" "$(cat err)" "3 blobs are missing"
echo "{\"argv\":[\"/bin/true\"],\"input_digest\":\"$root\",\"no_cache\":true}" >actions
exits 1 ramet batch --quiet actions >/dev/null 2>err
for gone in $gone1 $gone2 $gone3; do
	contains "what batch says" "$(cat err)" "$gone"
done
same "pins that are held" "$(ramet ps --json | value pins | sort -u)" 0
check_idle
ramet cas put in >/dev/null
same "put again" "$(ramet run --no-cache --input-digest "$root" -- /bin/cat src/f1)" "file 1"

# Blobs go while the action that needs them is queued behind another one.
block() {
	ramet run --no-cache -- /bin/sh -c "sleep 7211" 2>/dev/null &
	blocker=$!
	must_wait_for 10 is_running "sleep 7211"
}
unblock() { # a file that the store is to lose
	drop "$(digest_of "$1")"
	kill -TERM $blocker
	wait $blocker || :
}
block
ramet run --no-cache --input other -- /bin/cat file >out 2>err &
client=$!
must_wait_for 10 counter_is actions_queued 1
unblock other/file
wait $client || fail "its input was not put again: $(cat err)"
same "after putting it again" "$(cat out)" "only here"
contains "the warning" "$(cat err)" "1 of its blobs had gone"
block
echo '{"name":"late","argv":["/bin/cat","file"],"input":"another","outputs":["file"],"no_cache":true,"into":"back"}' >actions
ramet batch --quiet actions >out 2>err &
client=$!
must_wait_for 10 counter_is actions_queued 1
unblock another/file
wait $client || fail "batch did not put it again: $(cat err)"
same "batch: what it brought back" "$(cat back/file)" "only there"
check_idle
stop_host
