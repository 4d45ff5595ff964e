#!/bin/sh
# The volume is full while an action writes into its inputs, into an upper layer: the action is told
# (ENOSPC), its tree below is as it was, what it wrote is gone, and the host goes on.
own_mounts=1
. "$(dirname "$0")/lib.sh"

mkdir vol
mount -t tmpfs -o size=64m,mode=755 tmpfs vol
export RAMET_STATE="$work/vol/state"
make_input in
head -c 6000000 /dev/urandom >in/src/large
start_host --workers 2 --index-entries 1024
rametd --probe >probe.json 2>/dev/null || :
grep -q '"item":"way.overlay","works":true' probe.json ||
    skip "no overlay here: $(grep way.overlay probe.json)"
root=$(ramet cas put in)
run_off() { ramet run --no-cache --guard=off --input-digest "$root" "$@"; }
free_kb() { df -Pk vol | awk 'END { print $4 }'; }
has_free() { [ "$(free_kb)" -ge "$1" ]; }

# A tree that is cached, and what a host holds then.
run_more() { run_off -- /bin/sh -c 'echo more >>src/f1 && tail -n 1 src/f1'; }
same "with room" "$(run_more)" more
must_wait_for 20 no_sandboxes
must_wait_for 20 trash_is_empty
cache_of >before
free_before=$(free_kb)

# It fills the volume itself: file by file, in a new file, and by a large input that is copied up.
for how in 'for n in $(seq 12); do dd if=/dev/zero bs=1M count=8 of=src/f$n || exit 28; done' \
    'exec dd if=/dev/zero of=src/new bs=1M count=128' \
    'dd if=/dev/zero of=src/new bs=1M count=128 2>/dev/null; exec sh -c "echo x >>src/large"'; do
	rc=0
	run_off -- /bin/sh -c "$how" >full.out 2>&1 || rc=$?
	[ "$rc" -gt 0 ] && [ "$rc" -lt 128 ] || fail "exit $rc of: $how: $(cat full.out)"
	contains "what it was told" "$(cat full.out)" "No space left on device"
	must_wait_for 20 no_sandboxes
	must_wait_for 20 trash_is_empty
	must_wait_for 20 has_free $((free_before - 2048))
done

# Somebody else fills it: not even an upper layer can be made, or nothing can be copied up.
dd if=/dev/zero of=vol/fill bs=64k count=4096 2>/dev/null || :
while echo >>vol/fill; do :; done 2>/dev/null
rc=0
run_more >full.out 2>&1 || rc=$?
[ "$rc" -gt 0 ] && [ "$rc" -lt 128 ] || fail "exit $rc on a full volume: $(cat full.out)"
contains "what it was told" "$(cat full.out)" "No space left on device"
same "it is still the same host" "$(counter worker_deaths)" 0
rm -f vol/fill

# Room again: the same tree, from the same cache, and the action may write.
must_wait_for 20 has_free $((free_before - 2048))
same "room again" "$(run_more)" more
same "what the next sees" "$(run_off -- /bin/sh -c 'cat src/f1 src/large | sha256sum')" \
    "$(cat in/src/f1 in/src/large | sha256sum)"
must_wait_for 20 no_sandboxes
must_wait_for 20 trash_is_empty
cache_of >after
# (More actions, more blobs; of what was there, all.)
grep -vxFf after before >changed && fail "the cache has changed: $(cat changed)"
same "cached trees" "$(grep -c ' *trees/' after)" "$(grep -c ' *trees/' before)"
[ "$(counter stage_overlay_subtrees)" -ge 6 ] || fail "it was no overlay: $(counter stage_overlay_subtrees)"
expect_counter trees_built 1
check_idle
expect_counter worker_deaths 0
stop_host
