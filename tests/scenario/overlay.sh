#!/bin/sh
# An action that may write into its inputs has them below an overlay, and one with a large flat
# working directory has that: outputs are right, the cached tree stays, nothing of it is left.
. "$(dirname "$0")/lib.sh"
need_linux "overlay"

make_input in
flat=1000 # so many that linking them is never cheaper than one mount
for n in $(seq $flat); do echo "flat $n" >in/src/n"$n"; done
start_host --workers 1
rametd --probe >probe.json 2>/dev/null || :
grep -q '"item":"way.overlay","works":true' probe.json ||
    skip "no overlay here: $(grep way.overlay probe.json)"

# Write, append to what is 0444, chmod, rename, delete, replace: outputs are input and difference.
changes='set -e
echo more >>src/f1; chmod 700 src/f2; mv src/f3 src/moved; rm src/f4; rm -r src/deep; mkdir src/deep
echo new >src/deep/new; mv src/tool src/deep/; rm src/link; ln -s f5 src/link; rm -r same1; echo file >same1'
cp -a in want
(cd want && sh -ec "$changes")
run_off() { ramet run --no-cache --guard=off --input in "$@"; }
for round in cold warm; do
	rm -rf out && run_off --output src --output same1 --output top --output same2/s1 --into out \
	    -- /bin/sh -c "$changes" || fail "$round: it cannot write into its inputs"
	for what in src same1 top same2/s1; do
		diff -r --no-dereference want/$what out/$what || fail "$round: $what is not as made"
	done
	{ [ -x out/src/f2 ] && [ -x out/src/deep/tool ] && [ ! -x out/src/f1 ]; } || fail "$round: exec bits"
done
expect_counter stage_overlay_subtrees 2
expect_counter trees_built 1
expect_counter stage_copy_files 0
in_buckets=0
for bucket in le_100 le_300 le_1000 le_3000 le_10000 le_30000 le_100000 over; do
	in_buckets=$((in_buckets + $(counter "stage_overlay_us_$bucket")))
done
same "actions in the buckets of time" $in_buckets 2
[ "$(counter stage_overlay_us)" -ge 100 ] || fail "mounting took no time"
# What was not written is not read: of more than 1,000 files in the outputs, these.
collected=$(($(counter outputs_moved) + $(counter outputs_copied)))
[ "$collected" -ge 12 ] && [ "$collected" -le 16 ] || fail "$collected files were collected"

# A large flat working directory: one mount, no links; what is made there can be linked elsewhere.
before=$(counter stage_hardlink_files)
for round in cold warm; do
	rm -rf flat && ramet run --no-cache --input in --output src/o --output same2/o --into flat --metrics m.json -- \
	    /bin/sh -c 'set -e; ls src >src/o; cat src/n7 >src/t; ln src/t same2/o; rm src/n8' ||
	    fail "$round: flat"
	same "$round: what it saw" "$(grep -c . flat/src/o)" $((flat + 17))
	same "$round: what was linked" "$(cat flat/same2/o)" "flat 7"
done
# (At least: where files are copied, not linked, other directories are large enough too.)
[ "$(value overlay_files <m.json)" -ge $((flat + 14)) ] || fail "by overlay: $(cat m.json)"
[ $(($(counter stage_hardlink_files) - before)) -le $((flat + 50)) ] || fail "its files were linked again"
# Under guard: root's action cannot write to them, a plain user's writes to what is its alone.
ramet run --no-cache --input in --output src/o -- /bin/sh -c 'chmod 666 src/n1; echo x >>src/n1' 2>/dev/null &&
    is_root && fail "an input could be written"
same "the next sees" "$(ramet run --no-cache --input in --output src/o -- /bin/cat src/n1)" "flat 1"

# Its worker killed in the middle: the next try has all inputs again, and no mount was the host's.
ramet run --no-cache --guard=off --input in -- /bin/sh -c 'rm -r src && exec sleep 347' >/dev/null 2>&1 &
client=$!
must_wait_for 20 is_running "sleep 347"
first=$(running "sleep 347")
! grep -q "$RAMET_STATE" /proc/self/mountinfo || fail "a mount of the host's: $(cat /proc/self/mountinfo)"
victim=$first
while up=$(sed 's/.*) //' "/proc/$victim/stat" | cut -d' ' -f2) && [ "$up" != "$(host_pid)" ]; do
	victim=$up
done
kill -KILL "$victim"
must_wait_for 20 gone "$first"
must_wait_for 20 is_running "sleep 347"
kill -KILL "$(running "sleep 347")"
exits 137 wait $client
check_idle
stop_host
