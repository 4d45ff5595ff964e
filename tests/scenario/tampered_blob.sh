#!/bin/sh
# Somebody writes to a blob, in place, and puts its time back: only --deep sees it.  The blob is made
# anew from its twin or dropped, and with it go all the trees that link to the old inode.
. "$(dirname "$0")/lib.sh"

mkdir -p a/d b/e c
echo "shared bytes" | tee a/d/shared b/e/shared >/dev/null
echo "a" >a/d/own
echo "b" >b/e/own
echo "c" >c/own
fill a/d
fill b/e
blob=$(sha256sum <a/d/shared | cut -c1-64)
start_host_with_trees --workers 1
act() { ramet run --no-cache --input "$1" -- /bin/sh -c 'cat */shared' </dev/null; }
warm() {
	act a >/dev/null || fail "warming a: $?"
	act b >/dev/null || fail "warming b: $?"
}
warm
links() { find "$RAMET_STATE/trees" -samefile "$1" | wc -l; }
file=$RAMET_STATE/cas/$(echo "$blob" | cut -c1-2)/$blob
[ "$(links "$file")" -eq 2 ] || skip "this engine's trees do not link to blobs"
spoil() {
	touch -r "$file" when
	chmod 644 "$file"
	printf 'SHARED' | dd of="$file" conv=notrunc 2>/dev/null
	chmod 444 "$file"
	touch -r when "$file"
}

# No other copy: it goes, and the client that runs the action brings it again.
spoil
ramet index check >out || fail "without --deep: $(cat out)"
check_finds --deep
contains "the blob" "$(cat out)" "cas/$(echo "$blob" | cut -c1-2)/$blob: somebody has changed its bytes: dropped"
same "trees harmed" "$(grep -c '^trees/.*shared: its bytes are not its digest' out)" 2
same "trees dropped" "$(grep -c '^trees/.*dropped; the next action' out)" 2
expect_counter cas_corrupt 1
expect_counter trees_dropped 2
[ ! -e "$file" ] || fail "the blob is still there"
same "after it" "$(act a)$(act b)" "shared bytesshared bytes"
check_cas

# With a twin beside it.
mkdir -p x/t
cp a/d/shared x/t/shared
chmod 755 x/t/shared
ramet run --no-cache --input x -- /bin/true || fail "the twin"
[ -e "$file.x" ] || fail "no twin was made"
warm
spoil
check_finds --deep
contains "the blob" "$(cat out)" "/$blob: somebody has changed its bytes: made anew from a good copy"
expect_counter cas_healed 1
expect_counter trees_dropped 4
same "the blob's bytes" "$(cat "$file")" "shared bytes"
same "after it" "$(act a)$(act b)" "shared bytesshared bytes"

# One tree is asked for: its blob is found out, and with it the other tree, of which nobody asked.
spoil
digest=$(cd "$RAMET_STATE/trees" && find . -name shared -samefile "$file" | cut -d/ -f2 | head -n 1 | tr - /)
check_finds --deep "$digest"
same "lines about trees" "$(grep -c '^trees/' out)" 1
must_wait_for 10 counter_is trees_dropped 6
same "after it" "$(act a)$(act b)" "shared bytesshared bytes"
ramet index check --deep >out || fail "at the end: $(cat out)"
check_idle
stop_host
