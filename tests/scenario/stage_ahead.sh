#!/bin/sh
# While an action runs, the next one's sandbox is composed: it gets that one, right and whole; a
# cancelled one's goes; a killed worker leaves none; the one that runs cannot reach it.
. "$(dirname "$0")/lib.sh"

make_input in
start_host --workers 1 --stage-ahead yes

# One after the other through one worker: all but the first are staged by then.
for n in 1 2 3 4 5 6; do
	echo "{\"name\":\"a$n\",\"argv\":[\"/bin/sh\",\"-c\",\"find src -type f | sort >out; cat src/f$n >>out; sleep 0.2\"],\"input\":\"in\",\"outputs\":[\"out\"],\"into\":\"out$n\",\"no_cache\":true}"
done >actions
ramet batch --jobs 6 actions || fail "batch"
for n in 1 2 3 4 5 6; do
	(cd in && find src -type f) | sort >want
	cat "in/src/f$n" >>want
	cmp want "out$n/out" || fail "a$n saw another tree: $(diff want "out$n/out")"
done
expect_counter ahead_used 5
expect_counter ahead_staged 5
expect_counter ahead_dropped 0
expect_counter ahead_failed 0
[ "$(counter ahead_hidden_us)" -gt 0 ] || fail "nothing was hidden"
check_idle

# What is answered from the cache, or cancelled in the queue, gives its sandbox back.
ramet run --no-cache --input in -- /bin/sh -c 'exec sleep 353' >/dev/null 2>&1 &
first=$!
must_wait_for 20 is_running "sleep 353"
ramet run --no-cache --input in -- /bin/sh -c 'exec sleep 355' >/dev/null 2>&1 &
second=$!
must_wait_for 20 counter_is ahead_staged 6
sandboxes() { find "$RAMET_STATE/sandboxes" -mindepth 1 -maxdepth 1 "$@" | wc -l; }
same "sandboxes" "$(sandboxes)" 2
# Nobody but the daemon gets in.
if is_root; then
	same "closed sandboxes" "$(sandboxes -perm 0700)" 1
fi
kill "$second"
wait "$second" || :
must_wait_for 20 counter_is ahead_dropped 1
same "sandboxes, the cancelled one's gone" "$(sandboxes)" 1
# A new one in its place; then its worker is killed.
ramet run --no-cache --input in -- /bin/sh -c 'cat src/f3; exec sleep 357' >third.out 2>&1 &
third=$!
must_wait_for 20 counter_is ahead_staged 7
victim=$(running "sleep 353")
while up=$(sed 's/.*) //' "/proc/$victim/stat" | cut -d' ' -f2) && [ "$up" != "$(host_pid)" ]; do
	victim=$up
done
kill -KILL "$victim"
must_wait_for 20 counter_at_least worker_deaths 1
must_wait_for 20 is_running "sleep 353"
kill "$first"
wait "$first" || :
must_wait_for 20 is_running "sleep 357"
kill "$third"
wait "$third" || :
must_wait_for 20 not_running "sleep 357"
check_idle
before=$(counter ahead_staged)
stop_host

# Off, and by itself where mounts make staging cheap.
start_host --workers 1 --stage-ahead no
ramet batch --jobs 6 actions || fail "batch"
expect_counter ahead_staged "$before"
stop_host
