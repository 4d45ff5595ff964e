#!/bin/sh
# The gateway, then the whole host, killed in the middle of a build: the build succeeds, and what
# went on without the gateway did not run twice.
. "$(dirname "$0")/lib.sh"
bazel_setup
start_listening

# (While one is about to start its pid is 0, and kill takes that for all of us.)
gateway() {
	ramet ps --json | python3 -c '
import json, sys
print(*[p["pid"] for p in json.load(sys.stdin) if p["role"] == "gateway" and p["pid"]])'
}
another_gateway() {
	another=$(gateway)
	[ -n "$another" ] && [ "$another" != "$victim" ]
}
# A build in the background, far enough that its slow action runs.  (Bazel's own five retries are
# over in 3 s, which a busy machine may need for a new host.)
build() { # seconds, targets
	seconds=$1
	shift
	bazel_remote "$address" build --remote_retries=12 --define=seconds="$seconds" //odd:slow "$@" &
	build=$!
	must_wait_for 60 is_running "sleep $seconds"
}

# Nothing but one action in flight.
build 981
slow=$(running "sleep 981")
victim=$(gateway)
kill -KILL "$victim"
must_wait_for 10 another_gateway
same "the action that goes on" "$(running "sleep 981")" "$slow"
must_wait_for 20 counter_is operations_adopted 1
wake 981
wait $build || fail "a build whose gateway was killed"
expect_counter actions_done 1

# In the thick of it.
build 982 //...
for try in 1 2; do
	victim=$(gateway)
	kill -KILL "$victim"
	must_wait_for 10 another_gateway
done
wake 982
wait $build || fail "a build whose gateway was killed twice"
expect_counter gateway_restarts 3
expect_counter worker_deaths 0
outputs_of "$links/bin" | grep -v odd/slow >restarted

bazel_clean
build 983
host=$(host_pid)
kill -KILL "$host"
must_wait_for 10 gone "$host"
must_wait_for 10 not_running "sleep 983"
start_listening "$address"
done=$(counter actions_done)
must_wait_for 60 is_running "sleep 983"
wake 983
wait $build || fail "a build whose host was killed"
expect_counter actions_done $((done + 1))

bazel_remote "$address" build //... || fail "a build after the restart"
same "actions that ran again" "$(processes remote)" 0
outputs_of "$links/bin" | grep -v odd/slow >after
cmp restarted after || fail "other outputs: $(diff restarted after)"
expect_counter actions_errors 0
check_idle
stop_host
